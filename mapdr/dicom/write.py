"""Data sets element by element: walk the top level, encode elements, splice them into a header.

Explicit VR little endian is the only encoding that is written here; `recode` does the others. What is not
named keeps its bytes. No I/O: `Data` is anything that answers its length and slices (bytes, mmap, a view
over the parts of a payload).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from mapdr import _fast
from mapdr._fast import scan_tables
from mapdr._fast.scan_tables import BIG_ENDIAN, EXPLICIT
from mapdr.dicom.scan import encoding_flags
from mapdr.dicom.tags import ITEM
from mapdr.kernel.errors import Permanent

UNDEFINED = scan_tables.UNDEFINED
LONG_VRS = frozenset(vr.decode("ascii") for vr in scan_tables.LONG_VRS)
"""VRs with a reserved field and a 32-bit length (PS3.5 section 7.1.2)."""
SHORT_VRS = frozenset(vr.decode("ascii") for vr in scan_tables.SHORT_VRS)
_OTHERS = -1
"""In the place of a tag: elements of groups whose lengths stay."""
_LENGTH = 4
"""Bytes of a group length's value. One without them says nothing, and is as good as none (it is of type 3:
PS3.5 sections 7.2 and 7.4.5)."""


class Data(Protocol):
    """Bytes at random access."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, span: slice, /) -> bytes:
        """A copy of the bytes in `span`, as slices of bytes have it."""


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
    """The encoding that a transfer syntax prescribes; every encapsulated one is explicit little endian."""
    return encoding_from(encoding_flags(transfer_syntax_uid))


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


def flags_of(encoding: Encoding) -> int:
    """The encoding as bits (`scan_tables.EXPLICIT`, `BIG_ENDIAN`) for the readers of `mapdr._fast`."""
    return (0 if encoding.implicit else EXPLICIT) | (BIG_ENDIAN if encoding.big else 0)


def encoding_from(flags: int) -> Encoding:
    """The inverse of `flags_of`; other bits are ignored."""
    return Encoding(not flags & EXPLICIT, bool(flags & BIG_ENDIAN))


def walk(data: bytes, encoding: Encoding, *, base: int = 0) -> list[Element]:
    """The elements of one level, in the order of the file, as `mapdr._fast.elements` reads them.

    `base` is the offset of `data` in the data set, for errors. Raises Unreadable.
    """
    return [
        from_found(found) for found in _fast.elements(data, 0, len(data), flags_of(encoding), base=base)[0]
    ]


def from_found(found: scan_tables.Element) -> Element:
    """An element as the reader found it, its VR as text."""
    tag, vr, offset, value, end, length = found
    return Element(tag, str(vr, "latin-1"), offset, value, end, length == UNDEFINED)


_HEADS = tuple(tuple(struct.Struct(order + form) for form in ("HHI", "HH2sH", "HH2s2xI")) for order in "<>")
"""Tag, VR and length (PS3.5 section 7.1): implicit, explicit, explicit with a long length; by byte order."""


