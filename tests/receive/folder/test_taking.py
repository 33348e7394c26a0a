"""One file into the store: what is safe, what is refused for good, and what is tried again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from mapdr.kernel.errors import Refused
from mapdr.kernel.item import Source
from mapdr.kernel.status import CANNOT_UNDERSTAND, PROCESSING_FAILURE
from mapdr.receive.folder import taking
from mapdr.receive.folder.archive import ZipLimits
from mapdr.receive.folder.taking import Changed, Stopped, Taken, Taker, is_later
from receive.fakes import FakeIntake
from receive.folder.test_receiver import medium
from receive.folder.world import IMAGE, IMAGES, zipped

SIZE = len(IMAGE.dataset)


class Once:
    """A taker of one file, which is another one with each content."""

    def __init__(self, path: Path, intake: FakeIntake) -> None:
        self.path, self.intake = path, intake
        self.stopped: Iterator[bool] = repeat(False)
        self.named: list[Any] = []
        self.directory = ""
        self.taker = Taker(intake, Source("drop", "", "", ""), ZipLimits(), self._asked_to_stop)

    def take(self, content: bytes | None = None) -> Taken:
        if content is not None:
            self.path.write_bytes(content)
            self.taker.forget("a")
        with self.path.open("rb") as file:
            return self.taker.take(file, "a", self._asked)

    def _asked_to_stop(self) -> bool:
        return next(self.stopped)

    def _asked(self, ids: Any) -> str:
        self.named += ids
        return self.directory


@pytest.fixture
def once(tmp_path: Path, intake: FakeIntake) -> Once:
    return Once(tmp_path / "a", intake)


@pytest.fixture
def intake() -> FakeIntake:
    return FakeIntake()


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_data_set_that_begins_anywhere_in_the_head(
    once: Once, monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    """Also where the bytes that are looked at end with the File Meta group."""
    whole = IMAGE.part10()
    monkeypatch.setattr(taking, "HEAD", len(whole) - SIZE + max(0, extra))
    monkeypatch.setattr(taking, "CHUNK", 1000 if extra < 0 else SIZE)
    assert once.take(whole) == Taken(1, SIZE)
    (kept,) = once.intake.kept
    assert kept.data == IMAGE.dataset


@pytest.mark.parametrize("phase", ["begin_error", "write_error", "commit_error"])
@pytest.mark.parametrize(
    ("status", "later"),
    [
        (0xA700, True),
        (0xA7FF, True),
        (PROCESSING_FAILURE, True),
        (0xA800, False),
        (0xA900, False),
        (0xC000, False),
    ],
)
def test_what_the_store_does_not_take_at_present_is_tried_again(
    once: Once, phase: str, status: int, later: bool
) -> None:
    refused = Refused(status, "so")
    setattr(once.intake, phase, refused)
    assert is_later(refused) == later
    large = IMAGE.part10() + bytes(2000)
    for content in (large, zipped({"a": large, "b": b"a viewer"})):
        if later:
            with pytest.raises(Refused):
                once.take(content)
        else:
            told = once.take(content)
            assert (told.images, told.status) == (0, status)
            assert "so" in told.refused
    assert once.intake.kept == []
    assert once.intake.aborted == once.intake.begun


@pytest.mark.parametrize("what", ["size", "time"])
@pytest.mark.parametrize("content", ["image", "archive", "no image", "refused"])
def test_what_is_written_to_meanwhile_is_neither_taken_nor_refused(
    once: Once, monkeypatch: pytest.MonkeyPatch, what: str, content: str
) -> None:
    whole = IMAGE.part10()
    data = {"archive": zipped({"a": whole})[:-30], "no image": b"notes of a person"}.get(content, whole)
    if content == "refused":
        once.intake.begin_error = Refused(0xC000, "so")
    once.path.write_bytes(data)
    real = os.stat(once.path)
    looks: list[int] = []

    class Later:
        st_size = real.st_size + (what == "size")
        st_mtime_ns = real.st_mtime_ns + (what == "time")

    def fstat(file: int) -> Any:
        looks.append(file)
        return real if len(looks) == 1 else Later

    monkeypatch.setattr(taking.os, "fstat", fstat)
    with pytest.raises(Changed):
        once.take()
    assert once.intake.kept == []


def test_a_stop_leaves_the_file(once: Once, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "CHUNK", 100)
    monkeypatch.setattr(taking, "HEAD", 600)
    once.stopped = iter([False, True])
    with pytest.raises(Stopped):
        once.take(IMAGE.part10())
    assert (once.intake.begun, once.intake.aborted, once.intake.kept) == (1, 1, [])


def test_an_archive_is_gone_on_with_or_begun_again(once: Once) -> None:
    class Small(FakeIntake):
        room = 2

        def begin(self, *words: Any) -> Any:
            if len(self.kept) == self.room:
                raise Refused(0xA700, "the disk is full")
            return super().begin(*words)

    intake = Small()
    again = Once(once.path, intake)
    content = zipped({str(number): image.part10() for number, image in enumerate(IMAGES)})
    with pytest.raises(Refused):
        again.take(content)
    assert len(intake.kept) == 2
    intake.room = 100
    assert again.take() == Taken(6, 6 * SIZE), "with those of the first try"
    assert [kept.sop_instance_uid for kept in intake.kept] == [image.sop_instance_uid for image in IMAGES]
    intake.kept.clear()
    again.taker.forget("a")
    assert again.take() == Taken(6, 6 * SIZE)
    assert len(intake.kept) == 6


def test_what_an_archive_holds_beside_images(once: Once, tmp_path: Path) -> None:
    medium(tmp_path / "medium")
    directory = (tmp_path / "medium/DICOMDIR").read_bytes()
    whole = IMAGE.part10()
    assert once.take(zipped({"a": whole, "DICOMDIR": directory, "view.exe": b"MZ"})) == Taken(1, SIZE)
    assert once.named == [], "a medium in an archive: what it names is in the archive"
    nested = once.take(zipped({"a": whole, "b": zipped({"c": whole})}))
    assert (nested.images, nested.status) == (1, CANNOT_UNDERSTAND)
    assert "its 1 images were taken" in nested.refused
    empty = once.take(zipped({"view.exe": b"MZ"}))
    assert (empty.images, empty.status) == (0, CANNOT_UNDERSTAND)


def test_the_directory_of_a_medium_is_asked_about_and_never_stored(
    once: Once, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = medium(tmp_path / "medium")
    directory = (tmp_path / "medium/DICOMDIR").read_bytes()
    assert once.take(directory) == Taken(refused="", status=CANNOT_UNDERSTAND)
    assert sorted("/".join(each) for each in once.named) == names
    once.directory = "not all there"
    assert once.take(directory).refused == "not all there"
    cut = once.take(directory[:-20])
    assert "ends within an element" in cut.refused
    meta = directory.index(b"DICM") + 4
    meta += int.from_bytes(directory[meta + 8 : meta + 12], "little") + 12
    monkeypatch.setattr(taking, "LARGEST_DIRECTORY", len(directory) - meta)
    assert once.take(directory).refused == "not all there"
    monkeypatch.setattr(taking, "LARGEST_DIRECTORY", len(directory) - meta - 1)
    assert "larger than any medium" in once.take(directory).refused
    assert once.intake.begun == 0
