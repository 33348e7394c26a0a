"""What the header says about the pixels, and the pixels as arrays that a codec can take.

Arrays hold *stored values* (PS3.5 section 8.1.1): shifted down to bit 0, sign-extended, without overlays.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mapdr._fast import elements
from mapdr._fast.scan_tables import EXPLICIT
from mapdr.dicom import tags
from mapdr.dicom.write import Data, Element, from_found
from mapdr.kernel.cached import cached_property
from mapdr.kernel.codec import FrameFormat, Pixels

_STRUCTS = {b"US": "<H", b"SS": "<h", b"UL": "<I", b"SL": "<i"}
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
"""A value of an IS: 12 characters at most (PS3.5 table 6.2-1)."""


class LeaveAsIs(Exception):
    """The image is not for this step: it goes on unchanged, and `reason` is recorded."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class OutsideBitsStored(LeaveAsIs):
    """Unused bits of a cell hold what is neither an overlay nor a sign: a codestream of the stored values
    would drop it. `OpenImage.keep_whole_cells` is the way to compress such an image."""

    def __init__(self) -> None:
        super().__init__("values-outside-bits-stored")


class Attributes:
    """Top level attributes of an explicit VR little endian header, by tag."""

    def __init__(self, header: bytes) -> None:
        self.header = header
        level = elements(header, 0, len(header), EXPLICIT)[0] if header else ()
        self._found = {
            found.tag: found for found in reversed(level)
        }  # of a tag that is there twice, the first

    def __contains__(self, tag: object) -> bool:
        return tag in self._found

    def element(self, tag: int) -> Element | None:
        """Where the element of a tag lies, None if it is absent."""
        found = self._found.get(tag)
        return None if found is None else from_found(found)

    def value(self, tag: int) -> bytes:
        """The raw value, empty if absent."""
        found = self._found.get(tag)
        return self.header[found.value : found.end] if found else b""

    def texts(self, tag: int) -> tuple[str, ...]:
        """The values of a CS, UI, DS or IS element."""
        text = self.value(tag).decode("latin-1").strip(" \0")
        return tuple(part.strip(" \0") for part in text.split("\\")) if text else ()

    def text(self, tag: int) -> str:
        """The first value, or an empty string."""
        values = self.texts(tag)
        return values[0] if values else ""

    def number(self, tag: int, default: int | None = None) -> int | None:
        """The first value of a binary or IS element; `default` if absent, empty or no number."""
        found, value = self._found.get(tag), self.value(tag)
        if found is None or not value:
            return default
        layout = _STRUCTS.get(found.vr)
        if layout is not None:
            return default if len(value) < struct.calcsize(layout) else struct.unpack_from(layout, value)[0]
        text = self.text(tag)
        return int(text) if _INTEGER.fullmatch(text) else default


