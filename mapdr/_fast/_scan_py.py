"""The walk over a data set's bytes, written as a specification (PS3.5, sections 7.1 to 7.5, A.4).

`walk` reads the top level, descends only into sequences that hold wanted tags, and skips all others: by
their length, or by iterating to their delimiter. It copies nothing, never recurses deeper than a wanted
path, and takes time linear in the number of element heads it must read.

Three ends: `available` bytes are here (the buffer's length), the data set has `size` bytes in all (or
UNKNOWN_SIZE), and nested content must stay within the `limit` of what encloses it.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    WITHIN_UN,
    Element,
    Found,
    Item,
    NeedMore,
    Pixels,
    Tree,
    Unreadable,
    Values,
    Walk,
    actual_flags,
    inner_flags,
    is_fragmented,
)

Buffer = bytes | bytearray | memoryview
"""Anything with a length, slices and the buffer protocol; an mmap.mmap will do."""

# By flags & BIG_ENDIAN.
_EXPLICIT_HEAD = {0: Struct("<HH2sH").unpack_from, BIG_ENDIAN: Struct(">HH2sH").unpack_from}
_IMPLICIT_HEAD = {0: Struct("<HHL").unpack_from, BIG_ENDIAN: Struct(">HHL").unpack_from}
_LENGTH = {0: Struct("<L").unpack_from, BIG_ENDIAN: Struct(">L").unpack_from}


MAX_EXPLICIT_UN = 64
"""Sequences written as UN, in explicit VR, that are nested in each other."""


class _Overrun(Exception):
    """An element ends beyond what encloses it."""


class _Place(NamedTuple):
    """Where nested content stands: its encoding, what is wanted in it, its path, its character set."""

    flags: int
    tree: Tree
    path: tuple[int, ...]
    charset: tuple[int, int] | None


class _Walker:
    """One buffer, and what the walk has noticed so far.

    `base` is the buffer's offset in the data set, `within` the element that is looked at: what errors name.
    `doubtful`: a sequence written as UN may hold explicit VR, although it can be read as implicit VR.
    """

    def __init__(
        self,
        buffer: Buffer,
        available: int,
        max_depth: int,
        max_elements: int,
        *,
        base: int = 0,
        within: int = -1,
    ) -> None:
        self.buffer = buffer
        self.available = available
        self.max_depth = max_depth
        self.left = max_elements
        self.base = base
        self.within = within
        self.remarks = 0
        self.doubtful = False
        self.found: list[Found] = []
        self.stop = self.after = 0
        self.depth = 0
        self._not_zero = 0

    def error(self, what: str, offset: int, reason: str) -> Unreadable:
        """The error for bytes that are no data set: the place and the element, never a value."""
        return unreadable(what, self.base + offset, self.within, reason)

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
                return self._without_vr(offset, limit, order)
            self.remarks |= UNKNOWN_VR
            # VRs of the future have the long form (PS3.5, 7.1.2), whose first two bytes are reserved and 0.
            if length:
                return tag, vr, offset + 8, length
        self.need(offset + 12, limit)
        return tag, vr, offset + 12, _LENGTH[order](self.buffer, offset + 8)[0]

    def _without_vr(self, offset: int, limit: int, order: int) -> tuple[int, bytes, int, int]:
        """As `head`, where no letters stand for a VR: blanks, zeros, or an element in implicit VR.

        DCMTK reads a 16-bit length there, GDCM also a 32-bit one behind two zeros; pydicom takes it for
        implicit VR. The first of these that another element follows is what was meant. A control character
        that is no zero is part of an implicit VR's length: nobody writes it for a VR.
        """
        group, element, vr, short = _EXPLICIT_HEAD[order](self.buffer, offset)
        tag = group << 16 | element
        ways = [(offset + 8, short)] if vr == b"\0\0" or min(vr) >= 0x20 else []
        if ways and not short and offset + 12 <= min(limit, self.available):
            ways.append((offset + 12, _LENGTH[order](self.buffer, offset + 8)[0]))
        for value, length in ways:
            if self._is_followed(offset, value + length, limit, order):
                self.remarks |= UNKNOWN_VR
                return tag, vr, value, length
        self.remarks |= IMPLICIT_VR
        return tag, b"", offset + 8, _LENGTH[order](self.buffer, offset + 4)[0]

    def _is_followed(self, offset: int, end: int, limit: int, order: int) -> bool:
        """Whether the level ends at `end`, or an element stands there that may follow the one at `offset`."""
        if end == limit:
            return True
        if end + 8 > limit:
            return False
        self.need(end + 8, limit)
        group, element, vr, _ = _EXPLICIT_HEAD[order](self.buffer, offset)
        next_group, next_element, next_vr, _ = _EXPLICIT_HEAD[order](self.buffer, end)
        if next_group << 16 | next_element in (ITEM_END, SEQUENCE_END):
            return True
        is_vr = next_vr in SHORT_VRS or next_vr in LONG_VRS or next_vr == vr
        return is_vr and (next_group, next_element) > (group, element)

    def skip_element(self, tag: int, vr: bytes, value: int, limit: int, flags: int) -> int:
        """The end of the element of undefined length whose content begins at `value`.

        A sequence written as UN is implicit VR (CP-246). Some write it in explicit VR all the same: that is
        tried where it cannot be read otherwise.
        """
        inner, fragments = inner_flags(flags, vr), is_fragmented(tag, vr)
        if not inner & WITHIN_UN:
            return self.skip(value, limit, inner, fragments)
        remarks = self.remarks
        self.doubtful |= self._may_be_explicit(value, limit)
        try:
            return self.skip(value, limit, 0, fragments)
        except (_Overrun, Unreadable) as error:
            if isinstance(error, Unreadable) and error.reason != "bad-item":
                raise
            self.remarks = remarks | EXPLICIT_VR
            if self.depth == MAX_EXPLICIT_UN:
                raise
            self.depth += 1
            try:
                return self.skip(value, limit, EXPLICIT, fragments)
            except _Overrun:
                raise error from None
            finally:
                self.depth -= 1

    def _may_be_explicit(self, value: int, limit: int) -> bool:
        """Whether the first item of a sequence written as UN seems to begin with a VR: see heads.pxi."""
        head = bytes(self.buffer[value : min(value + 14, limit)])
        if limit - value < 8 or head[:4] != b"\xfe\xff\x00\xe0" or head[4:8] == bytes(4):
            return False
        return limit - value < 16 or head[12:14] in SHORT_VRS or head[12:14] in LONG_VRS

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
            elif tag == ITEM_END and not fragments:
                if in_item:
                    stack.pop()
                else:
                    self.remarks |= STRAY_DELIMITER
                offset = value
            elif in_item == (tag == ITEM):
                raise self.error(_MISPLACED, offset, "bad-item")
            elif length != UNDEFINED:
                if length & 1:
                    self.remarks |= ODD_LENGTH
                offset = value + length
                if offset > limit:
                    raise _Overrun
            elif fragments:
                raise self.error("a fragment of undefined length", offset, "bad-item")
            else:
                if in_item:
                    if inner_flags(flags, vr) & WITHIN_UN:
                        offset = self.skip_element(tag, vr, value, limit, flags)
                        continue
                    stack.append((False, is_fragmented(tag, vr), inner_flags(flags, vr)))
                else:
                    stack.append((True, False, flags))
                if len(stack) > 2 * self.max_depth:
                    raise Unreadable(f"sequences nest deeper than {self.max_depth} levels", reason="too-deep")
                offset = value
        return offset

    def rest_is_zero(self, offset: int, end: int, tag: int) -> bool:
        """Whether the level ends at `offset` because only zeros follow up to `end`, which is here."""
        if tag or offset < self._not_zero:
            return False
        while offset < end:
            block = bytes(self.buffer[offset : min(offset + 65536, end)])
            if rest := block.lstrip(b"\0"):
                # Remembered, so that many elements of zeros are not read over and over.
                self._not_zero = offset + len(block) - len(rest) + 1
                return False
            offset += len(block)
        return True

    def level(self, offset: int, end: int, flags: int, in_item: bool) -> Iterator[Element]:
        """The elements of one level, of which `end` is the end, or the end of what encloses it.

        `in_item`: an item of undefined length, which its delimiter ends, or the sequence's, or `end`.
        Delimiters that end nothing are passed over; zeros up to `end` are no elements. Leaves in `stop` where
        the last element ends, or the one that raised began, and in `after` where the level does, with its
        delimiter.
        """
        around = self.within
        while offset < end:
            self.stop, self.within = offset, around
            if end - offset < 8 and self.rest_is_zero(offset, end, 0):
                self.remarks |= TRAILING_ZEROS
                break
            tag, vr, value, length = self.head(offset, end, flags)
            if tag in (ITEM_END, SEQUENCE_END):
                if in_item:
                    self.remarks |= 0 if tag == ITEM_END else NO_DELIMITER
                    self.after = value if tag == ITEM_END else offset
                    return
                if length:
                    raise self.error(_MISPLACED, offset, "bad-item")
                self.remarks |= STRAY_DELIMITER
                offset = value
                continue
            if tag == ITEM:
                raise self.error(_MISPLACED, offset, "bad-item")
            if not in_item and self.rest_is_zero(offset, end, tag):
                self.remarks |= TRAILING_ZEROS
                break
            self.within = tag
            if length == UNDEFINED:
                after = self.skip_element(tag, vr, value, end, flags)
            else:
                if length & 1:
                    self.remarks |= ODD_LENGTH
                after = value + length
                if after > end:
                    raise _Overrun
            yield Element(tag, vr, offset, value, after, length)
            offset = after
        self.remarks |= NO_DELIMITER if in_item else 0
        self.stop, self.after, self.within = offset, end, around

    def items(self, offset: int, end: int, flags: int) -> Iterator[Item]:
        """The items between `offset` and `end`; `flags` are the sequence's.

        Delimiters that end nothing are passed over, and so are zeros up to `end`; an item ends with its
        sequence at the latest.
        """
        while offset < end:
            if end - offset < 8 and self.rest_is_zero(offset, end, 0):
                self.remarks |= TRAILING_ZEROS
                return
            tag, _, value, length = self.head(offset, end, flags)
            if tag in (ITEM_END, SEQUENCE_END):
                self.remarks |= STRAY_DELIMITER
                offset = value
            elif self.rest_is_zero(offset, end, tag):
                self.remarks |= TRAILING_ZEROS
                return
            elif tag != ITEM:
                raise self.error(_MISPLACED, offset, "bad-item")
            elif length == UNDEFINED:
                item = self._item(value, end, flags, True)
                offset = self.after
                yield item
            else:
                offset = value + length
                if offset > end:
                    self.remarks |= NESTED_LENGTH
                    offset = end
                yield self._item(value, offset, flags, False)

    def _item(self, value: int, end: int, flags: int, undefined: bool) -> Item:
        """The item whose elements begin at `value`; in a sequence written as UN, see `skip_element`."""
        remarks = self.remarks
        try:
            implied = flags & ~WITHIN_UN
            return Item(undefined, implied, list(self.level(value, end, implied, undefined)))
        except (_Overrun, Unreadable):
            if not flags & WITHIN_UN:
                raise
        self.remarks = remarks | EXPLICIT_VR
        return Item(undefined, EXPLICIT, list(self.level(value, end, EXPLICIT, undefined)))

    def search(self, element: Element, place: _Place) -> None:
        """Look for what `place` wants in the items of an element that is here as a whole."""
        end = element.end if element.length != UNDEFINED else max(element.value, element.end - 8)
        try:
            for item in self.items(element.value, end, place.flags):
                self._search_item(item, place)
        except (_Overrun, Unreadable) as error:
            if isinstance(error, Unreadable) and error.reason not in ("bad-item", "truncated"):
                raise
            # The element's own length holds; what it encloses is wrong and not looked at further.
            self.remarks |= NESTED_LENGTH

    def _search_item(self, item: Item, place: _Place) -> None:
        _, tree, path, charset = place
        flags = item.flags
        for element in item.elements:
            tag, vr, offset, value, _, length = element
            if tag == CHARACTER_SET and length != UNDEFINED:
                charset = (value, length)
            inner = tree.get(tag)
            if inner is not None:
                order = bool(flags & BIG_ENDIAN)
                self.found.append(Found((*path, tag), vr, offset, value, length, order, charset))
                if inner and not (length == UNDEFINED and is_fragmented(tag, vr)):
                    self.search(element, _Place(inner_flags(flags, vr), inner, (*path, tag), charset))


_MISPLACED = "an item, or none where one must be"


def unreadable(what: str, offset: int, within: int, reason: str) -> Unreadable:
    """The error for a data set that cannot be read: names the place and the element, never a value."""
    where = "" if within < 0 else f", in ({within >> 16:04X},{within & 0xFFFF:04X})"
    return Unreadable(f"the data set cannot be read at byte {offset}{where}: {what}", reason=reason)


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
                        raise walker.error("a command element", offset, "bad-tag")
                    remarks |= TRAILING_ZEROS
                    break
                if tag >> 16 == 0x0002:
                    remarks |= FILE_META
                elif tag >> 16 == 0xFFFE and tag <= SEQUENCE_END:
                    if length or tag == ITEM:
                        raise walker.error(_MISPLACED, offset, "bad-item")
                    remarks |= STRAY_DELIMITER
                    offset = value
                    continue
            if tag <= last:
                remarks |= OUT_OF_ORDER
            last = walker.within = tag
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
            start = offset
            if length != UNDEFINED:
                if value + length > size:
                    raise _Overrun
                offset = value + length
            else:
                offset = walker.skip_element(tag, vr, value, size, flags)
            if inner and not (length == UNDEFINED and is_fragmented(tag, vr)):
                walker.need(offset, size)
                whole = Element(tag, vr, start, value, offset, length)
                walker.search(whole, _Place(inner_flags(flags, vr), inner, (tag,), None))
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
    buffer: Buffer,
    offset: int,
    end: int,
    flags: int,
    *,
    base: int = 0,
    within: int = -1,
    nested: bool = False,
) -> tuple[list[Element], int, int]:
    """The elements of one level between `offset` and `end`, where the last of them ends, and the remarks.

    All bytes are there, in the encoding of `flags`. Errors name places from `base` on, the buffer's offset in
    the data set, and the element `within` which this level is. `nested`: only those elements that hold
    others by their VR, SQ, or by their undefined length. Raises Unreadable (as `walk`, "truncated").
    """
    walker = _Walker(buffer, end, MAX_DEPTH, MAX_ELEMENTS, base=base, within=within)
    try:
        found = list(walker.level(offset, end, flags, False))
    except _Overrun:
        raise walker.error("an element ends too late", walker.stop, "truncated") from None
    if nested:
        found = [each for each in found if each.vr == b"SQ" or each.length == UNDEFINED]
    return found, walker.stop, walker.remarks


def items(buffer: Buffer, element: Element, flags: int, *, base: int = 0) -> list[Item]:
    """The items of a sequence; `flags` is the encoding around it. Raises Unreadable, as `elements`."""
    end = element.end if element.length != UNDEFINED else max(element.value, element.end - 8)
    walker = _Walker(buffer, end, MAX_DEPTH, MAX_ELEMENTS, base=base, within=element.tag)
    try:
        return list(walker.items(element.value, end, inner_flags(flags, element.vr)))
    except _Overrun:
        raise walker.error("an element ends too late", walker.stop, "truncated") from None