def head(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """Tag, VR and length of an element in any encoding. Raises struct.error if the length does not fit."""
    implicit, short, long = _HEADS[encoding.big]
    if encoding.implicit:
        return implicit.pack(tag >> 16, tag & 0xFFFF, length)
    form = long if vr in LONG_VRS else short
    return form.pack(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)


def element(tag: int, vr: str, value: bytes, encoding: Encoding = EXPLICIT_LITTLE) -> bytes:
    """An element, padded to even length.

    Raises ValueError when `value` is too long for the VR's length field.
    """
    if len(value) % 2:
        value += b"\0" if vr in {"UI", "OB", "OW", "UN"} else b" "
    if not encoding.implicit and vr not in LONG_VRS and len(value) > 0xFFFF:
        raise ValueError(f"{vr} cannot hold {len(value)} bytes")
    return head(tag, vr, len(value), encoding) + value


def number(tag: int, value: int, vr: str = "US") -> bytes:
    """An explicit VR little endian element with one binary number (US, SS or UL)."""
    return element(tag, vr, struct.pack({"US": "<H", "SS": "<h", "UL": "<I"}[vr], value))


def item(elements: Sequence[bytes], encoding: Encoding = EXPLICIT_LITTLE) -> bytes:
    """A sequence item of defined length that holds `elements`, given in tag order."""
    content = b"".join(elements)
    return struct.pack(encoding.order + "HHI", ITEM >> 16, ITEM & 0xFFFF, len(content)) + content


def with_item(header: bytes, old: Element | None, tag: int, new: bytes) -> bytes:
    """The element `tag`, a sequence, with the item `new` appended.

    `old` is its place in `header`, None if it is absent. Raises Permanent(reason="vr") if it is written with
    another VR than SQ, for its value may then hold no items.
    """
    if old is None or (old.vr != "SQ" and old.value == old.end):
        return element(tag, "SQ", new)
    if old.vr != "SQ":
        where = f"({tag >> 16:04X},{tag & 0xFFFF:04X}) at byte {old.start}"
        raise Permanent(f"{where} is not written as a sequence", reason="vr")
    if old.undefined:
        return header[old.start : old.end - 8] + new + header[old.end - 8 : old.end]
    return element(tag, "SQ", header[old.value : old.end] + new)


def splice(header: bytes, changes: Mapping[int, bytes | None]) -> bytes:
    """`header` (explicit VR little endian) with top level elements replaced, added, or removed (None).

    Untouched elements keep their bytes and places; new ones go before the first higher tag; the group
    lengths of changed groups are brought up to date, but for those that say none. Raises Unreadable.
    """
    if (quickly := _spliced(header, changes)) is not None:
        return quickly
    pieces: list[tuple[int, bytes]] = []
    added = sorted(changes)
    groups = {tag >> 16 for tag in changes}
    begin = end = 0  # of elements in other groups that go with what stands before them, in one piece
    for tag, _, start, value, stop, _ in _fast.elements(header, 0, len(header), flags_of(EXPLICIT_LITTLE))[0]:
        if start == end and tag >> 16 not in groups and not (added and added[0] < tag):
            end = stop
            continue
        pieces.append((_OTHERS, header[begin:end]))
        begin = end = stop
        while added and added[0] < tag:
            pieces.append((added[0], changes[added.pop(0)] or b""))
        if tag not in changes:
            says_length = tag & 0xFFFF or stop - value == _LENGTH
            pieces.append((tag if says_length else _OTHERS, header[start:stop]))
        elif tag in added:
            added.remove(tag)
            pieces.append((tag, changes[tag] or b""))
    pieces.append((_OTHERS, header[begin:end]))
    pieces.extend((tag, changes[tag] or b"") for tag in added)
    return b"".join(_with_group_lengths(pieces, groups))


def _spliced(header: bytes, changes: Mapping[int, bytes | None]) -> bytes | None:
    """The same, of a header whose elements are found in one stroke: that is regular, and has no length of a
    group that changes. None of any other."""
    found = _fast.locate(header, len(header), EXPLICIT, wanted := sorted(changes))
    if found is None or found.header_end < len(header) or len(found.spans) < len(wanted):
        return None
    places: list[tuple[int, int, bytes | None]] = []
    for tag, (start, end, _, _, group_at) in zip(wanted, found.spans, strict=True):
        changes_length = not tag & 0xFFFF and (end > start or changes[tag])
        if group_at >= 0 or changes_length:
            return None
        places.append((start, end, changes[tag]))
    return replaced(header, places)


def replaced(header: bytes, places: Iterable[tuple[int, int, bytes | None]]) -> bytes:
    """`header` with other bytes, or none, in each place: from a start to an end, in their order."""
    pieces: list[bytes] = []
    at = 0
    for start, end, new in places:
        pieces += (header[at:start], new or b"")
        at = end
    return b"".join((*pieces, header[at:]))


def _with_group_lengths(pieces: Sequence[tuple[int, bytes]], changed: set[int]) -> Iterator[bytes]:
    lengths = dict.fromkeys(changed, 0)
    for tag, data in pieces:
        if tag & 0xFFFF and tag >> 16 in lengths:
            lengths[tag >> 16] += len(data)
    for tag, data in pieces:
        is_length = not tag & 0xFFFF and tag >> 16 in lengths and data
        yield number(tag, lengths[tag >> 16], "UL") if is_length else data
