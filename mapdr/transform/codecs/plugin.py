"""A plug-in's encoder within MAPDR: whatever it raises or gives that it may not parks the image, at once.

MAPDR's own raise Permanent(reason="codec"). What others raise would be tried again and again, though the same
frame fails again; what is no codestream would be sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from mapdr.kernel.codec import (
    OWN_WAY,
    Dial,
    Encoder,
    FrameFormat,
    LossyEncoder,
    PixelRange,
    Pixels,
    Recompressor,
    Way,
)
from mapdr.kernel.errors import MapdrError, Permanent
from mapdr.kernel.privacy import in_words

T = TypeVar("T")


def contained(
    encode: Encoder | LossyEncoder | Recompressor | str,
) -> Encoder | LossyEncoder | Recompressor | str:
    """The same, if it is no encoder that runs in this process."""
    if isinstance(encode, Encoder):
        return _Contained(encode)
    return _ContainedLossy(encode) if isinstance(encode, LossyEncoder) else encode


class _Contained:
    """An encoder without loss."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def takes(self) -> PixelRange:
        return self._encoder.takes

    @property
    def colour_transform(self) -> str:
        return self._encoder.colour_transform

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        return _stream(lambda: self._encoder.encode(_lent(pixels), form))

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        return _frame(lambda: self._encoder.decode(stream, form))


class _ContainedLossy:
    """An encoder with loss."""

    def __init__(self, encoder: LossyEncoder) -> None:
        self._encoder = encoder

    @property
    def takes(self) -> PixelRange:
        return self._encoder.takes

    @property
    def method(self) -> str:
        return self._encoder.method

    @property
    def ways(self) -> tuple[Way, ...]:
        return self._encoder.ways

    def dial(self, form: FrameFormat) -> Dial:
        return _asked("say its levels", lambda: self._encoder.dial(form))

    def rgb_as(self, way: Way) -> tuple[str, ...]:
        return _asked("say its colours", lambda: self._encoder.rgb_as(way))

    def encode_at(self, pixels: Pixels, form: FrameFormat, level: float, way: Way = OWN_WAY) -> bytes:
        return _stream(lambda: self._encoder.encode_at(_lent(pixels), form, level, way))

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        return _frame(lambda: self._encoder.decode(stream, form))


def _lent(pixels: Pixels) -> Pixels:
    """The pixels, not to be written into: they are compared with what comes back."""
    view = pixels.view()
    view.flags.writeable = False
    return view


def _stream(work: Callable[[], bytes]) -> bytes:
    made = _asked("encode a frame", work)
    if type(made) is not bytes or not made:
        raise Permanent("the codec gave no bytes for a frame", reason="codec")
    return made


def _frame(work: Callable[[], Pixels]) -> Pixels:
    made = _asked("read what it has encoded", work)
    if type(made) is not np.ndarray or made.dtype.kind not in "iu":
        raise Permanent("the codec gave no plain array of integers for a frame", reason="codec")
    return made


def _asked(what: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except (MapdrError, MemoryError):
        raise
    except Exception as error:
        raise Permanent(f"the codec cannot {what}: {in_words(error)}", reason="codec") from error
