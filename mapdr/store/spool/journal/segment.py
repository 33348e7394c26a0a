"""The journal's files: segments of a fixed size, zeroed before use, and the checkpoint.

    spool/<node>/journal/<number>.segment     records (`record`)
    spool/<node>/journal/<number>.damaged     a segment that could not be read wholly, out of use
    spool/<node>/journal/checkpoint           two blocks, written in turn: up to which record files are safe

A flush of a file whose bytes were all written before changes no metadata, so the file system's own journal is
not written for it. Nothing here knows what an image is.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mapdr.kernel.durable import flush_to_medium, sync_folder
from mapdr.kernel.errors import ConfigurationError
from mapdr.store.spool.folder import DAMAGED
from mapdr.store.spool.journal import record

ENDING = ".segment"
_CHECKPOINT = "checkpoint"
_PIECE = 1 << 20
_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_UNREADABLE = {errno.EIO, *((errno.EACCES, errno.EINVAL) if sys.platform == "win32" else ())}
"""What a read says of a place that the medium does not give; the C library of Windows has these for its
ERROR_CRC and ERROR_IO_DEVICE."""

if sys.platform == "win32" or sys.platform == "darwin":  # pragma: no cover  these have one flush for all

    def flush_data(file: int) -> None:
        """Flush a file's bytes to the medium. Raises OSError."""
        flush_to_medium(file)

else:

    def flush_data(file: int) -> None:
        """Flush a file's bytes to the medium, and its length if that has changed. Raises OSError."""
        os.fdatasync(file)


def is_whole(path: Path, size: int) -> bool:
    """Whether there is a segment of this size. Raises OSError."""
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


class Segment:
    """One segment, open for writing. Not thread-safe, but for `flush`."""

    def __init__(self, path: Path, size: int) -> None:
        """Open it, or make it: zeros are written, not only reserved, and flushed. Raises OSError, and then
        leaves no part of one."""
        self.size = size
        self.last = 0
        """The sequence number of its last record."""
        self._path = path
        self._key = 0
        self._at = record.BLOCK
        self._made = not is_whole(path, size)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o640)
        try:
            if self._made:
                _fill(self._file, size)
                sync_folder(path.parent)
        except BaseException:
            self.give_up()
            raise

    def begin(self, first: int) -> None:
        """Forget what it holds; its next record has this sequence number. Safe with the next flush."""
        self._key, self._at = secrets.randbits(64), record.BLOCK
        self._write(0, [record.segment_block(self._key, first)])

    def fits(self, length: int) -> bool:
        """Whether a record with a body of so many bytes finds room behind the others."""
        return self._at + record.HEAD + length <= self.size

    def append(self, sequence: int, image: record.Image) -> None:
        """Write a record that `fits`. Raises OSError: then the segment is not to be used any more."""
        self._write(self._at, [record.head(self._key, sequence, image), image.before, image.data])
        self._at = record.blocks(self._at + record.HEAD + image.length)
        self.last = sequence

    def flush(self) -> None:
        """Make safe what was written before. Raises OSError: then none of it is, whatever comes later."""
        flush_data(self._file)

    def is_in_place(self) -> bool:
        """Whether it still is where the next start looks for it: a person may have removed or moved it."""
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(self._path))
        except OSError:
            return False

    def close(self) -> None:
        """Close it. Once."""
        os.close(self._file)

    def give_up(self) -> None:
        """Close it instead, and remove it if it was made here: the room is needed. Raises OSError."""
        self.close()
        if self._made:
            self._path.unlink(missing_ok=True)

    def _write(self, at: int, parts: Sequence[record.Buffer]) -> None:
        _write_at(self._file, at, parts)


class Checkpoint:
    """Up to which sequence number all files are safe. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Open it, or make it. Raises OSError."""
        path = folder / _CHECKPOINT
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o640)
        try:
            self._number, self.sequence = _newest(*_checkpoint_blocks(path))
            if os.fstat(self._file).st_size != 2 * record.BLOCK:
                _fill(self._file, 2 * record.BLOCK)
                sync_folder(folder)
                if self.sequence:  # one block was whole: sequence numbers go on behind it
                    self.write(self.sequence)
        except BaseException:
            os.close(self._file)
            raise

    def write(self, sequence: int) -> None:
        """Say so of a later one, flushed. Raises OSError."""
        self._number += 1
        block = record.checkpoint_block(self._number, sequence)
        _write_at(self._file, self._number % 2 * record.BLOCK, [block])
        flush_data(self._file)
        self.sequence = sequence

    def close(self) -> None:
        """Close it. Once."""
        os.close(self._file)


