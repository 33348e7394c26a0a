"""The `deidentify` step: what it leaves untouched, whom it names, what its configuration says; real files."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from pydicom.dataset import Dataset

from mapdr.config.read import read_text
from mapdr.dicom.deidentify.keys import Key, project_key
from mapdr.dicom.scan import deflate_pieces
from mapdr.kernel.durable import FlushFailed, flush_file
from mapdr.kernel.errors import ConfigurationError, Permanent, Temporary
from mapdr.kernel.item import FileSlice, Payload, Treatment
from mapdr.kernel.registry import Registry
from mapdr.node.surroundings import of_steps
from mapdr.store.spool.claim import Claim
from mapdr.transform.header import pseudonym_file, pseudonyms
from mapdr.transform.header.deidentify import STAGE, DeidentifyStep
from mapdr.transform.header.fingerprint import refuse_another
from mapdr.transform.header.pseudonym_file import AddedLine, Table, line_of, read_pseudonyms
from mapdr.transform.header.pseudonyms import FromFile
from mapdr.transform.pipeline import build_pipeline
from mapdr.transform.pixels.regions import RegionSet

from .helpers import CODECS, Notebook, encoded, image, payload_of, picture, read, save, settings, spooled

REGISTRY = Registry()
SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]
SITE = Key(project_key(b"k" * 32))
"""The key of a node with the site key that `helpers.settings` gives."""


def step(**config: Any) -> DeidentifyStep:
    checked = TypeAdapter(STAGE.config).validate_python({"profile": "basic", **config})
    made: DeidentifyStep = STAGE.build(settings(), checked, None)
    return made


class Everything(RegionSet):
    """Regions that cover every image."""

    def covers(self, header: bytes, transfer_syntax_uid: str) -> bool:
        return True


def subject() -> Dataset:
    data = image(picture(16, 16, 0, 4000))
    data.PatientName, data.PatientID, data.InstitutionName = "Doe^Jane", "PID-77", "St. Elsewhere"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3.77", "1.2.3.77.1"
    data.DataSetTrailingPadding = b"Doe "
    return data


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_header_and_tail_are_others_and_pixels_the_same(syntax: str) -> None:
    payload, instance = payload_of(subject(), syntax)
    made = step().apply(payload, instance, Notebook())
    assert made.treatment is Treatment.EDITED
    found = read(made)
    assert found.PixelData == read(payload).PixelData
    assert found.PatientID == SITE.pseudonym("PID-77") == str(found.PatientName)
    assert b"Doe" not in b"".join(made.chunks())
    assert (made.sop_instance_uid, made.study_instance_uid, made.series_instance_uid) == (
        found.SOPInstanceUID,
        found.StudyInstanceUID,
        found.SeriesInstanceUID,
    )
    assert made.sop_instance_uid == SITE.uid(payload.sop_instance_uid)
    assert step().apply(payload, instance, Notebook()) == made


def test_pixels_stay_a_slice_of_the_file(tmp_path: Path) -> None:
    payload, instance = spooled(save(payload_of(subject())[0], tmp_path / "a.dcm"))
    made = step().apply(payload, instance, Notebook())
    assert [type(part) for part in made.parts] == [bytes, FileSlice]
    assert made.in_memory < 3000


@pytest.mark.parametrize("syntax", SYNTAXES[:2])
def test_edits_behind_it_leave_the_pixels_in_the_file(syntax: str, tmp_path: Path) -> None:
    data = subject()
    del data.DataSetTrailingPadding
    payload, instance = spooled(save(payload_of(data, syntax)[0], tmp_path / "a.dcm"))
    edits: list[dict[str, Any]] = [{"set": "ClinicalTrialProtocolID", "to": "HEAD-7"}]
    steps = [
        {"type": "deidentify", "config": {"profile": "basic"}},
        {"type": "tags", "config": edits},
    ]
    made = build_pipeline({"steps": steps}, REGISTRY, settings(), CODECS).apply(payload, instance, Notebook())
    assert [type(part) for part in made.parts if part] == [bytes, FileSlice]
    found, plain = read(made), read(step().apply(payload, instance, Notebook()))
    assert found.ClinicalTrialProtocolID == "HEAD-7"
    del found.ClinicalTrialProtocolID
    assert found == plain


def test_a_lossy_copy_names_the_new_uid_of_its_original(tmp_path: Path) -> None:
    data = image(picture(64, 64, 0, 4000))
    payload, instance = spooled(save(payload_of(data)[0], tmp_path / "a.dcm"))
    steps = [
        {"type": "deidentify", "config": {"profile": "basic"}},
        {"type": "compress", "config": {"to": "jpeg2000", "ratio": 10}},
    ]
    made = build_pipeline({"steps": steps}, REGISTRY, settings(), CODECS).prepare(instance, Notebook())
    found = read(made)
    assert found.LossyImageCompression == "01"
    (original,) = found.SourceImageSequence
    assert original.ReferencedSOPInstanceUID == SITE.uid(payload.sop_instance_uid)
    assert made.sop_instance_uid == found.SOPInstanceUID != original.ReferencedSOPInstanceUID
    assert payload.sop_instance_uid.encode() not in b"".join(made.chunks())
    again = build_pipeline({"steps": steps}, REGISTRY, settings(), CODECS).prepare(instance, Notebook())
    assert again.sop_instance_uid == made.sop_instance_uid


REGIONS = [
    {
        "name": "banner",
        "when": {"Manufacturer": "ACME"},
        "blank": [{"x": 0, "y": 0, "width": 64, "height": 8}],
    }
]


def test_an_image_with_text_in_its_pixels_leaves_with_its_regions_blanked(tmp_path: Path) -> None:
    pixels = picture(64, 64, 100, 4000)
    data = image(pixels)
    data.PatientName, data.BurnedInAnnotation, data.Manufacturer = "Doe^Jane", "YES", "ACME"
    config = {"profile": "basic", "options": ["clean-pixel-data"], "regions": REGIONS}
    line = build_pipeline({"steps": [{"type": "deidentify", "config": config}]}, REGISTRY, settings(), CODECS)
    found = read(line.prepare(spooled(save(payload_of(data)[0], tmp_path / "a.dcm"))[1], Notebook()))
    assert not found.pixel_array[:8].any()
    assert (found.pixel_array[8:] == pixels[8:]).all()
    codes = {item.CodeValue for item in found.DeidentificationMethodCodeSequence}
    assert codes == {"113100", "113101"}
    assert str(found.PatientName) != "Doe^Jane"
    assert data.SOPInstanceUID.encode() not in encoded(found)

    data.Manufacturer = "another"
    other = spooled(save(payload_of(data)[0], tmp_path / "b.dcm"))[1]
    with pytest.raises(Permanent, match="Burned In Annotation is YES") as raised:
        line.prepare(other, Notebook())
    assert raised.value.reason == "burned-in-text"


@pytest.mark.parametrize(
    ("tag", "row"),
    [
        (0x00100010, "Table E.1-1: Z"),
        (0x00181000, "Table E.1-1: K (retain-device-identity)"),
        (0x00080060, "no row of Table E.1-1: by its VR"),
        (0x00091001, "Table E.1-1: X"),
        (0x60023000, "Table E.1-1: X"),
        (0x50000010, "Table E.1-1: X"),
        (0x00120062, "PS3.15, E.1.1"),
    ],
)
def test_each_change_is_told_with_the_row_it_goes_by(tag: int, row: str) -> None:
    made = step(options=["retain-device-identity"])
    assert made.account((0x00081140, tag), payload_of(subject())[1]) == row


def test_what_is_kept_in_part_is_told_so() -> None:
    options = ["modified-dates", "clean-descriptors", "retain-patient-characteristics"]
    made, (_, instance) = step(options=options, age_limit=89), payload_of(subject())
    age, model = made.account((0x00101010,), instance), made.account((0x00081090,), instance)
    assert age == "Table E.1-1: K (retain-patient-characteristics), above the limit as one category"
    assert model == "no row of Table E.1-1: by its VR, the dates in it as modified-dates says"
    assert made.account((0x00100010,), instance) == "Table E.1-1: Z"


@pytest.mark.parametrize("wrong", [{"options": ["clean-pixel-data"]}, {"regions": REGIONS}])
def test_regions_and_the_option_of_clean_pixels_go_together(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="go together"):
        step(**wrong)
    with pytest.raises(ValidationError, match="as it was received"):
        step(options=["clean-pixel-data"], regions=REGIONS, tags="before")


def test_odd_pixel_data_gets_an_even_length() -> None:
    odd = b"\xe0\x7f\x10\x00OB\0\0\x09\0\0\0" + bytes(range(9))
    data = subject()
    del data.PixelData, data.DataSetTrailingPadding
    blob = encoded(data) + odd
    payload = Payload(data.SOPClassUID, data.SOPInstanceUID, SYNTAXES[1], (blob,), len(blob))
    made = step().apply(payload, payload_of(subject())[1], Notebook())
    assert not made.length & 1
    assert read(made).PixelData == bytes(range(9)) + b"\0"


def test_deflated() -> None:
    plain, instance = payload_of(subject())
    packed = deflate_pieces([encoded(subject())])
    payload = Payload(
        plain.sop_class_uid, plain.sop_instance_uid, "1.2.840.10008.1.2.1.99", (packed,), len(packed)
    )
    assert read(step().apply(payload, instance, Notebook())) == read(
        step().apply(plain, instance, Notebook())
    )


def test_a_data_set_without_uids_goes_by_those_of_its_association() -> None:
    data = subject()
    del data.SOPInstanceUID, data.SOPClassUID
    blob = encoded(data)
    payload = Payload("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", SYNTAXES[1], (blob,), len(blob))
    made = step().apply(payload, payload_of(subject())[1], Notebook())
    assert made.sop_instance_uid == SITE.uid("1.2.3.4")
    assert made.sop_class_uid == payload.sop_class_uid
    kept = step(options=["retain-uids"]).apply(payload, payload_of(subject())[1], Notebook())
    assert kept.sop_instance_uid == "1.2.3.4"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"options": ["retain-uid"]}, "did you mean"),
        ({"options": ["recognisable-visual-features"]}, "recognizable"),
        ({"options": ["full-dates", "modified-dates"]}, "contradict"),
        ({"key": "secret"}, "secret's place"),
        ({"pseudonyms": {"file": "a.csv", "unknown": "guess"}}, "unknown"),
        ({"profile": "other"}, "profile"),
        ({"pseudonyms": "patients.csv"}, "name a file with"),
        ({"dates": "year"}, "modified-dates"),
        ({"dates": "month", "options": ["modified-dates"]}, "dates"),
        ({"age_limit": 89}, "retain-patient-characteristics"),
        ({"age_limit": 0, "options": ["retain-patient-characteristics"]}, "age_limit"),
    ],
)
def test_a_configuration_that_is_none(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        step(**config)


@pytest.mark.parametrize("wrong", ["true", '"basic"', '["basic"]'])
def test_check_says_how_the_key_is_written(wrong: str) -> None:
    text = f"[[rule]]\nname = 'one'\nwhen = {{}}\nsend_to = []\ndeidentify = {wrong}\n"
    assert [each.cure for each in read_text(text).problems] == ['write { profile = "basic" }']


def test_a_recipe_says_the_same_wherever_it_is_read(tmp_path: Path) -> None:
    adapter = TypeAdapter(STAGE.config)
    raw = {
        "profile": "basic",
        "options": ["retain-uids", "full-dates"],
        "key": "file:a.key",
        "pseudonyms": {"file": "patients.csv"},
    }
    config = adapter.validate_python(raw, context={"base": tmp_path})
    plain = adapter.dump_python(config, mode="json", exclude_none=True)
    assert plain["key"] == f"file:{tmp_path / 'a.key'}"
    assert plain["pseudonyms"]["file"] == str(tmp_path / "patients.csv")
    assert plain["options"] == ["full-dates", "retain-uids"]
    assert adapter.validate_python(plain) == config


def test_edits_run_behind_it_or_before_it() -> None:
    edit = '[{ copy = "PatientID", to = "ClinicalTrialProtocolID" }, { set = "PatientSex", to = "F" }]'
    for said, types in (("", ["deidentify", "tags"]), (', tags = "before"', ["tags", "deidentify"])):
        text = f"[[rule]]\nname = 'one'\nwhen = {{}}\nsend_to = []\ntags = {edit}\n"
        loaded = read_text(text + f'deidentify = {{ profile = "basic"{said} }}\n')
        assert loaded.config is not None
        assert not loaded.problems
        (rule,) = loaded.config.rule
        assert [type_ for type_, _ in rule.steps] == types
        made = build_pipeline(rule.recipe, REGISTRY, settings(), CODECS)
        found = read(made.apply(*payload_of(subject()), Notebook()))
        assert found.PatientSex == ("" if said else "F")
        assert found.PatientID == SITE.pseudonym("PID-77")
        assert found.ClinicalTrialProtocolID == ("ANONYMIZED" if said else found.PatientID)


def test_a_key_of_a_project(tmp_path: Path) -> None:
    (tmp_path / "a.key").write_text("ab" * 32)
    payload, instance = payload_of(subject())
    made = step(key=f"file:{tmp_path / 'a.key'}").apply(payload, instance, Notebook())
    assert made.sop_instance_uid == Key(bytes.fromhex("ab" * 32)).uid(payload.sop_instance_uid)
    (tmp_path / "a.key").write_text("too short")
    with pytest.raises(Permanent, match="64 hexadecimal digits") as caught:
        step(key=f"file:{tmp_path / 'a.key'}")
    assert caught.value.reason == "key"
    assert "too short" not in str(caught.value)


def test_a_key_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    file = tmp_path / "a.key"
    config = TypeAdapter(STAGE.config).validate_python({"profile": "basic", "key": f"file:{file}"})
    node = settings(tmp_path)
    file.write_text("ab" * 32)
    STAGE.build(replace(node, only_looks=True), config, None)
    file.write_text("cd" * 32)  # who only looked has kept nothing
    for _ in range(2):
        STAGE.build(node, config, None)
    file.write_text("ab" * 32)
    for each in (node, replace(node, only_looks=True)):
        with pytest.raises(Permanent, match="another one than this node has used") as caught:
            STAGE.build(each, config, None)
        assert caught.value.reason == "key"
    text = (
        f'[node]\ndata = "{tmp_path.as_posix()}"\n'
        "[[rule]]\nname = 'one'\nwhen = {}\nsend_to = []\n"
        f'deidentify = {{ profile = "basic", key = "file:{file.as_posix()}" }}\n'
    )
    ((found,), _) = of_steps(read_text(text, base=tmp_path), REGISTRY)
    assert "another one than this node has used" in found.what
    other = tmp_path / "b.key"
    other.write_text("ab" * 32)
    named = TypeAdapter(STAGE.config).validate_python({"profile": "basic", "key": f"file:{other}"})
    STAGE.build(node, named, None)
    file.write_text("cd" * 32)
    STAGE.build(node, config, None)


def test_dates_and_ages_as_a_rule_says() -> None:
    data = subject()
    data.StudyDate, data.PatientAge = "20240229", "097Y"
    options = ["modified-dates", "retain-patient-characteristics"]
    found = read(step(options=options, dates="year", age_limit=89).apply(*payload_of(data), Notebook()))
    assert (found.StudyDate, found.PatientAge) == ("20240101", "090Y")


def test_no_pseudonym() -> None:
    found = read(step(pseudonyms="none").apply(*payload_of(subject()), Notebook()))
    assert (found.PatientID, str(found.PatientName)) == ("", "")


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_pseudonyms_from_a_file(tmp_path: Path, delimiter: str) -> None:
    file = tmp_path / "patients.csv"
    lines = ["\ufeffPatient_ID,pseudonym,name", "PID-77,TRIAL-1,Trial^One", "PID-78,TRIAL-2,"]
    file.write_text("\n".join(lines).replace(",", delimiter), encoding="utf-8")
    data, make = subject(), step(pseudonyms={"file": str(file)})
    found = read(make.apply(*payload_of(data), Notebook()))
    assert (found.PatientID, str(found.PatientName)) == ("TRIAL-1", "Trial^One")
    data.PatientID = "PID-79"
    with pytest.raises(Permanent, match="not in the file") as caught:
        make.apply(*payload_of(data), Notebook())
    assert caught.value.reason == "pseudonym"
    assert "PID" not in str(caught.value)
    file.write_text(file.read_text(encoding="utf-8") + f"\nPID-79{delimiter}TRIAL-3", encoding="utf-8")
    assert read(make.apply(*payload_of(data), Notebook())).PatientID == "TRIAL-3"
    file.unlink()
    with pytest.raises(Temporary, match="cannot be used"):
        make.apply(*payload_of(data), Notebook())


def test_the_next_pseudonym_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "patients.csv"
    file.write_text("pseudonym,patient_id\nP00002,old", encoding="utf-8")
    first, second = FromFile(file, "next", "P"), FromFile(file, "next", "P")
    before = file.read_bytes()
    assert FromFile(file, "next", "P", only_looks=True).of("new, one") == ("P00003", "P00003")
    assert file.read_bytes() == before
    assert first.of("new, one") == ("P00003", "P00003")  # P00002 is taken
    assert second.of("other") == ("P00004", "P00004") == first.of("other")
    assert second.of("new, one")[0] == "P00003"
    for patient in ("\u00a0new, one", "new, one\u3000", "\tnew, one"):  # as the cells of the file are read
        assert first.of(patient)[0] == "P00003"
    with pytest.raises(Permanent, match="no PatientID"):
        first.of("\u3000")
    assert read_pseudonyms(file).known["new, one"] == ("P00003", "P00003")
    with pytest.raises(Permanent, match="no PatientID"):
        first.of("\0nDoe")


def test_a_new_pseudonym_is_a_line_of_its_own_and_on_the_disk_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "patients.csv"
    flushed: list[bytes] = []
    monkeypatch.setattr(pseudonym_file, "flush_file", lambda opened: flushed.append(at(opened)))

    def at(opened: Any) -> bytes:
        opened.flush()
        return file.read_bytes()

    for end in ("\n", "\r\n", "\r", ""):
        known = f"patient_id,pseudonym{end or chr(10)}old,P00001{end}".encode()
        file.write_bytes(known)
        assert FromFile(file, "next", "P").of("new") == ("P00002", "P00002")
        assert file.read_bytes() == flushed.pop() == known + b"\n" * (not end) + b"new,P00002\n"
    file.write_bytes(b"patient_id,pseudonym")
    assert FromFile(file, "next", "P").of("new") == ("P00001", "P00001")
    assert file.read_bytes() == b"patient_id,pseudonym\nnew,P00001\n"
    file.write_bytes(b"patient_id,pseudonym\na,P00002\nb,P00003\n")
    assert FromFile(file, "next", "P").of("new") == ("P00004", "P00004")


class Flush:
    """A flush of a line, which takes as long as a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.ends = threading.Event(), threading.Event()
        self.error: OSError | None = None
        monkeypatch.setattr(pseudonym_file, "flush_file", self)

    def __call__(self, opened: Any) -> None:
        flush_file(opened)  # the line is in the file, and may be lost still
        if not self.begun.is_set():
            self.begun.set()
            assert self.ends.wait(10)
            if self.error is not None:
                raise self.error


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    file = tmp_path / "patients.csv"
    file.write_text("patient_id,pseudonym\nold,P00001\n")
    return file


