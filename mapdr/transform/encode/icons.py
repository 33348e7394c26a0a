"""Compressed pictures within a header (Icon Image Sequence; PS3.3 section C.7.6.1.1.6), decompressed.

Nested pixel data is either native or in the data set's own transfer syntax (PS3.5 section A.4): where that
changes, it has to be native. One that cannot be decoded is left out, as no reader could have shown it.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from mapdr import _fast
from mapdr._fast.scan_tables import EXPLICIT
from mapdr.dicom import tags
from mapdr.dicom.tags import ITEM, PIXEL_DATA
from mapdr.dicom.tree import DataElement, Level
from mapdr.dicom.write import EXPLICIT_LITTLE, UNDEFINED, walk
from mapdr.kernel import budget
from mapdr.kernel.errors import Permanent
from mapdr.transform.codecs.foreign import foreign_frames
from mapdr.transform.document import OpenImage, decoded_colour
from mapdr.transform.image import Attributes, Image, LeaveAsIs

_FRAGMENTED = struct.pack("<HH2sHIHH", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED, ITEM >> 16, ITEM & 0xFFFF)


def native_icons(document: OpenImage) -> dict[int, bytes | None]:
    """Changes of a document's header that make nested compressed pixel data native; by tag.

    Raises Unreadable, Permanent("too-deep"), and Short when the node has no memory for one.
    """
    header = document.attributes.header
    places = [
        place
        for place in _fast.elements(header, 0, len(header), EXPLICIT)[0]
        if place.vr in (b"SQ", b"UN") and _FRAGMENTED in header[place.value : place.end]
    ]
    top = Level(header, EXPLICIT, places)
    changes: dict[int, bytes | None] = {}
    for element in top.elements:
        is_shown = element.is_sequence() and all(_decompress(item, document) for item in element.open())
        changes[element.tag] = element.write() if is_shown else None
    return changes


def _decompress(item: Level, document: OpenImage) -> bool:
    """Make the pixel data of an item, and of those in it, native. False where it cannot be decoded."""
    for element in item.elements:
        if element.tag == PIXEL_DATA and _FRAGMENTED in element.original():
            try:
                _replace(item, element, document)
            except (LeaveAsIs, Permanent):
                return False
        elif (
            _FRAGMENTED in element.original()
            and element.is_sequence()
            and not all(_decompress(inner, document) for inner in element.open())
        ):
            return False
    return True


def _replace(item: Level, element: DataElement, document: OpenImage) -> None:
    data = b"".join(each.original() for each in item.elements)
    pixel = next(each for each in walk(data, EXPLICIT_LITTLE) if each.tag == PIXEL_DATA)
    image = Image.of(Attributes(data[: pixel.start]))
    if image.allocated not in (8, 16):
        raise LeaveAsIs("bits-allocated")
    budget.need(image.native_bytes + image.work_bytes)
    decoder = document.codecs.decoder(document.payload.transfer_syntax_uid)
    frames = foreign_frames(image, data, pixel, decoder, workers=document.workers)
    cells = b"".join(frames.cells(index) for index in range(image.frames))
    shown = replace(image, photometric=decoded_colour(image, decoder))
    element.vr, element.data = (b"OW" if image.allocated > 8 else b"OB"), cells + b"\0" * (len(cells) & 1)
    _set(item, tags.PHOTOMETRIC_INTERPRETATION, "CS", shown.photometric.encode("ascii"))
    if image.samples > 1:
        _set(item, tags.PLANAR_CONFIGURATION, "US", bytes(2))


def _set(item: Level, tag: int, vr: str, value: bytes) -> None:
    element = item.find(tag) or item.add(tag, vr)
    element.data = value + b" " * (len(value) & 1)
