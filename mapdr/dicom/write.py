"""Data sets element by element: walk the top level, encode elements, splice them into a header.

Explicit VR little endian is the only encoding that is written here; `recode` does the others. What is not
named keeps its bytes. No I/O: `Data` is anything that answers its length and slices (bytes, mmap, a view
over the parts of a payload).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from mapdr.kernel.errors import Permanent

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA, FLOAT_PIXELS, DOUBLE_PIXELS = 0x7FE00010, 0x7FE00008, 0x7FE00009
PIXEL_TAGS = frozenset({PIXEL_DATA, FLOAT_PIXELS, DOUBLE_PIXELS})
LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""VRs with a reserved field and a 32-bit length (PS3.5 section 7.1.2)."""
SHORT_VRS = frozenset(
    "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # noqa: SIM905  reads as a list
)


_SHORT = (struct.Struct("<HH2xH"), struct.Struct(">HH2xH"))
_LONG = (struct.Struct("<I"), struct.Struct(">I"))


class Data(Protocol):
    """Bytes at random access."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, span: slice, /) -> bytes:
        """A copy of a span, shorter at the end."""


class Encoding(NamedTuple):
    """How elements are laid out: without VRs, and in which byte order (PS3.5 section 7.1)."""

    implicit: bool
    big: bool

    @property
    def order(self) -> str:
        """The byte order as `struct` spells it."""
        return ">" if self.big else "<"


IMPLICIT_LITTLE = Encoding(True, False)
EXPLICIT_LITTLE = Encoding(False, False)
EXPLICIT_BIG = Encoding(False, True)


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """The encoding that a transfer syntax prescribes; every encapsulated one is explicit little endian.

    GE's private 1.2.840.113619.5.2 has the data set in implicit VR little endian.
    """
    if transfer_syntax_uid in ("1.2.840.10008.1.2", "1.2.840.113619.5.2"):
        return IMPLICIT_LITTLE
    return EXPLICIT_BIG if transfer_syntax_uid == "1.2.840.10008.1.2.2" else EXPLICIT_LITTLE


class Element(NamedTuple):
    """Where an element lies: from `start`, its value from `value`, to `end` (with any delimiter).

    `vr` is empty when the encoding is implicit; `undefined` says that its length was not given.
    """

    tag: int
    vr: str
    start: int
    value: int
    end: int
    undefined: bool


def unreadable(what: str, offset: int) -> Permanent:
    """The error for a data set that cannot be walked; names the place, never a value."""
    return Permanent(f"the data set cannot be read at byte {offset}: {what}", reason="unreadable")


def element_at(data: Data, at: int, encoding: Encoding) -> tuple[int, str, int, int]:
    """Tag, VR, value offset and length of the element at `at`. Raises Permanent(reason="unreadable")."""
    start = data[at : at + 12]
    if len(start) < 8:
        raise unreadable("it ends within an element", at)
    implicit, big = encoding
    group, number, short = _SHORT[big].unpack_from(start)
    tag = group << 16 | number
    if implicit or group == 0xFFFE:
        return tag, "", at + 8, _LONG[big].unpack_from(start, 4)[0]
    vr = start[4:6].decode("latin-1")
    if vr in SHORT_VRS:
        return tag, vr, at + 8, short
    if vr not in LONG_VRS or len(start) < 12:
        raise unreadable("there is no such VR", at)
    return tag, vr, at + 12, _LONG[big].unpack_from(start, 8)[0]


def inner_encoding(vr: str, encoding: Encoding) -> Encoding:
    """How the items of a sequence are encoded: UN of undefined length is implicit (PS3.5 section 6.2.2)."""
    return IMPLICIT_LITTLE if vr == "UN" else encoding


def skip_undefined(data: Data, at: int, encoding: Encoding) -> int:
    """The offset after the value of undefined length at `at`; iterates, so that no nesting is too deep.

    Raises Permanent(reason="unreadable").
    """
    stack = [(True, encoding)]
    while stack:
        is_sequence, inner = stack[-1]
        tag, vr, value, length = element_at(data, at, inner)
        if tag == (SEQUENCE_END if is_sequence else ITEM_END):
            stack.pop()
            at = value
        elif is_sequence and tag != ITEM:
            raise unreadable("an item was expected", at)
        elif length == UNDEFINED:
            stack.append((False, inner) if is_sequence else (True, inner_encoding(vr, inner)))
            at = value
        else:
            at = value + length
        if at > len(data):
            raise unreadable("it ends within an item", at)
    return at


def walk(data: Data, encoding: Encoding, start: int = 0, end: int | None = None) -> Iterator[Element]:
    """The elements of one level, in the order of the file.

    A pixel data element that is cut off comes with an `end` beyond `end`. Raises
    Permanent(reason="unreadable") for anything else that is wrong.
    """
    stop = len(data) if end is None else end
    at = start
    while at < stop:
        tag, vr, value, length = element_at(data, at, encoding)
        if length != UNDEFINED:
            after = value + length
        else:
            try:
                after = skip_undefined(data, value, inner_encoding(vr, encoding))
            except Permanent:
                if tag not in PIXEL_TAGS:
                    raise
                after = stop + 1
        if after > stop and tag not in PIXEL_TAGS:
            raise unreadable("a length reaches beyond its end", at)
        yield Element(tag, vr, at, value, after, length == UNDEFINED)
        at = after


def head(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """Tag, VR and length of an element in any encoding. Raises struct.error if the length does not fit."""
    start = struct.pack(encoding.order + "HH", tag >> 16, tag & 0xFFFF)
    if encoding.implicit:
        return start + struct.pack(encoding.order + "I", length)
    if vr in LONG_VRS:
        return start + vr.encode("ascii") + struct.pack(encoding.order + "HI", 0, length)
    return start + vr.encode("ascii") + struct.pack(encoding.order + "H", length)


def element(tag: int, vr: str, value: bytes) -> bytes:
    """An explicit VR little endian element, padded to even length.

    Raises ValueError when `value` is too long for the VR's length field.
    """
    if len(value) % 2:
        value += b"\0" if vr in {"UI", "OB", "UN"} else b" "
    if vr not in LONG_VRS and len(value) > 0xFFFF:
        raise ValueError(f"{vr} cannot hold {len(value)} bytes")
    return head(tag, vr, len(value), EXPLICIT_LITTLE) + value


def number(tag: int, value: int, vr: str = "US") -> bytes:
    """An explicit VR little endian element with one binary number (US, SS or UL)."""
    return element(tag, vr, struct.pack({"US": "<H", "SS": "<h", "UL": "<I"}[vr], value))


def item(elements: Sequence[bytes]) -> bytes:
    """A sequence item of defined length that holds `elements`, given in tag order."""
    content = b"".join(elements)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def with_item(header: bytes, old: Element | None, tag: int, new: bytes) -> bytes:
    """The sequence `tag` with the item `new` at its end; `old` is where it lies in `header`, if it does."""
    if old is None:
        return element(tag, "SQ", new)
    if old.undefined:
        return header[old.start : old.end - 8] + new + header[old.end - 8 : old.end]
    return element(tag, "SQ", header[old.value : old.end] + new)


def splice(header: bytes, changes: Mapping[int, bytes | None]) -> bytes:
    """`header` (explicit VR little endian) with top level elements replaced, added, or removed (None).

    Untouched elements keep their bytes and places; new ones go before the first higher tag; the group
    lengths of changed groups are brought up to date. Raises Permanent(reason="unreadable").
    """
    pieces: list[tuple[int, bytes]] = []
    added = sorted(changes)
    for old in walk(header, EXPLICIT_LITTLE):
        while added and added[0] < old.tag:
            pieces.append((added[0], changes[added.pop(0)] or b""))
        if old.tag in changes:
            if old.tag in added:
                added.remove(old.tag)
                pieces.append((old.tag, changes[old.tag] or b""))
        else:
            pieces.append((old.tag, header[old.start : old.end]))
    pieces.extend((tag, changes[tag] or b"") for tag in added)
    return b"".join(_with_group_lengths(pieces, {tag >> 16 for tag in changes}))


def _with_group_lengths(pieces: Sequence[tuple[int, bytes]], changed: set[int]) -> Iterator[bytes]:
    lengths = dict.fromkeys(changed, 0)
    for tag, data in pieces:
        if tag & 0xFFFF and tag >> 16 in lengths:
            lengths[tag >> 16] += len(data)
    for tag, data in pieces:
        is_length = not tag & 0xFFFF and tag >> 16 in lengths and data
        yield number(tag, lengths[tag >> 16], "UL") if is_length else data
