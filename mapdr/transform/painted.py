"""Frames that steps of a pipeline have changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from mapdr.kernel.codec import FrameFormat, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.transform.codecs.foreign import KEEP
from mapdr.transform.image import Frames, Image

Paint = Callable[[Pixels, FrameFormat, int], Pixels]
"""Changes one frame of cells; its number is the last argument."""


class PaintedFrames:
    """Frames that pixel steps have changed; as many are kept as fit `KEEP` bytes. From any thread."""

    def __init__(self, frames: Frames, image: Image, paints: Sequence[Paint], *, planar: bool) -> None:
        """`image` says what the cells hold; `planar`: they come plane by plane, else interleaved."""
        self.image = image
        self._frames = frames
        self._paints = tuple(paints)
        self._planar = planar
        self._kept: dict[int, bytes] = {}
        self._changed: set[int] = set()
        self._read: set[int] = set()
        self._lock = threading.Lock()

    @property
    def changed(self) -> bool:
        """Whether a frame that was asked for was changed."""
        return bool(self._changed)

    def was_changed(self, index: int) -> bool:
        """Whether a step has changed a pixel of the frame `index`, which was asked for."""
        return index in self._changed

    @property
    def is_read(self) -> bool:
        """Whether each frame was asked for."""
        return len(self._read) == self.image.frames

    def cells(self, index: int) -> bytes:
        """The cells of one frame, little endian, samples interleaved."""
        with self._lock:
            found = self._kept.get(index)
        if found is None:
            found = self._painted(index)
            with self._lock:
                self._read.add(index)
                if (len(self._kept) + 1) * len(found) <= KEEP:
                    self._kept[index] = found
        return found

    def frame(self, index: int) -> Pixels:
        """The stored values of one frame."""
        return self.image.stored_values(self.cells(index), interleaved=True)

    def _painted(self, index: int) -> bytes:
        form = self.image.format
        before = self._array(self._frames.cells(index))
        after = before
        for paint in self._paints:
            after = paint(after, form, index)
            if type(after) is not np.ndarray:  # a subclass may compare, and write, other cells than it holds
                raise Permanent("a step gave no plain array of pixels", reason="pixels")
            if after.shape != before.shape or after.dtype != before.dtype:
                raise Permanent("a step gave a frame of another shape or type", reason="pixels")
            after.flags.writeable = False
        if after is not before and not np.array_equal(after, before):
            self._changed.add(index)
        return after.tobytes()

    def _array(self, cells: bytes) -> Pixels:
        image = self.image
        raw: Pixels = np.frombuffer(cells, f"<u{image.allocated // 8}")
        if self._planar:
            return np.moveaxis(raw.reshape(image.samples, image.rows, image.columns), 0, -1)
        return raw.reshape((image.rows, image.columns, image.samples)[: 2 + (image.samples > 1)])
