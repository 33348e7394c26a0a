"""A data set as a tree that is opened only where it is changed, and written back byte for byte elsewhere.

A level (the data set, or an item) holds elements; a sequence holds levels once it was opened.
What was not touched is copied from the original bytes; what was touched gets new lengths up to the top,
and the group lengths that are present are set right where their group changed.
"""

from __future__ import annotations

from struct import Struct

from mapdr import _fast
from mapdr._fast.scan_tables import (
    BIG_ENDIAN,
    EXPLICIT,
    LONG_VRS,
    SHORT_VRS,
    UNDEFINED,
    Element,
    is_fragmented,
)
from mapdr.dicom.charset import parse_terms
from mapdr.dicom.path import format_tag, tag_vr
from mapdr.dicom.tags import ITEM, ITEM_END, SEQUENCE_END, SPECIFIC_CHARACTER_SET
from mapdr.kernel.errors import Permanent

MAX_DEPTH = 64
"""Levels of sequences that are opened for a change; deeper ones are kept as bytes."""

_HEAD = {0: Struct("<HHL"), BIG_ENDIAN: Struct(">HHL")}
_SHORT = {0: Struct("<HH2sH"), BIG_ENDIAN: Struct(">HH2sH")}
_LONG = {0: Struct("<HH2sHL"), BIG_ENDIAN: Struct(">HH2sHL")}


def _head(tag: int, length: int, order: int) -> bytes:
    """Tag and length without a VR: of items and delimiters, and of elements in implicit VR."""
    return _HEAD[order].pack(tag >> 16, tag & 0xFFFF, length)


class DataElement:
    """An element.

    `data` is its new value, None if it has none; `items` its items, None until `open` has read them. While
    both are None it is written back byte for byte. `vr` is b"" in implicit VR.
    """

    __slots__ = ("_old", "data", "items", "level", "tag", "vr")

    def __init__(self, level: Level, tag: int, vr: bytes, old: Element | None) -> None:
        self.level = level
        self.tag = tag
        self.vr = vr
        self._old = old
        self.data: bytes | None = None if old else b""
        self.items: list[Level] | None = None

    @property
    def vr_name(self) -> str:
        """The VR as written; the dictionary's in implicit VR, for a public UN and for an unknown VR."""
        if self.vr not in SHORT_VRS and (
            self.vr not in LONG_VRS or (self.vr == b"UN" and not self.tag >> 16 & 1)
        ):
            return tag_vr(self.tag)
        return self.vr.decode("ascii")

    @property
    def raw(self) -> bytes:
        """Its value now; b"" of a sequence."""
        if self.data is not None:
            return self.data
        old = self._old
        if self.items is not None or old is None or old.length == UNDEFINED:
            return b""
        return bytes(self.level.buffer[old.value : old.end])

    @property
    def changed(self) -> bool:
        """Whether its bytes will differ."""
        return self.data is not None or (
            self.items is not None and (self._old is None or any(item.changed for item in self.items))
        )

    def is_sequence(self) -> bool:
        """Whether its value is a sequence of items (PS3.5, section 7.5).

        It is if it was opened, its VR is SQ, or its length is undefined and it holds no fragments. Where only
        the dictionary says SQ (implicit VR, UN), its value must begin with an item, for some tags had another
        VR in older editions.
        """
        if self.items is not None:
            return True
        if self._old is None:
            return False
        if self._old.length == UNDEFINED:
            return not is_fragmented(self.tag, self.vr)
        if self.vr_name != "SQ":
            return False
        if self.vr == b"SQ" or self._old.value == self._old.end:
            return True
        order = self.level.flags & BIG_ENDIAN if self.vr != b"UN" else 0
        return bytes(self.level.buffer[self._old.value : self._old.value + 4]) == _head(ITEM, 0, order)[:4]

    def original(self) -> bytes:
        """Its bytes as they came, head and all."""
        return bytes(self.level.buffer[self._old.offset : self._old.end]) if self._old else b""

    def open(self) -> list[Level]:
        """Its items. Raises Unreadable if its bytes are no sequence, Permanent if it is too deep."""
        if self.items is None:
            if self.level.depth >= MAX_DEPTH:
                raise Permanent(f"{format_tag(self.tag)} nests too deep to be changed", reason="too-deep")
            self.items = []
            if self._old is not None:
                level = self.level
                self.items += [
                    Level(level.buffer, item.flags, item.elements, parent=self, defined=not item.undefined)
                    for item in _fast.items(level.buffer, self._old, level.flags, base=level.base)
                ]
            self.data = None
        return self.items

    def write(self) -> bytes:
        """Its bytes now."""
        if not self.changed:
            return self.original()
        order = self.level.flags & BIG_ENDIAN
        old = self._old
        if self.items is None:
            value = self.data or b""
        else:
            value = b"".join(item.write_item() for item in self.items)
            if old and old.length == UNDEFINED:
                head = bytes(self.level.buffer[old.offset : old.value])
                order = 0 if self.vr == b"UN" else order
                return head + value + _head(SEQUENCE_END, 0, order)
        if not self.vr:
            return _head(self.tag, len(value), order) + value
        group, element = self.tag >> 16, self.tag & 0xFFFF
        vr = self.vr if self.vr in SHORT_VRS or self.vr in LONG_VRS else self.vr_name.encode("ascii")
        if vr in LONG_VRS:
            return _LONG[order].pack(group, element, vr, 0, len(value)) + value
        if len(value) > 0xFFFE:
            raise Permanent(f"{format_tag(self.tag)} is too long for its VR", reason="value-too-long")
        return _SHORT[order].pack(group, element, vr, len(value)) + value


