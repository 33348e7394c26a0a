"""A plan makes of a data set what `apply_edits` makes of it, or leaves it to that."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapdr.dicom.edit.change import Change, DayShift, Join, KeyedHash, Lookup, Replacement, Split
from mapdr.dicom.edit.plan import EditPlan
from mapdr.dicom.edit.rewrite import HASH, JOIN, LOWER, MAP, REPLACE, SHIFT_DATE, SPLIT, TRIM, UPPER
from mapdr.dicom.edit.target import Everywhere, Only, Private
from mapdr.dicom.edit.tree import Edited, apply_edits
from mapdr.dicom.edit.value import Items
from mapdr.dicom.edit.verb import Each
from mapdr.dicom.edit.verbs import (
    COPY,
    EMPTY,
    FOR_EACH,
    KEEP_ONLY,
    PREFIX,
    REMOVE,
    SET,
    SET_IF_MISSING,
    SUFFIX,
    VERBS,
    Edit,
    Takes,
    Verb,
)
from mapdr.dicom.path import parse_edit_path as path
from mapdr.dicom.path import parse_path
from mapdr.dicom.scan import layout
from mapdr.dicom.template import Template
from mapdr.kernel.character_set import AssumedSet
from mapdr.route.pattern import compile_regex
from mapdr.transform.header.edit import Asked

from .datasets import BIG, EXPLICIT, IMPLICIT, UNDEFINED, ct, element, encode, item

text = Template.parse
compile_search = partial(compile_regex, search=True)
LITTLE = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
PIXELS = 0x7FE00010

KEYWORDS = (
    "AccessionNumber",
    "ImageType",
    "InstitutionName",
    "InstitutionAddress",
    "PatientID",
    "PatientName",
    "PatientComments",
    "RetrieveURL",
    "StationName",
    "StudyDate",
    "SOPInstanceUID",
    "(0009,0010)",
    "(0010,0099)",
)
TEXTS = st.sampled_from(
    [
        "X",
        "CN-",
        "20250101",
        "1.2.3.9",
        "ÄÖ",
        "Ж",
        "A\\B",
        "",
        "x" * 17,
        "{PatientID}",
        "{PatientName}-{Modality}",
        "{StationName}!",
        "{Rows}",
        "{PatientComments}",
        "{ImageType}",
        "C:\\",
        "{(0009,0010)}",
        "{(0009,1001)}",
    ]
)


CHANGES: dict[str, st.SearchStrategy[Change]] = {
    "replace": st.builds(
        Replacement,
        st.sampled_from(["A", "(.)(.?)", "^0*", "[^A-Z]+", "$", "Ö|D"]).map(compile_search),
        st.sampled_from(["", "X", r"\0\0", "Ä", "Ж", "a\\\\b", "1.2.3"]),
    ),
    "map": st.builds(
        Lookup,
        st.sampled_from([{"A": "B"}, {"A1": "", "ID1": "Ж"}, {"20250101": "20250102", "DOE^JANE": "Ä"}]),
        st.sampled_from(["park", "keep", "clear"]),
    ),
    "hash": st.builds(KeyedHash, st.sampled_from([b"one key", b"another"]), st.sampled_from([8, 20, 52])),
    "shift_date": st.builds(DayShift, st.sampled_from([-40000, -1, 1, 365])),
    "split": st.builds(Split, st.sampled_from(["^", ";", "1", " "])),
    "join": st.builds(Join, st.sampled_from(["", "; ", "Ä"])),
}
"""What the verbs that take keys of their own do, by their name."""
ASKED: st.SearchStrategy[Asked | None] = st.none() | st.sampled_from(
    [
        {"PatientID": "A"},
        {"PatientName": {"present": False}},
        {"ImageType": "B*", "StudyDate": {"empty": True}},
        {"any": [{"Rows": {"min": 1}}, {"StudyDate": {"min": datetime.date(2025, 1, 1)}}]},
        {"not": {"InstitutionName": {"regex": "[A-Z]+"}}},
        {"calling_ae": "X"},
        {"receiver": {"not": "X"}},
    ]
).map(Asked.of)


@st.composite
def edits(draw: st.DrawFn, verbs: Sequence[Verb] = VERBS) -> Edit:
    """Any edit of a top-level element that can be written, with any verb of the table."""
    return replace(draw(unconditional(verbs)), condition=draw(ASKED))


@st.composite
def unconditional(draw: st.DrawFn, verbs: Sequence[Verb]) -> Edit:
    """Any such edit that asks nothing first."""
    verb = draw(st.sampled_from(verbs))
    keywords = st.sampled_from((*KEYWORDS, "Rows"))
    options: dict[str, Any] = {
        "overflow": draw(st.sampled_from(["error", "truncate"])),
        "if_empty": draw(st.sampled_from(["error", "skip", "clear"])),
    }
    try:
        if verb is FOR_EACH:
            others = [each for each in VERBS if each is not FOR_EACH]
            inner = draw(st.lists(edits(others), min_size=1, max_size=2))
            return verb(path("RequestAttributesSequence"), Each(tuple(inner)))
        if verb is KEEP_ONLY:
            return verb(Only.parse(draw(st.lists(st.sampled_from(KEYWORDS), min_size=1, max_size=4))))
        if verb.takes is Takes.NOTHING:
            return verb(path(draw(st.sampled_from((*KEYWORDS, "RequestAttributesSequence", "Rows")))))
        target = path(draw(keywords))
        if verb.takes is Takes.KEYS:
            return verb(target, draw(CHANGES[verb.name]), options["overflow"])
        if verb.takes is Takes.TARGET:
            return verb(target, parse_path(draw(keywords)), **options)
        return verb(target, text(draw(TEXTS)), **options)
    except ValueError:
        return SET(path("InstitutionName"), text("Clinic North"))


RAW = st.sampled_from(
    [
        b"",
        b"  ",
        b"A ",
        b" A",
        b"A\\B ",
        b"CN-A",
        b"\\ ",
        b"\xc4\xd6",
        "Ж".encode(),
        b"a^b=c ",
        b"1.2.3.9\0",
        b"\x1b ",
    ]
)
WRITTEN = st.sampled_from(["LO", "SH", "UI", "PN", "UT", "CS", "US", "UN", "SQ", "OB"])


@st.composite
def data_sets(draw: st.DrawFn, syntax: str) -> bytes:
    """A data set whose values, and the VRs they are written in, need care; with or without pixel data."""
    charset = draw(st.sampled_from([b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 144", b"\\ISO 2022 IR 87 ", b""]))
    nested = encode(item(RequestAttributesSequence=ct().RequestAttributesSequence), syntax)
    parts = {0x00080005: element(0x00080005, "CS", charset, syntax), 0x00400275: nested}
    for tag in draw(st.sets(st.sampled_from([parse_path(keyword)[0] for keyword in (*KEYWORDS, "Rows")]))):
        parts[tag] = element(tag, draw(WRITTEN), draw(RAW), syntax)
    out = b"".join(parts[tag] for tag in sorted(parts))
    if draw(st.booleans()):
        out += element(PIXELS, "OW", bytes(8), syntax)
        out += draw(st.sampled_from([b"", element(0xFFFCFFFC, "OB", bytes(6), syntax)]))
    return out


Assumed = tuple[AssumedSet, ...]
ASSUMED = st.sampled_from(
    [(), (AssumedSet("ISO_IR 144"),), (AssumedSet("ISO_IR 126", "ISO_IR 100"), AssumedSet("ISO_IR 192"))]
)


def reference(raw: bytes, syntax: str, steps: list[Edit], assumed: Assumed = ()) -> tuple[Edited, int, int]:
    """What the tags step does without a plan."""
    where = layout(raw, syntax)
    tail = raw[where.pixel_end :] if where.header_end < where.size else None
    done = apply_edits(raw[: where.header_end], syntax, steps, tail=tail, assumed=assumed)
    return done, where.header_end, where.pixel_end


def check(raw: bytes, syntax: str, steps: list[Edit], assumed: Assumed = ()) -> bool:
    """Whether the plan took the data set; that the result is then the reference's."""
    plan = EditPlan.of(steps)
    done = plan.apply(raw, len(raw), syntax, assumed) if plan else None
    if done is not None:
        assert done == reference(raw, syntax, steps, assumed)
    return done is not None


