"""Edits of any data set, element by element: only what is named changes, everything else keeps its bytes.

Edits are applied in order, each to what the one before left. A path without item indexes means every item
there is. What also changes: the lengths that enclose a change, the group lengths present in its group, and
all text, when a new value does not fit the declared character set: then the whole data set moves to
ISO_IR 192, nested text too. Values of VR UN, and private ones in implicit VR, are not known to be text and
keep their bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mapdr.dicom.document import Document, Overflow, Rendered, Verbatim, Within
from mapdr.dicom.edit.target import KEPT, Only, Pattern, Private, Target
from mapdr.dicom.edit.value import Content
from mapdr.dicom.edit.verb import Edit
from mapdr.dicom.fit import pad
from mapdr.dicom.path import EditPath, Holding, format_edit_path, tag_vr
from mapdr.dicom.tags import SOP_CLASS_UID, SOP_INSTANCE_UID
from mapdr.dicom.template import Template
from mapdr.dicom.tree import DataElement, Level
from mapdr.dicom.value import SINGLE
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import NOWHERE, Source, TagPath


class Edited(NamedTuple):
    """A changed header and tail, the paths that differ now, and the identity that the data set has now.

    Where nothing changed, `header` and `tail` are the very objects that were given. Of a sequence that was
    set, emptied or removed, `changed` names the sequence, not what is in it. A UID is empty if the data set
    has none. `moved` says that all text went to ISO_IR 192.
    """

    header: bytes
    tail: bytes
    changed: tuple[TagPath, ...]
    sop_class_uid: str
    sop_instance_uid: str
    moved: bool


def apply_edits(
    header: bytes,
    transfer_syntax_uid: str,
    edits: Sequence[Edit],
    *,
    tail: bytes | None = None,
    tail_at: int = 0,
    assumed: Sequence[AssumedSet] = (),
    source: Source = NOWHERE,
) -> Edited:
    """Apply `edits` to the bytes before the pixel data, and to those after it, the `tail`.

    `tail` is None for a data set without pixel data, whose `header` is all of it (see scan.layout); `tail_at`
    is its offset in the data set, for errors. A deflated data set is inflated by the caller. `assumed` are
    the character sets of text whose declaration is missing or wrong, `source` is where the data set came
    from, for the edits' conditions. Raises Unreadable for bytes that cannot be edited safely, and Permanent:
    for the reasons of the edits' verbs, and "no-such-item", "too-deep" and "odd-form".
    """
    document = Document(header, tail, transfer_syntax_uid, assumed, tail_at)
    TreeElements(document, source).carry_out(edits)
    if document.changed:
        document.drop_file_meta()
    changed = tuple(sorted(document.changed))
    new_header, new_tail = header, tail or b""
    if document.head.changed:
        new_header = document.header()
    if document.tail is not document.head and document.tail.changed:
        new_tail = document.tail.write() + document.tail_padding
    return Edited(
        new_header,
        new_tail,
        changed,
        document.text_at((SOP_CLASS_UID,)),
        document.text_at((SOP_INSTANCE_UID,)),
        document.moved,
    )


class Place(NamedTuple):
    """An element of a level, there or not; `path` leads to it from the top."""

    level: Level
    path: EditPath

    @property
    def tag(self) -> int:
        """The element's tag."""
        return self.path[-1][0]

    @property
    def element(self) -> DataElement | None:
        """The element, if it is there."""
        return self.level.find(self.tag)


