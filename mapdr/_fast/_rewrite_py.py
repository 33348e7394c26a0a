"""A header's edit in two strokes, written as a specification: find the touched elements, join the pieces.

Only for regular data sets: little endian, ascending tags, known VRs, even lengths, right group lengths, no
elements of the groups 0000 to 0002, whole. Of any other, `locate` says None, and the edit is left to the
tree of `mapdr.dicom.document`.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, pack_into
from typing import NamedTuple

from mapdr._fast._scan_py import _Overrun, _Walker
from mapdr._fast.scan_tables import (
    BIG_ENDIAN,
    EXPLICIT,
    LONG_VRS,
    MAX_ELEMENTS,
    PIXEL_TAGS,
    SHORT_VRS,
    UNDEFINED,
    NeedMore,
    Unreadable,
)

Buffer = bytes | bytearray | memoryview

Span = tuple[int, int, bytes | None, bytes | None, int]
"""Where an element is, from its head to its end, or would be put (twice the same offset): offset, end, VR as
written (b"" in implicit VR, None if there is no such element), value (None if there is no such element or its
length is undefined), and the offset of its group's length, -1 if that is not there."""

Change = tuple[int, bytes, Span, bytes | None]
"""Tag, VR, place and new value (None: no such element any more) of an element."""

MAX_NESTED = 64
"""Nested sequences of undefined length that a regular data set has at most."""

_UINT32 = Struct("<L").unpack_from
_IMPLICIT_HEAD = Struct("<HHL").pack
_SHORT_HEAD = Struct("<HH2sH").pack
_LONG_HEAD = Struct("<HH2sHL").pack


class Located(NamedTuple):
    """Where header and pixel data end, and the place of each tag that was asked for, in their order.

    A data set without pixel data is all header: both ends are its size then.
    """

    header_end: int
    pixel_end: int
    spans: list[Span]


def locate(buffer: Buffer, size: int, flags: int, tags: Sequence[int]) -> Located | None:
    """Find `tags` (ascending, below the pixel data's) in the data set of `size` bytes that `buffer` begins.

    The pixel data may be missing from the buffer, if nothing comes behind it; nothing else may. None for a
    data set that is not regular, or not there.
    """
    if flags & BIG_ENDIAN or size <= 0 or not buffer:
        return None
    if not flags & EXPLICIT and bytes(buffer[4:6]) in SHORT_VRS | LONG_VRS:
        return None
    try:
        return _locate(buffer, size, flags, tags)
    except (_Overrun, NeedMore, Unreadable):
        return None


def _locate(buffer: Buffer, size: int, flags: int, tags: Sequence[int]) -> Located | None:
    available = min(len(buffer), size)
    walker = _Walker(buffer, available, MAX_NESTED, MAX_ELEMENTS)
    spans: list[Span] = []
    offset, last = 0, -1
    pixel_offset = pixel_end = size
    group, group_at, group_end = -1, -1, -1
    while offset < size:
        tag, vr, value, length = walker.head(offset, available, flags)
        if tag <= last or tag >> 16 <= 2 or tag >> 16 == 0xFFFE or (length & 1 and length != UNDEFINED):
            return None
        if last >= 0 and tag >> 16 != last >> 16:
            if group_end not in (-1, offset):
                return None
            group_end = -1
        last = tag
        after = value + length
        if length == UNDEFINED:
            after = walker.skip_element(tag, vr, value, available, flags)
        if after > size:
            return None
        if tag in PIXEL_TAGS and pixel_offset == size:
            pixel_offset, pixel_end = offset, after
        if pixel_offset == size:
            while len(spans) < len(tags) and tags[len(spans)] < tag:
                spans.append(_absent(offset, group_at if group == tags[len(spans)] >> 16 else -1))
            if len(spans) < len(tags) and tags[len(spans)] == tag:
                if after > available:
                    return None
                raw = None if length == UNDEFINED else bytes(buffer[value:after])
                spans.append((offset, after, vr, raw, group_at if group == tag >> 16 else -1))
        if not tag & 0xFFFF and length == 4:
            if after > available:
                return None
            group, group_at, group_end = tag >> 16, value, after + _UINT32(buffer, value)[0]
        offset = after
    if group_end not in (-1, offset) or walker.remarks or walker.doubtful:
        return None
    if pixel_offset > available or (pixel_end < size and size > available):
        return None
    for tag in tags[len(spans) :]:
        spans.append(_absent(pixel_offset, group_at if group == tag >> 16 else -1))
    return Located(pixel_offset, pixel_end, spans)


def _absent(offset: int, group_at: int) -> Span:
    return offset, offset, None, None, group_at


def assemble(buffer: Buffer, header_end: int, flags: int, changes: Sequence[Change]) -> bytes | None:
    """The header that `changes` (ascending) make of the first `header_end` bytes of `buffer`.

    Group lengths that are there are set right, so none of them can be among the changes. None if a value is
    too long for its VR. Raises ValueError for places that are not in their order or not in the header, and
    for a VR that is none.
    """
    out = bytearray()
    at = before = 0
    patched = -1
    if not 0 <= header_end <= len(buffer):
        raise _misplaced()
    for tag, vr, (offset, end, _, _, group_at), raw in changes:
        if not at <= offset <= end <= header_end:
            raise _misplaced()
        out += buffer[at:offset]
        if group_at >= 0 and group_at != patched:
            if not at <= group_at <= offset - 4:
                raise _misplaced()
            # How much the header grew before this group: its length moves by that, and changes by the rest.
            patched, before = group_at, len(out) - offset
        if raw is not None:
            if vr is None or (flags & EXPLICIT and len(vr) != 2):
                raise ValueError("a VR has two letters")
            head = _head(tag, vr, len(raw), flags)
            if head is None:
                return None
            out += head
            out += raw
        at = end
        if group_at >= 0:
            length = _UINT32(buffer, group_at)[0] + len(out) - at - before
            pack_into("<L", out, group_at + before, length & 0xFFFFFFFF)
    out += buffer[at:header_end]
    return bytes(out)


def _misplaced() -> ValueError:
    return ValueError("places that are not in the order of the header")


def _head(tag: int, vr: bytes, length: int, flags: int) -> bytes | None:
    group, element = tag >> 16, tag & 0xFFFF
    if length >= UNDEFINED:
        return None
    if not flags & EXPLICIT:
        return _IMPLICIT_HEAD(group, element, length)
    if vr in LONG_VRS:
        return _LONG_HEAD(group, element, vr, 0, length)
    return None if length > 0xFFFE else _SHORT_HEAD(group, element, vr, length)
