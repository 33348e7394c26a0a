"""Native data sets from one encoding to another (PS3.5 section 7): implicit, explicit, big endian.

Values keep their meaning, sequences their shape. Implicit names no VRs: they come from the dictionary,
private ones from pydicom's private dictionary, else they become UN (section 6.2.2). UN stays as it is, for
nobody knows what its bytes mean, unless the dictionary says that it is a sequence.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from pydicom.datadict import dictionary_VR, private_dictionary_VR

from mapdr import _fast
from mapdr._fast import scan_tables
from mapdr._fast.scan_tables import Unreadable
from mapdr.dicom.fit import pad
from mapdr.dicom.path import format_tag
from mapdr.dicom.tags import ITEM, ITEM_END, PIXEL_REPRESENTATION, PIXEL_TAGS, SEQUENCE_END
from mapdr.dicom.write import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    LONG_VRS,
    SHORT_VRS,
    UNDEFINED,
    Element,
    Encoding,
    encoding_from,
    flags_of,
    from_found,
    head,
    walk,
)
from mapdr.kernel.errors import Permanent

MAX_DEPTH = 64
"""Levels of sequences; deeper nesting is an attack, not an image."""

CELLS = {
    "AT": 2,
    "US": 2,
    "SS": 2,
    "OW": 2,
    "UL": 4,
    "SL": 4,
    "FL": 4,
    "OL": 4,
    "OF": 4,
    "FD": 8,
    "OD": 8,
    "SV": 8,
    "UV": 8,
    "OV": 8,
}
"""Bytes that are swapped together (PS3.5 section 7.3)."""

_ITEMS = tuple(struct.pack(order + "HH", ITEM >> 16, ITEM & 0xFFFF) for order in "<>")


@dataclass
class _Level:
    """What elements of one item depend on: private creators, and how pixels are signed."""

    signed: bool = False
    creators: dict[int, str] = field(default_factory=dict)


def recode(data: bytes, source: Encoding, target: Encoding, *, context: bytes = b"", base: int = 0) -> bytes:
    """The elements of `data` in the encoding `target`, which may be `source`; native pixel data too.

    The result is regular: even lengths, a delimiter where a length is undefined, no zeros at the end, no
    elements of the groups 0000 and 0002. `context` holds the elements before `data` in the same data set, in
    explicit VR little endian: private creators and Pixel Representation, which VRs depend on. `base` is the
    offset of `data` in the data set, for errors. Raises Unreadable, and Permanent(reason="vr") for a value
    that readers of implicit VR would take for a sequence.
    """
    level = _Level()
    for found in walk(context, EXPLICIT_LITTLE):
        _learn(level, found.tag, context[found.value : found.end], EXPLICIT_LITTLE)
    elements = [
        found
        for found in _fast.elements(data, 0, len(data), flags_of(source), base=base)[0]
        if found.tag >> 16 not in (0x0000, 0x0002)
    ]
    return _Recoder(data, source, target, base).elements(elements, level, 0)


def is_regular(data: bytes) -> bool:
    """Whether the sequences in `data` (explicit VR little endian) are regular: `recode` would keep each byte.

    The top level itself is not looked at; a walk's remarks tell about that.
    """
    if not data:
        return True
    found, _, _ = _fast.elements(data, 0, len(data), flags_of(EXPLICIT_LITTLE), nested=True)
    return all(_keeps(data[each.offset : each.end]) for each in found)


_SHORT = 1 << 12
"""Bytes of sequences of which it is kept that they are regular: those of a series are often alike."""


def _keeps(piece: bytes) -> bool:
    """Whether `recode` keeps each byte of one element (explicit VR little endian)."""
    return _kept(piece) if len(piece) <= _SHORT else _kept.__wrapped__(piece)


@lru_cache(maxsize=512)
def _kept(piece: bytes) -> bool:
    return recode(piece, EXPLICIT_LITTLE, EXPLICIT_LITTLE) == piece


def swap(value: bytes, size: int) -> bytes:
    """`value` with the bytes of each cell of `size` bytes reversed; an incomplete last cell is kept."""
    if size == 1:
        return value
    whole = len(value) // size * size
    return np.frombuffer(value[:whole], f">u{size}").astype(f"<u{size}").tobytes() + value[whole:]


def _learn(level: _Level, tag: int, value: bytes, encoding: Encoding) -> None:
    if tag == PIXEL_REPRESENTATION and len(value) == 2:
        level.signed = struct.unpack(encoding.order + "H", value)[0] == 1
    elif tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
        level.creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = value.decode("latin-1").strip(" \0")


class _Recoder:
    """Walks one data set in its source encoding and writes it in the target's."""

    def __init__(self, data: bytes, source: Encoding, target: Encoding, base: int) -> None:
        self.data = data
        self.source = source
        self.target = target
        self.base = base

    def elements(self, elements: Sequence[scan_tables.Element], level: _Level, depth: int) -> bytes:
        """The elements of one level; group lengths count the new bytes."""
        if depth > MAX_DEPTH:
            raise Unreadable(f"sequences nest deeper than {MAX_DEPTH} levels", reason="too-deep")
        pieces = [(found.tag, self._element(found, level, depth)) for found in elements]
        return b"".join(_with_lengths(pieces, self.target))

    def _element(self, raw: scan_tables.Element, level: _Level, depth: int) -> bytes:
        found = from_found(raw)
        known = found.vr in SHORT_VRS or found.vr in LONG_VRS
        plain = known and not (found.undefined or self.target.implicit or found.vr == "UN")
        implied = "" if plain else _vr(found, level)
        vr = found.vr if known else implied
        if found.undefined and not known:
            vr = "UN" if implied == "UN" or (found.tag >> 16 & 1 and implied != "SQ") else "SQ"
        if found.undefined and found.tag in PIXEL_TAGS:
            if self.source == self.target == EXPLICIT_LITTLE:
                return self._fragments(found)
            raise _fast.unreadable(
                "its pixel data is encapsulated", self.base + found.start, found.tag, "syntax"
            )
        begins_item = self.data[found.value : min(found.value + 4, found.end)] in _ITEMS
        if vr == "SQ" and not (known or found.undefined or begins_item or found.value == found.end):
            # Some write other values under the tag of a sequence.
            vr = "UN"
        if vr == "UN" and implied == "SQ" and begins_item and self.target != self.source:
            vr = "SQ"
        if found.undefined or vr == "SQ":
            return self._sequence(raw, "UN" if vr == "UN" else "SQ", implied, level, depth)
        if self.target.implicit > self.source.implicit and implied == "SQ" and found.value < found.end:
            return self._as_sequence(raw, begins_item, level, depth)
        content = self.data[found.value : found.end]
        _learn(level, found.tag, content, self.source)
        if self.source.big != self.target.big:
            content = swap(content, CELLS.get(vr, 1))
        content = pad(content, vr)
        if not self.target.implicit and vr not in LONG_VRS and len(content) > 0xFFFF:
            vr = "UN"
        return head(found.tag, vr, len(content), self.target) + content

    def _fragments(self, found: Element) -> bytes:
        """Encapsulated pixel data, of an icon for example, with even fragments."""
        pieces = [self.data[found.start : found.value]]
        at = found.value
        while at < found.end - 8:
            length = struct.unpack_from("<I", self.data, at + 4)[0]
            fragment = pad(self.data[at + 8 : at + 8 + length], "OB")
            pieces += [_item_head(ITEM, len(fragment), self.target), fragment]
            at += 8 + length
        return b"".join((*pieces, _item_head(SEQUENCE_END, 0, self.target)))

    def _as_sequence(self, raw: scan_tables.Element, begins_item: bool, level: _Level, depth: int) -> bytes:
        """A value that implicit VR will call a sequence, although it was written with another VR."""
        if begins_item:
            with suppress(Unreadable):
                return self._sequence(raw, "SQ", "SQ", level, depth)
        raise Permanent(
            f"{format_tag(raw.tag)} at byte {self.base + raw.offset} holds no items, and implicit VR "
            "would call it a sequence: a receiver would lose what follows",
            reason="vr",
        )

    def _sequence(self, raw: scan_tables.Element, vr: str, implied: str, level: _Level, depth: int) -> bytes:
        """The items of a sequence; those in UN stay implicit VR little endian in every encoding (CP-246)."""
        read = _fast.items(self.data, raw, flags_of(self.source), base=self.base)
        target = IMPLICIT_LITTLE if vr == "UN" else self.target
        pieces: list[bytes] = []
        for undefined, flags, elements in read:
            inner = _Recoder(self.data, encoding_from(flags), target, self.base)
            content = inner.elements(elements, _Level(level.signed), depth + 1)
            pieces.append(_item_head(ITEM, UNDEFINED if undefined else len(content), target) + content)
            if undefined:
                pieces.append(_item_head(ITEM_END, 0, target))
        content = b"".join(pieces)
        # In implicit VR, only the dictionary or an undefined length of what it does not know says "sequence".
        readable = not self.target.implicit or implied in ("SQ", "UN")
        if raw.length == UNDEFINED and readable:
            return head(raw.tag, vr, UNDEFINED, self.target) + content + _item_head(SEQUENCE_END, 0, target)
        return head(raw.tag, vr, len(content), self.target) + content