@settings(max_examples=400)
@given(st.data(), st.lists(edits(), min_size=1, max_size=4), st.sampled_from([IMPLICIT, EXPLICIT, BIG]))
def test_a_plan_does_what_the_edits_do(data: st.DataObject, steps: list[Edit], syntax: str) -> None:
    check(data.draw(data_sets(syntax)), syntax, steps, data.draw(ASSUMED))


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
@given(st.data(), st.sampled_from([IMPLICIT, EXPLICIT]))
def test_a_plan_takes_every_verb_and_does_what_the_tree_does(
    verb: Verb, data: st.DataObject, syntax: str
) -> None:
    steps = data.draw(st.lists(edits([verb]), min_size=1, max_size=2))
    by_tree = {KEEP_ONLY, FOR_EACH} & {step.verb for step in steps}
    assert (EditPlan.of(steps) is None) is bool(by_tree)
    check(data.draw(data_sets(syntax)), syntax, steps)


@settings(max_examples=300)
@given(st.data(), st.lists(edits(), min_size=1, max_size=3), st.sampled_from([IMPLICIT, EXPLICIT]))
def test_a_plan_does_no_more_to_a_damaged_one(data: st.DataObject, steps: list[Edit], syntax: str) -> None:
    raw = bytearray(data.draw(data_sets(syntax)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.sampled_from((0, 0x5C, 0x7F, 0x80, 0xFF)) | st.integers(0, 255))
    check(bytes(raw), syntax, steps)


TAKEN: list[Edit] = [
    SET(path("InstitutionName"), text("Clinic North")),
    SET(path("StationName"), text("ER1")),
    SET(path("PatientName"), text("Ä^{PatientID}")),
    SET(path("Rows"), text("8")),
    SET(path("ImageType"), text("DERIVED\\PRIMARY")),
    SET_IF_MISSING(path("StationName"), text("ER1")),
    SET_IF_MISSING(path("PatientID"), text("ER1")),
    COPY(path("AccessionNumber"), parse_path("PatientID")),
    COPY(path("StationName"), parse_path("StudyDate")),
    PREFIX(path("AccessionNumber"), text("CN-")),
    SUFFIX(path("PatientID"), text("-{Modality}")),
    SUFFIX(path("StationName"), text("x"), if_empty="skip"),
    SUFFIX(path("StationName"), text("x"), if_empty="clear"),
    REMOVE(path("PatientName")),
    REMOVE(path("OtherPatientIDs")),
    REMOVE(path("RequestAttributesSequence")),
    EMPTY(path("PatientName")),
    EMPTY(path("OtherPatientIDs")),
    REPLACE(path("AccessionNumber"), Replacement(compile_search("([A-Z])([0-9])"), r"\2-\1")),
    MAP(path("PatientID"), Lookup({"ID1": "NEW"}, "keep")),
    HASH(path("PatientID"), KeyedHash(b"a key")),
    SHIFT_DATE(path("StudyDate"), DayShift(-30)),
    UPPER(path("PatientName")),
    LOWER(path("PatientName")),
    TRIM(path("PatientName")),
    SPLIT(path("ImageType"), Split("R")),
    JOIN(path("ImageType"), Join("_"), "truncate"),
    replace(SET(path("StationName"), text("ER1")), condition=Asked.of({"ImageType": "PRIMARY"})),
    replace(SET(path("StationName"), text("ER1")), condition=Asked.of({"calling_ae": "X"})),
]


def test_each_verb_is_among_them() -> None:
    assert {edit.verb for edit in TAKEN} == set(VERBS) - {KEEP_ONLY, FOR_EACH}


@LITTLE
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("edit", TAKEN)
def test_a_plan_takes_what_is_regular(edit: Edit, syntax: str, undefined: bool) -> None:
    raw = encode(ct(undefined=undefined), syntax)
    assert check(raw, syntax, [edit])
    assert check(raw + element(PIXELS, "OW", bytes(4), syntax), syntax, [edit])
    assert check(raw, syntax, TAKEN)
    fragments = element(0xFFFEE000, "", b"", syntax) + element(0xFFFEE0DD, "", b"", syntax)
    whole = raw + element(PIXELS, "OB", fragments, syntax, UNDEFINED)
    assert check(whole + element(0xFFFCFFFC, "OB", bytes(6), syntax), syntax, [edit])


@pytest.mark.parametrize(
    "edit",
    [
        SET(path("RequestAttributesSequence.ScheduledProcedureStepID"), text("x")),
        SET(path("PatientID"), text("{RequestAttributesSequence.ScheduledProcedureStepID}")),
        SET(path("SpecificCharacterSet"), text("ISO_IR 192")),
        SET_IF_MISSING(path("SpecificCharacterSet"), text("ISO_IR 100")),
        REMOVE(path("(FFFC,FFFC)")),
        REMOVE(path("(0010,0000)")),
        REMOVE(Private()),
        KEEP_ONLY(Only.parse(["Modality"])),
        FOR_EACH(path("RequestAttributesSequence"), Each((REMOVE(path("ScheduledProcedureStepID")),))),
        REMOVE(path("RequestAttributesSequence[ScheduledProcedureStepID=S1].ScheduledProcedureStepID")),
        replace(
            REMOVE(path("PatientName")),
            condition=Asked.of({"RequestAttributesSequence": {"ScheduledProcedureStepID": "S1"}}),
        ),
        EMPTY(Everywhere(0x00100010)),
        SET(path("RequestAttributesSequence"), Items(())),
    ],
)
def test_what_is_no_single_element_of_the_header_is_left_to_the_edits(edit: Edit) -> None:
    assert EditPlan.of([SET(path("PatientID"), text("x")), edit]) is None


@pytest.mark.parametrize(
    ("edit", "raw"),
    [
        (SET(path("PatientID"), text("Ж")), element(0x00100020, "LO", b"ab")),
        (SET(path("PatientID"), text("{StudyID}")), element(0x00100020, "LO", b"ab")),
        (PREFIX(path("AccessionNumber"), text("0123456789")), element(0x00080050, "SH", b"123456789 ")),
        (SET(path("PatientID"), text("x")), element(0x00100020, "SQ", b"")),
        (SET(path("PatientID"), text("x")), element(0x00100020, "LO", b"ab") * 2),
        (SET(path("PatientID"), text("x")), element(0x00100020, "LO", b"abc")),
        (SET(path("PatientID"), text("x")), element(0x00100020, "LO", b"ab") + bytes(8)),
    ],
)
def test_what_needs_more_than_a_value_is_left_to_the_edits(edit: Edit, raw: bytes) -> None:
    plan = EditPlan.of([edit])
    assert plan is not None
    assert plan.apply(raw, len(raw), EXPLICIT) is None


def test_the_beginning_of_a_data_set_is_enough_if_only_pixels_are_missing() -> None:
    header = encode(ct(), EXPLICIT)
    raw = header + element(PIXELS, "OW", bytes(1000))
    plan = EditPlan.of([SET(path("PatientID"), text("NEW"))])
    assert plan is not None
    whole = plan.apply(raw, len(raw), EXPLICIT)
    assert whole is not None
    for here in range(0, len(raw), 7):
        assert plan.apply(raw[:here], len(raw), EXPLICIT) == (whole if here >= len(header) + 12 else None)
    tailed = raw + element(0xFFFCFFFC, "OB", bytes(6))
    assert plan.apply(tailed[: len(header) + 50], len(tailed), EXPLICIT) is None


@pytest.mark.parametrize("here", [False, True])
def test_one_plan_serves_images_of_any_kind(here: bool) -> None:
    """What a plan keeps of a constant is by VR, so that one image teaches nothing wrong about the next."""
    plan = EditPlan.of([SET(path("PatientID"), text("1.2.3"))])
    assert plan is not None
    for vr in ("LO", "UI", "SH", "UT", "LO", "UI"):
        for value in (b"ab", b"1.2.3\0" if here else b"1.2.3 "):
            raw = element(0x00100020, vr, value)
            assert plan.apply(raw, len(raw), EXPLICIT) == reference(
                raw, EXPLICIT, [SET(path("PatientID"), text("1.2.3"))]
            )


def test_an_empty_data_set_is_left_to_the_edits() -> None:
    assert not check(b"", EXPLICIT, TAKEN)
    assert not check(encode(item(PatientID="1"), BIG), BIG, TAKEN)
