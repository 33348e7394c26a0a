"""The `tags` step: the issue's TOML form, and what it leaves untouched."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from pydicom.dataset import Dataset

from mapdr.dicom.edit.verbs import VERBS, Takes
from mapdr.dicom.scan import deflate_pieces
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import NOWHERE, FileSlice, Payload, Treatment
from mapdr.transform.header.tags import STAGE, TagEditor

from .helpers import Notebook, image, payload_of, picture, read, settings, to_syntax

SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]


def editor(*edits: dict[str, Any]) -> TagEditor:
    return STAGE.build(settings(), TypeAdapter(STAGE.config).validate_python(edits), None)


def subject() -> Dataset:
    data = image(picture(16, 16, 0, 4000))
    data.InstitutionName, data.AccessionNumber, data.StudyID = "Old", "17", "S1"
    data.OtherPatientIDs = ["a", "b"]
    data.add_new(0x00090010, "LO", "SOMEBODY")
    data.add_new(0x00091001, "LO", "private")
    return data


def edited(*edits: dict[str, Any]) -> tuple[Payload, Dataset]:
    payload, instance = payload_of(subject())
    result = editor(*edits).apply(payload, instance, Notebook())
    return result, read(result)


def test_the_rules_of_the_design() -> None:
    result, found = edited(
        {"set": "InstitutionName", "to": "Clinic North"},
        {"prefix": "AccessionNumber", "with": "CN-"},
        {"remove": "OtherPatientIDs"},
    )
    assert (found.InstitutionName, found.AccessionNumber) == ("Clinic North", "CN-17")
    assert "OtherPatientIDs" not in found
    assert result.treatment is Treatment.EDITED
    assert found.PixelData == subject().PixelData


def test_every_verb() -> None:
    _, found = edited(
        {"set_if_missing": "StationName", "to": "ER1"},
        {"set_if_missing": "InstitutionName", "to": "never"},
        {"copy": "StudyID", "to": "AccessionNumber"},
        {"suffix": "StudyID", "with": "-{Modality}"},
        {"remove": "private"},
    )
    assert (found.StationName, found.InstitutionName) == ("ER1", "Old")
    assert (found.AccessionNumber, found.StudyID) == ("S1", "S1-CT")
    assert 0x00091001 not in found


def test_every_verb_is_documented_with_its_key() -> None:
    documented = (Path(__file__).parents[2] / "docs/configuration.md").read_text(encoding="utf-8")
    for verb in VERBS:
        needed = verb.keys if verb.takes is Takes.KEYS else (verb.takes.key,) if verb.takes.key else ()
        keys = "".join(rf", {key} = \S.*?" for key in needed)
        tag = r"\[.*?\]" if verb.lists else r'"\w+"'
        assert re.search(rf"\| `{{ {verb.name} = {tag}{keys}[ ,]", documented), verb.name


def test_a_sequence_is_set_by_a_rule() -> None:
    items = [{"ReferencedSOPInstanceUID": "1.2.3"}, {"ReferencedSOPInstanceUID": "{StudyInstanceUID}"}]
    _, found = edited({"set": "ReferencedStudySequence", "to": items}, {"empty": "StudyID"})
    uids = [each.ReferencedSOPInstanceUID for each in found.ReferencedStudySequence]
    assert uids == ["1.2.3", found.StudyInstanceUID]
    assert found.StudyID == ""


def test_a_changed_uid_is_the_payloads_uid() -> None:
    result, found = edited({"set": "SOPInstanceUID", "to": "1.2.3.99"})
    assert result.sop_instance_uid == found.SOPInstanceUID == "1.2.3.99"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_native_syntax_keeps_its_pixels_and_tail(syntax: str) -> None:
    data = subject()
    data.add_new(0xFFFCFFFC, "OB", b"\0" * 10)
    payload, instance = payload_of(data)
    start = to_syntax(payload, syntax)
    result = editor({"set": "StationName", "to": "ER1"}).apply(start, instance, Notebook())
    found = read(result)
    assert result.transfer_syntax_uid == syntax
    assert found.StationName == "ER1"
    assert found.pixel_array.tolist() == picture(16, 16, 0, 4000).tolist()
    assert found[0xFFFCFFFC].value == b"\0" * 10


def test_pixels_stream_from_the_spool(tmp_path) -> None:
    payload, instance = payload_of(subject())
    path = tmp_path / "spooled.dcm"
    path.write_bytes(b"meta" + b"".join(payload.chunks()))
    sliced = replace(payload, parts=(FileSlice(path, 4, payload.length),))
    result = editor({"set": "StationName", "to": "ER1"}).apply(sliced, instance, Notebook())
    slices = [part for part in result.parts if isinstance(part, FileSlice)]
    assert [part.length for part in slices] == [12 + 16 * 16 * 2]
    assert read(result).StationName == "ER1"


RULES = (
    {"set": "InstitutionName", "to": "Clinic North"},
    {"prefix": "AccessionNumber", "with": "CN-", "if_empty": "skip"},
    {"remove": "OtherPatientIDs"},
)
CHANGES = (
    {"upper": "PatientName"},
    {"replace": "StudyDescription", "pattern": r"(\w)(\w*)", "with": r"\2\1"},
    {"map": "Modality", "table": {"CT": "MR", "MR": "CT"}, "otherwise": "keep", "if": {"Rows": {"min": 64}}},
    {"shift_date": "StudyDate", "days": -30, "if": {"StudyDate": "????????"}},
    {"trim": "Manufacturer"},
    {"join": "ImageType", "with": "_", "overflow": "truncate"},
    {"hash": "PatientID", "key": "env:MAPDR_TEST_KEY", "length": 16},
)


@pytest.mark.parametrize("rules", [RULES, CHANGES])
def test_spooled_files_are_edited_by_plan_as_they_are_without_one(
    data: Path, rules: tuple[dict[str, Any], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long headers, encapsulated pixels, trailing elements, odd files: same parts, or the same error."""
    monkeypatch.setenv("MAPDR_TEST_KEY", "0123456789abcdef")
    fast, plain = editor(*rules), editor(*rules)
    plain._plan = None
    by_plan = 0
    for path in sorted(path for path in data.rglob("*") if path.is_file() and path.stat().st_size < 2 << 20):
        content = path.read_bytes()
        if content[128:132] != b"DICM":
            continue
        start = 144 + struct.unpack_from("<L", content, 140)[0]
        uids = re.findall(rb"\x02\x00\x10\x00UI..([0-9.]+)", content[:start], re.DOTALL)
        if not uids or start >= len(content):
            continue
        spooled = FileSlice(path, start, len(content) - start)
        payload = Payload("1.2", "1.2.3", uids[0].decode(), (spooled,), spooled.length)
        by_plan += fast._from_beginning(payload, (), NOWHERE) is not None
        assert outcome(fast, payload) == outcome(plain, payload), path.name
    assert by_plan > 100


