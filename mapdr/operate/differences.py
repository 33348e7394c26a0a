"""What a transform changed: elements and pixels before and after, read as the node reads them.

So it can be told of every object that the node takes, also of one that other readers refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from math import isfinite

from pydicom.datadict import dictionary_description, dictionary_has_tag

from mapdr.dicom.document import Document
from mapdr.dicom.transfer_syntax import NATIVE
from mapdr.dicom.tree import DataElement, Level
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from mapdr.dicom.value import OPAQUE
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.item import Payload
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.dataset import DataSet
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.quality import Padding, measure
from mapdr.transform.image import Frames, LeaveAsIs


@dataclass(frozen=True, slots=True)
class ElementChange:
    """An element before and after, as text; empty where it is absent. Nested ones have their path as name."""

    tag: str
    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Quality:
    """The largest error in stored values, and the lowest PSNR of a frame in dB (None where all is equal)."""

    max_error: int
    psnr: float | None


def changes(before: Payload, after: Payload) -> list[ElementChange]:
    """The elements that differ, without pixel data, group lengths and what is only written otherwise.

    Raises Permanent where one of the two cannot be walked whole.
    """
    if before.parts == after.parts:
        return []
    one, other = _document(before), _document(after)
    found = zip_longest(one.tops(), other.tops())
    return [change for pair in found for change in _changes(one, other, *pair, "")]


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


def _document(payload: Payload) -> Document:
    with DataSet(payload) as data:
        header = data.header()
        tail = data.tail(header) if data.pixel is not None else b""
    return Document(header, tail or None, EXPLICIT_VR_LITTLE_ENDIAN)


def _changes(
    one: Document, other: Document, before: Level | None, after: Level | None, path: str
) -> Iterator[ElementChange]:
    old = {element.tag: element for element in before.elements} if before else {}
    new = {element.tag: element for element in after.elements} if after else {}
    for tag in sorted({*old, *new}):
        was, now = old.get(tag), new.get(tag)
        if not tag & 0xFFFF or (was and now and was.original() == now.original()):
            continue
        name = path + _name(tag)
        if was and now and was.is_sequence() and now.is_sequence():
            items = was.open(), now.open()
            if len(items[0]) == len(items[1]):
                for index, pair in enumerate(zip(*items, strict=True)):
                    yield from _changes(one, other, *pair, f"{name}[{index}] / ")
                continue
        texts = _text(one, was), _text(other, now)
        if texts[0] != texts[1] or (was is None) != (now is None) or _raw(was) != _raw(now):
            yield ElementChange(f"({tag >> 16:04X},{tag & 0xFFFF:04X})", name, *texts)


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


def _raw(element: DataElement | None) -> bytes:
    """The value of an element that has no text; empty for others, which may only be encoded otherwise."""
    return element.raw if element is not None and element.vr_name in OPAQUE else b""
