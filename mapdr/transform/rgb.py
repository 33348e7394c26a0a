"""Frames of luminance and chrominance as RGB, where a rule asks for that (`compress.ybr_to_rgb`)."""

from __future__ import annotations

import threading

import numpy as np

from mapdr._fast import ybr_to_rgb
from mapdr.kernel.codec import FrameFormat, Pixels
from mapdr.transform.image import Frames, Image

STUDIO = "YBR_PARTIAL_422"
"""The photometric interpretation of native frames whose luminance and chrominance leave out the ends of
their range (PS3.3, retired)."""
CONVERTED = ("YBR_FULL", STUDIO)
"""Photometric interpretations of frames that can become RGB: YBR_FULL_422 is YBR_FULL once it is read."""


def may_be_rgb(form: FrameFormat) -> bool:
    """Whether frames can become RGB: those of whole unsigned bytes, which the equations are for."""
    is_byte = (form.allocated, form.stored, form.signed) == (8, 8, False)
    return form.photometric in CONVERTED and form.samples == 3 and is_byte


class RgbFrames:
    """Frames of luminance and chrominance, read one at a time as RGB, samples interleaved. From any thread.

    `image` says what the cells hold. `cut_off` counts the pixels of the frames that were read so far
    whose colour RGB has not: they are cut off at 0 or 255, and do not come back. All others do, exactly
    (`_pixels_py.ybr_to_rgb`).
    """

    def __init__(self, frames: Frames, image: Image) -> None:
        self.image = image
        self._frames = frames
        self._is_full = frames.image.photometric != STUDIO
        self._cut_off: dict[int, int] = {}
        self._lock = threading.Lock()

    @property
    def cut_off(self) -> int:
        """Pixels, over all frames that were read."""
        with self._lock:
            return sum(self._cut_off.values())

    def cells(self, index: int) -> bytes:
        """The cells of one frame: R, G and B of each pixel."""
        samples = np.ascontiguousarray(self._frames.frame(index), "u1").reshape(-1).data
        made, cut_off = ybr_to_rgb(samples, full=self._is_full)
        with self._lock:
            self._cut_off[index] = cut_off
        return made

    def frame(self, index: int) -> Pixels:
        """The stored values of one frame."""
        return self.image.stored_values(self.cells(index), interleaved=True)