class CheckpointRead(NamedTuple):
    """What a checkpoint says: the sequence number up to which all files are safe, 0 where no block of it is
    whole; and whether nothing of it is damaged or gone, which may have said a later number."""

    sequence: int
    is_whole: bool


def read_checkpoint(folder: Path) -> CheckpointRead:
    """What the checkpoint of a journal says. Raises OSError, ConfigurationError."""
    blocks = _checkpoint_blocks(folder / _CHECKPOINT)
    for block in blocks:
        refuse_another_version(block, folder)
    is_whole = all(
        len(block) == record.BLOCK and (record.is_blank(block) or record.read_checkpoint_block(block))
        for block in blocks
    )
    return CheckpointRead(_newest(*blocks)[1], is_whole)


def refuse_another_version(block: bytes, folder: Path) -> None:
    """Raise ConfigurationError where a block of a journal was written by a version that writes otherwise."""
    if record.is_of_another_version(block):
        raise ConfigurationError(
            f"{folder}: this journal is of another version of MAPDR, and may hold images that are nowhere "
            "else yet: start that version on this data folder and stop it, then this one"
        )


def segments(folder: Path) -> list[Path]:
    """The segments of a journal in no order that means anything; none where there is no folder."""
    return sorted(folder.glob(f"*{ENDING}"))


@contextmanager
def reading(path: Path, on_fault: Callable[[], object] = lambda: None) -> Iterator[tuple[record.Read, int]]:
    """How to read a file of the journal, and its length. Raises OSError.

    What the medium does not give is read as zeros, and `on_fault` is called: the records there are not
    whole then, and all others can be had.
    """
    with path.open("rb", buffering=0) as file:

        def read(at: int, count: int) -> bytes:
            file.seek(at)
            pieces = []
            try:
                while count and (piece := file.read(count)):
                    pieces.append(piece)
                    count -= len(piece)
            except OSError as error:
                if error.errno not in _UNREADABLE:
                    raise
                on_fault()
                pieces.append(bytes(count))
            return b"".join(pieces)

        yield read, os.fstat(file.fileno()).st_size


def set_aside(path: Path) -> Path:
    """Take a segment out of use; where it is then, in the place of one that was set aside before. Raises
    OSError."""
    aside = path.with_suffix(DAMAGED)
    os.replace(path, aside)
    sync_folder(path.parent)
    return aside


def _checkpoint_blocks(path: Path) -> tuple[bytes, bytes]:
    """Both blocks of a checkpoint. Raises OSError."""
    return _checkpoint_block(path, 0), _checkpoint_block(path, record.BLOCK)


def _checkpoint_block(path: Path, at: int) -> bytes:
    """A block of a checkpoint, shorter where it is cut, empty where it is not to be had. Raises OSError."""
    faults: list[None] = []
    try:
        with reading(path, lambda: faults.append(None)) as (read, _):
            block = read(at, record.BLOCK)
    except FileNotFoundError:
        return b""
    return b"" if faults else block


def _newest(*blocks: bytes) -> tuple[int, int]:
    """Number and sequence of the newest of checkpoint blocks that is whole."""
    found = map(record.read_checkpoint_block, blocks)
    return max((each for each in found if each is not None), default=(0, 0))


def _fill(file: int, size: int) -> None:
    os.ftruncate(file, 0)
    zeros = bytes(min(size, _PIECE))
    for at in range(0, size, _PIECE):
        _write_at(file, at, [memoryview(zeros)[: min(_PIECE, size - at)]])
    flush_to_medium(file)


def _write_at(file: int, at: int, parts: Sequence[record.Buffer]) -> None:
    os.lseek(file, at, os.SEEK_SET)
    if hasattr(os, "writev"):
        left = sum(map(len, parts)) - os.writev(file, parts)
        if not left:
            return
        joined = b"".join(parts)
        parts = [memoryview(joined)[len(joined) - left :]]
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(file, view) :]
