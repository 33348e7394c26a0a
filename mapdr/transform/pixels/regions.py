"""Which pixels of an image are blanked: the first entry that fits it, as a mask of its rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapdr import _fast
from mapdr._fast.scan_tables import BIG_ENDIAN, EXPLICIT
from mapdr.dicom import tags
from mapdr.dicom.recode import recode
from mapdr.dicom.scan import scan
from mapdr.dicom.tree import Level
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from mapdr.dicom.write import EXPLICIT_LITTLE, encoding_of
from mapdr.kernel.item import Source, TagPath
from mapdr.route.condition import Predicate, leaves, predicate
from mapdr.transform.image import Attributes
from mapdr.transform.pixels.entries import ULTRASOUND, Rectangle, RegionEntry

IMAGED = range(1, 5)
"""Region Spatial Format (PS3.3 section C.8.5.5.1.1) of what is imaged: 2D, M-Mode, spectral, waveform. Others
are graphics, or say nothing, and may hold any text."""
_CORNERS = (
    tags.REGION_LOCATION_MIN_X0,
    tags.REGION_LOCATION_MIN_Y0,
    tags.REGION_LOCATION_MAX_X1,
    tags.REGION_LOCATION_MAX_Y1,
)
_NOBODY = Source("", "", "", "")


class Box(NamedTuple):
    """Rows from `top` to before `bottom`, columns from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, slots=True)
class Regions:
    """The regions of one image, all within it.

    With `keep` all but the boxes is blanked, else the boxes are. `all_text`: nothing burned in is left then.
    `name` is that of the entry.
    """

    rows: int
    columns: int
    boxes: tuple[Box, ...]
    keep: bool
    all_text: bool = False
    name: str = ""

    def mask(self) -> NDArray[np.bool_]:
        """True where a pixel is blanked; (rows, columns)."""
        inside = np.zeros((self.rows, self.columns), np.bool_)
        for box in self.boxes:
            inside[box.top : box.bottom, box.left : box.right] = True
        return ~inside if self.keep else inside


@dataclass(frozen=True, slots=True)
class _Compiled:
    entry: RegionEntry
    holds: Predicate = field(repr=False)


class RegionSet:
    """Entries, compiled once; safe to share between threads."""

    def __init__(self, entries: Sequence[RegionEntry]) -> None:
        self._compiled = [_Compiled(entry, predicate(entry.condition)) for entry in entries]
        self._wanted: frozenset[TagPath] = frozenset(
            leaf.subject
            for entry in entries
            for leaf in leaves(entry.condition)
            if isinstance(leaf.subject, tuple)
        )

    def regions_for(self, header: Attributes) -> Regions | None:
        """The regions by the first entry that fits an image and blanks some of its pixels; None without one.

        `header` holds the elements before the pixel data, as they were received. Raises Unreadable.
        """
        rows, columns = header.number(tags.ROWS, 0) or 0, header.number(tags.COLUMNS, 0) or 0
        if not (rows > 0 and columns > 0):
            return None
        return self._first(header, rows, columns)

    def covers(self, header: bytes, transfer_syntax_uid: str) -> bool:
        """Whether an image has regions: by the elements before its pixel data, as they are encoded.

        Of a deflated data set they are inflated, and explicit VR little endian. Raises as `regions_for`.
        """
        encoding = encoding_of(transfer_syntax_uid)
        plain = header if encoding == EXPLICIT_LITTLE else recode(header, encoding, EXPLICIT_LITTLE)
        return self.regions_for(Attributes(plain)) is not None

    def _first(self, header: Attributes, rows: int, columns: int) -> Regions | None:
        found = scan(header.header, EXPLICIT_VR_LITTLE_ENDIAN, self._wanted, complete=True)
        for each in self._compiled:
            if not each.holds(found, _NOBODY):
                continue
            regions = _regions(each.entry, header.header, rows, columns)
            if regions is not None:
                return regions
        return None


def _regions(entry: RegionEntry, header: bytes, rows: int, columns: int) -> Regions | None:
    """The regions of an image that an entry is for; None if it blanks nothing, or has nothing to keep."""
    keep = bool(entry.keep)
    if entry.keep == ULTRASOUND:
        boxes = ultrasound_boxes(header, rows, columns)
    else:
        rectangles = entry.blank or entry.keep
        boxes = [_clipped(each, rows, columns) for each in rectangles if isinstance(each, Rectangle)]
    within = tuple(box for box in boxes if box.top < box.bottom and box.left < box.right)
    regions = Regions(rows, columns, within, keep, entry.all_text, entry.name)
    return regions if within and regions.mask().any() else None


def _clipped(rectangle: Rectangle, rows: int, columns: int) -> Box:
    return Box(
        min(rectangle.y, rows),
        min(rectangle.y + rectangle.height, rows),
        min(rectangle.x, columns),
        min(rectangle.x + rectangle.width, columns),
    )


def ultrasound_boxes(header: bytes, rows: int, columns: int) -> list[Box]:
    """What the Sequence of Ultrasound Regions says is imaged (PS3.3 section C.8.5.5), within the frame.

    Corners are pixels of the region. A region of another format, or without one, is not kept. Where one
    reaches beyond the frame, nothing is: such corners are those of another frame, of which this was made.
    """
    level = Level(header, EXPLICIT, _fast.elements(header, 0, len(header), EXPLICIT)[0])
    sequence = level.find(tags.SEQUENCE_OF_ULTRASOUND_REGIONS)
    if sequence is None or not sequence.is_sequence():
        return []
    boxes: list[Box] = []
    for item in sequence.open():
        if _number(item, tags.REGION_SPATIAL_FORMAT) not in IMAGED:
            continue
        left, top, right, bottom = (_number(item, tag) for tag in _CORNERS)
        if left is None or top is None or right is None or bottom is None:
            return []
        # Some devices mean the pixel behind the last one.
        if left > right or top > bottom or right > columns or bottom > rows:
            return []
        boxes.append(Box(top, min(bottom + 1, rows), left, min(right + 1, columns)))
    return boxes


def _number(item: Level, tag: int) -> int | None:
    """A binary number of an item; None if it is not there."""
    found: Any = item.find(tag)
    if found is None or len(found.raw) not in (2, 4):
        return None
    return int.from_bytes(found.raw, "big" if item.flags & BIG_ENDIAN else "little")