class Level:
    """The elements of the data set, of its tail, or of an item, in their order."""

    __slots__ = ("_defined", "base", "buffer", "depth", "elements", "flags", "parent", "touched")

    def __init__(
        self,
        buffer: bytes,
        flags: int,
        found: list[Element],
        *,
        parent: DataElement | None = None,
        defined: bool = True,
        base: int = 0,
    ) -> None:
        """`base` is the buffer's offset in the data set, which errors name."""
        self.buffer = buffer
        self.base: int = parent.level.base if parent else base
        self.flags = flags
        self.parent = parent
        self.depth: int = parent.level.depth + 1 if parent else 0
        self.elements = [DataElement(self, element.tag, element.vr, element) for element in found]
        self.touched: set[int] = set()
        self._defined = defined

    @classmethod
    def new_item(cls, parent: DataElement) -> Level:
        """An empty item at the end of a sequence."""
        others = parent.open()
        flags = others[0].flags if others else 0 if parent.vr == b"UN" else parent.level.flags
        item = cls(b"", flags, [], parent=parent)
        item.touched.add(0)
        others.append(item)
        return item

    @property
    def changed(self) -> bool:
        """Whether any byte will differ; `touched` holds the groups with added or removed elements."""
        return bool(self.touched) or any(element.changed for element in self.elements)

    @property
    def terms(self) -> tuple[str, ...]:
        """The Specific Character Set that holds here: its own, or its parent's (PS3.5, 7.5.3)."""
        own = self.find(SPECIFIC_CHARACTER_SET)
        if own is not None:
            return parse_terms(own.raw)
        return self.parent.level.terms if self.parent else ()

    def find(self, tag: int) -> DataElement | None:
        """The first element of that tag."""
        return next((element for element in self.elements if element.tag == tag), None)

    def add(self, tag: int, vr: str) -> DataElement:
        """A new, empty element in its place by tag."""
        element = DataElement(self, tag, vr.encode("ascii") if self.flags & EXPLICIT else b"", None)
        self.insert(element)
        return element

    def insert(self, element: DataElement) -> None:
        """Put an element in its place by tag."""
        index = next(
            (i for i, other in enumerate(self.elements) if other.tag > element.tag), len(self.elements)
        )
        self.elements.insert(index, element)
        self.touched.add(element.tag >> 16)

    def remove(self, elements: list[DataElement]) -> None:
        """Take elements out."""
        gone = set(map(id, elements))
        self.elements = [element for element in self.elements if id(element) not in gone]
        self.touched.update(element.tag >> 16 for element in elements)

    def write(self) -> bytes:
        """The bytes of its elements now. Sets group lengths right in the groups that changed."""
        parts: list[bytes] = []
        for element in self.elements:
            if not element.tag & 0xFFFF and len(element.raw) == 4 and self._group_changed(element.tag >> 16):
                group = [
                    other
                    for other in self.elements
                    if other.tag >> 16 == element.tag >> 16 and other is not element
                ]
                order = "big" if self.flags & BIG_ENDIAN else "little"
                element.data = sum(len(other.write()) for other in group).to_bytes(4, order)  # type: ignore[arg-type]
            parts.append(element.write())
        return b"".join(parts)

    def _group_changed(self, group: int) -> bool:
        return group in self.touched or any(
            element.tag >> 16 == group and element.changed for element in self.elements
        )

    def write_item(self) -> bytes:
        """The item's bytes now; its length stays defined or undefined as it was."""
        content = self.write()
        order = self.flags & BIG_ENDIAN
        if self._defined:
            return _head(ITEM, len(content), order) + content
        return _head(ITEM, UNDEFINED, order) + content + _head(ITEM_END, 0, order)