class TreeElements:
    """`verb.Elements` of a document, and `kernel.item.Elements` for conditions.

    Targets and values are those of the edits.
    """

    def __init__(self, document: Document, source: Source = NOWHERE) -> None:
        self._document = document
        self._source = source

    def carry_out(self, edits: Sequence[Edit]) -> None:
        """Do each edit whose condition holds, in their order."""
        for edit in edits:
            if edit.condition is None or edit.condition.holds(self, self._source):
                edit.verb.function(self, edit.target, edit.value, edit)

    def each(self, target: Target, edits: Sequence[Edit]) -> None:
        """Carry out edits on each item that is there."""
        for place in list(self.places(target)):
            element = place.element
            if element is None or not (element.is_sequence() or element.raw):
                continue
            if not element.is_sequence() and element.vr != b"UN":
                what = f"{format_edit_path(place.path)} is no sequence in this image"
                raise Permanent(what, reason="no-such-item")
            for item in element.open():
                within = Within(self._document, item)
                TreeElements(within, self._source).carry_out(edits)
                for path in within.changed:
                    self._document.note((*place.path, *((tag, None) for tag in path)))

    def texts(self, path: TagPath) -> tuple[str, ...]:
        """All values at a path, in all items (`kernel.item.Elements`)."""
        document = self._document
        return tuple(text for found in document.elements_at(path) for text in document.texts_of(found))

    def has(self, path: TagPath) -> bool:
        """Whether the element is there, be it empty, in any item."""
        return any(True for _ in self._document.elements_at(path))

    def places(self, target: Target) -> Iterator[Place]:
        """In each level of a path; of other targets each element that is there when its turn comes."""
        if isinstance(target, tuple):
            yield from (Place(level, target) for level in self._document.levels(target, create=False))
            return
        assert not isinstance(target, Only)
        for level, above, elements in self._occurrences(target):
            for tag in dict.fromkeys(element.tag for element in elements):
                yield Place(level, (*((step, None) for step in above), (tag, None)))

    def made_places(self, target: Target) -> Iterator[Place]:
        """As `places`, with the levels of a path made. Raises Permanent where an item index skips items."""
        if not isinstance(target, tuple):
            yield from self.places(target)
            return
        levels = self._document.levels(target, create=True)
        if not levels and not any(isinstance(item, Holding) for _, item in target):
            raise Permanent(f"{format_edit_path(target)}: there is no such item", reason="no-such-item")
        yield from (Place(level, target) for level in levels)

    def render(self, value: Content) -> str | Rendered | None:
        """A template's text, or items with the texts of theirs; None if any of their tags is empty."""
        if isinstance(value, Template):
            return self._text(value)
        items: list[list[tuple[int, str | Rendered]]] = []
        for item in value.items:
            rendered = [(tag, self.render(content)) for tag, content in item]
            known = [(tag, content) for tag, content in rendered if content is not None]
            if len(known) < len(rendered):
                return None
            items.append(known)
        return items

    def _text(self, template: Template) -> str | None:
        """The template's text; Verbatim where a tag gave it a backslash that separates no values there."""
        values, is_verbatim = {}, False
        for path in template.paths:
            for element in self._document.elements_at(path):
                if text := self._document.text_of(element):
                    values[path] = text
                    is_verbatim |= "\\" in text and element.vr_name in SINGLE
                    break
            else:
                return None
        text = template.render(values.__getitem__)
        return Verbatim(text) if is_verbatim else text

    def source(self, value: TagPath) -> DataElement | None:
        """The first element at the source's path that is not empty."""
        return next(
            (element for element in self._document.elements_at(value) if element.raw.strip(b" \0")), None
        )

    def text(self, place: Place) -> str:
        """Its values, joined by backslashes."""
        element = place.element
        return self._document.text_of(element) if element else ""

    def spaced(self, place: Place) -> str:
        """Its values as they are, with their padding."""
        element = place.element
        return self._document.spaced_text_of(element) if element else ""

    def vr(self, place: Place) -> str:
        """Its VR, or the dictionary's where it is absent."""
        element = place.element
        return element.vr_name if element else tag_vr(place.tag)

    def is_there(self, place: Place) -> bool:
        """Whether there is such an element."""
        return place.element is not None

    def is_empty(self, place: Place) -> bool:
        """Whether it is absent, or holds no value or item; items where a text belongs are not nothing."""
        element = place.element
        if element is None:
            return True
        if element.is_sequence():
            return tag_vr(place.tag) == "SQ" and not element.open()
        return not element.raw.strip(b" \0")

    def is_single(self, place: Place) -> bool:
        """Whether its VR holds one text."""
        return self.vr(place) in SINGLE

    def put(
        self,
        place: Place,
        content: str | Rendered,
        overflow: Overflow,
        *,
        strict: bool = True,
        anew: bool = False,
    ) -> None:
        """Write a text, or the items of a sequence."""
        if isinstance(content, str):
            self._document.put(place.level, place.path, content, overflow, strict=strict, anew=anew)
        else:
            self._document.put_items(place.level, place.path, content, overflow)

    def copy(self, source: DataElement, place: Place, overflow: Overflow) -> None:
        """Write a copy, byte for byte where byte order, character set and VR are the same."""
        document, level = self._document, place.level
        vr = self.vr(place)
        in_same_set = document.terms(level) == document.terms(source.level)
        if level.flags == source.level.flags and in_same_set and vr == source.vr_name:
            document.put_raw(level, place.path, vr, pad(source.raw, vr))
            return
        text = document.text_of(source)
        if source.vr_name in SINGLE:
            text = Verbatim(text)
        document.put(level, place.path, text, overflow)

    def clear(self, place: Place) -> None:
        """Leave it without a value, or without items."""
        self._document.clear(place.level, place.path)

    def remove(self, target: Target) -> None:
        """Take out what the target names; of a creator's blocks also their reservation."""
        if not isinstance(target, tuple):
            assert not isinstance(target, Only)
            for level, above, elements in self._occurrences(target, removing=True):
                level.remove(elements)
                self._document.changed.update(((*above, element.tag), None) for element in elements)
            return
        for level, path in list(self.places(target)):
            elements = [element for element in level.elements if element.tag == path[-1][0]]
            if elements:
                level.remove(elements)
                self._document.note(path)

    def keep_only(self, target: Only) -> None:
        """Take out what is not to stay of the top level, header and tail; group lengths too."""
        for level in self._document.tops():
            kept = {
                id(element)
                for each in (*KEPT, *target.targets)
                for element in self._named(level, each)
                if element.tag & 0xFFFF
            }
            blocks = {
                (element.tag >> 16, element.tag >> 8 & 0xFF)
                for element in level.elements
                if id(element) in kept and element.tag >> 16 & 1 and not _is_reservation(element.tag)
            }
            gone = [
                element
                for element in level.elements
                if id(element) not in kept
                and not (_is_reservation(element.tag) and (element.tag >> 16, element.tag & 0xFF) in blocks)
            ]
            if gone:
                level.remove(gone)
                self._document.changed.update(((element.tag,), None) for element in gone)

    def _named(self, level: Level, target: Pattern, *, whole: bool = True) -> list[DataElement]:
        """The elements of a level that the target names, with group lengths and reservations if `whole`."""
        if isinstance(target, Private):
            elements = self._private(level, target, reservations=whole)
        else:
            elements = [element for element in level.elements if element.tag & target.mask == target.tag]
        return elements if whole else [element for element in elements if element.tag & 0xFFFF]

    def move_to_utf8(self) -> None:
        """Move all text to ISO_IR 192."""
        self._document.move_to_utf8()

    def _occurrences(
        self, target: Pattern, *, removing: bool = False
    ) -> Iterator[tuple[Level, TagPath, list[DataElement]]]:
        """What the target names, level by level, with the path to the level.

        The levels within are looked for when the caller has dealt with their elements, in what is left then.
        Only who is `removing` means group lengths and the reservations of private blocks too.
        """
        waiting: list[tuple[Level, TagPath]] = [(level, ()) for level in self._document.tops()]
        while waiting:
            level, path = waiting.pop()
            elements = self._named(level, target, whole=removing)
            if elements:
                yield level, path, elements
            for element in level.elements:
                if element.is_sequence():
                    waiting.extend((item, (*path, element.tag)) for item in element.open())

    def _private(self, level: Level, target: Private, *, reservations: bool) -> list[DataElement]:
        """The private elements of a level that the target names (PS3.5, section 7.8.1)."""
        private = [element for element in level.elements if element.tag >> 16 & 1]
        blocks = {
            (element.tag >> 16, element.tag & 0xFF)
            for element in private
            if _is_reservation(element.tag) and target.creator in (None, self._document.text_of(element))
        }
        found = []
        for element in private:
            group, number = element.tag >> 16, element.tag & 0xFFFF
            if _is_reservation(element.tag):
                is_meant = reservations and target.is_whole and (group, number) in blocks
            elif target.creator is None:
                is_meant = target.names(element.tag)
            else:
                is_meant = (group, number >> 8) in blocks and target.names(element.tag)
            if is_meant:
                found.append(element)
        return found


def _is_reservation(tag: int) -> bool:
    return 0x10 <= tag & 0xFFFF <= 0xFF
