"""Encapsulated pixel data: frames out of fragments, and fragments out of frames (PS3.5 section A.4)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import accumulate

from mapdr.dicom import tags
from mapdr.dicom.tags import ITEM, PIXEL_DATA, SEQUENCE_END
from mapdr.dicom.write import Data, Element, element
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

Span = tuple[int, int]


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


def fragments(data: Data, pixel: Element) -> tuple[tuple[int, ...], list[Span]]:
    """The Basic Offset Table and the spans of the fragments. Raises Permanent(reason="fragments")."""
    spans: list[Span] = []
    at = pixel.value
    while True:
        start = data[at : at + 8]
        if start[:4] == _END[:4]:
            break
        value = at + 8
        length = int.from_bytes(start[4:], "little")
        if start[:4] != _ITEM or value + length > pixel.end:
            raise _broken(f"an item was expected at byte {at}")
        spans.append((value, value + length))
        at = value + length
    if not spans:
        raise _broken("there is no offset table")
    table = data[slice(*spans.pop(0))]
    return struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4]), spans


def frame_spans(data: Data, pixel: Element, frames: int, extended: bytes = b"") -> list[list[Span]]:
    """The spans of each frame's fragments; `extended` is the value of the Extended Offset Table, if any.

    Frames are told apart by the number of fragments, the tables, or at last by how codestreams begin.
    Raises Permanent(reason="fragments").
    """
    basic, spans = fragments(data, pixel)
    if len(spans) == frames:
        return [[span] for span in spans]
    starting = {start - 8: _start(data[start : min(start + 12, stop)]) for start, stop in spans}
    if frames == 1 and spans:
        return [_alone(spans, starting)]
    offsets: tuple[int, ...] = basic
    if len(extended) == 8 * frames:
        offsets = struct.unpack(f"<{frames}Q", extended)
    if spans and len(offsets) == frames:
        base = spans[0][0] - 8
        starts = {base + offset for offset in offsets}
    else:
        starts = {place for place, start in starting.items() if start}
    grouped: list[list[Span]] = []
    for span in spans:
        if span[0] - 8 in starts:
            grouped.append([])
        elif not grouped:
            raise _broken("the first fragment begins no frame")
        grouped[-1].append(span)
    if len(grouped) != frames:
        raise _broken(f"{len(spans)} fragments do not make {frames} frames")
    return [_alone(frame, starting) for frame in grouped]


def _alone(frame: list[Span], starting: Mapping[int, bytes]) -> list[Span]:
    """The spans of one frame. Raises Permanent where more than one codestream begins in them: a decoder would
    give the pixels of the first, and the others would be lost without a word.

    Only what begins as the first one does counts: the two bytes of JPEG XL are in other codestreams, too.
    """
    first, *others = (starting[start - 8] for start, _ in frame)
    if first and first in others:
        raise _broken("there are more codestreams than the data set says frames, or other offsets of them")
    return frame


def begins_frame(head: bytes) -> bool:
    """Whether a fragment that begins so begins a frame, as far as codestreams can be told from others."""
    return bool(_start(head))


def _start(head: bytes) -> bytes:
    """How a fragment begins that begins a frame; empty for another."""
    return next((start for start in _STARTS if head.startswith(start)), b"")


def _broken(what: str) -> Permanent:
    return Permanent(f"the encapsulated pixel data is broken: {what}", reason="fragments")
