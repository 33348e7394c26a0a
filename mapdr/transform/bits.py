"""Native frames of one bit a pixel (PS3.5 section 8.1.1), such as those of binary segmentations."""

from __future__ import annotations

import numpy as np

from mapdr.dicom.write import Data, Element
from mapdr.kernel.codec import Pixels
from mapdr.transform.image import Image, LeaveAsIs


class BitFrames:
    """The frames of native pixel data with Bits Allocated 1, read one at a time, as cells of 8 bits.

    Pixels are packed from the least significant bit of each byte on, and frames without gaps: one may begin
    within a byte.
    """

    def __init__(self, image: Image, data: Data, pixel: Element, *, big_endian: bool) -> None:
        size = image.native_bytes
        if pixel.undefined or pixel.end > len(data) or pixel.end - pixel.value not in (size, size + size % 2):
            raise LeaveAsIs("pixel-length")
        if image.samples != 1 or image.stored != 1:
            raise LeaveAsIs("pixel-module")
        if big_endian and pixel.vr == "OW":
            raise LeaveAsIs("byte-order")
        self.image = image
        self._data = data
        self._start = pixel.value

    def cells(self, index: int) -> bytes:
        """A zero or a one for each pixel."""
        return self.frame(index).tobytes()

    def frame(self, index: int) -> Pixels:
        """The stored values of one frame."""
        rows, columns = self.image.rows, self.image.columns
        first = index * rows * columns
        start, skipped = self._start + first // 8, first % 8
        packed = self._data[start : start + (skipped + rows * columns + 7) // 8]
        bits = np.unpackbits(np.frombuffer(packed, "u1"), bitorder="little")
        return bits[skipped : skipped + rows * columns].reshape(rows, columns)
