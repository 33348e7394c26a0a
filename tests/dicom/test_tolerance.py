"""One tolerance: what is odd is read by every kind of rule, or by none, and errors name tag and place."""

from __future__ import annotations

import io
import warnings

import pydicom
import pytest
from pydicom.filereader import read_dataset

from mapdr.dicom.edit.plan import EditPlan
from mapdr.dicom.edit.target import Private
from mapdr.dicom.edit.tree import apply_edits
from mapdr.dicom.edit.verbs import REMOVE, SET, Edit
from mapdr.dicom.path import parse_edit_path as path
from mapdr.dicom.path import parse_path
from mapdr.dicom.recode import recode
from mapdr.dicom.scan import Unreadable, layout, scan
from mapdr.dicom.template import Template
from mapdr.dicom.write import encoding_of

from .datasets import BIG, EXPLICIT, IMPLICIT, SYNTAXES, UNDEFINED, element
from .odd import BEHIND, CLASS_UID, INSTANCE_UID, PRIVATE, SEQUENCE, SEQUENCES, STEP, Writer, data_set, forms

text = Template.parse
STEP_PATH = path("RequestAttributesSequence.ScheduledProcedureStepID")
EDITS: dict[str, Edit] = {
    "of the top level": SET(path("PatientID"), text("NEW")),
    "in the sequence": SET(STEP_PATH, text("NEW")),
    "of private elements": REMOVE(Private()),
    "to UTF-8": SET(path("SpecificCharacterSet"), text("ISO_IR 192")),
    "of the sequence": REMOVE(path("RequestAttributesSequence")),
}
STRAY = ("delimiter behind the sequence", "item ended by the sequence's delimiter", "item delimiter outside")
CASES = [(syntax, form) for syntax in SYNTAXES for form in forms(syntax)]


