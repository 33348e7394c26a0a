"""Encapsulated pixel data: frames out of fragments, and fragments out of frames (PS3.5 section A.4)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate

from mapdr.dicom import tags
from mapdr.dicom.tags import ITEM, PIXEL_DATA, SEQUENCE_END
from mapdr.dicom.write import Data, Element, element
from mapdr.kernel import budget
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Part

EXTENDED_OFFSETS, EXTENDED_LENGTHS = tags.EXTENDED_OFFSET_TABLE, tags.EXTENDED_OFFSET_TABLE_LENGTHS
OF_OTHER_FRAGMENTS = (tags.PIXEL_GROUP_LENGTH, EXTENDED_OFFSETS, EXTENDED_LENGTHS)
"""Elements of a header that do not hold any more when pixel data is written anew; the first is retired (PS3.5
section 7.2)."""
_ITEM = struct.pack("<HH", ITEM >> 16, ITEM & 0xFFFF)
_END = struct.pack("<HHI", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
_HEAD = struct.pack("<HH2sHI", PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF, b"OB", 0, 0xFFFFFFFF)
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\0\0\0\x0cjP  ", b"\0\0\0\x0cJXL ")
"""How JPEG and JPEG-LS, JPEG 2000, JPEG XL codestreams, JP2 files and containers of JPEG XL begin."""

_MANY, _EACH = 1 << 16, 48
"""Fragments of which the budget is told together, and the bytes that each takes while its frame is read: its
span twice, the array's room to grow, and how it begins."""

Span = tuple[int, int]


class Spans:
    """Where fragments begin and end, in their order: kept in 16 bytes for each, for there may be millions."""

    def __init__(self) -> None:
        self._ends = array("q")

    def part(self, first: int, last: int) -> Spans:
        """Those from number `first` on, before number `last`."""
        found = Spans()
        found._ends = self._ends[2 * first : 2 * last]
        return found

    def add(self, start: int, stop: int) -> None:
        """The next one."""
        self._ends.extend((start, stop))

    def __len__(self) -> int:
        return len(self._ends) // 2

    def __getitem__(self, index: int) -> Span:
        if not 0 <= index < len(self):
            raise IndexError("there is no such fragment")
        return self._ends[2 * index], self._ends[2 * index + 1]

    def __iter__(self) -> Iterator[Span]:
        ends = iter(self._ends)
        return zip(ends, ends, strict=True)


class FrameSpans:
    """The spans of each frame's fragments."""

    def __init__(self, spans: Spans, firsts: Sequence[int]) -> None:
        """`firsts`: the number of each frame's first fragment."""
        self._spans, self._firsts = spans, firsts

    def __len__(self) -> int:
        return len(self._firsts)

    def __getitem__(self, index: int) -> Spans:
        if not 0 <= index < len(self):
            raise IndexError("there is no such frame")
        last = self._firsts[index + 1] if index + 1 < len(self) else len(self._spans)
        return self._spans.part(self._firsts[index], last)

    def __iter__(self) -> Iterator[Spans]:
        return (self[index] for index in range(len(self)))


def encapsulate(frames: Sequence[bytes], *, limit: int = 1 << 32) -> tuple[bytes, tuple[Part, ...]]:
    """One fragment per frame, as (elements before Pixel Data, the parts of the Pixel Data element).

    The elements before are the Extended Offset Table, and only there when an offset does not fit 32 bits
    (`limit`); otherwise the Basic Offset Table is filled (PS3.5 section A.4, PS3.3 section C.7.6.3.1.8).
    """
    padded = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    parts = [part for frame in padded for part in (fragment_head(len(frame)), frame)]
    return around([len(frame) for frame in padded], parts, limit=limit)


def around(
    lengths: Sequence[int], fragments: Sequence[Part], *, limit: int = 1 << 32
) -> tuple[bytes, tuple[Part, ...]]:
    """The same of `fragments`, heads of their items and all, whose codestreams have these (even) lengths."""
    offsets = [0, *accumulate(8 + length for length in lengths[:-1])]
    before, table = b"", b""
    if offsets[-1] < limit:
        table = struct.pack(f"<{len(offsets)}I", *offsets)
    else:
        before = element(EXTENDED_OFFSETS, "OV", struct.pack(f"<{len(offsets)}Q", *offsets))
        before += element(EXTENDED_LENGTHS, "OV", struct.pack(f"<{len(offsets)}Q", *lengths))
    return before, _joined(table, fragments)


