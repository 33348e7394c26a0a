"""The files of a journal, without a spool around them: segments to the byte, and what is left of a fault."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mapdr.store.spool.journal import record, segment
from mapdr.store.spool.journal.record import BLOCK, HEAD
from mapdr.store.spool.journal.segment import Segment
from store.segments import image

SIZE = 4 * BLOCK
BEFORE = len(image(0, b"").before)


def open_files() -> int:
    """The number that the next file gets: it rises with each that is left open."""
    file = os.open(os.devnull, os.O_RDONLY)
    os.close(file)
    return file


def test_a_record_fits_to_the_last_byte_of_its_segment(tmp_path: Path) -> None:
    made = Segment(tmp_path / "001.segment", SIZE)
    try:
        made.begin(1)
        room = SIZE - BLOCK - HEAD
        assert (made.fits(room), made.fits(room + 1)) == (True, False)
        one = image(1, bytes(BLOCK))
        made.append(1, one)
        room = SIZE - record.blocks(BLOCK + HEAD + one.length) - HEAD
        assert (made.fits(room), made.fits(room + 1)) == (True, False)
        made.append(2, image(2, b"x" * (room - BEFORE)))
        assert (made.last, (tmp_path / "001.segment").stat().st_size) == (2, SIZE)
        assert not made.fits(1)
    finally:
        made.close()
    with segment.reading(tmp_path / "001.segment") as (read, length):
        assert [(each.sequence, record.whole(each, read)) for each in record.records(read, length)] == [
            (1, True),
            (2, True),
        ]


def test_a_flush_is_of_the_segments_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "001.segment"
    made = Segment(path, SIZE)
    flushed: list[int] = []
    monkeypatch.setattr(segment, "flush_data", lambda file: flushed.append(os.fstat(file).st_ino))
    made.flush()
    made.close()
    assert flushed == [path.stat().st_ino]


@pytest.mark.parametrize("piece", [5000, 1 << 20])
def test_a_segment_of_another_size_is_made_anew_with_nothing_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(segment, "_PIECE", piece)
    path = tmp_path / "001.segment"
    for old in (SIZE + 10, SIZE - 10):
        path.write_bytes(b"x" * old)
        Segment(path, SIZE).close()
        assert path.read_bytes() == bytes(SIZE)


@pytest.mark.parametrize("place", ["flush_to_medium", "sync_folder", "_write_at"])
def test_a_segment_that_cannot_be_made_leaves_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The room that it took is needed; one that was there before has images, and stays."""

    def fails(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    there = Segment(tmp_path / "001.segment", SIZE)
    there.close()
    before = open_files()
    monkeypatch.setattr(segment, place, fails)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        Segment(tmp_path / "002.segment", SIZE)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        segment.Checkpoint(tmp_path)
    Segment(tmp_path / "001.segment", SIZE).give_up()
    assert segment.segments(tmp_path) == [tmp_path / "001.segment"]
    assert open_files() == before


class Bad:
    """A file whose bytes from `BLOCK` on cannot be read."""

    def __init__(self, file: Any, number: int) -> None:
        self._file, self._number = file, number
        self.seek, self.fileno = file.seek, file.fileno

    def read(self, count: int) -> bytes:
        left = BLOCK - self._file.tell()
        if left <= 0:
            raise OSError(self._number, os.strerror(self._number))
        data: bytes = self._file.read(min(left, count))
        return data


def make_bad(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = Path.open

    @contextmanager
    def opened(path: Path, *args: Any, **options: Any) -> Iterator[Any]:
        with real(path, *args, **options) as file:
            yield Bad(file, number)

    monkeypatch.setattr(Path, "open", opened)


def test_what_the_medium_does_not_give_is_zeros_of_the_same_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that is given fewer bytes takes it for the end."""
    path = tmp_path / "001.segment"
    path.write_bytes(b"x" * SIZE)
    faults: list[str] = []
    make_bad(monkeypatch, errno.EIO)
    with segment.reading(path, lambda: faults.append("one")) as (read, length):
        assert length == SIZE
        assert read(10, 20) == b"x" * 20
        assert faults == []
        assert read(BLOCK - 5, 12) == b"x" * 5 + bytes(7)
        assert faults == ["one"]
    monkeypatch.undo()
    make_bad(monkeypatch, errno.EACCES)
    with segment.reading(path) as (read, _), pytest.raises(PermissionError):
        read(BLOCK, 1)  # whatever else it is: nothing is known of the bytes, so the start ends


def test_a_segment_that_is_set_aside_is_so_after_a_power_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "001.segment"
    synced: list[tuple[Path, list[str]]] = []

    def sync(folder: Path) -> None:
        synced.append((folder, [each.name for each in folder.iterdir()]))

    monkeypatch.setattr(segment, "sync_folder", sync)
    for content in (b"one", b"two"):
        path.write_bytes(content)
        assert segment.set_aside(path).read_bytes() == content
    assert synced == [(tmp_path, ["001.damaged"])] * 2
