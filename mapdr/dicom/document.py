"""A data set while it is edited: elements found by path, text read and put, all text moved to ISO_IR 192."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from mapdr import _fast
from mapdr._fast.scan_tables import BIG_ENDIAN, EXPLICIT, Unreadable, actual_flags
from mapdr.dicom.charset import TEXT_VRS, UTF8, decode_or_none, is_plain, parse_terms, terms_in_use
from mapdr.dicom.fit import LIMITS, encode_value, fit, pad
from mapdr.dicom.path import EditPath, Holding, format_edit_path, format_path, format_tag, tag_vr
from mapdr.dicom.scan import encoding_flags
from mapdr.dicom.tags import PIXEL_GROUP, SPECIFIC_CHARACTER_SET
from mapdr.dicom.tree import DataElement, Level
from mapdr.dicom.value import SINGLE, spaced_text, texts_of
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import TagPath

Overflow = Literal["error", "truncate"]
Rendered = Sequence[Sequence[tuple[int, "str | Rendered"]]]
"""The items of a sequence: of each its elements by ascending tag, as texts and items."""


def _top_level(data: bytes, flags: int, base: int = 0) -> tuple[Level, bytes, int]:
    """The elements of `data`, the zeros behind the last of them, and the remarks (`scan_tables.REMARKS`).

    `data` is a header or a tail, `base` its offset in the data set. Raises Unreadable.
    """
    found, end, remarks = _fast.elements(data, 0, len(data), flags, base=base)
    return Level(data, flags, found, base=base), data[end:], remarks


_NOT_OF_IT = "bytes that the declared character set does not have; the text cannot be moved to ISO_IR 192"
_UNDECLARED = (
    "other text than ASCII, and no character set is declared; the receiver can assume one: "
    'assume_character_set = "ISO_IR 100"'
)


_MISREAD = "the data set has an odd form, and would be read otherwise with this edit"


def _contents(sequence: DataElement) -> list[bytes]:
    return [item.write() for item in sequence.open()]


class Verbatim(str):
    """A text whose backslashes are characters, as in LT, where in most VRs they separate values."""

    __slots__ = ()


class Document:
    """A data set's header and tail as trees (`mapdr.dicom.tree`) that are read and changed by path.

    `changed` holds the paths of the elements that differ from what came; `moved` says that all text was moved
    to ISO_IR 192. Without a `tail` the header is the whole data set, and both names mean one tree. Where a
    declaration is missing or wrong, text is read in the sets that are `assumed`; where other text than ASCII
    is put, the set that it is written in is declared.
    """

    def __init__(
        self,
        header: bytes,
        tail: bytes | None,
        transfer_syntax_uid: str,
        assumed: Sequence[AssumedSet] = (),
        tail_at: int = 0,
    ) -> None:
        self._declared = encoding_flags(transfer_syntax_uid)
        flags = actual_flags(header, len(header), self._declared)
        self.head, self.padding, self._remarks = _top_level(header, flags)
        self.tail, self.tail_padding = self.head, b""
        if tail is not None:
            self.tail, self.tail_padding, _ = _top_level(tail, flags, tail_at)
        self.assumed = tuple(assumed)
        self.changed: dict[TagPath, None] = {}
        self.moved = False

    def header(self) -> bytes:
        """The header's bytes now.

        The encoding of an irregular data set is guessed from its bytes, and an edit may have removed those
        that the guess needs. So the new header is read again: raises Permanent (reason "odd-form") if it
        shows other elements, or cannot be read.
        """
        data = self.head.write() + self.padding
        if self._remarks or self.head.flags != self._declared:
            try:
                flags = actual_flags(data, len(data), self._declared)
                again, _, _ = _top_level(data, flags)
            except Unreadable as error:
                raise Permanent(f"{_MISREAD}: {error}", reason="odd-form") from error
            if flags != self.head.flags or [n.tag for n in again.elements] != [
                n.tag for n in self.head.elements
            ]:
                raise Permanent(_MISREAD, reason="odd-form")
        return data

    def tops(self) -> list[Level]:
        """The top level: header, and tail if there is one."""
        return [self.head] if self.tail is self.head else [self.head, self.tail]

    def top_for(self, tag: int) -> Level:
        """The header's or the tail's level, by where the element is, or would be added."""
        for level in self.tops():
            if level.find(tag):
                return level
        return self.tail if tag >> 16 > PIXEL_GROUP else self.head

    def terms(self, level: Level) -> tuple[str, ...]:
        """The character set that holds in a level: what is declared, or what is assumed in its place."""
        return self._terms_in_use(self._declaring(level).terms)

    def _terms_in_use(self, declared: tuple[str, ...]) -> tuple[str, ...]:
        return terms_in_use(declared, self.assumed) if self.assumed else declared

    def _declaring(self, level: Level) -> Level:
        """The level whose Specific Character Set holds in `level` (PS3.5, 7.5.3)."""
        while level.parent and not level.find(SPECIFIC_CHARACTER_SET):
            level = level.parent.level
        return level if level.parent else self.head

    def _declare(self, level: Level) -> None:
        """Declare the set that is assumed in `level`: other text than ASCII is written in it."""
        level = self._declaring(level)
        declared = level.terms
        terms = self._terms_in_use(declared)
        if terms == declared:
            return
        element = level.find(SPECIFIC_CHARACTER_SET) or level.add(SPECIFIC_CHARACTER_SET, "CS")
        element.data = pad("\\".join(terms).encode("ascii"), "CS")
        path: TagPath = (SPECIFIC_CHARACTER_SET,)
        while level.parent:
            path = (level.parent.tag, *path)
            level = level.parent.level
        self.changed[path] = None

    def levels(self, path: EditPath, *, create: bool) -> list[Level]:
        """The levels that hold, or would hold, the last element of `path`."""
        found = [self.top_for(path[0][0])]
        for tag, index in path[:-1]:
            found = [item for level in found for item in self._items(level, tag, index, create=create)]
        return found

    def _items(self, level: Level, tag: int, index: int | Holding | None, *, create: bool) -> list[Level]:
        element = level.find(tag)
        if element is None:
            if not create or isinstance(index, Holding) or (index or 0) > 0:
                return []
            if tag_vr(tag) != "SQ":
                raise Permanent(
                    f"{format_tag(tag)} is absent and not known as a sequence", reason="no-such-item"
                )
            element = level.add(tag, "SQ")
            element.items = []
        elif not element.is_sequence() and element.vr != b"UN":
            raise Permanent(f"{format_tag(tag)} is no sequence in this image", reason="no-such-item")
        items = element.open()
        if isinstance(index, Holding):
            return [item for item in items if self._holds(item, index)]
        if create and (index or 0) == len(items) and (index is not None or not items):
            Level.new_item(element)
        return list(items) if index is None else items[index : index + 1]

    def _holds(self, item: Level, asked: Holding) -> bool:
        """Whether an item has the value that is asked for."""
        found = [item]
        for tag in asked.path[:-1]:
            found = [inner for level in found for inner in self._items(level, tag, None, create=False)]
        elements = [element for level in found if (element := level.find(asked.path[-1]))]
        return any(asked.value in self.texts_of(element) for element in elements)

    def text_at(self, path: TagPath) -> str:
        """The first element at `path` that is not empty, its values joined by backslashes; else ""."""
        for element in self.elements_at(path):
            text = self.text_of(element)
            if text:
                return text
        return ""

    def elements_at(self, path: TagPath) -> Iterator[DataElement]:
        """The elements at `path` in any item."""
        for level in self.levels(tuple((tag, None) for tag in path), create=False):
            element = level.find(path[-1])
            if element:
                yield element

    def texts_of(self, element: DataElement) -> list[str]:
        """The values of an element."""
        big_endian = bool(element.level.flags & BIG_ENDIAN)
        return texts_of(element.raw, element.vr_name, self.terms(element.level), big_endian=big_endian)

    def text_of(self, element: DataElement) -> str:
        """The values of an element, joined by backslashes."""
        return "\\".join(self.texts_of(element))

    def spaced_text_of(self, element: DataElement) -> str:
        """As `text_of`, with the padding of the values."""
        return spaced_text(element.raw, element.vr_name, self.terms(element.level))

    def put(
        self,
        level: Level,
        path: EditPath,
        text: str,
        overflow: Overflow,
        *,
        strict: bool = True,
        anew: bool = False,
    ) -> None:
        """Give the last element of `path` a text in this level. Raises Permanent if it does not fit.

        Without `strict` only the text's length must fit its VR. An element that has the same text keeps its
        bytes, unless it is written `anew`.
        """
        element = level.find(path[-1][0])
        vr = element.vr_name if element else tag_vr(path[-1][0])
        if element and not anew and self.text_of(element) == text and not self._splits(text, vr):
            return
        vr, raw = self._encoded(level, path, vr, text, overflow=overflow, strict=strict)
        self.put_raw(level, path, vr, raw)

    @staticmethod
    def _splits(text: str, vr: str) -> bool:
        """Whether a backslash, a character of this text, would separate values in that VR."""
        return isinstance(text, Verbatim) and "\\" in text and vr not in SINGLE

    def _encoded(
        self, level: Level, path: EditPath, vr: str, text: str, *, overflow: Overflow, strict: bool
    ) -> tuple[str, bytes]:
        """The VR and bytes of a text in this level; all text is moved to ISO_IR 192 if it needs that."""
        vr = "LO" if vr == "UN" else vr
        if self._splits(text, vr):
            raise Permanent(
                f"{format_edit_path(path)}: the text holds a backslash, which separates values in a {vr}",
                reason="bad-value",
            )
        try:
            text = fit(text, vr, truncate=overflow == "truncate", form=strict)
            raw = encode_value(text, vr, self.terms(level), big_endian=bool(level.flags & BIG_ENDIAN))
            if raw is None:
                self.move_to_utf8()
                raw = encode_value(text, vr, (UTF8,))
            elif self.assumed and vr.encode() in TEXT_VRS and not is_plain(raw):
                self._declare(level)
        except Permanent as error:
            cure = (
                '; overflow = "truncate" cuts it' if error.reason == "value-too-long" and vr in LIMITS else ""
            )
            raise Permanent(f"{format_edit_path(path)}: {error}{cure}", reason=error.reason) from error
        return vr, raw or b""

    def put_raw(self, level: Level, path: EditPath, vr: str, raw: bytes) -> None:
        """Give the last element of `path` its bytes in this level; of duplicates the first is kept."""
        tag = path[-1][0]
        element = level.find(tag)
        if element and element.raw == raw:
            return
        if element is None:
            element = level.add(tag, vr)
        element.data = raw
        element.items = None
        level.remove([other for other in level.elements if other.tag == tag and other is not element])
        self.note(path)

    def put_items(self, level: Level, path: EditPath, items: Rendered, overflow: Overflow) -> None:
        """Give the sequence at the end of `path` these items in this level, and no others."""
        tag = path[-1][0]
        old = [element for element in level.elements if element.tag == tag]
        was_moved = self.moved
        new = self._sequence(level, path, items, overflow)
        if self.moved and not was_moved:
            new = self._sequence(level, path, items, overflow)  # in the character set that holds now
        if len(old) == 1 and old[0].is_sequence() and _contents(old[0]) == _contents(new):
            return
        level.remove(old)
        level.insert(new)
        self.note(path)

    def _sequence(self, level: Level, path: EditPath, items: Rendered, overflow: Overflow) -> DataElement:
        """A sequence with these items, for this level but not inserted. Raises Permanent as `put`."""
        sequence = DataElement(level, path[-1][0], b"SQ" if level.flags & EXPLICIT else b"", None)
        sequence.items = []
        for content in items:
            item = Level.new_item(sequence)
            for tag, value in content:
                within = (*path, (tag, None))
                if isinstance(value, str):
                    vr, raw = self._encoded(item, within, tag_vr(tag), value, overflow=overflow, strict=True)
                    item.add(tag, vr).data = raw
                else:
                    item.insert(self._sequence(item, within, value, overflow))
        return sequence

    def clear(self, level: Level, path: EditPath) -> None:
        """Leave the last element of `path` without a value or without items in this level."""
        element = level.find(path[-1][0])
        if element and element.is_sequence():
            self.put_items(level, path, (), "error")
        else:
            self.put_raw(level, path, tag_vr(path[-1][0]), b"")

    def drop_file_meta(self) -> None:
        """Take out elements of the File Meta group, which have no place in a data set (PS3.10, 7.1)."""
        meta = [element for element in self.head.elements if element.tag >> 16 == 2]
        if meta:
            self.head.remove(meta)
            self.changed.update(((element.tag,), None) for element in meta)

    def note(self, path: EditPath) -> None:
        """Add the element's path, without item indexes, to `changed`."""
        self.changed[tuple(tag for tag, _ in path)] = None

    def move_to_utf8(self) -> None:
        """Decode all text, nested text too, in its declared set and encode it in ISO_IR 192.

        Items that declare a set of their own, be it an empty one, declare ISO_IR 192 then. Raises
        Permanent (reason "character-set") for bytes that the declared set does not have, and for text beyond
        ASCII where none is declared.
        """
        terms = self.terms(self.head)
        for level in self.tops():
            self._move(level, terms, ())
        if self.head.terms == (UTF8,):
            return
        self.moved = True
        declared = self.head.find(SPECIFIC_CHARACTER_SET)
        if declared is None:
            declared = self.head.add(SPECIFIC_CHARACTER_SET, "CS")
        declared.data = UTF8.encode("ascii")
        self.changed[(SPECIFIC_CHARACTER_SET,)] = None

    def _move(self, level: Level, terms: tuple[str, ...], path: TagPath) -> None:
        own = level.find(SPECIFIC_CHARACTER_SET)
        if own and path:
            terms = self._terms_in_use(level.terms)
        for element in level.elements:
            here = (*path, element.tag)
            if element.tag == SPECIFIC_CHARACTER_SET:
                if path and parse_terms(element.raw) != (UTF8,):
                    element.data = UTF8.encode("ascii")
                    self.moved = True
                    self.changed[here] = None
            elif element.is_sequence():
                for item in element.open():
                    self._move(item, terms, here)
            elif terms != (UTF8,) and element.vr_name.encode() in TEXT_VRS and not is_plain(element.raw):
                text = decode_or_none(element.raw, terms, person=element.vr_name == "PN")
                if text is None:
                    why = _UNDECLARED if not terms else _NOT_OF_IT
                    raise Permanent(f"{format_path(here)} holds {why}", reason="character-set")
                element.data = pad(text.rstrip(" \0").encode(), element.vr_name)
                self.changed[here] = None


class Within(Document):
    """An item of a document, read and changed as if it were a data set; `changed` has paths from it on.

    It takes the character set of the document, which moves as a whole.
    """

    def __init__(self, document: Document, item: Level) -> None:
        self._document = document
        self._item = item
        self.head, self.tail = document.head, document.tail
        self.assumed = document.assumed
        self.changed = {}

    @property
    def moved(self) -> bool:  # type: ignore[override]
        """Whether all text of the document was moved to ISO_IR 192."""
        return self._document.moved

    def tops(self) -> list[Level]:
        """The item."""
        return [self._item]

    def top_for(self, tag: int) -> Level:
        """The item."""
        return self._item

    def _declare(self, level: Level) -> None:
        """Declare the assumed set in the document, which may be above the item."""
        self._document._declare(level)

    def move_to_utf8(self) -> None:
        """Move all text of the document."""
        self._document.move_to_utf8()
