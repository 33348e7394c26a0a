"""Other pictures in the header of an image: overlays and small copies, which may show what is blanked."""

from __future__ import annotations

import re

from mapdr import _fast
from mapdr._fast.scan_tables import EXPLICIT
from mapdr.dicom import tags
from mapdr.dicom.tree import DataElement, Level

_MAY_HOLD = re.compile(rb"\x88\x00\x00\x02|[\xe0-\xff]\x7f|.\x60[\x00-\xff]{2}", re.DOTALL)
"""How tags begin in little endian that are not kept: an icon, pixel data and what is beside it, an overlay's
group."""
_OVERLAYS = range(0x6000, 0x6100)
"""Groups of Repeating Group 60xx (PS3.5 section 7.6)."""
_BESIDE = range(0x7FE1, 0x8000, 2)
"""Private groups behind that of the pixel data: ultrasound devices keep raw data there, names in it."""


def without_copies(header: bytes) -> bytes:
    """`header` without what may show the pixels once more: overlays, icons, sequences whose items hold pixel
    data, and private groups of raw data, at any depth.

    It is explicit VR little endian, without the pixel data itself. Raises Unreadable, and
    Permanent where it nests too deep: what cannot be looked at may hold anything.
    """
    if _MAY_HOLD.search(header) is None:
        return header
    level = Level(header, EXPLICIT, _fast.elements(header, 0, len(header), EXPLICIT)[0])
    _clean(level)
    return level.write()


def _clean(level: Level) -> None:
    gone = [element for element in level.elements if _is_gone(element)]
    level.remove(gone)
    for element in level.elements:
        for item in element.items or ():
            _clean(item)


def _is_gone(element: DataElement) -> bool:
    group = element.tag >> 16
    if group in _OVERLAYS or group in _BESIDE or element.tag == tags.ICON_IMAGE_SEQUENCE:
        return True
    if not element.is_sequence():
        return False
    return any(other.tag in tags.PIXEL_TAGS for item in element.open() for other in item.elements)