def read(raw: bytes, syntax: str) -> pydicom.Dataset:
    """As pydicom reads it, to the last element."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_dataset(io.BytesIO(raw), syntax == IMPLICIT, syntax != BIG)
        list(found.iterall())
    return found


def edited(raw: bytes, syntax: str, edit: Edit) -> bytes:
    where = layout(raw, syntax)
    tail = raw[where.pixel_end :]
    done = apply_edits(raw[: where.header_end], syntax, [edit], tail=tail, tail_at=where.pixel_end)
    return done.header + raw[where.header_end : where.pixel_end] + done.tail


@pytest.mark.parametrize(("syntax", "form"), CASES)
@pytest.mark.parametrize("behind", [b"", bytes(12)], ids=["", "zeros behind"])
def test_every_edit_reads_it(syntax: str, form: str, behind: bytes) -> None:
    odd = forms(syntax)[form]
    raw = data_set(odd, syntax, behind)
    after = {name: edited(raw, syntax, edit) for name, edit in EDITS.items()}
    # A delimiter that ends nothing, outside of any sequence, is not written again.
    kept = odd if form not in STRAY else odd[:-8]
    assert kept in after["of the top level"]
    assert kept in after["of private elements"]
    assert b"SECRET" not in after["of private elements"]
    assert "Süd".encode() in after["to UTF-8"]
    for name in ("in the sequence", "of the sequence"):
        again = after[name]
        wanted = frozenset([(SEQUENCE, STEP), (BEHIND,)])
        header = scan(again, syntax, wanted, complete=True)
        assert header.texts((SEQUENCE, STEP)) == (("NEW",) if name == "in the sequence" else ())
        assert header.text((BEHIND,)) == "1.2.9"
        if is_known_to_pydicom(odd, syntax):
            found = read(again.removesuffix(behind), syntax)
            steps = [item[STEP].value for item in found[SEQUENCE].value] if SEQUENCE in found else None
            assert steps == (["NEW"] if name == "in the sequence" else None)
            assert found[BEHIND].value == "1.2.9"


def is_known_to_pydicom(odd: bytes, syntax: str) -> bool:
    """Whether pydicom finds what is behind the odd element; a VR that is none leads it astray."""
    try:
        found = read(data_set(odd, syntax), syntax)
        return found[BEHIND].value == "1.2.9" and STEP in found[SEQUENCE].value[0]
    except Exception:
        return False


@pytest.mark.parametrize(("syntax", "form"), CASES)
@pytest.mark.parametrize("target", SYNTAXES)
def test_every_encoding_is_made_of_it(syntax: str, form: str, target: str) -> None:
    raw = data_set(forms(syntax)[form], syntax, bytes(12))
    if target == syntax == BIG and "written as UN" in form:
        return  # They stay as they are, and pydicom cannot read them in big endian.
    found = read(recode(raw, encoding_of(syntax), encoding_of(target)), target)
    assert [str(item[STEP].value).strip() for item in found[SEQUENCE].value] == ["S1"]
    assert [item[0x00400011].value for item in found[SEQUENCE].value] == ["WARD"]
    assert (found[BEHIND].value, found[PRIVATE].value in ("SECRET", b"SECRET")) == ("1.2.9", True)
    assert len(found.PixelData) == 64 * 64
    if (0x00400280) in found:
        assert found[0x00400280].value == "abcd"


@pytest.mark.parametrize(("syntax", "form"), CASES)
def test_the_scan_finds_what_is_in_it_and_behind_it(syntax: str, form: str) -> None:
    wanted = frozenset([parse_path("RequestAttributesSequence.ScheduledProcedureStepID"), (BEHIND,)])
    raw = data_set(forms(syntax)[form], syntax)
    header = scan(raw, syntax, wanted, complete=True)
    assert (header.texts((SEQUENCE, STEP)), header.text((BEHIND,))) == (("S1",), "1.2.9")
    assert not header.truncated
    assert header.pixel_value == len(raw) - 64 * 64


def test_the_plan_leaves_what_is_odd_and_takes_what_is_regular() -> None:
    plan = EditPlan.of([SET(path("PatientID"), text("NEW"))])
    assert plan is not None
    for syntax in (EXPLICIT, IMPLICIT):
        regular = forms(syntax)["regular, undefined lengths"]
        assert plan.apply(data_set(regular, syntax), len(data_set(regular, syntax)), syntax) is not None
        for form in (
            "no last item delimiter",
            "item delimiter outside",
            "item ended by the sequence's delimiter",
        ):
            raw = data_set(forms(syntax)[form], syntax)
            assert plan.apply(raw, len(raw), syntax) is None


BROKEN = {
    "no item": lambda w: w.open_sequence(w.step) + w.end,
    "an item where none may be": lambda w: w.open_sequence(w.open_item() + w.item() + w.item_end) + w.end,
    "an element beyond its item": lambda w: w.sequence(w.item(w(STEP, "SH", b"S1", 60))),
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_parked_is_parked_with_tag_and_place(syntax: str, broken: str) -> None:
    w = Writer(syntax)
    odd = BROKEN[broken](w)
    front, raw = data_set(b"", syntax), b""
    at = front.index(w(BEHIND, "UI", b"1.2.9\0"))
    # In the header, and in the tail behind the pixel data, where the place counts from the data set's start.
    for start in (at, len(front)):
        raw = front[:start] + odd + front[start:]
        failures = []
        for edit in (EDITS["in the sequence"], EDITS["of private elements"], EDITS["to UTF-8"]):
            with pytest.raises(Unreadable) as caught:
                edited(raw, syntax, edit)
            failures.append(str(caught.value))
        with pytest.raises(Unreadable) as caught:
            recode(raw, encoding_of(syntax), encoding_of(EXPLICIT if syntax != EXPLICIT else BIG))
        failures.append(str(caught.value))
        assert len(set(failures)) == 1
        place = int(failures[0].split("at byte ")[1].split(",")[0])
        assert start <= place <= start + len(odd)
        assert "(0040,0275)" in failures[0] or "(0040,0009)" in failures[0]
        assert "S1" not in failures[0]


def test_a_sequence_without_end_is_named() -> None:
    w = Writer(EXPLICIT)
    raw = data_set(w(SEQUENCE, "SQ", w.item(), UNDEFINED), EXPLICIT)
    for step in (lambda: edited(raw, EXPLICIT, EDITS["of the top level"]), lambda: layout(raw, EXPLICIT)):
        with pytest.raises(Unreadable, match=r"at byte [0-9]+, in \(0040,0275\)"):
            step()


def test_every_form_is_in_the_matrix() -> None:
    assert len(SEQUENCES) > 15
    assert {form for syntax, form in CASES if syntax == EXPLICIT} >= set(SEQUENCES)
    assert UNDEFINED == 0xFFFFFFFF


def test_sequences_written_as_un_may_nest_and_lie_before_large_pixels() -> None:
    w, pixels = Writer(EXPLICIT), bytes(1 << 19)
    inner = w.item(w(SEQUENCE, "UN", w.open_item() + w.item_end, UNDEFINED) + w.end)
    odd = w(SEQUENCE, "UN", inner, UNDEFINED) + w.end
    # Read as a length, the first VR is 149,587: in a small image only it is plainly none.
    raw = data_set(odd, EXPLICIT)[: -4096 - 12] + w(0x7FE00010, "OW", pixels)
    assert layout(raw, EXPLICIT).pixel_end == len(raw)
    found = read(recode(raw, encoding_of(EXPLICIT), encoding_of(IMPLICIT)), IMPLICIT)
    assert found[SEQUENCE].value[0][SEQUENCE].value[0][STEP].value == "S1"


def test_endless_nesting_is_refused_in_time() -> None:
    w = Writer(EXPLICIT)
    for level in (w(SEQUENCE, "UN", b"", UNDEFINED), element(SEQUENCE, "", b"", IMPLICIT, UNDEFINED)):
        raw = w(SEQUENCE, "UN", b"", UNDEFINED) + (w(0xFFFEE000, "", b"", UNDEFINED) + level) * 3000
        with pytest.raises(Unreadable) as caught:
            edited(raw + bytes(64), EXPLICIT, EDITS["in the sequence"])
        assert caught.value.reason in ("too-deep", "bad-item", "truncated")


@pytest.mark.parametrize("last", [b"1 ", b"THE USA "], ids=["lengths alike", "a VR in a value"])
def test_a_data_set_in_implicit_vr_that_says_explicit_is_read(last: bytes) -> None:
    raw = (
        element(0x00080016, "UI", CLASS_UID.encode() + b"\0", IMPLICIT)
        + element(0x00080018, "UI", INSTANCE_UID.encode() + b"\0", IMPLICIT)
        + element(0x00200013, "IS", last, IMPLICIT)
        + element(0x00280002, "US", b"\1\0", IMPLICIT)
        + element(0x00280010, "US", b"\0\1", IMPLICIT)
        + element(0x7FE00010, "OW", bytes(64), IMPLICIT)
    )
    found = scan(raw, EXPLICIT, frozenset({(0x00280010,)}), complete=True)
    assert (found.texts((0x00280010,)), found.pixel_value) == (("256",), len(raw) - 64)