@dataclass(frozen=True)
class Image:
    """The Image Pixel module (PS3.3 section C.7.6.3) of one data set."""

    attributes: Attributes
    rows: int
    columns: int
    samples: int
    planar: int
    allocated: int
    stored: int
    high: int
    signed: bool
    frames: int
    photometric: str
    halved: bool = False
    """Its frames were read from native YBR_FULL_422, of which two bytes a pixel came."""
    whole: bool = False
    """Its cells count as they are, unused bits and all; only overlays are taken out of them."""

    @classmethod
    def of(cls, attributes: Attributes) -> Image:
        """Read the module. Raises LeaveAsIs("pixel-module") when it is incomplete or contradicts itself."""
        wanted = (tags.ROWS, tags.COLUMNS, tags.BITS_ALLOCATED, tags.BITS_STORED)
        numbers = [attributes.number(tag) for tag in wanted]
        rows, columns, allocated, stored = (number or 0 for number in numbers)
        high = attributes.number(tags.HIGH_BIT, stored - 1)
        samples = attributes.number(tags.SAMPLES_PER_PIXEL, 1)
        # None where it is there and no number: to take it for 1 would lose frames.
        frames = attributes.number(tags.NUMBER_OF_FRAMES) if attributes.text(tags.NUMBER_OF_FRAMES) else 1
        if not (rows and columns and samples and frames and frames > 0 and high is not None):
            raise LeaveAsIs("pixel-module")
        if not 0 < stored <= allocated or not stored - 1 <= high < allocated:
            raise LeaveAsIs("pixel-module")
        return cls(
            attributes=attributes,
            rows=rows,
            columns=columns,
            samples=samples,
            planar=attributes.number(tags.PLANAR_CONFIGURATION, 0) or 0,
            allocated=allocated,
            stored=stored,
            high=high,
            signed=attributes.number(tags.PIXEL_REPRESENTATION, 0) == 1,
            frames=frames,
            photometric=attributes.text(tags.PHOTOMETRIC_INTERPRETATION),
        )

    @cached_property
    def format(self) -> FrameFormat:
        """What a codec is told of each frame."""
        return FrameFormat(
            self.rows,
            self.columns,
            self.samples,
            self.allocated,
            self.allocated if self.whole else self.stored,
            self.signed,
            self.photometric,
        )

    @property
    def frame_bytes(self) -> int:
        """Bytes of one native frame as allocated."""
        return self.format.size

    @property
    def native_bytes(self) -> int:
        """Bytes of the native pixel data as it came: what ratios count against."""
        bits = self.rows * self.columns * self.samples * self.allocated * self.frames
        whole = (bits + 7) // 8
        return whole * 2 // 3 if self.halved else whole

    @property
    def work_bytes(self) -> int:
        """Bytes that one frame takes while it is encoded, decoded again and compared, or decoded.

        By peak resident memory with OpenJPEG: 13 bytes a sample of 16 bits, 14 of 8 bits.
        """
        return 14 * self.rows * self.columns * self.samples

    @cached_property
    def overlays(self) -> tuple[int, ...]:
        """Groups of overlays that lie in unused bits of the pixels (retired; PS3.5 section 8.1.2)."""
        groups = (0x6000 + step for step in range(0, 0x20, 2))
        return tuple(
            group
            for group in groups
            if group << 16 | 0x0102 in self.attributes and group << 16 | 0x3000 not in self.attributes
        )

    def overlay_bit(self, group: int) -> int:
        """The bit of the pixel cell that holds an overlay. Raises LeaveAsIs when it cannot be extracted."""
        number = self.attributes.number
        bit = number(group << 16 | 0x0102)
        size = number(group << 16 | 0x0010), number(group << 16 | 0x0011)
        used = range(self.high + 1 - self.stored, self.high + 1)
        if bit is None or bit in used or bit >= self.allocated or size != (self.rows, self.columns):
            raise LeaveAsIs("overlay")
        if self.samples > 1:
            raise LeaveAsIs("overlay")
        return bit

    def stored_values(self, cells: bytes | memoryview, *, interleaved: bool = False) -> Pixels:
        """The stored values of one frame in little endian cells; (rows, columns[, samples]).

        `interleaved` cells have their samples together, whatever the planar configuration says.
        Raises OutsideBitsStored, unless the image is `whole`.
        """
        raw: Pixels = np.frombuffer(cells, f"<u{self.allocated // 8}")
        if self.samples == 1:
            raw = raw.reshape(self.rows, self.columns)
        elif self.planar and not interleaved:
            raw = np.ascontiguousarray(np.moveaxis(raw.reshape(self.samples, self.rows, self.columns), 0, -1))
        else:
            raw = raw.reshape(self.rows, self.columns, self.samples)
        for group in self.overlays:
            raw = raw & raw.dtype.type(~(1 << self.overlay_bit(group)) & (1 << self.allocated) - 1)
        return self._checked(raw)

    def overlay_bits(self, cells: bytes, group: int) -> Pixels:
        """The overlay in the cells of one frame, or of several that follow each other: a zero or one each."""
        raw = np.frombuffer(cells, f"<u{self.allocated // 8}")
        bits = (raw >> raw.dtype.type(self.overlay_bit(group))) & raw.dtype.type(1)
        found: Pixels = bits.astype(np.uint8)
        return found

    def _checked(self, raw: Pixels) -> Pixels:
        signed = raw.view(f"<i{raw.dtype.itemsize}")
        if self.whole:
            return signed if self.signed else raw
        shift = self.high + 1 - self.stored
        if shift and np.any(raw & raw.dtype.type((1 << shift) - 1)):
            raise OutsideBitsStored
        if self.stored == self.allocated:
            return signed if self.signed else raw
        if not shift and not self.signed:
            if raw.size and raw.max() > raw.dtype.type((1 << self.stored) - 1):
                raise OutsideBitsStored
            return raw
        down = raw >> raw.dtype.type(shift)
        fits = down <= raw.dtype.type((1 << self.stored) - 1)
        if self.signed:
            # The bits above High Bit may be zero or repeat the sign: both are seen, and mean the same.
            left = signed.dtype.type(self.allocated - 1 - self.high)
            values: Pixels = (signed << left) >> signed.dtype.type(self.allocated - self.stored)
            fits |= values == signed >> signed.dtype.type(shift)
        else:
            values = down
        if not fits.all():
            raise OutsideBitsStored
        return values


