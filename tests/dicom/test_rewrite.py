"""The verbs that change values: what each does, what it leaves, what it parks, and that no value is told."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset

from mapdr.dicom.edit.change import DayShift, Join, KeyedHash, Lookup, Replacement, Split
from mapdr.dicom.edit.plan import EditPlan
from mapdr.dicom.edit.rewrite import (
    HASH,
    JOIN,
    LOWER,
    MAP,
    PREFIX,
    REPLACE,
    REWRITING,
    SHIFT_DATE,
    SPLIT,
    TRIM,
    UPPER,
)
from mapdr.dicom.edit.target import Only
from mapdr.dicom.edit.tree import apply_edits
from mapdr.dicom.edit.verb import Each, Edit
from mapdr.dicom.edit.verbs import COPY, FOR_EACH, KEEP_ONLY, REMOVE, SET
from mapdr.dicom.fit import LIMITS, fit
from mapdr.dicom.path import format_edit_path, parse_path
from mapdr.dicom.path import parse_edit_path as path
from mapdr.dicom.scan import scan
from mapdr.dicom.template import Template
from mapdr.dicom.uids import is_valid_uid
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import NOWHERE
from mapdr.route.pattern import LONGEST, compile_regex
from mapdr.transform.header.edit import Asked

from .datasets import BIG, EXPLICIT, IMPLICIT, SYNTAXES, ct, decode, element, encode, item
from .test_plan import ASKED, data_sets, edits

KEY = b"a key of the site"


def after(edit: Edit, data: Dataset | bytes, syntax: str = EXPLICIT) -> Dataset:
    raw = encode(data, syntax) if isinstance(data, Dataset) else data
    return decode(apply_edits(raw, syntax, [edit]).header, syntax)


def parked(edit: Edit, raw: bytes) -> Permanent:
    with pytest.raises(Permanent) as caught:
        apply_edits(raw, EXPLICIT, [edit])
    assert caught.value.reason in edit.verb.reasons
    return caught.value


def search(pattern: str, text: str) -> Replacement:
    return Replacement(compile_regex(pattern, search=True), text)


# --- replace


@pytest.mark.parametrize(
    ("pattern", "text", "old", "new"),
    [
        (r"^A(\d+)$", r"B\1", "A17", "B17"),
        (r"^A(\d+)$", r"B\1", "XA17", "XA17"),
        (r"(\w)-(\w)", r"\2-\1", "a-b c-d", "b-a d-c"),
        ("x(y)?", r"<\1>", "x xy", "<> <y>"),
        ("[0-9]", r"[\0]", "a1", "a[1]"),
        ("^", "N", "1", "N1"),
        ("1", "", "1", None),
        ("ö", "oe", "Köln", "Koeln"),
        ("o", "Ж", "Köln o", "Köln Ж"),
    ],
)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_a_pattern_finds_is_replaced(pattern: str, text: str, old: str, new: str, syntax: str) -> None:
    data = item(SpecificCharacterSet="ISO_IR 100", PatientComments="ü", PatientID=old)
    found = after(REPLACE(path("PatientID"), search(pattern, text)), data, syntax)
    assert (found.PatientID or None, found.PatientComments) == (new, "ü")


def test_each_of_several_values_is_searched_alone() -> None:
    found = after(
        REPLACE(path("OtherPatientIDs"), search("^0+", "")), item(OtherPatientIDs=["001", "", "x0"])
    )
    assert found.OtherPatientIDs == ["1", "", "x0"]


@pytest.mark.parametrize("text", [r"\2", r"\n", "\\"])
def test_a_replacement_names_groups_that_there_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"with (holds|names)"):
        search("(a)", text)


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|aa)+b", ".*.*.*x", "^.*.*.*.*x", "^(a|.*.*.*)", "(a*)*"])
def test_a_pattern_that_may_take_too_long_to_search_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="could take too long"):
        compile_regex(pattern, search=True)


@pytest.mark.parametrize("pattern", [".*.*x", "^.*.*.*x", "(a|b)e*f*g"])
def test_one_that_is_admitted_ends_soon_on_the_worst_value(pattern: str) -> None:
    began = time.thread_time()
    search(pattern, "").values(["a" * LONGEST, "c" * LONGEST], "UT")
    assert time.thread_time() - began < 2


def test_a_value_too_long_to_search_and_a_backslash_that_comes_of_it_park() -> None:
    edit = REPLACE(path("TextValue"), search("a", "b"))
    assert parked(edit, element(0x0040A160, "UT", b"a" * (LONGEST + 2))).reason == "value-too-long"
    edit = REPLACE(path("PatientID"), search("a", r"\\"))
    assert parked(edit, element(0x00100020, "LO", b"ab")).reason == "bad-value"


def test_a_backslash_that_is_a_character_stays_one() -> None:
    edit = REPLACE(path("PatientComments"), search("a", ""))
    assert after(edit, element(0x00104000, "LT", b"a\\")).PatientComments == "\\"


# --- map


@pytest.mark.parametrize(
    ("otherwise", "new"), [("keep", ["R-1", "18", ""]), ("clear", ["R-1", "", ""]), ("park", None)]
)
def test_a_table_gives_each_value_another(otherwise: Any, new: list[str] | None) -> None:
    edit = MAP(path("OtherPatientIDs"), Lookup({"17": "R-1", "": "never"}, otherwise))
    raw = element(0x00101000, "LO", rb"17\18\ ")
    if new is None:
        error = parked(edit, raw)
        assert error.reason == "not-in-table"
        assert "18" not in str(error)
    else:
        assert after(edit, raw).OtherPatientIDs == new


def test_a_value_that_is_cleared_is_empty() -> None:
    assert after(MAP(path("PatientID"), Lookup({}, "clear")), ct()).PatientID == ""


@pytest.mark.parametrize("value", ["x" * 65, "a\\b"])
def test_a_table_with_a_value_that_does_not_fit_is_refused_before_any_image(value: str) -> None:
    with pytest.raises(ValueError, match="entry 2 of the table does not fit PatientID") as caught:
        MAP(path("PatientID"), Lookup({"Doe-17": "ok", "Doe-18": value}))
    assert "Doe" not in str(caught.value)


def test_a_table_is_not_shown() -> None:
    assert "Doe" not in repr(MAP(path("PatientID"), Lookup({"Doe-17": "Doe"})))


def test_the_uid_of_an_image_is_not_cleared() -> None:
    raw = element(0x00080018, "UI", b"1.2.3\0")
    assert parked(MAP(path("SOPInstanceUID"), Lookup({}, "clear")), raw).reason == "bad-value"
    assert parked(REPLACE(path("SOPInstanceUID"), search(".*", "")), raw).reason == "bad-value"


# --- hash


@pytest.mark.parametrize(
    ("name", "charsets"),
    [
        ("Doe^Jane", ["ISO_IR 192", "ISO_IR 100", "", ["", "ISO 2022 IR 87"]]),
        ("山田^太郎", ["ISO_IR 192", "GB18030", ["", "ISO 2022 IR 87"]]),
        ("Köln", ["ISO_IR 192", "ISO_IR 100", "ISO_IR 101"]),
    ],
)
def test_a_hash_is_that_of_the_text_in_utf8_whatever_the_character_set(
    name: str, charsets: list[Any]
) -> None:
    wanted = base64.b32encode(hmac.new(KEY, name.encode(), hashlib.sha256).digest()).decode()[:52]
    for charset in charsets:
        data = item(SpecificCharacterSet=charset, PatientName=name)
        assert after(HASH(path("PatientName"), KeyedHash(KEY)), data).PatientName == wanted


@given(st.text(min_size=1, max_size=80), st.sampled_from(sorted(HASH.vrs - {"UN"})), st.integers(8, 52))
def test_a_hash_fits_its_vr_and_is_cut(value: str, vr: str, length: int) -> None:
    if vr == "UI":
        with pytest.raises(Permanent, match="no UID"):
            KeyedHash(KEY).value("x" + value, vr)
        value = "1.2.3." + str(len(value))
        assert is_valid_uid(KeyedHash(KEY).value(value, vr))
        return
    found = KeyedHash(KEY, length).value(value, vr)
    assert fit(found, vr) == found
    assert len(found) == min(length, LIMITS.get(vr, 52))
    assert found != KeyedHash(b"another", length).value(value, vr)


def test_uids_of_the_standard_are_not_hashed() -> None:
    data = item(SOPInstanceUID="1.2.3", ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    assert after(HASH(path("ReferencedSOPClassUID"), KeyedHash(KEY)), data) == data
    assert after(HASH(path("SOPInstanceUID"), KeyedHash(KEY)), data).SOPInstanceUID.startswith("2.25.")
    with pytest.raises(ValueError, match="not hashed"):
        HASH(path("SOPClassUID"), KeyedHash(KEY))


def test_a_key_is_not_shown() -> None:
    assert "key of" not in repr(HASH(path("PatientID"), KeyedHash(KEY)))


# --- shift_date


@pytest.mark.parametrize(
    ("keyword", "old", "days", "new"),
    [
        ("StudyDate", "20240228", 2, "20240301"),
        ("StudyDate", "20240101", -1, "20231231"),
        ("StudyDate", "2024.01.01", -1, "20231231"),
        ("StudyDate", "", 5, ""),
        ("AcquisitionDateTime", "20240228235959.123456+0130", 2, "20240301235959.123456+0130"),
        ("AcquisitionDateTime", "20240228-1100", 366, "20250228-1100"),
        ("AcquisitionDateTime", "2024022823", 1, "2024022923"),
    ],
)
def test_a_date_moves_and_its_time_stays(keyword: str, old: str, days: int, new: str) -> None:
    raw = element(path(keyword)[0][0], "DA" if keyword == "StudyDate" else "DT", old.encode())
    assert after(SHIFT_DATE(path(keyword), DayShift(days)), raw)[keyword].value == new


@pytest.mark.parametrize("value", [b"2024", b"202402", b"20240230", b"99991231", b"DOE^JANE", b"2024022899"])
def test_what_names_no_day_parks_without_its_value(value: bytes) -> None:
    error = parked(SHIFT_DATE(path("AcquisitionDateTime"), DayShift(1)), element(0x0008002A, "DT", value))
    assert error.reason == "bad-value"
    assert value.decode() not in str(error)


@given(
    st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)),
    st.integers(-50000, 50000).filter(bool),
    st.sampled_from(["", "+0000", "-1130"]),
)
def test_dates_move_as_the_calendar_does(moment: datetime.datetime, days: int, zone: str) -> None:
    found = DayShift(days).value(moment.strftime("%Y%m%d%H%M%S.%f") + zone, "DT")
    assert found == (moment + datetime.timedelta(days)).strftime("%Y%m%d%H%M%S.%f") + zone
    assert DayShift(-days).value(found, "DT") == moment.strftime("%Y%m%d%H%M%S.%f") + zone


@pytest.mark.parametrize("tag", ["StudyTime", "PatientID", "Rows"])
def test_only_dates_are_shifted(tag: str) -> None:
    with pytest.raises(ValueError, match="which shift_date is not for"):
        SHIFT_DATE(path(tag), DayShift(1))


# --- upper, lower, trim, split, join


def test_letters_and_spaces() -> None:
    data = item(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Änne", PatientComments="ÄB")
    assert after(UPPER(path("PatientName")), data).PatientName == "MÜLLER^ÄNNE"
    assert after(LOWER(path("PatientComments")), data).PatientComments == "äb"


@pytest.mark.parametrize(
    ("tag", "vr", "old", "new"),
    [
        (0x00100020, "LO", b"  A 1 ", b"A 1 "),
        (0x00100020, "LO", b"A1", None),
        (0x00100020, "LO", b"A1B ", None),
        (0x00101000, "LO", b" A\\B \\ C ", b"A\\B\\C "),
        (0x00100010, "PN", b"Doe ^ Jane = X ", b"Doe^Jane=X"),
        (0x00104000, "LT", b" a\\ b\r\n", b"a\\ b"),
        (0x00080020, "DA", b"20240101  ", b"20240101"),
    ],
)
def test_trim_takes_the_ends_of_values(tag: int, vr: str, old: bytes, new: bytes | None) -> None:
    done = apply_edits(element(tag, vr, old), EXPLICIT, [TRIM(((tag, None),))])
    assert done.header == element(tag, vr, old if new is None else new)
    assert bool(done.changed) is (new is not None)


def test_trim_needs_no_character_set_where_there_is_nothing_to_trim() -> None:
    raw = element(0x00100020, "LO", b"\xc4 ")
    assert apply_edits(raw, EXPLICIT, [TRIM(path("PatientID"))]).header is raw
    assert parked(TRIM(path("PatientID")), element(0x00100020, "LO", b" \xc4")).reason == "character-set"


def test_values_are_split_and_joined() -> None:
    split = SPLIT(path("OtherPatientNames"), Split(";"))
    found = after(split, item(OtherPatientNames=["Doe^A; Roe^B", "Poe"]))
    assert found.OtherPatientNames == ["Doe^A", "Roe^B", "Poe"]
    joined = after(JOIN(path("OtherPatientIDs"), Join(", ")), item(OtherPatientIDs=["1", "2"]))
    assert joined.OtherPatientIDs == "1, 2"
    for verb, tag, value, words in (
        (SPLIT, "PatientID", Split(";"), "has one value"),
        (SPLIT, "PatientComments", Split(";"), "not for"),
    ):
        with pytest.raises(ValueError, match=words):
            verb(path(tag), value)


# --- What all of them share

VALUE_VERBS = [
    PREFIX(path("PatientID"), Template.parse("X")),
    REPLACE(path("PatientID"), search(".+", "X")),
    MAP(path("PatientID"), Lookup({}, "clear")),
    HASH(path("PatientID"), KeyedHash(KEY)),
    UPPER(path("PatientID")),
    LOWER(path("PatientID")),
    JOIN(path("PatientID"), Join("-")),
]


@pytest.mark.parametrize("edit", VALUE_VERBS, ids=lambda edit: edit.verb.name)
def test_what_cannot_be_read_is_not_sent_unchanged(edit: Edit) -> None:
    utf8 = element(0x00080005, "CS", b"ISO_IR 192")
    assert parked(edit, utf8 + element(0x00100020, "LO", b"Doe\xff")).reason == "character-set"
    assert parked(edit, element(0x00100020, "OB", b"Doe ")).reason == "bad-value"
    assert parked(edit, element(0x00100020, "SQ", element(0xFFFEE000, "", b""))).reason == "bad-value"


@pytest.mark.parametrize("edit", VALUE_VERBS, ids=lambda edit: edit.verb.name)
@pytest.mark.parametrize("raw", [b"", element(0x00100020, "LO", b""), element(0x00100020, "LO", b"  ")])
def test_where_there_is_no_value_nothing_is_done(edit: Edit, raw: bytes) -> None:
    assert apply_edits(raw, EXPLICIT, [edit]).header is raw


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_they_reach_into_items(syntax: str) -> None:
    edit = HASH(path("RequestAttributesSequence[1].ScheduledProcedureStepID"), KeyedHash(KEY))
    one, two = after(edit, ct(), syntax).RequestAttributesSequence
    assert (one.ScheduledProcedureStepID, len(two.ScheduledProcedureStepID)) == ("S1", 16)


@given(st.lists(edits(REWRITING), min_size=1, max_size=3), st.sampled_from([IMPLICIT, EXPLICIT]))
def test_no_error_tells_a_value(steps: list[Edit], syntax: str) -> None:
    marked = item(
        SpecificCharacterSet="ISO_IR 100",
        **dict.fromkeys(("AccessionNumber", "PatientID", "StationName"), "Qmark17Z"),
        PatientName="Qmark17Z^Ä",
        InstitutionName="Qmark17Z Ö",
        PatientComments="Qmark17Z" * 40,
        ImageType=["QMARK17Z", "QMARK17Z"],
    )
    told = ""
    try:
        apply_edits(encode(marked, syntax), syntax, steps)
    except Permanent as error:
        told = str(error)
    assert "mark17" not in told.lower()


def test_names_of_the_world_are_changed_in_their_character_set() -> None:
    """Prefixed, in capitals, and a part of them replaced: as pydicom reads it, without another set."""
    seen = 0
    for file in map(Path, get_charset_files("*.dcm")):
        read = pydicom.dcmread(file)
        syntax = str(read.file_meta.TransferSyntaxUID)
        if "PatientName" not in read or syntax not in (IMPLICIT, EXPLICIT):
            continue
        raw = encode(pydicom.dcmread(file), syntax)
        before = str(decode(raw, syntax).PatientName)
        steps = [
            PREFIX(path("PatientName"), Template.parse("X ")),
            REPLACE(path("PatientName"), search("\\^", " ^ ")),
            TRIM(path("PatientName")),
        ]
        try:
            done = apply_edits(raw, syntax, steps)
        except Permanent as error:
            assert error.reason == "character-set", file.name  # noqa: PT017  others are edited
            continue
        seen += 1
        found = decode(done.header, syntax)
        assert str(found.PatientName) == f"X {before}", file.name
        assert done.moved or found.SpecificCharacterSet == read.get("SpecificCharacterSet"), file.name
    assert seen > 10


# --- Items that hold a value


def identifiers() -> Dataset:
    return item(
        OtherPatientIDsSequence=[
            item(PatientID="1", TypeOfPatientID="TEXT"),
            item(PatientID="2", TypeOfPatientID="RFID"),
            item(PatientID="3"),
            item(PatientID="4", IssuerOfPatientIDQualifiersSequence=[item(UniversalEntityID="a.b=[c]")]),
        ]
    )


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        ("[TypeOfPatientID=RFID]", ["1", "X", "3", "4"]),
        ("[TypeOfPatientID='RFID']", ["1", "X", "3", "4"]),
        ("[(0010,0022)=NONE]", ["1", "2", "3", "4"]),
        ('[IssuerOfPatientIDQualifiersSequence.UniversalEntityID="a.b=[c]"]', ["1", "2", "3", "X"]),
        ("[2]", ["1", "2", "X", "4"]),
    ],
)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_items_are_chosen_by_a_value(chosen: str, ids: list[str], syntax: str) -> None:
    target = path(f"OtherPatientIDsSequence{chosen}.PatientID")
    found = after(SET(target, Template.parse("X")), identifiers(), syntax)
    assert [each.PatientID for each in found.OtherPatientIDsSequence] == ids


def test_no_item_is_made_for_a_value_that_none_has() -> None:
    target = path("OtherPatientIDsSequence[TypeOfPatientID=RFID].PatientID")
    raw = encode(ct(), EXPLICIT)
    assert apply_edits(raw, EXPLICIT, [SET(target, Template.parse("X")), REMOVE(target)]).header is raw


def test_the_value_that_chooses_is_in_no_error() -> None:
    target = path("OtherPatientIDsSequence[PatientID=Doe-17].PatientID")
    assert format_edit_path(target) == "OtherPatientIDsSequence[PatientID=...].PatientID"
    data = item(OtherPatientIDsSequence=[item(PatientID="Doe-17")])
    error = parked(MAP(target, Lookup({"x": "y"})), encode(data, EXPLICIT))
    assert "Doe" not in str(error)


@pytest.mark.parametrize(
    "wrong", ["A[", "OtherPatientIDsSequence[x]", "OtherPatientIDsSequence[PatientID=]", "PatientID.", "[0]"]
)
def test_a_wrong_path_is_told(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not a tag"):
        path(wrong)


# --- for_each


def each_item(tag: str, *edits: Edit) -> Edit:
    return FOR_EACH(path(tag), Each(edits))


def when(edit: Edit, **asked: str) -> Edit:
    return replace(edit, condition=Asked.of(asked))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_edits_of_items_read_and_write_in_each_item(syntax: str, undefined: bool) -> None:
    edit = each_item(
        "RequestAttributesSequence",
        COPY(path("RequestedProcedureID"), parse_path("ScheduledProcedureStepID")),
        SET(path("ReasonForTheRequestedProcedure"), Template.parse("step {ScheduledProcedureStepID}")),
        each_item("ScheduledProtocolCodeSequence", UPPER(path("CodeMeaning"))),
        when(REMOVE(path("ScheduledProcedureStepID")), ScheduledProcedureStepID="S2"),
        when(SET(path("CodeValue"), Template.parse("X")), receiver="elsewhere"),
    )
    assert EditPlan.of([edit]) is None
    raw = encode(ct(undefined=undefined), syntax)
    done = apply_edits(raw, syntax, [edit])
    one, two = decode(done.header, syntax).RequestAttributesSequence
    assert (one.RequestedProcedureID, two.RequestedProcedureID) == ("S1", "S2")
    assert [each.ReasonForTheRequestedProcedure for each in (one, two)] == ["step S1", "step S2"]
    assert one.ScheduledProtocolCodeSequence[0].CodeMeaning == "FIRST"
    assert ("ScheduledProcedureStepID" in one, "ScheduledProcedureStepID" in two) == (True, False)
    assert "CodeValue" not in one
    sequence = 0x00400275
    assert set(done.changed) == {
        (sequence, 0x00401001),
        (sequence, 0x00401002),
        (sequence, 0x00400008, 0x00080104),
        (sequence, 0x00400009),
    }
    assert encode(decode(done.header, syntax), syntax) == done.header


def test_an_edit_of_an_item_moves_the_whole_data_set_to_utf8() -> None:
    data = ct()
    data.InstitutionName = "Köln"
    text = SET(path("RequestedProcedureDescription"), Template.parse("Ж"))
    done = apply_edits(encode(data, EXPLICIT), EXPLICIT, [each_item("RequestAttributesSequence", text)])
    found = decode(done.header, EXPLICIT)
    assert done.moved
    assert found.InstitutionName == "Köln"
    assert [each.RequestedProcedureDescription for each in found.RequestAttributesSequence] == ["Ж", "Ж"]


def test_only_some_elements_of_items_are_kept() -> None:
    kept = KEEP_ONLY(Only.parse(["ScheduledProcedureStepID"]))
    found = after(each_item("RequestAttributesSequence", kept), ct())
    keywords = [[each.keyword for each in step] for step in found.RequestAttributesSequence]
    assert keywords == [["ScheduledProcedureStepID"]] * 2
    assert found.PatientName == "Doe^Jane"


def test_where_there_is_no_sequence_no_item_is_made_and_what_is_none_parks() -> None:
    edit = each_item("RequestAttributesSequence", SET(path("StudyID"), Template.parse("1")))
    raw = element(0x00100020, "LO", b"ab")
    assert apply_edits(raw, EXPLICIT, [edit]).header is raw
    assert parked(edit, element(0x00400275, "LO", b"ab")).reason == "no-such-item"


def test_the_character_set_of_an_item_is_not_changed() -> None:
    inner = SET(path("SpecificCharacterSet"), Template.parse("ISO_IR 192"))
    with pytest.raises(ValueError, match="SpecificCharacterSet cannot be changed"):
        each_item("RequestAttributesSequence", inner)


# --- keep_only


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_only_what_is_named_and_needed_is_kept(syntax: str) -> None:
    data = ct()
    data.StudyInstanceUID = "1.2.3.4"
    data.private_block(0x0009, "ME", create=True).add_new(0x01, "LO", "kept")
    data.private_block(0x0009, "OTHER", create=True).add_new(0x01, "LO", "gone")
    kept = ["PatientID", "(0009,1001)", "RequestAttributesSequence", "creator:NOBODY"]
    found = after(KEEP_ONLY(Only.parse(kept)), data, syntax)
    named = {0x00090010, 0x00091001, 0x00100020, 0x00400275}
    needed = {0x00080005, 0x00080016, 0x00080018, 0x0020000D, 0x00280010, 0x00280011}
    assert {int(each.tag) for each in found} == named | needed
    assert found.RequestAttributesSequence == decode(encode(data, syntax), syntax).RequestAttributesSequence


def test_what_stands_behind_the_pixels_goes_too() -> None:
    edit = KEEP_ONLY(Only.parse(["Modality"]))
    tail = element(0xFFFCFFFC, "OB", bytes(6))
    done = apply_edits(encode(ct(), EXPLICIT), EXPLICIT, [edit], tail=tail, tail_at=10000)
    assert done.tail == b""
    assert (0xFFFCFFFC,) in done.changed


@pytest.mark.parametrize(
    ("kept", "words"), [([], "names no tag"), (["RequestAttributesSequence.StudyID"], "is a path")]
)
def test_a_wrong_list_is_told(kept: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KEEP_ONLY.parse(kept)


# --- Conditions


NESTED = st.sampled_from(
    [
        {"RequestAttributesSequence": {"ScheduledProcedureStepID": "S2"}},
        {"RequestAttributesSequence": {"ScheduledProtocolCodeSequence": {"CodeMeaning": {"not": "first"}}}},
        {"RequestAttributesSequence.RequestedProcedureID": {"present": False}},
        {"RequestAttributesSequence": {"present": True}},
    ]
).map(Asked.of)


@given(st.data(), st.sampled_from([IMPLICIT, EXPLICIT]), ASKED.filter(bool) | NESTED)
def test_a_first_condition_holds_as_that_of_a_rule(data: st.DataObject, syntax: str, asked: Asked) -> None:
    raw = data.draw(data_sets(syntax))
    header = scan(raw, syntax, asked.paths, complete=True)
    done = apply_edits(raw, syntax, [replace(SET(path("StudyID"), Template.parse("X")), condition=asked)])
    assert ((0x00200010,) in done.changed) is asked.holds(header, NOWHERE)


def test_a_condition_is_asked_of_what_the_edits_before_left() -> None:
    asked = Asked.of({"PatientID": "NEW"})
    name = replace(SET(path("PatientName"), Template.parse("X")), condition=asked)
    new = SET(path("PatientID"), Template.parse("NEW"))
    raw = encode(ct(), EXPLICIT)
    assert decode(apply_edits(raw, EXPLICIT, [new, name]).header, EXPLICIT).PatientName == "X"
    assert decode(apply_edits(raw, EXPLICIT, [name, new]).header, EXPLICIT).PatientName == "Doe^Jane"
