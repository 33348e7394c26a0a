"""Native data sets from one encoding to another (PS3.5 section 7): implicit, explicit, big endian.

Values keep their meaning, sequences their shape. Implicit names no VRs: they come from the dictionary,
private ones from pydicom's private dictionary, else they become UN (section 6.2.2). UN stays as it is, for
nobody knows what its bytes mean.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
from pydicom.datadict import dictionary_VR, private_dictionary_VR

from mapdr.dicom.write import (
    EXPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    LONG_VRS,
    PIXEL_TAGS,
    SEQUENCE_END,
    UNDEFINED,
    Data,
    Element,
    Encoding,
    element_at,
    head,
    inner_encoding,
    skip_undefined,
    unreadable,
    walk,
)

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

_PIXEL_REPRESENTATION = 0x00280103
_ITEM = struct.pack("<HH", ITEM >> 16, ITEM & 0xFFFF)


@dataclass
class _Level:
    """What elements of one item depend on: private creators, and how pixels are signed."""

    signed: bool = False
    creators: dict[int, str] = field(default_factory=dict)


def recode(data: Data, source: Encoding, target: Encoding, *, context: bytes = b"") -> bytes:
    """`data` (a run of elements) in another encoding; native pixel data included.

    `context` is what came before in the same data set, in explicit VR little endian. Raises
    Permanent(reason="unreadable").
    """
    level = _Level()
    for found in walk(context, EXPLICIT_LITTLE):
        _learn(level, found.tag, context[found.value : found.end], EXPLICIT_LITTLE)
    return _Recoder(data, source, target).elements((0, len(data)), level, 0)


def swap(value: bytes, size: int) -> bytes:
    """`value` with the bytes of each cell of `size` reversed; a rest that fills no cell stays."""
    if size == 1:
        return value
    whole = len(value) // size * size
    return np.frombuffer(value[:whole], f">u{size}").astype(f"<u{size}").tobytes() + value[whole:]


def _learn(level: _Level, tag: int, value: bytes, encoding: Encoding) -> None:
    if tag == _PIXEL_REPRESENTATION and len(value) == 2:
        level.signed = struct.unpack(encoding.order + "H", value)[0] == 1
    elif tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
        level.creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = value.decode("latin-1").strip(" \0")


class _Recoder:
    """Walks one data set in its source encoding and writes it in the target's."""

    def __init__(self, data: Data, source: Encoding, target: Encoding) -> None:
        self.data = data
        self.source = source
        self.target = target

    def elements(self, span: tuple[int, int], level: _Level, depth: int) -> bytes:
        """The elements of one level; group lengths count the new bytes."""
        start, end = span
        if depth > MAX_DEPTH:
            raise unreadable("its sequences are nested too deeply", start)
        pieces: list[tuple[int, bytes]] = []
        for found in walk(self.data, self.source, start, end):
            if found.end > end:
                raise unreadable("its pixel data is cut off", found.start)
            pieces.append((found.tag, self._element(found, level, depth)))
        return b"".join(_with_lengths(pieces, self.target))

    def _element(self, found: Element, level: _Level, depth: int) -> bytes:
        vr = found.vr or self._vr(found, level)
        value = found.value, found.end
        if vr == "UN" and found.undefined:
            # CP-246: its items, and its delimiter, are implicit little endian in every encoding.
            return head(found.tag, "UN", UNDEFINED, self.target) + self.data[slice(*value)]
        if found.undefined and found.tag in PIXEL_TAGS:
            raise unreadable("its pixel data is encapsulated", found.start)
        if vr == "SQ" or found.undefined:
            return self._sequence(found, level, depth)
        content = self.data[slice(*value)]
        _learn(level, found.tag, content, self.source)
        if self.source.big != self.target.big:
            content = swap(content, CELLS.get(vr, 1))
        if not self.target.implicit and vr not in LONG_VRS and len(content) > 0xFFFF:
            vr = "UN"
        return head(found.tag, vr, len(content), self.target) + content

    def _vr(self, found: Element, level: _Level) -> str:
        vr = _vr(found, level)
        start = self.data[found.value : min(found.value + 4, found.end)]
        # Some write other values under the tag of a sequence.
        return "UN" if vr == "SQ" and start not in (_ITEM, b"") and not found.undefined else vr

    def _sequence(self, found: Element, level: _Level, depth: int) -> bytes:
        target = self.target
        pieces: list[bytes] = []
        at = found.value
        end = found.end - 8 if found.undefined else found.end
        while at < end:
            tag, _, value, length = element_at(self.data, at, self.source)
            if tag != ITEM:
                raise unreadable("an item was expected", at)
            open_ended = length == UNDEFINED
            stop = after = value + length
            if open_ended:
                after = _item_end(self.data, value, self.source)
                stop = after - 8
            if after > end:
                raise unreadable("an item reaches beyond its sequence", at)
            content = self.elements((value, stop), _Level(level.signed), depth + 1)
            pieces.append(_item_head(ITEM, UNDEFINED if open_ended else len(content), target) + content)
            if open_ended:
                pieces.append(_item_head(ITEM_END, 0, target))
            at = after
        content = b"".join(pieces)
        if found.undefined:
            return head(found.tag, "SQ", UNDEFINED, target) + content + _item_head(SEQUENCE_END, 0, target)
        return head(found.tag, "SQ", len(content), target) + content


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
    """The VR of an implicit element. Ambiguous ones follow PS3.6's words and PS3.5 section A.1."""
    tag = found.tag
    if not tag & 0xFFFF:
        return "UL"
    if tag >> 16 & 1:
        return _private_vr(found, level)
    try:
        vr = str(dictionary_VR(tag))
    except KeyError:
        vr = "UN"
    if " or " not in vr:
        return "SQ" if found.undefined and vr != "UN" else vr
    if "OW" in vr:
        return "OW"
    return "SS" if level.signed else "US"


def _private_vr(found: Element, level: _Level) -> str:
    tag = found.tag
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    creator = level.creators.get(tag & 0xFFFFFF00)
    try:
        vr = str(private_dictionary_VR(tag, creator)) if creator else "UN"
    except KeyError:
        vr = "UN"
    return "UN" if " or " in vr or (found.undefined and vr != "SQ") else vr


def _item_end(data: Data, at: int, encoding: Encoding) -> int:
    while True:
        tag, vr, value, length = element_at(data, at, encoding)
        if tag == ITEM_END:
            return value
        at = value + length
        if length == UNDEFINED:
            at = skip_undefined(data, value, inner_encoding(vr, encoding))


def _item_head(tag: int, length: int, target: Encoding) -> bytes:
    return struct.pack(target.order + "HHI", tag >> 16, tag & 0xFFFF, length)
