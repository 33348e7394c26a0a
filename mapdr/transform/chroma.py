"""Native frames in YBR_FULL_422, with chrominance for every second pixel of a row, as whole pixels."""

from __future__ import annotations

from mapdr._fast import whole_pixels
from mapdr.dicom.write import Data, Element
from mapdr.kernel.codec import Pixels
from mapdr.transform.image import Image, LeaveAsIs


class HalfChroma:
    """The frames of native YBR_FULL_422, read one at a time; both pixels of a pair get its chrominance.

    Cells lie as Y1 Y2 Cb Cr (PS3.3 section C.7.6.3.1.2). `image` is what the data set says of them; what
    `cells` and `frame` give is YBR_FULL, samples interleaved, with the same luminance. Chrominance is sited
    with the first pixel of its pair (ibid.), and repeated for the second: nothing is made up, and who leaves
    out every second sample has what came.
    """

    def __init__(self, image: Image, data: Data, pixel: Element) -> None:
        if image.allocated != 8 or image.samples != 3 or image.planar or image.columns % 2:
            raise LeaveAsIs("half-chrominance")
        self._size = image.rows * image.columns * 2
        whole = self._size * image.frames  # an even number
        if pixel.undefined or pixel.end > len(data) or pixel.end - pixel.value != whole:
            raise LeaveAsIs("pixel-length")
        self.image = image
        self._data = data
        self._start = pixel.value

    def cells(self, index: int) -> bytes:
        """The cells of one frame: Y, Cb and Cr of each pixel."""
        start = self._start + index * self._size
        return whole_pixels(self._data[start : start + self._size])

    def frame(self, index: int) -> Pixels:
        """The stored values of one frame."""
        return self.image.stored_values(self.cells(index), interleaved=True)
