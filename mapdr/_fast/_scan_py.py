"""The walk over a data set's bytes, written as a specification (PS3.5, sections 7.1 to 7.5, A.4).

`walk` reads the top level, descends only into sequences that hold wanted tags, and skips all others: by
their length, or by iterating to their delimiter. It copies nothing, never recurses deeper than a wanted
path, and takes time linear in the number of element heads it must read.

Three ends: `available` bytes are here (the buffer's length), the data set has `size` bytes in all (or
UNKNOWN_SIZE), and nested content must stay within the `limit` of what encloses it.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from mapdr._fast.scan_tables import (
    BIG_ENDIAN,
    CHARACTER_SET,
    EXPLICIT,
    EXPLICIT_VR,
    FILE_META,
    GROUP_LENGTH,
    IMPLICIT_VR,
    ITEM,
    ITEM_END,
    LONG_VRS,
    MAX_DEPTH,
    MAX_ELEMENTS,
    NESTED_LENGTH,
    NO_DELIMITER,
    ODD_LENGTH,
    OUT_OF_ORDER,
    PIXEL_TAGS,
    SEQUENCE_END,
    SHORT_VRS,
    STRAY_DELIMITER,
    TRAILING_ZEROS,
    UNDEFINED,
    UNKNOWN_SIZE,
    UNKNOWN_VR,
    Element,
    Found,
    NeedMore,
    Pixels,
    Tree,
    Unreadable,
    Values,
    Walk,
    actual_flags,
    is_fragmented,
    nested_flags,
)

Buffer = bytes | bytearray | memoryview
"""Anything with a length, slices and the buffer protocol; an mmap.mmap will do."""

# By flags & BIG_ENDIAN.
_EXPLICIT_HEAD = {0: Struct("<HH2sH").unpack_from, BIG_ENDIAN: Struct(">HH2sH").unpack_from}
_IMPLICIT_HEAD = {0: Struct("<HHL").unpack_from, BIG_ENDIAN: Struct(">HHL").unpack_from}
_LENGTH = {0: Struct("<L").unpack_from, BIG_ENDIAN: Struct(">L").unpack_from}


class _Overrun(Exception):
    """An element ends beyond what encloses it."""


class _Place(NamedTuple):
    """Where nested content stands: its encoding, what is wanted in it, its path, its character set."""

    flags: int
    tree: Tree
    path: tuple[int, ...]
    charset: tuple[int, int] | None


class _Walker:
    """One buffer, and what the walk has noticed so far."""

    def __init__(self, buffer: Buffer, available: int, max_depth: int, max_elements: int) -> None:
        self.buffer = buffer
        self.available = available
        self.max_depth = max_depth
        self.left = max_elements
        self.remarks = 0
        self.found: list[Found] = []

    def need(self, end: int, limit: int) -> None:
        """Check that the bytes up to `end` may be, and are, here."""
        if end > limit:
            raise _Overrun
        if end > self.available:
            raise NeedMore(end)

    def head(self, offset: int, limit: int, flags: int) -> tuple[int, bytes, int, int]:
        """Tag, VR (b"" if implicit), value offset and length of the element at `offset`."""
        if offset + 8 > self.available or offset + 8 > limit:
            self.need(offset + 8, limit)
        self.left -= 1
        if self.left < 0:
            raise Unreadable("the data set has more elements than MAPDR reads", reason="too-many-elements")
        order = flags & BIG_ENDIAN
        if not flags & EXPLICIT:
            group, element, length = _IMPLICIT_HEAD[order](self.buffer, offset)
            return group << 16 | element, b"", offset + 8, length
        group, element, vr, length = _EXPLICIT_HEAD[order](self.buffer, offset)
        tag = group << 16 | element
        if vr in SHORT_VRS and group != 0xFFFE:
            return tag, vr, offset + 8, length
        if group == 0xFFFE:
            return tag, b"", offset + 8, _LENGTH[order](self.buffer, offset + 4)[0]
        if vr not in LONG_VRS:
            if not (vr.isalpha() and vr.isupper()):
                self.remarks |= IMPLICIT_VR
                return tag, b"", offset + 8, _LENGTH[order](self.buffer, offset + 4)[0]
            self.remarks |= UNKNOWN_VR
            # VRs of the future have the long form (PS3.5, 7.1.2), whose first two bytes are reserved and 0.
            if length:
                return tag, vr, offset + 8, length
        self.need(offset + 12, limit)
        return tag, vr, offset + 12, _LENGTH[order](self.buffer, offset + 8)[0]

    def skip(self, offset: int, limit: int, flags: int, fragments: bool) -> int:
        """The end of the undefined-length content that begins at `offset`, behind its delimiter."""
        # One entry per open level: (inside an item, fragments, flags). Only undefined lengths are entered.
        stack = [(False, fragments, flags)]
        while stack:
            in_item, fragments, flags = stack[-1]
            tag, vr, value, length = self.head(offset, limit, flags)
            if tag == SEQUENCE_END:
                stack.pop()
                if in_item:
                    self.remarks |= NO_DELIMITER
                    stack.pop()
                offset = value
            elif in_item and tag == ITEM_END:
                stack.pop()
                offset = value
            elif in_item == (tag == ITEM):
                raise _misplaced(offset)
            elif length != UNDEFINED:
                offset = value + length
                if offset > limit:
                    raise _Overrun
            elif fragments:
                raise Unreadable(f"a fragment of undefined length at byte {offset}", reason="bad-item")
            else:
                if in_item:
                    stack.append((False, is_fragmented(tag, vr), nested_flags(flags, vr)))
                else:
                    stack.append((True, False, flags))
                if len(stack) > 2 * self.max_depth:
                    raise Unreadable(f"sequences nest deeper than {self.max_depth} levels", reason="too-deep")
                offset = value
        return offset

    def sequence(self, offset: int, end: int, defined: bool, place: _Place) -> int:
        """Search a sequence's items; the offset behind it. `end` only bounds it if not `defined`."""
        while not (defined and offset >= end):
            tag, _, value, length = self.head(offset, end, place.flags)
            if tag == SEQUENCE_END and not defined:
                return value
            if tag != ITEM:
                raise _misplaced(offset)
            if length == UNDEFINED:
                offset = self.item(value, end, False, place)
            else:
                offset = value + length
                if offset > end:
                    raise _Overrun
                self.item(value, offset, True, place)
        return end

    def item(self, offset: int, end: int, defined: bool, place: _Place) -> int:
        """Search one item's elements; the offset behind it."""
        flags, tree, path, charset = place
        while not (defined and offset >= end):
            tag, vr, value, length = self.head(offset, end, flags)
            if tag == ITEM_END:
                return value
            if tag == SEQUENCE_END and not defined:
                self.remarks |= NO_DELIMITER
                return offset
            if tag == ITEM:
                raise _misplaced(offset)
            if tag == CHARACTER_SET and length != UNDEFINED:
                self.need(value + length, end)
                charset = (value, length)
            inner = tree.get(tag)
            if inner is not None:
                order = bool(flags & BIG_ENDIAN)
                self.found.append(Found((*path, tag), vr, offset, value, length, order, charset))
            here = _Place(nested_flags(flags, vr), inner or {}, (*path, tag), charset)
            offset = self.content(value, length, end, here, is_fragmented(tag, vr))
        return end

    def content(self, value: int, length: int, limit: int, place: _Place, fragments: bool) -> int:
        """The offset behind an element, after its items were searched if `place` wants any."""
        if length == UNDEFINED:
            if place.tree and not fragments:
                return self.sequence(value, limit, False, place)
            return self.skip(value, limit, place.flags, fragments)
        end = value + length
        if end > limit:
            raise _Overrun
        if place.tree:
            self.need(end, limit)
            try:
                self.sequence(value, end, True, place)
            except (_Overrun, Unreadable) as error:
                if isinstance(error, Unreadable) and error.reason != "bad-item":
                    raise
                # The element's own length holds; what it encloses is wrong and not looked at further.
                self.remarks |= NESTED_LENGTH
        return end