def outcome(step: TagEditor, payload: Payload) -> object:
    try:
        return step.apply(payload, payload_of(subject())[1], Notebook())
    except Permanent as error:
        return error.reason, str(error)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"])
def test_a_file_that_lost_its_end_is_not_sent(tmp_path: Path, syntax: str) -> None:
    payload, instance = payload_of(subject())
    path = tmp_path / "spooled.dcm"
    path.write_bytes(b"".join(payload.chunks()) + bytes(20000))
    longer = FileSlice(path, 0, payload.length + 20001)
    cut = replace(payload, transfer_syntax_uid=syntax, parts=(longer,), length=longer.length)
    with pytest.raises(Permanent) as caught:
        editor(*RULES).apply(cut, instance, Notebook())
    assert caught.value.reason == "damaged"


def test_where_nothing_changes_the_payload_is_relayed() -> None:
    payload, instance = payload_of(subject())
    step = editor({"set_if_missing": "StudyID", "to": "x"})
    assert step.apply(payload, instance, Notebook()) is payload
    deflated = to_syntax(payload, SYNTAXES[3])
    assert step.apply(deflated, instance, Notebook()) is deflated


def test_each_edit_is_shown_by_itself() -> None:
    parts = editor({"set": "StudyID", "to": "9"}, {"remove": "OtherPatientIDs"}).parts()
    assert [name.partition(":")[0] for name, _ in parts] == ["edit 1", "edit 2"]
    payload, instance = payload_of(subject())
    first, second = (read(step.apply(payload, instance, Notebook())) for _, step in parts)
    assert (first.StudyID, "OtherPatientIDs" in first) == ("9", True)
    assert (second.StudyID, "OtherPatientIDs" in second) == ("S1", False)


