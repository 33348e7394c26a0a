"""Random access to the bytes of a payload without reading it whole."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple

from mapdr.kernel.files import READ, SHARED_READS, read_at
from mapdr.kernel.item import FileSlice, Part
from mapdr.kernel.proof import Proof, damaged

_LARGE = 1 << 16
"""Bytes that are read rather than mapped, where the system reads at a place: such as frames. What lies within
as many at the beginning of a file, such as a header, comes from one read of these: to map a file, and to let
go of it, takes longer."""


class Held(NamedTuple):
    """The data set of a spooled image in memory, and its proof, by which slices of its file are known."""

    proof: Proof
    data: bytes


class PartsView:
    """Slices of what `parts` hold together; files are mapped, and what is large is read. A context manager.

    What of them is `held` is in memory already, and is not read again.
    A file that is shorter than its slice raises Permanent(reason="damaged"): the spool never shrinks.
    """

    def __init__(self, parts: Sequence[Part], held: Held | None = None) -> None:
        self._held = held
        self.parts = tuple(part for part in parts if _length(part))
        self._starts: list[int] = []
        self._length = 0
        for part in self.parts:
            self._starts.append(self._length)
            self._length += _length(part)
        self._stack = ExitStack()
        self._maps: dict[int, mmap.mmap] = {}
        self._files: dict[int, int] = {}
        self._beginnings: dict[int, bytes] = {}

    def __enter__(self) -> PartsView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._maps.clear()
        self._files.clear()
        self._beginnings.clear()
        self._stack.close()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, span: slice) -> bytes:
        start, stop, _ = span.indices(self._length)
        return b"".join(self._pieces(start, stop))

    def buffer(self) -> memoryview:
        """All bytes as one buffer, without a copy when there is one part. Release it before the view ends."""
        at_hand = self.at_hand
        if at_hand is not None:
            return at_hand
        if len(self.parts) == 1 and not isinstance(self.parts[0], bytes):
            part = self.parts[0]
            return memoryview(self._map(0, part))[part.offset : part.offset + part.length]
        return memoryview(self[:])

    @property
    def at_hand(self) -> memoryview | None:
        """All bytes, where they are one part that is in memory."""
        if len(self.parts) != 1:
            return None
        part = self.parts[0]
        return memoryview(part) if isinstance(part, bytes) else self._in_memory(part, 0, part.length)

    def _in_memory(self, part: FileSlice, begin: int, end: int) -> memoryview | None:
        """The bytes of a slice of a file from `begin` to `end`, if they are held."""
        held = self._held
        if held is None or part.proof is not held.proof:
            return None
        start = part.offset - held.proof.offset
        return memoryview(held.data)[start + begin : start + end]

    def slice(self, start: int, stop: int) -> tuple[Part, ...]:
        """The parts from `start` to `stop`, still as slices of files where they are that."""
        found: list[Part] = []
        for index, begin, end in self._overlaps(start, min(stop, self._length)):
            part = self.parts[index]
            if isinstance(part, bytes):
                found.append(part[begin:end])
            else:
                found.append(part.cut(begin, end))
        return tuple(found)

    def _overlaps(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        index = max(bisect_right(self._starts, start) - 1, 0)
        while index < len(self.parts) and self._starts[index] < stop:
            base = self._starts[index]
            begin, end = max(start - base, 0), min(stop - base, _length(self.parts[index]))
            if begin < end:
                yield index, begin, end
            index += 1

    def _pieces(self, start: int, stop: int) -> Iterator[bytes]:
        for index, begin, end in self._overlaps(start, stop):
            part = self.parts[index]
            if isinstance(part, bytes):
                yield part[begin:end]
            elif (found := self._in_memory(part, begin, end)) is not None:
                yield bytes(found)
            elif SHARED_READS and end - begin >= _LARGE:
                yield self._read(index, part, part.offset + begin, part.offset + end)
            elif SHARED_READS and end <= _LARGE and index not in self._maps:
                yield self._beginning(index, part)[begin:end]
            else:
                yield self._map(index, part)[part.offset + begin : part.offset + end]

    def _read(self, index: int, part: FileSlice, start: int, stop: int) -> bytes:
        """What a map would give, but the file's pages do not count as this process's memory."""
        found = read_at(self._file(index, part), stop - start, start)
        if len(found) < stop - start:
            raise damaged()
        return found

    def _file(self, index: int, part: FileSlice) -> int:
        file = self._files.get(index)
        if file is None:
            file = os.open(part.path, READ)
            self._stack.callback(os.close, file)
            self._files[index] = file
        return file

    def _beginning(self, index: int, part: FileSlice) -> bytes:
        found = self._beginnings.get(index)
        if found is None:
            found = self._beginnings[index] = beginning(part, _LARGE)
        return found

    def _map(self, index: int, part: FileSlice) -> mmap.mmap:
        found = self._maps.get(index)
        if found is None:
            file = os.open(part.path, READ)
            try:
                found = self._stack.enter_context(mmap.mmap(file, 0, access=mmap.ACCESS_READ))
            finally:
                os.close(file)
            if len(found) < part.offset + part.length:
                raise damaged()
            self._maps[index] = found
        return found


def beginning(part: FileSlice, most: int) -> bytes:
    """The first bytes of a slice, `most` of them at most; the file is closed again.

    Raises Permanent(reason="damaged") as PartsView, and OSError.
    """
    file = os.open(part.path, READ)
    try:
        if os.fstat(file).st_size < part.offset + part.length:
            raise damaged()
        return read_at(file, min(most, part.length), part.offset)
    finally:
        os.close(file)


def _length(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else part.length
