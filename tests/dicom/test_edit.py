"""Edits: what is named changes, and nothing else. pydicom reads both sides."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.dicom.edit.target import Everywhere, Private
from mapdr.dicom.edit.tree import Edited, apply_edits
from mapdr.dicom.edit.value import Items
from mapdr.dicom.edit.verbs import COPY, EMPTY, PREFIX, REMOVE, SET, SET_IF_MISSING, SUFFIX, Edit
from mapdr.dicom.path import parse_edit_path as path
from mapdr.dicom.path import parse_path
from mapdr.dicom.template import Template
from mapdr.kernel.errors import Permanent

from .datasets import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    SYNTAXES,
    UNDEFINED,
    ct,
    decode,
    different,
    element,
    encode,
    flat,
    item,
    nested,
)

text = Template.parse
both_lengths = pytest.mark.parametrize("undefined", [False, True])
each_syntax = pytest.mark.parametrize("syntax", SYNTAXES)


def apply(raw: bytes, syntax: str, *edits: Edit, **more: Any) -> Edited:
    return apply_edits(raw, syntax, edits, **more)


def reason(raw: bytes, *edits: Edit, syntax: str = EXPLICIT, **more: Any) -> str:
    with pytest.raises(Permanent) as caught:
        apply(raw, syntax, *edits, **more)
    return caught.value.reason


CASES: list[tuple[Edit, set[tuple[int, ...]]]] = [
    (SET(path("InstitutionName"), text("Clinic North")), {(0x00080080,)}),
    (SET(path("StationName"), text("ER1")), {(0x00081010,)}),
    (SET(path("AccessionNumber"), text("CN-{AccessionNumber}-{Modality}")), {(0x00080050,)}),
    (SET(path("Rows"), text("8")), {(0x00280010,)}),
    (SET(path("ImageType"), text("DERIVED\\PRIMARY")), {(0x00080008,)}),
    (SET_IF_MISSING(path("StationName"), text("ER1")), {(0x00081010,)}),
    (SET_IF_MISSING(path("PatientID"), text("ER1")), set()),
    (COPY(path("AccessionNumber"), parse_path("PatientID")), {(0x00080050,)}),
    (PREFIX(path("AccessionNumber"), text("CN-")), {(0x00080050,)}),
    (SUFFIX(path("PatientID"), text("-{Modality}")), {(0x00100020,)}),
    (REMOVE(path("PatientName")), {(0x00100010,)}),
    (REMOVE(path("OtherPatientIDs")), set()),
    (EMPTY(path("PatientName")), {(0x00100010,)}),
    (EMPTY(path("OtherPatientIDs")), set()),
    (
        EMPTY(path("RequestAttributesSequence.ScheduledProcedureStepID")),
        {(0x00400275, 0, 0x00400009), (0x00400275, 1, 0x00400009)},
    ),
    (EMPTY.parse("(0009,xx01)"), {(0x00091001,), (0x00091101,)}),
    (SET(Everywhere(0x00400009), text("NEW")), {(0x00400275, 0, 0x00400009), (0x00400275, 1, 0x00400009)}),
    (
        SET(path("RequestAttributesSequence.ScheduledProcedureStepID"), text("NEW")),
        {(0x00400275, 0, 0x00400009), (0x00400275, 1, 0x00400009)},
    ),
    (
        SET(path("RequestAttributesSequence[1].ScheduledProcedureStepID"), text("NEW")),
        {(0x00400275, 1, 0x00400009)},
    ),
    (
        PREFIX(path("RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeMeaning"), text("the ")),
        {(0x00400275, 0, 0x00400008, 0, 0x00080104)},
    ),
    (REMOVE(path("RequestAttributesSequence[0].ScheduledProcedureStepID")), {(0x00400275, 0, 0x00400009)}),
    (
        REMOVE.parse("(0009,xx01)"),
        {(0x00091001,), (0x00091101,)},
    ),
    (
        REMOVE.parse("creator:GEMS_IDEN_01"),
        {
            (0x00090010,),
            (0x00091001,),
            (0x00091002,),
            (0x00400275, 0, 0x00110010),
            (0x00400275, 0, 0x00111003),
        },
    ),
    (
        REMOVE.parse("private"),
        {
            (0x00090010,),
            (0x00090011,),
            (0x00091001,),
            (0x00091002,),
            (0x00091101,),
            (0x00400275, 0, 0x00110010),
            (0x00400275, 0, 0x00111003),
        },
    ),
    (REMOVE.parse("group:0011"), {(0x00400275, 0, 0x00110010), (0x00400275, 0, 0x00111003)}),
]


@each_syntax
@both_lengths
@pytest.mark.parametrize(("edit", "paths"), CASES)
def test_only_what_is_named_differs(
    edit: Edit, paths: set[tuple[int, ...]], syntax: str, undefined: bool
) -> None:
    before = encode(ct(undefined=undefined), syntax)
    done = apply(before, syntax, edit)
    assert different(flat(before, syntax), flat(done.header, syntax)) == paths
    # Lengths and delimiters are right too: pydicom writes what it read byte for byte the same.
    assert encode(decode(done.header, syntax), syntax) == done.header
    assert set(done.changed) == {tuple(tag for tag in p if tag > 0xFFFF) for p in paths}
    if not paths:
        assert done.header is before
    assert (done.sop_class_uid, done.sop_instance_uid) == ("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5")


@each_syntax
@both_lengths
@pytest.mark.parametrize(("edit", "paths"), CASES)
def test_a_second_time_changes_nothing_more(
    edit: Edit, paths: set[tuple[int, ...]], syntax: str, undefined: bool
) -> None:
    if edit.verb is SET and edit.value.paths:
        return
    once = apply(encode(ct(undefined=undefined), syntax), syntax, edit)
    twice = apply(once.header, syntax, edit)
    assert twice.header is once.header
    assert twice.changed == ()


@each_syntax
def test_a_sequence_comes_to_be_where_its_element_is_set(syntax: str) -> None:
    before = encode(item(Modality="CT"), syntax)
    edit = SET(path("RequestAttributesSequence.ScheduledProtocolCodeSequence[0].CodeValue"), text("X"))
    done = decode(apply(before, syntax, edit).header, syntax)
    assert done.RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeValue == "X"
    assert reason(
        before, SET(path("RequestAttributesSequence[1].ScheduledProcedureStepID"), text("X")), syntax=syntax
    ) == ("no-such-item")


def test_an_item_can_be_appended_and_none_skipped() -> None:
    before = encode(ct(), EXPLICIT)
    done = apply(
        before, EXPLICIT, SET(path("RequestAttributesSequence[2].ScheduledProcedureStepID"), text("S3"))
    )
    steps = [one.ScheduledProcedureStepID for one in decode(done.header, EXPLICIT).RequestAttributesSequence]
    assert steps == ["S1", "S2", "S3"]
    assert reason(before, SET(path("RequestAttributesSequence[3].ScheduledProcedureStepID"), text("S3"))) == (
        "no-such-item"
    )


def test_edits_see_what_those_before_them_left() -> None:
    before = encode(ct(), EXPLICIT)
    done = apply(
        before,
        EXPLICIT,
        COPY(path("AccessionNumber"), parse_path("PatientID")),
        SET(path("PatientID"), text("{AccessionNumber}/{StudyDate}")),
        REMOVE(path("StudyDate")),
        SET(path("SOPInstanceUID"), text("1.2.9")),
    )
    after = decode(done.header, EXPLICIT)
    assert (after.AccessionNumber, after.PatientID) == ("ID1", "ID1/20250102")
    assert "StudyDate" not in after
    assert done.sop_instance_uid == "1.2.9"


def test_bytes_around_an_edit_are_the_same_bytes() -> None:
    # Oddities that a parser and writer would mend: odd length, wrong padding, private UN, unknown VR, order.
    odd = (
        element(0x00080060, "CS", b"CT\0")
        + element(0x00091010, "ZZ", b"abc")
        + element(0x00020010, "UI", b"1.2")
    )
    target = element(0x00100020, "LO", b"ID")
    rest = element(0x00100010, "PN", b"a^b  ") + element(
        0x00400275, "UN", nested(1, b"")[12:], length=UNDEFINED
    )
    done = apply(odd + target + rest, EXPLICIT, SET(path("PatientID"), text("NEW")))
    # Elements of the File Meta group have no place in what MAPDR writes.
    kept = odd[: -len(element(0x00020010, "UI", b"1.2"))]
    assert done.header == kept + element(0x00100020, "LO", b"NEW ") + rest


@each_syntax
def test_group_lengths_that_are_there_are_kept_right(syntax: str) -> None:
    order = ">" if syntax == BIG else "<"

    def data_set(value: bytes) -> bytes:
        group = element(0x00100010, "PN", b"Doe ", syntax) + element(0x00100020, "LO", value, syntax)
        other = element(0x00200000, "UL", struct.pack(order + "L", 999), syntax) + element(
            0x00200010, "SH", b"ab", syntax
        )
        return element(0x00100000, "UL", struct.pack(order + "L", len(group)), syntax) + group + other

    done = apply(data_set(b"ID"), syntax, SET(path("PatientID"), text("LONGER")))
    assert done.header == data_set(b"LONGER")


@each_syntax
def test_a_group_length_that_says_none_stays(syntax: str) -> None:
    length = element(0x00100000, "UL", b"", syntax)
    raw = length + element(0x00100020, "LO", b"ID", syntax)
    done = apply(raw, syntax, SET(path("PatientID"), text("LONGER")))
    assert done.header == length + element(0x00100020, "LO", b"LONGER", syntax)


def test_an_element_that_comes_twice_comes_once_when_set() -> None:
    raw = element(0x00100020, "LO", b"ab") + element(0x00100020, "LO", b"cd")
    assert apply(raw, EXPLICIT, SET(path("PatientID"), text("XY"))).header == element(0x00100020, "LO", b"XY")
    assert apply(raw, EXPLICIT, REMOVE(path("PatientID"))).header == b""


def test_zeros_behind_the_last_element_stay() -> None:
    raw = element(0x00100020, "LO", b"ab") + bytes(20)
    assert apply(raw, EXPLICIT, SET(path("PatientID"), text("XY"))).header == element(
        0x00100020, "LO", b"XY"
    ) + bytes(20)


@each_syntax
def test_elements_behind_the_pixel_data_are_in_the_tail(syntax: str) -> None:
    head = element(0x00100020, "LO", b"ab", syntax)
    tail = element(0xFFFCFFFC, "OB", bytes(4), syntax)
    same = apply(head, syntax, SET(path("PatientID"), text("XY")), tail=tail)
    assert same.tail is tail
    gone = apply(head, syntax, REMOVE(path("(FFFC,FFFC)")), tail=tail)
    assert (gone.header, gone.tail, gone.changed) == (head, b"", ((0xFFFCFFFC,),))
    assert gone.header is head
    new = apply(head, syntax, SET(path("(7FE5,0010)"), text("ME")), tail=tail)
    assert new.header is head
    assert new.tail == element(0x7FE50010, "LO", b"ME", syntax) + tail
    private = element(0x7FE50010, "LO", b"ME", syntax)
    assert apply(head, syntax, REMOVE(Private()), tail=private).tail == b""


def test_a_sequence_written_as_un_is_edited_in_implicit_vr() -> None:
    inner = nested(1, element(0x00400009, "", b"S9", IMPLICIT), IMPLICIT)[8:]
    raw = element(0x00400275, "UN", inner, BIG, UNDEFINED)
    done = apply(raw, BIG, SET(path("RequestAttributesSequence.ScheduledProcedureStepID"), text("LONG")))
    wanted = nested(1, element(0x00400009, "", b"LONG", IMPLICIT), IMPLICIT)[8:]
    assert done.header == element(0x00400275, "UN", wanted, BIG, UNDEFINED)


@pytest.mark.parametrize("defined", [False, True])
def test_deep_nesting_is_kept_and_a_change_within_it_bounded(defined: bool) -> None:
    deep = nested(200, element(0x00400009, "SH", b"ab"), defined=defined)
    raw = element(0x00100020, "LO", b"ab") + deep
    assert (
        apply(raw, EXPLICIT, SET(path("PatientID"), text("XY"))).header
        == element(0x00100020, "LO", b"XY") + deep
    )
    assert reason(raw, REMOVE(Private())) == "too-deep"


# --- values


@pytest.mark.parametrize(
    ("keyword", "value", "why"),
    [
        ("PatientID", "x" * 65, "value-too-long"),
        ("AccessionNumber", "x" * 17, "value-too-long"),
        ("PatientName", "x" * 65, "value-too-long"),
        ("Modality", "ct", "bad-value"),
        ("StudyDate", "20250230", "bad-value"),
        ("StudyDate", "2025", "bad-value"),
        ("StudyTime", "2460", "bad-value"),
        ("SOPInstanceUID", "1.02", "bad-value"),
        ("Rows", "70000", "bad-value"),
        ("Rows", "many", "bad-value"),
        ("Rows", "1_0", "bad-value"),
        ("ExposureTimeInms", "nan", "bad-value"),
        ("SliceThickness", "thin", "bad-value"),
        ("InstanceNumber", "1.5", "bad-value"),
        ("InstanceNumber", "99999999999", "bad-value"),
        ("PatientAge", "45", "bad-value"),
        ("InstitutionName", "a\nb", "bad-value"),
        ("PatientName", "a=b=c=d", "bad-value"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_early_and_late(keyword: str, value: str, why: str) -> None:
    with pytest.raises(ValueError, match=keyword):
        SET(path(keyword), text(value))
    raw = element(0x00100021, "LT", value.encode())
    late = SET(path(keyword), text("{(0010,0021)}"))
    with pytest.raises(Permanent) as caught:
        apply(raw, EXPLICIT, late)
    assert caught.value.reason == why
    assert keyword in str(caught.value)
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("keyword", "value", "raw"),
    [
        ("StudyDate", "20240229", b"20240229"),
        ("StudyTime", "235960.5", b"235960.5"),
        ("AcquisitionDateTime", "20250102030405.123456+0100", b"20250102030405.123456+0100"),
        ("PatientAge", "045Y", b"045Y"),
        ("SliceThickness", "1.25\\2e-3", b"1.25\\2e-3 "),
        ("SOPInstanceUID", "1.2.3", b"1.2.3\0"),
        ("Rows", "512", b"\0\2"),
        ("PixelSpacing", "", b""),
        ("FrameIncrementPointer", "(0018,1063)", b"\x18\0\x63\x10"),
        ("PatientComments", "a\r\nb\\c", b"a\r\nb\\c"),
        ("ExposureTimeInms", "1.5", struct.pack("<d", 1.5)),
        ("CineRelativeToRealTime", "0.1", struct.pack("<d", 0.1)),
        ("ExaminedBodyThickness", "1.5", struct.pack("<f", 1.5)),
        ("PatientName", "Doe^Jane=x=y", b"Doe^Jane=x=y"),
    ],
)
def test_values_are_written_as_their_vr_wants(keyword: str, value: str, raw: bytes) -> None:
    done = apply(b"", EXPLICIT, SET(path(keyword), text(value)))
    assert done.header.endswith(raw)
    assert len(done.header) - len(raw) in (8, 12)


def test_truncate_cuts_what_can_be_cut() -> None:
    raw = encode(ct(), EXPLICIT)
    edits = (
        SET(path("AccessionNumber"), text("x" * 20), overflow="truncate"),
        SET(path("PatientName"), text("y" * 70 + "=" + "z" * 70), overflow="truncate"),
        PREFIX(path("PatientID"), text("é" * 64), overflow="truncate"),
    )
    after = decode(apply(raw, EXPLICIT, *edits).header, EXPLICIT)
    assert after.AccessionNumber == "x" * 16
    assert str(after.PatientName) == "y" * 64 + "=" + "z" * 64
    assert after.PatientID == "é" * 64
    with pytest.raises(ValueError, match="UI"):
        SET(path("SOPInstanceUID"), text("1." + "2" * 70), overflow="truncate")


@pytest.mark.parametrize(
    "make",
    [
        lambda **more: SET(path("StationName"), text("{PatientID}-x"), **more),
        lambda **more: SET_IF_MISSING(path("StationName"), text("{PatientID}-x"), **more),
        lambda **more: COPY(path("StationName"), parse_path("PatientID"), **more),
        lambda **more: PREFIX(path("StationName"), text("{PatientID}-x"), **more),
    ],
)
def test_an_empty_tag_parks_unless_told_otherwise(make: Any) -> None:
    for empty in (b"", element(0x00100020, "LO", b"  ")):
        raw = element(0x00081010, "SH", b"OLD ") + empty
        missing_only = make().verb is SET_IF_MISSING
        if missing_only:
            assert apply(raw, EXPLICIT, make()).header is raw
            raw = element(0x00081010, "SH", b"") + empty
        assert reason(raw, make()) == "empty-value"
        assert apply(raw, EXPLICIT, make(if_empty="skip")).header is raw
        assert apply(raw, EXPLICIT, make(if_empty="clear")).header == element(0x00081010, "SH", b"") + empty


@pytest.mark.parametrize("affix", [PREFIX, SUFFIX])
@pytest.mark.parametrize("if_empty", ["error", "skip", "clear"])
def test_where_there_is_no_value_nothing_is_put_before_or_behind_it(affix: Any, if_empty: Any) -> None:
    for raw in (b"", element(0x00080050, "SH", b""), element(0x00080050, "SH", b"  ")):
        for what in ("CN-", "{PatientID}"):
            edit = affix(path("AccessionNumber"), text(what), if_empty=if_empty)
            assert apply(raw, EXPLICIT, edit).header is raw


def test_a_prefix_goes_before_each_value_once() -> None:
    raw = element(0x00101000, "LO", b"A\\\\CN-B")
    done = apply(raw, EXPLICIT, PREFIX(path("OtherPatientIDs"), text("CN-")))
    assert done.header == element(0x00101000, "LO", b"CN-A\\\\CN-B")


def test_what_cannot_be_changed_is_refused_when_it_is_written() -> None:
    for keyword in (
        "PixelData",
        "TransferSyntaxUID",
        "(0010,0000)",
        "RequestAttributesSequence",
        "(FFFE,E000)",
    ):
        with pytest.raises(ValueError, match=r"\w"):
            SET(path(keyword), text("x"))
    for keyword in ("PixelData", "SOPInstanceUID", "SOPClassUID", "SpecificCharacterSet"):
        with pytest.raises(ValueError, match="cannot be removed"):
            REMOVE(path(keyword))
    for removal in ("group:0008", "group:7FE0", "(0008,001x)", "(xxxx,xxxx)"):
        with pytest.raises(ValueError, match="would remove"):
            REMOVE.parse(removal)
    for removal in ("group:8", "creator:", "PatientIdd"):
        with pytest.raises(ValueError, match=r"group|creator|PatientID"):
            REMOVE.parse(removal)
    with pytest.raises(ValueError, match="no text"):
        PREFIX(path("Rows"), text("x"))
    with pytest.raises(ValueError, match="is a sequence"):
        COPY(path("PatientID"), parse_path("RequestAttributesSequence"))


def test_removals_are_read() -> None:
    assert REMOVE.parse("group:60A0") == REMOVE(Everywhere(0x60A00000, 0xFFFF0000))
    assert REMOVE.parse("(60xx,3000)") == REMOVE(Everywhere(0x60003000, 0xFF00FFFF))
    assert REMOVE.parse("creator: X Y") == REMOVE(Private("X Y"))
    nested_path = "RequestAttributesSequence.ScheduledProcedureStepID"
    assert REMOVE.parse(nested_path) == REMOVE(path(nested_path))


def test_a_broken_data_set_is_not_edited() -> None:
    good = element(0x00100020, "LO", b"ab")
    edit = SET(path("PatientID"), text("XY"))
    assert reason(good + good[:-1], edit) == "truncated"
    assert reason(element(0xFFFEE000, "", b"") + good, edit) == "bad-item"
    wrong = element(0x00400275, "SQ", element(0x00400009, "SH", b"ab"))
    assert apply(good + wrong, EXPLICIT, edit).header.endswith(wrong)
    inner = SET(path("RequestAttributesSequence.ScheduledProcedureStepID"), text("X"))
    assert reason(good + wrong, inner) == "bad-item"


def test_edits_are_plain_values() -> None:
    edit = SET(path("PatientID"), text("a"))
    assert edit == SET(path("PatientID"), text("a"))
    assert dataclasses.replace(edit, value=text("b")).value.source == "b"


# --- any edit on any bytes


EDITS = st.lists(st.sampled_from([edit for edit, _ in CASES]), min_size=1, max_size=4)


@given(EDITS, st.sampled_from(SYNTAXES), st.booleans())
def test_several_edits_leave_a_data_set_that_pydicom_reads_and_writes_the_same(
    edits: list[Edit], syntax: str, undefined: bool
) -> None:
    before = encode(ct(undefined=undefined), syntax)
    try:
        done = apply(before, syntax, *edits)
    except Permanent as error:
        # Removed before it was used, or prefixed beyond its length: nothing else can go wrong here.
        if error.reason not in ("empty-value", "value-too-long"):
            raise
        return
    assert encode(decode(done.header, syntax), syntax) == done.header
    assert bool(done.changed) == (done.header is not before)
    changed = {
        tuple(tag for tag in p if tag > 0xFFFF)
        for p in different(flat(before, syntax), flat(done.header, syntax))
    }
    assert changed <= set(done.changed)


STEPS = path("RequestAttributesSequence")
ALL_EDITS = st.lists(
    st.sampled_from(
        [
            *(edit for edit, _ in CASES),
            EMPTY(STEPS),
            SET(STEPS, Items.parse([{"ScheduledProcedureStepID": "{PatientID}"}, {"CodeMeaning": "Ж"}])),
            SET_IF_MISSING(path("RequestAttributesSequence.ScheduledProtocolCodeSequence"), Items(((),))),
        ]
    ),
    min_size=1,
    max_size=4,
)


@given(st.data(), ALL_EDITS, st.sampled_from(SYNTAXES), st.booleans())
def test_damaged_data_sets_are_edited_or_refused(
    data: st.DataObject, edits: list[Edit], syntax: str, undefined: bool
) -> None:
    raw = bytearray(encode(ct(undefined=undefined), syntax))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.sampled_from((0, 0x7F, 0x80, 0xFF)) | st.integers(0, 255))
    try:
        done = apply(bytes(raw), syntax, *edits)
    except Permanent:
        return
    again = apply(done.header, syntax, SET(path("PatientID"), text("AGAIN")))
    assert again.header.count(b"AGAIN") == 1


@given(st.binary(max_size=100), ALL_EDITS, st.sampled_from(SYNTAXES))
def test_arbitrary_bytes_are_edited_or_refused(raw: bytes, edits: list[Edit], syntax: str) -> None:
    try:
        apply(raw, syntax, *edits, tail=raw[:40])
    except Permanent:
        return


def test_reading_is_independent_of_mapdr() -> None:
    assert flat(encode(ct(), EXPLICIT), EXPLICIT)[(0x00100020,)] == ("LO", b"ID1 ")


SINGLE = {"LT": "PatientComments", "ST": "InstitutionAddress", "UT": "TextValue", "UR": "RetrieveURL"}
PATH = "see C:\\export\\a"


@pytest.mark.parametrize("vr", SINGLE)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_backslash_in_one_text_separates_nothing(vr: str, syntax: str) -> None:
    old = PATH.replace(" ", "") if vr == "UR" else PATH
    tag = path(SINGLE[vr])
    raw = element(tag[0][0], vr, (old + " " * (len(old) % 2)).encode(), syntax)
    # tests/dicom/datasets.element writes UR and UT in the long form.
    assert text_at(apply(raw, syntax, PREFIX(tag, text("A-"))).header, tag, syntax) == "A-" + old
    assert text_at(apply(raw, syntax, SUFFIX(tag, text("-x"))).header, tag, syntax) == old + "-x"
    both = apply(raw, syntax, PREFIX(tag, text("C:\\")), PREFIX(tag, text("C:\\")))
    assert text_at(both.header, tag, syntax) == "C:\\" + old
    # A template may put it into another single text, and nowhere where it would separate values.
    placeholder = "{" + SINGLE[vr] + "}"
    into = apply(raw, syntax, SET(path("AdditionalPatientHistory"), text("was " + placeholder)))
    assert text_at(into.header, path("AdditionalPatientHistory"), syntax) == "was " + old
    copied = apply(raw, syntax, COPY(path("AdditionalPatientHistory"), parse_path(SINGLE[vr])))
    assert text_at(copied.header, path("AdditionalPatientHistory"), syntax) == old
    for edit in (
        SET(path("InstitutionName"), text(placeholder)),
        SET_IF_MISSING(path("InstitutionName"), text(placeholder)),
        COPY(path("InstitutionName"), parse_path(SINGLE[vr])),
    ):
        assert reason(raw, edit, syntax=syntax) == "bad-value"
    named = (
        raw + element(0x00081040, "LO", b"DEPT", syntax)
        if tag[0][0] < 0x00081040
        else (element(0x00081040, "LO", b"DEPT", syntax) + raw)
    )
    department = path("InstitutionalDepartmentName")
    assert reason(named, PREFIX(department, text(placeholder)), syntax=syntax) == "bad-value"


def text_at(raw: bytes, tag: tuple[tuple[int, int | None], ...], syntax: str) -> str:
    value = decode(raw, syntax)[tag[0][0]].value
    return str(value).rstrip(" ")


def test_a_backslash_that_the_rule_writes_separates_values() -> None:
    raw = element(0x00080008, "CS", b"A\\B ")
    done = apply(
        raw, EXPLICIT, SET(path("ImageComments"), text("{ImageType}")), PREFIX(path("ImageType"), text("X"))
    )
    assert decode(done.header, EXPLICIT).ImageComments == "A\\B"
    assert list(decode(done.header, EXPLICIT).ImageType) == ["XA", "XB"]


def test_a_copied_value_is_even() -> None:
    raw = element(0x00080080, "LO", b"abc")
    assert (
        element(0x00081040, "LO", b"abc ")
        in apply(
            raw, EXPLICIT, COPY(path("InstitutionalDepartmentName"), parse_path("InstitutionName"))
        ).header
    )


def test_where_no_character_set_is_declared_a_rule_can_assume_one() -> None:
    raw = element(0x00080080, "LO", b"M\xfcnchen ")
    umlaut = SET(path("StationName"), text("Süd"))
    assert reason(raw, umlaut) == "character-set"
    done = apply(raw, EXPLICIT, SET_IF_MISSING(path("SpecificCharacterSet"), text("ISO_IR 100")), umlaut)
    found = decode(done.header, EXPLICIT)
    assert (found.SpecificCharacterSet, found.InstitutionName, found.StationName) == (
        "ISO_IR 100",
        "München",
        "Süd",
    )


def test_an_edit_that_would_change_how_an_odd_data_set_is_read_parks_it() -> None:
    """How this one is written is told from its bytes, and no longer from those of the edited one."""
    data = bytes.fromhex(
        "08001600feff0000feffdde0000000000800180008000000312e322e332e3400280010000c000000"
        "094e0be3427f1f7d0b9dd912"
    )
    assert reason(data, SET(path("PatientID"), text("NEW"))) == "odd-form"