def _misplaced(offset: int) -> Unreadable:
    return Unreadable(f"an item, or none where one must be, at byte {offset}", reason="bad-item")


def walk(
    buffer: Buffer,
    available: int,
    size: int,
    flags: int,
    wanted: Tree,
    *,
    beyond: bool,
    max_value: int,
    max_depth: int = MAX_DEPTH,
    max_elements: int = MAX_ELEMENTS,
) -> Walk:
    """Walk the data set whose first `available` bytes are `buffer`, of `size` bytes or UNKNOWN_SIZE in all.

    Stops at the pixel data, or goes past it if `beyond`. Values of wanted elements up to `max_value` bytes
    are sure to be in the buffer. Raises NeedMore, or Unreadable (reasons: bad-item, bad-tag, too-deep,
    too-many-elements). An element that ends beyond `size` gives truncated=True.
    """
    walker = _Walker(buffer, available, max_depth, max_elements)
    declared, flags = flags, actual_flags(buffer, available, flags)
    order = flags & BIG_ENDIAN
    remarks = 0 if flags == declared else EXPLICIT_VR
    pixels: Pixels | None = None
    truncated = False
    offset = 0
    last = group_end = -1
    try:
        while offset < size:
            if size - offset < 8 and _is_padding(buffer, offset, available, size):
                remarks |= TRAILING_ZEROS
                break
            tag, vr, value, length = walker.head(offset, size, flags)
            if tag >> 16 != last >> 16:
                if group_end not in (-1, offset):
                    remarks |= GROUP_LENGTH
                group_end = -1
                if tag >> 16 == 0x0000:
                    if tag or not _is_padding(buffer, offset, available, size):
                        raise Unreadable(f"a command element at byte {offset}", reason="bad-tag")
                    remarks |= TRAILING_ZEROS
                    break
                if tag >> 16 == 0x0002:
                    remarks |= FILE_META
                elif tag >> 16 == 0xFFFE and tag <= SEQUENCE_END:
                    if length or tag == ITEM:
                        raise _misplaced(offset)
                    remarks |= STRAY_DELIMITER
                    offset = value
                    continue
            if tag <= last:
                remarks |= OUT_OF_ORDER
            last = tag
            if tag in PIXEL_TAGS and pixels is None:
                pixels = Pixels(tag, vr, offset, value, length, None)
                if not beyond:
                    break
            if length & 1 and length != UNDEFINED:
                remarks |= ODD_LENGTH
            inner = wanted.get(tag)
            if inner is not None:
                if length <= max_value:
                    walker.need(value + length, size)
                walker.found.append(Found((tag,), vr, offset, value, length, bool(order), None))
            if not tag & 0xFFFF and length == 4:
                walker.need(value + 4, size)
                group_end = value + 4 + _LENGTH[order](buffer, value)[0]
            if length != UNDEFINED and not inner:
                if value + length > size:
                    raise _Overrun
                offset = value + length
            else:
                place = _Place(nested_flags(flags, vr), inner or {}, (tag,), None)
                offset = walker.content(value, length, size, place, is_fragmented(tag, vr))
            if pixels and pixels.end is None:
                pixels = pixels._replace(end=offset)
    except _Overrun:
        truncated = True
        if pixels and pixels.end is None:
            pixels = pixels._replace(end=size)
    if offset == size and group_end not in (-1, offset):
        remarks |= GROUP_LENGTH
    return Walk(walker.found, pixels, offset, flags, truncated, remarks | walker.remarks)