@pytest.mark.parametrize("fails", [False, True])
def test_nobody_uses_a_line_before_it_is_flushed(
    table_file: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Another rule and another process have another object of the same file."""
    first, second = FromFile(table_file, "next", "P"), FromFile(table_file, "next", "P")
    flush = Flush(monkeypatch)
    flush.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if fails else None
    with ThreadPoolExecutor(3) as threads:
        new = threads.submit(first.of, "new")
        assert flush.begun.wait(10)
        try:
            others = [threads.submit(each.of, "new") for each in (first, second)]
            for each in others:
                with pytest.raises(TimeoutError):
                    each.result(0.2)
        finally:
            flush.ends.set()
        if fails:
            with pytest.raises(Temporary, match="cannot be used"):
                new.result(10)
        else:
            assert new.result(10) == ("P00002", "P00002")
        assert [each.result(10) for each in others] == [("P00002", "P00002")] * 2
    assert table_file.read_text() == "patient_id,pseudonym\nold,P00001\nnew,P00002\n"
    assert first.of("other") == second.of("other") == ("P00003", "P00003")


def test_a_known_patient_does_not_wait_for_the_line_of_a_new_one(
    table_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = FromFile(table_file, "next", "P")
    assert table.of("old") == ("P00001", "P00001")
    flush = Flush(monkeypatch)
    with ThreadPoolExecutor(3) as threads:
        new = threads.submit(table.of, "new")
        assert flush.begun.wait(10)
        try:
            assert threads.submit(table.of, "old").result(10) == ("P00001", "P00001")
            table_file.write_text("patient_id,pseudonym\nold,P00007\n")
            changed = threads.submit(table.of, "old")
            with pytest.raises(TimeoutError):
                changed.result(0.2)  # what was there before somebody has changed it serves nobody
        finally:
            flush.ends.set()
        with pytest.raises(Temporary, match="changed"):
            new.result(10)
        assert changed.result(10) == ("P00007", "P00007")
    table_file.unlink()
    with pytest.raises(Temporary):
        table.of("old")


def test_a_file_on_which_another_process_is_at_work_is_tried_again(
    table_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pseudonyms, "_WAIT_SECONDS", 0.01)
    table = FromFile(table_file, "next", "P")
    with (
        Claim(table_file.with_name("patients.csv.lock"), "").exclusive(1),
        pytest.raises(Temporary, match="another process has the file"),
    ):
        table.of("new")
    assert table.of("new") == ("P00002", "P00002")


def test_known_patients_wait_for_none_of_many_new_ones(
    table_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = FromFile(table_file, "next", "P")
    assert table.of("old") == ("P00001", "P00001")
    at_hand: list[bool] = []

    def look(*_: object) -> None:
        at_hand.append(table._at_hand("old") == ("P00001", "P00001"))

    class Turn:
        """A lock at whose ends somebody who is known looks."""

        def __enter__(self) -> None:
            look()

        def __exit__(self, *_: object) -> None:
            look()

    def reading(path: Path) -> Table:
        look()
        return read_pseudonyms(path)

    monkeypatch.setattr(pseudonyms, "read_pseudonyms", reading)
    monkeypatch.setattr(pseudonym_file, "flush_file", look)
    monkeypatch.setattr(table._turn, "lock", Turn())
    assert [table.of(f"new{number}")[0] for number in (2, 3, 4)] == ["P00002", "P00003", "P00004"]
    assert at_hand == [True] * 12


def test_a_line_that_cannot_be_added_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "patients.csv"
    file.write_text("patient_id,pseudonym\nold,P00001")
    before = file.read_bytes()
    table = FromFile(file, "next", "P")

    def full(opened: Any) -> None:
        opened.truncate(len(before) + 6)  # as much as there was room for
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pseudonym_file, "flush_file", full)
    with pytest.raises(Temporary, match="cannot be used"):
        table.of("new")
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert table.of("old") == ("P00001", "P00001")
    assert table.of("new") == ("P00002", "P00002")


def test_nothing_of_anybody_else_is_taken_back(table_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(opened: Any) -> None:
        with table_file.open("ab") as person:
            person.write(b"third,Q00001\n")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    table = FromFile(table_file, "next", "P")
    monkeypatch.setattr(pseudonym_file, "flush_file", full)
    with pytest.raises(Temporary, match="cannot be used"):
        table.of("new")
    assert table_file.read_text().endswith("\nnew,P00002\nthird,Q00001\n")
    assert table.of("third") == ("Q00001", "Q00001")


@pytest.mark.parametrize(
    "added", ["new,Q00001\n", "third,P00002\n", "third,Q00001\n"], ids=["patient", "pseudonym", "neither"]
)
def test_what_a_person_adds_at_the_same_time_is_kept_and_the_file_stays_sound(
    table_file: Path, monkeypatch: pytest.MonkeyPatch, added: str
) -> None:
    real, did = AddedLine.write, []

    def write(line: AddedLine) -> None:
        if not did:
            with table_file.open("a") as person:
                did.append(person.write(added))
        real(line)

    monkeypatch.setattr(AddedLine, "write", write)
    table = FromFile(table_file, "next", "P")
    with suppress(Temporary):
        table.of("new")
    patient, pseudonym = added.strip().split(",")
    assert table.of(patient)[0] == pseudonym
    assert table.of("old")[0] == "P00001"
    made = {name: table.of(name)[0] for name in ("old", "new", "third")}
    assert len(set(made.values())) == 3
    assert added in table_file.read_text()


def test_a_file_that_a_person_changes_before_a_line_is_added_is_read_again(
    table_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*words: Any) -> bytes:
        table_file.write_text("pseudonym;patient_id\nP00001;old\n")
        monkeypatch.undo()
        return line_of(*words)

    monkeypatch.setattr(pseudonyms, "line_of", changed)
    table = FromFile(table_file, "next", "P")
    with pytest.raises(Temporary, match="changed"):
        table.of("new")
    assert table.of("new") == ("P00002", "P00002")
    assert table_file.read_text() == "pseudonym;patient_id\nP00001;old\nP00002;new\n"


def test_a_file_that_is_full_is_not_made_unreadable(
    table_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = table_file.read_bytes()
    monkeypatch.setattr(pseudonyms, "LARGEST", len(before) + 11)
    table = FromFile(table_file, "next", "P")
    with pytest.raises(Temporary, match="full"):
        table.of("newer")
    assert table_file.read_bytes() == before
    assert table.of("new") == ("P00002", "P00002")


def test_after_a_flush_that_failed_no_other_is_believed(
    table_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = FromFile(table_file, "next", "P")
    assert table.of("old") == ("P00001", "P00001")

    def broken(opened: Any) -> None:
        raise FlushFailed(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(pseudonym_file, "flush_file", broken)
    with pytest.raises(Temporary, match="cannot be used"):
        table.of("new")
    monkeypatch.undo()
    for each in (table, FromFile(table_file, "next", "P")):
        with pytest.raises(Temporary, match="until a restart"):
            each.of("new")
    monkeypatch.setattr(pseudonyms, "_turns", {})
    assert FromFile(table_file, "next", "P").of("new") == ("P00002", "P00002")


def test_a_line_that_another_has_added_is_flushed_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "patients.csv"
    file.write_text("patient_id,pseudonym\n")
    flushed: list[bytes] = []
    monkeypatch.setattr(pseudonym_file, "sync_file", lambda path: flushed.append(path.read_bytes()))
    table = FromFile(file, "next", "P")
    with file.open("ab") as other:
        other.write(b"new,P00005\n")
    assert table.of("new") == ("P00005", "P00005")
    assert flushed == [file.read_bytes()]
    assert table.of("new") == ("P00005", "P00005")
    assert len(flushed) == 1, "once for each change"


@pytest.mark.parametrize(
    ("where", "fails"), [(pseudonyms, "Claim"), (pseudonym_file, "sync_file")], ids=["claim", "flush"]
)
def test_a_file_that_is_only_read_serves_who_is_in_it(
    table_file: Path, monkeypatch: pytest.MonkeyPatch, where: ModuleType, fails: str
) -> None:
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(where, fails, read_only)
    table = FromFile(table_file, "next", "P")
    assert table.of("old") == ("P00001", "P00001")
    if fails == "Claim":
        with pytest.raises(Temporary, match="cannot be used"):
            table.of("new")


@pytest.mark.parametrize("patient", ["one\udc80", "one" * 50_000], ids=["surrogate", "long"])
def test_an_identifier_that_no_line_can_hold_is_parked_and_nothing_is_written(
    table_file: Path, patient: str
) -> None:
    before = table_file.read_bytes()
    table = FromFile(table_file, "next", "P")
    with pytest.raises(Permanent, match="cannot stand") as caught:
        table.of(patient)
    assert caught.value.reason == "pseudonym"
    assert "one" not in str(caught.value)
    assert table_file.read_bytes() == before


def test_what_a_line_can_hold_is_quoted(table_file: Path) -> None:
    odd = ["a,b", 'say "hello"', "two\nlines", "re\rturn", "Größe"]
    made = [FromFile(table_file, "next", "P").of(patient) for patient in odd]
    assert len(set(made)) == len(odd)
    assert [FromFile(table_file, "park", "P").of(patient) for patient in odd] == made
    assert FromFile(table_file, "next", "P").of("P00007") == ("P00008", "P00008"), "not its own identifier"


def test_a_file_that_is_replaced_by_one_of_the_same_age_and_size_is_read(
    table_file: Path, tmp_path: Path
) -> None:
    table = FromFile(table_file, "park", "P")
    assert table.of("old") == ("P00001", "P00001")
    about, other = table_file.stat(), tmp_path / "other.csv"
    other.write_text("patient_id,pseudonym\nold,P00009\n")
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    other.replace(table_file)
    assert table.of("old") == ("P00009", "P00009")


def test_after_a_reading_that_failed_nothing_is_remembered(table_file: Path) -> None:
    table = FromFile(table_file, "next", "P")
    assert table.of("old") == ("P00001", "P00001")
    about = table_file.stat()
    table_file.write_text("patient_id,pseudonym\nold,P\\0001\n")
    os.utime(table_file, ns=(about.st_atime_ns, about.st_mtime_ns))
    for patient in ("new", "old"):
        with pytest.raises(Temporary, match="line 2"):
            table.of(patient)


def test_a_file_of_pseudonyms_that_is_broken_for_now_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "patients.csv"
    file.write_text("patient_id,pseudonym\nDoe,a\n")
    table = FromFile(file, "next", "P")
    assert table.of("Doe") == ("a", "a")
    file.write_text("patient_id,pseudonym\nDoe,a\nDoe,b\n")
    with pytest.raises(Temporary, match="line 3") as caught:
        table.of("Doe")
    assert "Doe" not in str(caught.value)


def test_a_fingerprint_that_cannot_be_read_is_no_verdict_on_the_key(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    refuse_another(settings(tmp_path), "env:KEY", b"k" * 32)
    (kept,) = (tmp_path / "keys/fingerprints").iterdir()
    assert len(kept.name) == 32
    if os.name == "posix":
        assert (kept.parent.stat().st_mode & 0o007, kept.stat().st_mode & 0o177) == (0, 0)
    kept.unlink()
    kept.mkdir()
    with pytest.raises(Temporary, match="fingerprint"):
        refuse_another(settings(tmp_path), "env:KEY", b"k" * 32)


def test_of_an_object_without_pixels_the_header_is_all_there_is() -> None:
    data = subject()
    del data.PixelData, data.DataSetTrailingPadding
    made = step().apply(*payload_of(data), Notebook())
    assert len(made.parts) == 1
    assert read(made).PatientName != data.PatientName


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "head line"),
        ("patient,pseudonym\na,b", "head line"),
        ("patient_id,pseudonym\nDoe,\n", "line 2"),
        ("patient_id,pseudonym\nDoe,a\\b\n", "line 2"),
        ("patient_id,pseudonym\nDoe,a\nDoe,b\n", "line 3"),
        ("patient_id,pseudonym\nDoe,a\nRoe,a\n", "line 3"),
        ("patient_id,pseudonym\nRoe,a\nDoe,Doe\n", "line 3"),
        ("patient_id,pseudonym,name\nDoe,a,Doe\n", "line 2"),
        (f"patient_id,pseudonym,name\nDoe,{65 * 'a'},a\n", "line 2"),
        (f"patient_id,pseudonym,name\nDoe,a,{65 * 'a'}\n", "line 2"),
        ("patient_id,pseudonym\nDoe,\ud800\n", "not UTF-8"),
    ],
)
def test_a_file_of_pseudonyms_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ConfigurationError, match=words) as caught:
        read_pseudonyms(tmp_path / "a.csv")
    assert "Doe" not in str(caught.value)


def test_a_pseudonym_has_up_to_64_characters(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"patient_id,pseudonym,name\nDoe,{64 * 'a'},{64 * 'b'}\n")
    assert read_pseudonyms(tmp_path / "a.csv").known == {"Doe": (64 * "a", 64 * "b")}


def test_an_image_that_no_region_fits_leaves_without_being_blanked(tmp_path: Path) -> None:
    data = subject()
    other = [{"when": {"Modality": "US"}, "blank": [{"x": 0, "y": 0, "width": 4, "height": 4}]}]
    config = {"profile": "basic", "options": ["clean-pixel-data"], "regions": other}
    body = {"steps": [{"type": "deidentify", "config": config}]}
    line = build_pipeline(body, REGISTRY, settings(), CODECS)
    made = line.apply(*spooled(save(payload_of(data)[0], tmp_path / "a.dcm")), Notebook())
    assert read(made).PixelData == data.PixelData


def test_check_tells_what_a_rule_misses(tmp_path: Path) -> None:
    text = """
[egress.a]
type = "folder"
path = "out"

[[rule]]
name = "one"
when = {}
deidentify = { profile = "basic", key = "file:none.key", pseudonyms = { file = "none.csv" } }
send_to = ["a"]
"""
    loaded = read_text(text, base=tmp_path)
    assert loaded.config is not None
    found = [str(each) for each in loaded.locate(of_steps(loaded, REGISTRY)[0])]
    assert [each.partition(": ")[0] for each in found] == [
        'mapdr.toml:9 rule "one".deidentify.key',
        'mapdr.toml:9 rule "one".deidentify.pseudonyms.file',
    ]
    assert found[1].endswith("make one that begins with the line: patient_id,pseudonym")
    (tmp_path / "none.key").write_text("too short")
    (first, _) = loaded.locate(of_steps(loaded, REGISTRY)[0])
    assert "64 hexadecimal digits" in str(first)
    assert str(first).endswith("make one with: mapdr key new NAME")
    (tmp_path / "none.key").write_text("ab" * 32)
    (tmp_path / "none.csv").write_text("patient_id,pseudonym\n")
    assert not of_steps(loaded, REGISTRY)[0]