def _with_lengths(pieces: list[tuple[int, bytes]], target: Encoding) -> list[bytes]:
    sums: dict[int, int] = {}
    for tag, piece in pieces:
        if tag & 0xFFFF:
            sums[tag >> 16] = sums.get(tag >> 16, 0) + len(piece)
    return [
        piece
        if tag & 0xFFFF or tag >> 16 not in sums
        else head(tag, "UL", 4, target) + struct.pack(target.order + "I", sums[tag >> 16] & UNDEFINED)
        for tag, piece in pieces
    ]


def _vr(found: Element, level: _Level) -> str:
    """The VR that implicit VR means. Ambiguous ones follow PS3.6's words and PS3.5 section A.1."""
    tag = found.tag
    if not tag & 0xFFFF:
        return "UL"
    if tag >> 16 & 1:
        return _private_vr(found, level)
    vr = _public_vr(tag)
    if " or " not in vr:
        return vr
    if "OW" in vr:
        return "OW"
    return "SS" if level.signed else "US"


@lru_cache(maxsize=4096)
def _public_vr(tag: int) -> str:
    """The dictionary's VR or VRs of a public tag, "UN" without an entry."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return "UN"


def _private_vr(found: Element, level: _Level) -> str:
    tag = found.tag
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    creator = level.creators.get(tag & 0xFFFFFF00)
    return _creators_vr(tag, creator) if creator else "UN"


@lru_cache(maxsize=4096)
def _creators_vr(tag: int, creator: str) -> str:
    """The VR that pydicom's private dictionary knows, "UN" without a single one."""
    try:
        vr = str(private_dictionary_VR(tag, creator))
    except KeyError:
        return "UN"
    return "UN" if " or " in vr else vr


def _item_head(tag: int, length: int, target: Encoding) -> bytes:
    return struct.pack(target.order + "HHI", tag >> 16, tag & 0xFFFF, length)