def encapsulated(offsets: Sequence[int], spans: Sequence[tuple[tuple[Part, ...], int]]) -> tuple[Part, ...]:
    """The Pixel Data element of a Basic Offset Table and fragments (parts, length), padded to be even."""
    out: list[Part] = []
    for parts, size in spans:
        out += [fragment_head(size + (size & 1)), *parts, *([b"\0"] if size & 1 else [])]
    return _joined(struct.pack(f"<{len(offsets)}I", *offsets), out)


def fragment_head(length: int) -> bytes:
    """The head of the item that holds a fragment of `length` bytes."""
    return _ITEM + struct.pack("<I", length)


def _joined(table: bytes, fragments: Sequence[Part]) -> tuple[Part, ...]:
    return (_HEAD + fragment_head(len(table)) + table, *fragments, _END)


def fragments(data: Data, pixel: Element) -> tuple[tuple[int, ...], Spans]:
    """The Basic Offset Table and the spans of the fragments, of which the budget is told once they are many.

    Raises Permanent(reason="fragments"), Short.
    """
    spans = Spans()
    table: bytes | None = None
    at = pixel.value
    while True:
        start = data[at : at + 8]
        if start[:4] == _END[:4]:
            break
        value = at + 8
        length = int.from_bytes(start[4:], "little")
        if start[:4] != _ITEM or value + length > pixel.end:
            raise _broken(f"an item was expected at byte {at}")
        at = value + length
        if table is None:
            table = bytes(data[value:at])
        else:
            spans.add(value, at)
            if len(spans) % _MANY == 0:
                budget.need(_MANY * _EACH)
    if table is None:
        raise _broken("there is no offset table")
    return struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4]), spans


def frame_spans(data: Data, pixel: Element, frames: int, extended: bytes = b"") -> FrameSpans:
    """The spans of each frame's fragments; `extended` is the value of the Extended Offset Table, if any.

    Frames are told apart by the number of fragments, the tables, or at last by how codestreams begin.
    Raises Permanent(reason="fragments").
    """
    basic, spans = fragments(data, pixel)
    if len(spans) == frames:
        return FrameSpans(spans, range(frames))
    starting = bytes(_start(data[start : min(start + 12, stop)]) for start, stop in spans)
    if frames == 1 and spans:
        firsts = array("q", [0])
    else:
        firsts = _firsts(spans, starting, _offsets(basic, frames, extended))
    if len(firsts) != frames:
        raise _broken(f"{len(spans)} fragments do not make {frames} frames")
    _refuse_more(starting, firsts)
    return FrameSpans(spans, firsts)


def _offsets(basic: tuple[int, ...], frames: int, extended: bytes) -> tuple[int, ...]:
    """Where frames begin, by the table that has one offset for each; empty where neither has."""
    if len(extended) == 8 * frames:
        return struct.unpack(f"<{frames}Q", extended)
    return basic if len(basic) == frames else ()


def _firsts(spans: Spans, starting: bytes, offsets: tuple[int, ...]) -> array[int]:
    """The numbers of the fragments that begin a frame. Raises Permanent where the first one begins none."""
    if offsets and spans:
        base = spans[0][0]
        places = {base + offset for offset in offsets}
        firsts = array("q", (number for number, (start, _) in enumerate(spans) if start in places))
    else:
        firsts = array("q", (number for number, start in enumerate(starting) if start))
    if spans and (not firsts or firsts[0]):
        raise _broken("the first fragment begins no frame")
    return firsts


def _refuse_more(starting: bytes, firsts: array[int]) -> None:
    """Raises Permanent where more than one codestream begins in a frame: a decoder would give the pixels of
    the first, and the others would be lost without a word.

    Only what begins as the first one does counts: the two bytes of JPEG XL are in other codestreams, too.
    """
    frame = -1
    for number, start in enumerate(starting):
        if frame + 1 < len(firsts) and firsts[frame + 1] == number:
            frame += 1
        elif start and start == starting[firsts[frame]]:
            raise _broken(
                "there are more codestreams than the data set says frames, or other offsets of them"
            )


def begins_frame(head: bytes) -> bool:
    """Whether a fragment that begins so begins a frame, as far as codestreams can be told from others."""
    return _start(head) > 0


def _start(head: bytes) -> int:
    """As which of _STARTS, counted from 1, a fragment begins that begins a frame; 0 for another."""
    return next((number for number, start in enumerate(_STARTS, 1) if head.startswith(start)), 0)


def _broken(what: str) -> Permanent:
    return Permanent(f"the encapsulated pixel data is broken: {what}", reason="fragments")
