"""What both twins of the data set walk share: encodings, VRs, limits, results, errors (PS3.5, section 7)."""

from __future__ import annotations

from struct import unpack_from
from typing import NamedTuple

from mapdr.kernel.errors import MapdrError, Permanent

EXPLICIT = 1
BIG_ENDIAN = 2
WITHIN_UN = 4
"""Of a sequence written as UN in explicit VR little endian: implicit VR, or else explicit VR."""

UNDEFINED = 0xFFFFFFFF
UNKNOWN_SIZE = 1 << 62
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
CHARACTER_SET = 0x00080005
PIXEL_TAGS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
"""Float, double float and integer pixel data: the first of them ends the header."""

SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
"""VRs with a 16-bit length (PS3.5, table 7.1-2)."""
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""VRs with two reserved bytes and a 32-bit length (PS3.5, table 7.1-1)."""

MAX_DEPTH = 256
"""Nested sequences that are walked; no IOD comes near, and a hostile one must not take the memory."""
MAX_ELEMENTS = 10_000_000
"""Element, item and fragment heads read in one walk; a slide of 100,000 frames has some 3 million."""

ODD_LENGTH = 1
OUT_OF_ORDER = 2
GROUP_LENGTH = 4
UNKNOWN_VR = 8
IMPLICIT_VR = 16
EXPLICIT_VR = 32
STRAY_DELIMITER = 64
NO_DELIMITER = 128
NESTED_LENGTH = 256
TRAILING_ZEROS = 512
FILE_META = 1024
REMARKS = {
    ODD_LENGTH: "odd length",
    OUT_OF_ORDER: "tags out of order",
    GROUP_LENGTH: "wrong group length",
    UNKNOWN_VR: "unknown VR",
    IMPLICIT_VR: "implicit VR where explicit VR is declared",
    EXPLICIT_VR: "explicit VR where implicit VR is declared",
    STRAY_DELIMITER: "delimiter outside a sequence",
    NO_DELIMITER: "item without its delimiter",
    NESTED_LENGTH: "nested length beyond its sequence",
    TRAILING_ZEROS: "zeros after the last element",
    FILE_META: "file meta elements in the data set",
}

Tree = dict[int, "Tree"]
"""Wanted tags by level: tag to what is wanted within its items; an empty dict wants the element alone."""


class NeedMore(MapdrError):
    """The header does not fit what was given; give at least `at_least` bytes, or all there are."""

    def __init__(self, at_least: int) -> None:
        super().__init__(f"at least {at_least} bytes are needed")
        self.at_least = at_least


class Unreadable(Permanent):
    """Bytes that are no data set in the declared encoding; `reason` says why in one word."""


class Found(NamedTuple):
    """One wanted element: where it begins, where its value is, and which character set holds there.

    `vr` is b"" in implicit VR; `length` is UNDEFINED for an undefined length. `charset` is the (offset,
    length) of the enclosing item's own Specific Character Set, None where the data set's holds.
    """

    path: tuple[int, ...]
    vr: bytes
    offset: int
    value: int
    length: int
    big_endian: bool
    charset: tuple[int, int] | None


class Pixels(NamedTuple):
    """The pixel data element; `end` is None unless the walk went past it."""

    tag: int
    vr: bytes
    offset: int
    value: int
    length: int
    end: int | None


class Walk(NamedTuple):
    """What a walk found; `end` is where it stopped, `flags` the encoding, `remarks` a sum of bits."""

    found: list[Found]
    pixels: Pixels | None
    end: int
    flags: int
    truncated: bool
    remarks: int


Value = tuple[bytes, bytes | None, bool, bytes | None]
"""A kept value: VR as written, bytes (None if longer than asked for or not there), whether big endian, and
the enclosing item's own Specific Character Set, None where the data set's holds."""

Values = dict[tuple[int, ...], list[Value]]
"""Path to its values; at the top level the first of an element that comes twice, as in DCMTK."""


class Element(NamedTuple):
    """One element of a level; `value` to `end` is its value, with the delimiter if `length` is UNDEFINED."""

    tag: int
    vr: bytes
    offset: int
    value: int
    end: int
    length: int


class Item(NamedTuple):
    """One item: whether its length was undefined, its encoding, and its elements."""

    undefined: bool
    flags: int
    elements: list[Element]


def is_fragmented(tag: int, vr: bytes) -> bool:
    """Whether undefined length means fragments (PS3.5, section A.4) and not items with elements."""
    return tag in PIXEL_TAGS or vr in (b"OB", b"OW")


def inner_flags(flags: int, vr: bytes) -> int:
    """The encoding of a sequence within `flags`: one that is written as UN has its own (CP-246)."""
    if vr != b"UN":
        return flags
    return WITHIN_UN if flags == EXPLICIT else 0


def actual_flags(buffer: bytes | bytearray | memoryview, available: int, flags: int) -> int:
    """The encoding that the first element shows, where it contradicts a declared implicit VR."""
    if flags & EXPLICIT or available < 8:
        return flags
    vr = bytes(buffer[4:6])
    if vr not in SHORT_VRS and vr not in LONG_VRS:
        return flags
    group, _, length = unpack_from("<HHL", buffer, 0)
    # Read as a length, two capital letters are at least 16,705: absurd for the first elements of a data set.
    return flags | EXPLICIT if group <= 0x0008 or length > available - 8 else flags
