"""What a transform changed: elements and pixels before and after, read as the node reads them.

So it can be told of every object that the node takes, also of one that other readers refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import isfinite

from pydicom.datadict import dictionary_description, dictionary_has_tag

from mapdr.dicom.document import Document
from mapdr.dicom.path import format_tag
from mapdr.dicom.transfer_syntax import NATIVE
from mapdr.dicom.tree import DataElement, Level
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from mapdr.dicom.value import OPAQUE
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.item import Payload
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.dataset import DataSet
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.quality import Padding, measure
from mapdr.transform.image import Frames, LeaveAsIs

ACTIONS = ("removed", "emptied", "changed", "mapped", "filled", "added", "kept")
"""What may have become of an element; "mapped" is another UID in place of one, "filled" a value where there
was none. An item that is in one of the two only is "added" or "removed" as a whole."""


@dataclass(frozen=True, slots=True)
class ElementChange:
    """An element before and after: what became of it (`action`), its text, and which steps did it (`by`).

    `path` leads to it, items counted from 0, as edits write it; `name` is the same in the dictionary's words.
    The texts are empty where it is absent, and None where values are kept back.
    """

    tag: str
    name: str
    before: str | None
    after: str | None
    path: str
    action: str
    by: Sequence[str] = ()

    def without_values(self) -> ElementChange:
        """The same, with its values kept back."""
        return replace(self, before=None, after=None)


@dataclass(frozen=True, slots=True)
class Quality:
    """The largest error in stored values, and the lowest PSNR of a frame in dB (None where all is equal)."""

    max_error: int
    psnr: float | None


def changes(before: Payload, after: Payload, assumed: Sequence[AssumedSet] = ()) -> list[ElementChange]:
    """The elements that differ, without pixel data, group lengths and what is only written otherwise.

    `assumed`: the character sets in which text is read whose declaration is missing or wrong. Raises
    Permanent where one of the two cannot be walked whole.
    """
    if before.parts == after.parts:
        return []
    return [each for each in compared(before, after, assumed) if each.action != "kept"]


def compared(before: Payload, after: Payload, assumed: Sequence[AssumedSet] = ()) -> Iterator[ElementChange]:
    """As `changes`, with the elements that are the same, at every depth."""
    one, other = _document(before, assumed), _document(after, assumed)
    for pair in zip_longest(one.tops(), other.tops()):
        yield from _Comparison(one, other).levels(*pair, "", "")


def quality(before: Payload, after: Payload, codecs: Codecs, workers: int) -> Quality | None:
    """How far pixels are off, as the node's guard measures it.

    None where there are no pixels, or where they cannot be decoded here.
    """
    try:
        with ExitStack() as stack:
            one, other = (
                stack.enter_context(OpenImage(payload, codecs, workers=workers))
                for payload in (before, after)
            )
            if one.data.pixel is None or other.data.pixel is None:
                return None
            if _same_pixels(one.data, other.data):
                return Quality(0, None)
            return _measured(one.frames, other.frames)
    except (MapdrError, LeaveAsIs):
        return None


def _same_pixels(one: DataSet, other: DataSet) -> bool:
    if one.pixel is None or other.pixel is None or one.encoding.big != other.encoding.big:
        return False
    if (one.payload.transfer_syntax_uid in NATIVE) != (other.payload.transfer_syntax_uid in NATIVE):
        return False
    size = one.pixel.end - one.pixel.value
    if size != other.pixel.end - other.pixel.value:
        return False
    step = 1 << 20
    return all(
        one.view[one.pixel.value + at : one.pixel.value + min(at + step, size)]
        == other.view[other.pixel.value + at : other.pixel.value + min(at + step, size)]
        for at in range(0, size, step)
    )


def _measured(one: Frames, other: Frames) -> Quality | None:
    padding = Padding.of(one.image.attributes, one.image)
    largest, lowest = 0, float("inf")
    for index in range(one.image.frames):
        original, decoded = one.frame(index), other.frame(index)
        if original.shape != decoded.shape:
            return None
        found = measure(original, decoded, padding)
        largest, lowest = max(largest, found.max_error), min(lowest, found.psnr)
    return Quality(largest, round(lowest, 2) if isfinite(lowest) else None)


def _document(payload: Payload, assumed: Sequence[AssumedSet]) -> Document:
    with DataSet(payload) as data:
        header = data.header()
        tail = data.tail(header) if data.pixel is not None else b""
    return Document(header, tail or None, EXPLICIT_VR_LITTLE_ENDIAN, assumed)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two data sets, walked side by side."""

    before: Document
    after: Document

    def levels(
        self, before: Level | None, after: Level | None, path: str, name: str
    ) -> Iterator[ElementChange]:
        """The elements of the data set, or of one item of both; `path` and `name` lead to that item."""
        old = {element.tag: element for element in before.elements} if before else {}
        new = {element.tag: element for element in after.elements} if after else {}
        for tag in sorted({*old, *new}):
            if tag & 0xFFFF:
                yield from self._element(old.get(tag), new.get(tag), tag, path, name)

    def _element(
        self, was: DataElement | None, now: DataElement | None, tag: int, path: str, name: str
    ) -> Iterator[ElementChange]:
        path, name = path + format_tag(tag), name + _name(tag)
        if was and now and was.is_sequence() and now.is_sequence() and was.open() and now.open():
            yield from self._items(was.open(), now.open(), tag, path, name)
            return
        texts = _text(self.before, was), _text(self.after, now)
        is_same = (
            was
            and now
            and (was.original() == now.original() or (texts[0] == texts[1] and _raw(was) == _raw(now)))
        )
        action = "kept" if is_same else _action(was, now)
        yield ElementChange(_number(tag), name, *texts, path, action)

    def _items(
        self, old: list[Level], new: list[Level], tag: int, path: str, name: str
    ) -> Iterator[ElementChange]:
        for index, (was, now) in enumerate(zip_longest(old, new)):
            at, called = f"{path}[{index}]", f"{name}[{index}]"
            if was and now:
                yield from self.levels(was, now, f"{at}.", f"{called} / ")
            else:
                texts = _elements_in(was), _elements_in(now)
                yield ElementChange(_number(tag), called, *texts, at, "removed" if was else "added")


def _action(was: DataElement | None, now: DataElement | None) -> str:
    if was is None or now is None:
        return "added" if was is None else "removed"
    if _is_empty(was) != _is_empty(now):
        return "filled" if _is_empty(was) else "emptied"
    return "mapped" if was.vr_name == now.vr_name == "UI" else "changed"


def _is_empty(element: DataElement) -> bool:
    return not element.open() if element.is_sequence() else not element.raw.strip(b" \0")


def _number(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _name(tag: int) -> str:
    if dictionary_has_tag(tag):
        return str(dictionary_description(tag))
    return "Private element" if tag >> 16 & 1 else "Unknown element"


def _text(document: Document, element: DataElement | None) -> str:
    if element is None:
        return ""
    if element.is_sequence():
        return f"{len(element.open())} item(s)"
    return document.text_of(element) or (f"{len(element.raw)} bytes" if element.raw else "")


def _elements_in(item: Level | None) -> str:
    return f"{len(item.elements)} element(s)" if item else ""


def _raw(element: DataElement | None) -> bytes:
    """The value of an element that has no text; empty for others, which may only be encoded otherwise."""
    return element.raw if element is not None and element.vr_name in OPAQUE else b""
