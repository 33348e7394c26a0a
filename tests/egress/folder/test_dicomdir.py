"""A DICOMDIR in each study's folder: others read it, and it names every image that is there."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.filebase import DicomFileLike
from pydicom.fileset import FileSet

from egress.folder.test_destination import egress, payload
from mapdr.egress.folder import dicomdir
from mapdr.egress.folder.destination import FolderEgress, FolderEgressConfig
from mapdr.kernel.item import Verdict
from mapdr.testing.generator import GeneratedImage, study
from mapdr.testing.wait import until
from peers.processes import program, run
from receive.folder.world import World

IMAGES = [image for kind in ("CT", "MR") for image in study(kind, images=3, size=(16, 16))]
BY_UID = {image.sop_instance_uid: image for image in IMAGES}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FolderEgress]:
    monkeypatch.setattr("mapdr.egress.folder.dicomdir.QUIET", 0.3)
    monkeypatch.setattr("mapdr.egress.folder.dicomdir.TICK", 0.05)
    made = egress(tmp_path / "out", dicomdir=True)
    made.start()
    yield made
    made.stop(time.monotonic() + 5)


def named(folder: Path) -> dict[str, Path]:
    """The files that a folder's DICOMDIR names, by SOP Instance UID, as pydicom finds them."""
    if not (folder / "DICOMDIR").exists():
        return {}
    found = FileSet(folder / "DICOMDIR")
    named = {str(each.SOPInstanceUID): Path(each.path) for each in found}
    found.clear()
    found._stage["t"].cleanup()
    return named


def send(stage: FolderEgress, images: list[GeneratedImage]) -> None:
    session = stage.connect([])
    for image in images:
        assert session.send(payload(image)).verdict is Verdict.DELIVERED
    session.close()


def test_the_private_names_of_the_library_are_there() -> None:
    """What `dicomdir.py` uses of pydicom's FileSet that is no promise: it has no public way to write a
    DICOMDIR alone, without the images.

    If this fails after an update of pydicom: read its `FileSet.write` anew, change `write_dicomdir` and
    `_name_files` accordingly, and this test with them; until then, bound pydicom below that version.
    """
    files = FileSet()
    try:
        image = pydicom.dcmread(BytesIO(IMAGES[0].part10()))
        instance = files.add(image)
        assert list(inspect.signature(FileSet._write_dicomdir).parameters)[:2] == ["self", "fp"]
        assert Path(files._stage["t"].name).is_dir()
        assert callable(files._stage["t"].cleanup)
        record = instance.node._record
        assert record.DirectoryRecordType == "IMAGE"
        record.ReferencedFileID = ["A", "B"]
        written = DicomFileLike(BytesIO())
        files._write_dicomdir(written)
        assert b"A\\B" in written.parent.getvalue()
    finally:
        files._stage["t"].cleanup()


def test_a_study_that_the_library_cannot_do_keeps_no_other(
    stage: FolderEgress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = sorted({image.study_instance_uid for image in IMAGES})
    made = dicomdir.write_dicomdir

    def fails(folder: Path, target: Path, *, flush: bool) -> int:
        if folder.name == bad:
            raise ValueError("DOE^JANE")
        return made(folder, target, flush=flush)

    monkeypatch.setattr(dicomdir, "write_dicomdir", fails)
    send(stage, IMAGES)
    until(lambda: "cannot be made" in caplog.text and len(named(tmp_path / "out" / good)) == 3, 20)
    assert "DOE" not in caplog.text
    assert "thread" not in caplog.text


def test_every_image_is_named(stage: FolderEgress, tmp_path: Path) -> None:
    send(stage, IMAGES)
    folders = {image.study_instance_uid: tmp_path / "out" / image.study_instance_uid for image in IMAGES}
    assert len(folders) == 2
    for folder in folders.values():
        until(lambda folder=folder: len(named(folder)) == 3, 20)
        for uid, path in named(folder).items():
            assert path.read_bytes().endswith(BY_UID[uid].dataset), "an image is written as it leaves"
            assert all(len(part) == 8 for part in path.relative_to(folder).parts)
        records = pydicom.dcmread(folder / "DICOMDIR").DirectoryRecordSequence
        kinds = [record.DirectoryRecordType for record in records]
        assert kinds[:3] == ["PATIENT", "STUDY", "SERIES"]
        assert kinds.count("IMAGE") == 3


def test_a_late_image_is_named_too_and_what_is_no_image_is_not(stage: FolderEgress, tmp_path: Path) -> None:
    folder = tmp_path / "out" / IMAGES[0].study_instance_uid
    send(stage, IMAGES[:2])
    until(lambda: len(named(folder)) == 2, 20)
    (next(named(folder).values().__iter__()).parent / "NOTES").write_bytes(b"notes")
    (folder / "x.txt").write_bytes(b"notes")
    send(stage, IMAGES[2:3])
    until(lambda: len(named(folder)) == 3, 20)
    assert not list((tmp_path / "out" / ".mapdr").iterdir())


def test_the_next_start_finds_what_is_due(stage: FolderEgress, tmp_path: Path) -> None:
    folder = tmp_path / "out" / IMAGES[0].study_instance_uid
    send(stage, IMAGES[:2])
    stage.stop(time.monotonic() + 5)
    assert not named(folder)
    other = egress(tmp_path / "out", dicomdir=True)
    try:
        other.connect([]).close()
        until(lambda: len(named(folder)) == 2, 20)
    finally:
        other.stop(time.monotonic() + 5)


@pytest.mark.peer("dcdirdmp", "dciodvfy")
def test_others_read_it(stage: FolderEgress, tmp_path: Path) -> None:
    folder = tmp_path / "out" / IMAGES[0].study_instance_uid
    send(stage, IMAGES[:3])
    until(lambda: len(named(folder)) == 3, 20)
    dump, verify = program("dcdirdmp"), program("dciodvfy")
    assert dump
    assert verify
    said = run([dump, folder / "DICOMDIR"])
    assert (said.stdout + said.stderr).count("IMAGE") == 3
    judged = run([verify, folder / "DICOMDIR"])
    assert "Error" not in judged.stdout + judged.stderr


def test_what_goes_out_as_a_medium_comes_in_as_one(stage: FolderEgress, tmp_path: Path, world: World) -> None:
    send(stage, IMAGES[:3])
    folder = tmp_path / "out" / IMAGES[0].study_instance_uid
    until(lambda: len(named(folder)) == 3, 20)
    for path in folder.rglob("*"):
        if path.is_file():
            world.put(f"cd/{path.relative_to(folder)}", path.read_bytes())
    world.start()
    world.until_empty()
    assert "cd/DICOMDIR" in world.done()
    assert len(world.uids()) == 3
    assert not world.refused()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stop()


def test_a_layout_of_one_s_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave out layout"):
        FolderEgressConfig(path=tmp_path, layout="{SOPInstanceUID}", dicomdir=True)
