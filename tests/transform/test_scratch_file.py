"""A temporary file by itself: what it asks of the disk, and what its trouble is called."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.kernel.errors import Temporary
from mapdr.kernel.item import FileSlice
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.transform import scratch
from mapdr.transform.scratch import Scratch, ScratchFile, emptied

MIB = 1 << 20


class Disk:
    """A disk with room for so much; `asked` how often and where it was looked at."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.asked: list[Path] = []

    def disk_usage(self, folder: Path) -> Any:
        self.asked.append(folder)
        return SimpleNamespace(free=self.free)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk(1 << 40)
    monkeypatch.setattr(shutil, "disk_usage", found.disk_usage)
    return found


class File:
    """In the place of a file: it writes `most` bytes at a time, or raises."""

    def __init__(self, most: int | None = 2, error: OSError | None = None) -> None:
        self.most, self.error = most, error
        self.written: dict[int, bytes] = {}
        self.at = 0

    def seek(self, at: int) -> None:
        self.at = at

    def write(self, data: memoryview) -> int | None:
        if self.error:
            raise self.error
        taken = bytes(data[: self.most])
        self.written[self.at] = self.written.get(self.at, b"") + taken
        return len(taken)

    def close(self) -> None:
        if self.error:
            raise self.error


def test_a_node_keeps_an_eighth_of_its_memory_and_64_mib_at_most(tmp_path: Path) -> None:
    for memory, held in ((80, 10), (512 * MIB, 64 * MIB), (512 * MIB - 8, 64 * MIB - 1), (1 << 40, 64 * MIB)):
        node = Settings("a", "node", tmp_path, bytes(32), Watch(), 1, memory, scratch=tmp_path / "x", spare=7)
        assert Scratch.of(node) == Scratch(held, tmp_path / "x", 7)


def test_what_fits_stays_in_memory_as_it_came_and_more_goes_to_one_file(tmp_path: Path) -> None:
    pieces = [b"abc", b"", b"de"]
    assert Scratch(5, tmp_path).gathered(pieces) == tuple(pieces)
    assert not list(tmp_path.iterdir())
    (part,) = Scratch(4, tmp_path).gathered(iter([*pieces, b"fgh", b"i"]))
    assert isinstance(part, FileSlice)
    (path,) = tmp_path.iterdir()
    assert (part.path, part.offset, part.length) == (path, 0, 9)
    assert path.name.startswith("image-")
    assert path.suffix == ".part"
    assert path.read_bytes() == b"abcdefghi"
    keeper: Any = part.keeper
    with pytest.raises(ValueError, match="closed"):
        keeper.append(b"more")
    keeper.close()
    del part, keeper
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_what_has_gone_to_the_file_is_not_kept_in_memory(tmp_path: Path) -> None:
    first, counts = bytes(100), []

    def pieces() -> Iterator[bytes]:
        for _ in range(4):
            counts.append(sys.getrefcount(first))
            yield first

    Scratch(150, tmp_path).gathered(pieces())
    assert counts[3] <= counts[0] + 2, "those that were looked at last, of four"


def test_the_file_is_closed_before_it_is_removed(tmp_path: Path) -> None:
    file = ScratchFile(tmp_path)
    opened = file._file
    del file
    gc.collect()
    assert opened.closed, "Windows removes no file that is open"
    assert not list(tmp_path.iterdir())


def test_pieces_lie_one_behind_the_other_and_are_read_anywhere(tmp_path: Path) -> None:
    file = ScratchFile(tmp_path)
    assert [file.append(b"ab", b"", b"cde"), file.append(), file.append(b"f"), file.size] == [0, 5, 5, 6]
    assert [file.read(0, 6), file.read(1, 3), file.read(6, 6)] == [b"abcdef", b"bc", b""]
    assert file.append(b"g") == 6, "behind what is there, wherever it was read"
    assert file.read(0, 7) == b"abcdefg"
    assert b"".join(file.slice(2, 5).chunks(10)) == b"cde"
    with pytest.raises(EOFError):
        file.read(5, 8)


def test_what_is_written_in_part_is_written_on(tmp_path: Path) -> None:
    file = ScratchFile(tmp_path)
    whole, file._file = file._file, File()  # type: ignore[assignment]
    assert file.append(b"abcde", b"fg") == 0
    assert file._file.written == {0: b"abcde", 5: b"fg"}
    assert file.size == 7
    file._file = whole


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "there is no room on the disk"),
        (errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC, "there is no room on the disk"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_trouble_lets_the_image_wait_and_adds_nothing(tmp_path: Path, number: int, words: str) -> None:
    file = ScratchFile(tmp_path)
    file.append(b"ab")
    whole, file._file = file._file, File(error=OSError(number, os.strerror(number)))  # type: ignore[assignment]
    for work in (lambda: file.append(b"cd"), file.close):
        with pytest.raises(Temporary, match=words):
            work()
    file._file = whole
    assert file.size == 2
    assert file.append(b"ef") == 2
    assert file.read(0, 4) == b"abef"


def test_the_disk_is_looked_at_before_there_is_a_file_and_each_64_mib(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_LOOK", 10)
    disk.free = 109
    with pytest.raises(Temporary, match="there is no room on the disk"):
        ScratchFile(tmp_path, spare=100)
    assert not list(tmp_path.iterdir())
    disk.free = 110
    file = ScratchFile(tmp_path, spare=100)
    assert disk.asked == [tmp_path] * 2
    for piece, looks in ((9, 2), (1, 2), (1, 3), (9, 3), (30, 4), (1, 5), (1, 5)):
        file.append(bytes(piece))
        assert len(disk.asked) == looks, (file.size, piece)
    disk.free = 109
    file.append(bytes(8))
    with pytest.raises(Temporary, match="there is no room on the disk"):
        file.append(b"a")
    assert file.size == 60


def test_who_spares_nothing_does_not_look(tmp_path: Path, disk: Disk) -> None:
    ScratchFile(tmp_path).append(b"a")
    ScratchFile(tmp_path, spare=1).append(b"a")
    assert disk.asked == [tmp_path]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Where files were asked for; there is no folder for temporary files."""
    asked: list[Any] = []
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "gone"))
    real = tempfile.mkstemp

    def noted(suffix: str, prefix: str, dir: Path) -> Any:
        asked.append(dir)
        return real(suffix, prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkstemp", noted)
    return asked


def test_a_folder_of_the_node_is_made_again_and_that_of_the_system_is_not(
    made: list[Any], tmp_path: Path
) -> None:
    with pytest.raises(Temporary, match="cannot be written"):
        ScratchFile(None)
    assert made == [tmp_path / "gone"]
    assert not (tmp_path / "gone").exists()
    ScratchFile(tmp_path / "prepared" / "node").append(b"a")
    assert made[1:] == [tmp_path / "prepared" / "node"] * 2


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_the_folder_and_the_one_around_it_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "prepared" / "node"
    assert emptied(folder) == folder
    for each in (folder, folder.parent):
        assert not each.stat().st_mode & 0o077


def test_both_belong_to_who_owns_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Path] = []
    monkeypatch.setattr(scratch, "give_to_owner", given.append)
    folder = emptied(tmp_path / "prepared" / "node")
    assert given == [folder.parent, folder]


def test_what_cannot_be_removed_is_in_nobodys_way(tmp_path: Path) -> None:
    folder = emptied(tmp_path / "prepared" / "node")
    (folder / "image-a").mkdir()
    (folder / "image-b.part").write_bytes(b"x")
    emptied(folder)
    assert [each.name for each in folder.iterdir()] == ["image-a"]