def collect(
    buffer: Buffer,
    available: int,
    size: int,
    flags: int,
    wanted: Tree,
    *,
    beyond: bool,
    max_value: int,
) -> tuple[Values, Walk]:
    """As `walk`, with the values themselves, copied; the walk that comes with them has nothing in `found`."""
    walked = walk(buffer, available, size, flags, wanted, beyond=beyond, max_value=max_value)
    values: Values = {}
    for path, vr, _, value, length, big_endian, charset in walked.found:
        if len(path) == 1 and path in values:
            continue
        raw = bytes(buffer[value : value + length]) if length <= max_value else None
        if raw is not None and len(raw) < length:
            raw = None
        scope = bytes(buffer[charset[0] : sum(charset)]) if charset else None
        values.setdefault(path, []).append((vr, raw, big_endian, scope))
    return values, walked._replace(found=[])


def _is_padding(buffer: Buffer, offset: int, available: int, size: int) -> bool:
    """Whether only zeros follow; NeedMore if that cannot be known yet."""
    while offset < available:
        block = bytes(buffer[offset : min(offset + 65536, available)])
        if block.strip(b"\0"):
            return False
        offset += len(block)
    if available < size:
        raise NeedMore(size if size < UNKNOWN_SIZE else available + 1)
    return True


def elements(
    buffer: Buffer, offset: int, end: int, flags: int, *, in_item: bool = False
) -> tuple[list[Element], int]:
    """The elements of one level between `offset` and `end`, and where that level ends.

    `in_item`: an item of undefined length, which its delimiter ends; the end is that delimiter's offset.
    All bytes are there, in the encoding of `flags`. Raises Unreadable (as `walk`, and "truncated").
    """
    walker = _Walker(buffer, end, MAX_DEPTH, MAX_ELEMENTS)
    out: list[Element] = []
    try:
        while offset < end:
            tag, vr, value, length = walker.head(offset, end, flags)
            if in_item and tag == ITEM_END:
                return out, offset
            if tag in (ITEM, ITEM_END, SEQUENCE_END):
                raise _misplaced(offset)
            if length == UNDEFINED:
                after = walker.skip(value, end, nested_flags(flags, vr), is_fragmented(tag, vr))
            elif value + length > end:
                raise _Overrun
            else:
                after = value + length
            out.append(Element(tag, vr, offset, value, after, length))
            offset = after
    except _Overrun as error:
        raise Unreadable(f"an element at byte {offset} ends too late", reason="truncated") from error
    if in_item:
        raise Unreadable(f"an item without its delimiter ends at byte {offset}", reason="truncated")
    return out, offset