def test_an_object_without_pixels_is_edited_too() -> None:
    data = subject()
    del data.PixelData
    payload, instance = payload_of(data)
    assert read(editor({"set": "StudyID", "to": "9"}).apply(payload, instance, Notebook())).StudyID == "9"


def test_a_value_that_does_not_fit_parks_the_image() -> None:
    with pytest.raises(Permanent) as caught:
        edited({"suffix": "AccessionNumber", "with": "-0123456789abcdef"})
    assert caught.value.reason == "value-too-long"
    _, found = edited({"suffix": "AccessionNumber", "with": "-0123456789abcdef", "overflow": "truncate"})
    assert len(found.AccessionNumber) == 16
    with pytest.raises(Permanent) as caught:
        edited({"set": "StationName", "to": "{PatientComments}"})
    assert caught.value.reason == "empty-value"
    _, found = edited({"set": "StationName", "to": "{PatientComments}", "if_empty": "skip"})
    assert "StationName" not in found


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({}, "one verb"),
        ({"set": "StudyID", "remove": "StudyID", "to": "x"}, "has 2"),
        ({"set": "StudyID"}, "set needs to"),
        ({"prefix": "StudyID", "to": "x"}, "prefix needs with"),
        ({"set": "StudyID", "to": "x", "with": "y"}, "set takes no with"),
        ({"remove": "StudyID", "if_empty": "skip"}, "neither"),
        ({"set": "StudyIdd", "to": "x"}, "StudyID"),
        ({"set": "StudyID", "to": "{StudyIdd}"}, "StudyID"),
        ({"set": "StudyID", "to": "x", "when": "y"}, "Extra inputs"),
        ({"set": "PixelData", "to": "x"}, "cannot be changed"),
    ],
)
def test_a_wrong_edit_is_told(edit: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        editor(edit)


def test_the_configuration_survives_a_recipe() -> None:
    adapter = TypeAdapter(STAGE.config)
    edits = [{"copy": "StudyID", "to": "AccessionNumber"}, {"prefix": "StudyID", "with": "x"}]
    plain = adapter.dump_python(adapter.validate_python(edits), mode="json", by_alias=True, exclude_none=True)
    assert [{**edit, "overflow": "error", "if_empty": "error"} for edit in edits] == plain
    assert adapter.validate_python(plain) == adapter.validate_python(edits)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("uid", [b"1.2.840.\xe9\0", b"1." * 50])
def test_an_image_whose_data_set_holds_no_uid_goes_on_by_that_of_its_association(
    uid: bytes, syntax: str
) -> None:
    # Decision record 3: it was taken by the command's UID, so no rule can make it undeliverable.
    payload, instance = payload_of(subject())
    payload = to_syntax(payload, syntax)
    plain = b"".join(payload.chunks())
    if syntax == SYNTAXES[3]:
        plain = zlib.decompress(plain, -zlib.MAX_WBITS)
    old = payload.sop_class_uid.encode() + b"\0" * (len(payload.sop_class_uid) % 2)
    at = plain.index(old)
    size = struct.pack(">H" if syntax == SYNTAXES[2] else "<H", len(uid))
    at_length = at - 4 if syntax == SYNTAXES[0] else at - 2
    plain = plain[:at_length] + size + plain[at_length + 2 : at] + uid + plain[at + len(old) :]
    data = deflate_pieces((plain,)) if syntax == SYNTAXES[3] else plain
    payload = replace(payload, parts=(data,), length=len(data))
    result = editor({"set": "InstitutionName", "to": "New"}).apply(payload, instance, Notebook())
    assert result.treatment is Treatment.EDITED
    assert result.sop_class_uid == instance.sop_class_uid
    assert result.sop_instance_uid == instance.sop_instance_uid
