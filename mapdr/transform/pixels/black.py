"""What a blanked pixel holds: black, or the padding that the image has for where it shows nothing."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from mapdr.dicom import tags
from mapdr.kernel.codec import FrameFormat, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.transform.image import Attributes, Image


@dataclass(frozen=True, slots=True)
class Ink:
    """How the cells of one image are blanked, as its header says.

    `shift` is the lowest bit of a value in its cell; `padding` the Pixel Padding Value, None without one that
    fits the values; `index` the darkest colour of a palette; `unused` the bits of overlays in the cells.
    """

    shift: int
    padding: int | None
    index: int
    unused: int

    @classmethod
    def of(cls, image: Image) -> Ink:
        """The ink for an image, by its header as it was received."""
        attributes = image.attributes
        used = range(image.high + 1 - image.stored, image.high + 1)
        bits = (attributes.number(group << 16 | 0x0102) for group in image.overlays)
        unused = sum(
            {1 << bit for bit in bits if bit is not None and 0 <= bit < image.allocated and bit not in used}
        )
        index = darkest(attributes, image.stored) if image.photometric == "PALETTE COLOR" else 0
        return cls(image.high + 1 - image.stored, _padding(image), index, unused)

    def cells(self, form: FrameFormat) -> Pixels:
        """The cells of one blanked pixel, one for each sample. Raises Permanent(reason="pixels")."""
        values = self._values(form)
        bits = (1 << form.allocated) - 1
        if self.unused:
            bits = (1 << form.stored) - 1 << self.shift
        found: Pixels = np.array([value << self.shift & bits for value in values], f"<u{form.allocated // 8}")
        return found

    def _values(self, form: FrameFormat) -> tuple[int, ...]:
        low, high = _range(form.stored, signed=form.signed)
        if form.samples == 1:
            if form.photometric == "PALETTE COLOR":
                return (self.index,)
            if self.padding is not None:
                return (self.padding,)
            # MONOCHROME1 shows the highest value as black (PS3.3 section C.7.6.3.1.2).
            return (high,) if form.photometric == "MONOCHROME1" else (low,)
        if form.samples == 3 and form.photometric == "RGB" and not form.signed:
            return (0, 0, 0)
        if form.samples == 3 and form.photometric == "YBR_FULL" and not form.signed:
            half = 1 << form.stored - 1  # no colour: half of all values
            return (0, half, half)
        raise Permanent("it is not known what is black in its colours", reason="pixels")

    def without_overlays(self, frame: Pixels) -> Pixels:
        """A copy of a frame's cells without the bits of overlays."""
        if not self.unused:
            return frame.copy()
        kept = frame & frame.dtype.type(~self.unused & (1 << 8 * frame.dtype.itemsize) - 1)
        return np.ascontiguousarray(kept)


def _range(stored: int, *, signed: bool) -> tuple[int, int]:
    return (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)


def _padding(image: Image) -> int | None:
    """Pixel Padding Value (PS3.3 section C.7.5.1.1.2), read as the pixels are; None if it is no value."""
    value = image.attributes.number(tags.PIXEL_PADDING_VALUE)
    if value is None or image.samples > 1:
        return None
    if image.signed and value > 0x7FFF:  # written as US
        value -= 0x10000
    elif not image.signed and value < 0:  # as SS
        value += 0x10000
    low, high = _range(image.stored, signed=image.signed)
    return value if low <= value <= high else None


def darkest(attributes: Attributes, stored: int) -> int:
    """The pixel value of the darkest colour of a palette (PS3.3 section C.7.6.3.1.5, C.7.6.3.1.6).

    The first one that it maps where its tables cannot be read: any one value hides what was there.
    """
    lights: list[int] = []
    first = 0
    for colour in range(3):
        descriptor = attributes.value(tags.RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR + colour)
        table = attributes.value(tags.RED_PALETTE_COLOR_LOOKUP_TABLE_DATA + colour)
        if len(descriptor) != 6:
            return 0
        count, first, bits = struct.unpack("<3H", descriptor)
        count = count or 1 << 16
        if bits not in (8, 16) or len(table) < count * bits // 8:
            return _within(first, stored)
        # 8-bit entries in OW lie one after another, or one in each word (both are seen).
        width = 2 if bits == 16 or len(table) >= 2 * count else 1
        entries = np.frombuffer(table, f"<u{width}", count).astype(int).tolist()
        lights = [light + entry for light, entry in zip(lights or [0] * count, entries, strict=False)]
    return _within(first + min(range(len(lights)), key=lights.__getitem__), stored)


def _within(value: int, stored: int) -> int:
    return min(value, (1 << stored) - 1)
