"""Odd forms of data sets, as scanners and archives have written them: one oddity each, in a small image.

Every form holds one item with a Scheduled Procedure Step ID, elements behind it, and pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from .datasets import BIG, EXPLICIT, IMPLICIT, UNDEFINED, element

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SEQUENCE, STEP, PRIVATE = 0x00400275, 0x00400009, 0x00091001
CLASS_UID, INSTANCE_UID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
SIDE = 64
BEHIND = 0x00880140
"""An element behind the odd one: who does not find it has lost the thread."""


class Writer(NamedTuple):
    """Elements in one transfer syntax."""

    syntax: str

    def __call__(self, tag: int, vr: str, value: bytes = b"", length: int | None = None) -> bytes:
        return element(tag, vr, value, self.syntax, length)

    def number(self, tag: int, value: int) -> bytes:
        return self(tag, "US", struct.pack(">H" if self.syntax == BIG else "<H", value))

    @property
    def step(self) -> bytes:
        return self(STEP, "SH", b"S1") + self(0x00400011, "SH", b"WARD")

    def item(self, content: bytes | None = None) -> bytes:
        return self(ITEM, "", self.step if content is None else content)

    def open_item(self) -> bytes:
        return self(ITEM, "", self.step, UNDEFINED)

    @property
    def item_end(self) -> bytes:
        return self(ITEM_END, "")

    @property
    def end(self) -> bytes:
        return self(SEQUENCE_END, "")

    def sequence(self, content: bytes) -> bytes:
        return self(SEQUENCE, "SQ", content)

    def open_sequence(self, content: bytes) -> bytes:
        return self(SEQUENCE, "SQ", content, UNDEFINED)


Form = Callable[[Writer], bytes]

SEQUENCES: dict[str, Form] = {
    "regular": lambda w: w.sequence(w.item()),
    "regular, undefined lengths": lambda w: w.open_sequence(w.open_item() + w.item_end) + w.end,
    "delimiter inside the item's length": lambda w: w.sequence(w.item(w.step + w.item_end)),
    "the same in an open sequence": lambda w: w.open_sequence(w.item(w.step + w.item_end)) + w.end,
    "delimiter behind the item's length": lambda w: w.sequence(w.item() + w.item_end),
    "behind it in an open sequence": lambda w: w.open_sequence(w.item() + w.item_end) + w.end,
    "no last item delimiter": lambda w: w.open_sequence(w.open_item()) + w.end,
    "no item delimiter at all": lambda w: w.sequence(w.open_item()),
    "delimiter inside the sequence": lambda w: w.sequence(w.item() + w.end),
    "delimiters inside the sequence": lambda w: w.sequence(w.open_item() + w.item_end + w.end),
    "delimiter behind the sequence": lambda w: w.sequence(w.item()) + w.end,
    "item ended by the sequence's delimiter": lambda w: w.open_sequence(w.open_item() + w.end) + w.end,
    "item delimiter outside": lambda w: w.sequence(w.item()) + w.item_end,
    "zeros in the sequence": lambda w: w.sequence(w.item() + bytes(8)),
    "zeros in the item": lambda w: w.sequence(w.item(w.step + bytes(8))),
    "item longer than its sequence": lambda w: w.sequence(
        w(ITEM, "", w.step, len(w.step) + 4),
    ),
    "odd length in the item": lambda w: w.sequence(
        w.item(w(STEP, "SH", b"S1 ") + w(0x00400011, "SH", b"WARD"))
    ),
}
"""Forms of Request Attributes Sequence, in any encoding."""

VRS: dict[str, Form] = {
    f"VR {vr!r}": lambda w, vr=vr: w.sequence(w.item()) + w(0x00400280, "ST", b"abcd").replace(b"ST", vr)  # type: ignore[misc]
    for vr in (b"  ", b"??", b"\0\0", b"st", b"--")
} | {
    "VR of two blanks in the item": lambda w: w.sequence(
        w.item(w.step + w(0x00400280, "ST", b"abcd").replace(b"ST", b"  "))
    ),
    "implicit VR for one element": lambda w: (
        w.sequence(w.item()) + struct.pack(">HHL" if w.syntax == BIG else "<HHL", 0x0040, 0x0280, 4) + b"abcd"
    ),
}
"""Forms that only explicit VR has."""

UN_ITEM = element(
    ITEM, "", element(STEP, "", b"S1", IMPLICIT) + element(0x00400011, "", b"WARD", IMPLICIT), IMPLICIT
)
UN_END = element(SEQUENCE_END, "", b"", IMPLICIT)
UN: dict[str, Form] = {
    "sequence written as UN": lambda w: w(SEQUENCE, "UN", UN_ITEM),
    "open sequence written as UN": lambda w: w(SEQUENCE, "UN", UN_ITEM, UNDEFINED) + UN_END,
}
UN_EXPLICIT: dict[str, Form] = {
    "sequence written as UN in explicit VR": lambda w: w(SEQUENCE, "UN", w.item()),
    "open sequence written as UN in explicit VR": lambda w: w(SEQUENCE, "UN", w.item(), UNDEFINED) + w.end,
}


def forms(syntax: str) -> dict[str, bytes]:
    """Name to the bytes of the odd elements, for one transfer syntax."""
    known = dict(SEQUENCES)
    if syntax != IMPLICIT:
        known |= VRS | UN
    if syntax == EXPLICIT:
        known |= UN_EXPLICIT
    writer = Writer(syntax)
    return {name: make(writer) for name, make in known.items()}


def data_set(odd: bytes, syntax: str, behind: bytes = b"") -> bytes:
    """A small image with `odd` in its header, and `behind` its pixel data."""
    w = Writer(syntax)
    return (
        w(0x00080005, "CS", b"ISO_IR 100")
        + w(0x00080016, "UI", CLASS_UID.encode() + b"\0")
        + w(0x00080018, "UI", INSTANCE_UID.encode() + b"\0")
        + w(0x00080060, "CS", b"OT")
        + w(0x00080080, "LO", "Spital Süd".encode("latin-1"))
        + w(0x00090010, "LO", b"MAPDR TEST")
        + w(PRIVATE, "LO", b"SECRET")
        + w(0x00100010, "PN", b"A^B ")
        + w(0x00100020, "LO", b"ID")
        + w(0x0020000D, "UI", b"1.2.3\0")
        + w(0x0020000E, "UI", b"1.2.3.5\0")
        + w.number(0x00280002, 1)
        + w(0x00280004, "CS", b"MONOCHROME2 ")
        + w.number(0x00280010, SIDE)
        + w.number(0x00280011, SIDE)
        + w.number(0x00280100, 8)
        + w.number(0x00280101, 8)
        + w.number(0x00280102, 7)
        + w.number(0x00280103, 0)
        + odd
        + w(BEHIND, "UI", b"1.2.9\0")
        + w(0x7FE00010, "OW", bytes(SIDE * SIDE))
        + behind
    )
