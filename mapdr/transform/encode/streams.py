"""The codestreams of an image while they are made: in memory up to a size, beyond in a temporary file."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator

from mapdr.kernel.item import FileSlice, Part
from mapdr.transform.fragments import around, fragment_head
from mapdr.transform.scratch import Scratch, ScratchFile

_ABSENT = -1


class Streams:
    """Codestreams by the number of their frame, put and read from any thread, in any order.

    In a file each is a fragment (PS3.5 section A.4), and those that lie one behind the other are one part.
    """

    def __init__(self, scratch: Scratch) -> None:
        self.scratch = scratch
        self._lock = threading.Lock()
        self._held: dict[int, bytes] = {}
        self._file: ScratchFile | None = None
        # By frame, 16 bytes of one: an image may have a hundred thousand.
        self._lengths = array("q")  # of its codestream, or _ABSENT
        self._places = array("q")  # where its fragment begins in the file
        self._count = 0
        self.size = 0
        """Bytes of the codestreams."""

    def put(self, index: int, stream: bytes) -> None:
        """Keep the codestream of the frame `index`, of which there is none. Raises Temporary, OSError."""
        with self._lock:
            self._note(index, len(stream))
            if self._file is None:
                self._held[index] = stream
                if self.size <= self.scratch.held or len(self._held) == 1:
                    return  # one alone was in memory as a whole already
                self._file = self.scratch.file()
                for first in sorted(self._held):
                    self._write(first, self._held.pop(first))
                return
            self._write(index, stream)

    def _note(self, index: int, length: int) -> None:
        more = index + 1 - len(self._lengths)
        if more > 0:
            self._lengths.extend([_ABSENT] * more)
            self._places.extend([_ABSENT] * more)
        self._lengths[index] = length
        self._count += 1
        self.size += length

    def _write(self, index: int, stream: bytes) -> None:
        assert self._file is not None
        padding = bytes(len(stream) & 1)
        self._places[index] = self._file.append(fragment_head(len(stream) + len(padding)), stream, padding)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, index: int) -> bool:
        return index < len(self._lengths) and self._lengths[index] != _ABSENT

    def __getitem__(self, index: int) -> bytes:
        with self._lock:
            held = self._held.get(index)
            if held is not None:
                return held
            at = self._places[index]
            assert self._file is not None
        return self._file.read(at + 8, at + 8 + self._lengths[index])

    def __iter__(self) -> Iterator[bytes]:
        """The codestreams in the order of their frames."""
        return (self[index] for index in self.indexes)

    @property
    def indexes(self) -> list[int]:
        """The numbers of the frames."""
        return [index for index, length in enumerate(self._lengths) if length != _ABSENT]

    @property
    def in_memory(self) -> int:
        """Bytes that are in memory."""
        return 0 if self._file is not None else self.size

    def length(self, index: int) -> int:
        """Bytes of one codestream."""
        return self._lengths[index]

    def fragment(self, index: int) -> tuple[Part, ...]:
        """The fragment of a frame: its item's head, the codestream, and a byte of padding if that is odd."""
        size = self.length(index)
        if index in self._held:
            head, stream = fragment_head(size + (size & 1)), self._held[index]
            return (head, stream + b"\0") if size & 1 else (head, stream)
        assert self._file is not None
        at = self._places[index]
        return (self._file.slice(at, at + 8 + size + (size & 1)),)

    def encapsulated(self) -> tuple[bytes, tuple[Part, ...]]:
        """One fragment per frame, as (elements before Pixel Data, the parts of the Pixel Data element).

        Nothing is put or read any more.
        """
        indexes = self.indexes
        lengths = [self.length(index) for index in indexes]
        parts = merged(part for index in indexes for part in self.fragment(index))
        self.close()
        return around([length + (length & 1) for length in lengths], parts)

    def close(self) -> None:
        """Nothing is put or read any more."""
        if self._file is not None:
            self._file.close()


def merged(parts: Iterator[Part]) -> tuple[Part, ...]:
    """The parts, slices of one file that follow each other as one."""
    out: list[Part] = []
    for part in parts:
        last = out[-1] if out else None
        if (
            isinstance(part, FileSlice)
            and isinstance(last, FileSlice)
            and part.keeper is last.keeper
            and part.path == last.path
            and part.proof is last.proof
            and part.offset == last.offset + last.length
        ):
            out[-1] = FileSlice(last.path, last.offset, last.length + part.length, last.proof, last.keeper)
        else:
            out.append(part)
    return tuple(out)