class Frames(Protocol):
    """The frames of one image, read one at a time, from any thread."""

    @property
    def image(self) -> Image:
        """What the header says about them."""

    def cells(self, index: int) -> bytes:
        """The cells of one frame, little endian."""

    def frame(self, index: int) -> Pixels:
        """The stored values of one frame."""


class NativeFrames:
    """The frames of native pixel data, read one at a time from a view of the payload."""

    def __init__(self, image: Image, data: Data | memoryview, pixel: Element, *, big_endian: bool) -> None:
        if pixel.undefined or pixel.end > len(data) or pixel.end - pixel.value not in _lengths(image):
            raise LeaveAsIs("pixel-length")
        if big_endian and (image.allocated == 32 or (image.allocated == 16 and pixel.vr != "OW")):
            raise LeaveAsIs("byte-order")
        self.image = image
        self._data = data
        self._start = pixel.value
        self._swap = big_endian and pixel.vr == "OW"

    def cells(self, index: int) -> bytes:
        """The cells of one frame, little endian."""
        return bytes(self._cells(index))

    def _cells(self, index: int) -> bytes | memoryview:
        """The same, without a copy where the data is in memory."""
        size = self.image.frame_bytes
        start = self._start + index * size
        if not self._swap:
            return self._data[start : start + size]
        # 8-bit cells in OW are swapped by words, and a frame of odd length starts within one.
        odd = start - self._start & 1
        words = np.frombuffer(self._data[start - odd : start + size + (size + odd & 1)], "u1")
        return words.reshape(-1, 2)[:, ::-1].tobytes()[odd : odd + size]

    def frame(self, index: int) -> Pixels:
        """The stored values of one frame."""
        return self.image.stored_values(self._cells(index))


def _lengths(image: Image) -> tuple[int, int]:
    return image.native_bytes, image.native_bytes + image.native_bytes % 2


def octets(frame: Pixels) -> memoryview:
    """The bytes of a frame in this machine's order, without a copy where they lie so."""
    if not frame.dtype.isnative or not frame.flags.c_contiguous:
        frame = np.ascontiguousarray(frame, frame.dtype.newbyteorder("="))
    return frame.data.cast("B") if frame.size else memoryview(b"")


def same(one: Pixels, other: Pixels) -> bool:
    """Whether two frames hold the same values in the same shape, whatever the size of their cells."""
    return one.shape == other.shape and bool(np.array_equal(one, other))
