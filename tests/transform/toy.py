"""A codec and frames for tests of what is done with codecs: sizes and errors are what the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mapdr.kernel.codec import OWN_WAY, Dial, FrameFormat, PixelRange, Pixels, Way
from mapdr.transform.encode.frames import FrameEncoder
from mapdr.transform.encode.quality import Guard, Padding
from mapdr.transform.image import Attributes, Image
from mapdr.transform.scratch import Scratch

DB = Dial(2.0, 120.0, "dB", 0.07, 60.0)
NEAR = Dial(-255, -1, "NEAR below zero", 0.1, -4, whole=True)


class Kept:
    """Codestreams of any size, and what they decode to. `encoded` notes the format of each, with the level
    and the way of lossy ones."""

    def __init__(self) -> None:
        self._frames: dict[bytes, Pixels] = {}
        self._lock = threading.Lock()
        self.encoded: list[tuple[FrameFormat, float | None, Way]] = []
        self.decoded: list[FrameFormat] = []

    def keep(self, decoded: Pixels, size: int, *what: Any) -> bytes:
        with self._lock:
            stream = len(self._frames).to_bytes(2, "big") + bytes(size - 2)
            self._frames[stream] = decoded
            self.encoded.append(what)
        return stream

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        self.decoded.append(form)
        return self._frames[stream]


class Lossless(Kept):
    """An `Encoder` whose codestreams have `size` bytes; what they decode to is off by `error`."""

    def __init__(self, size: int = 100, error: int = 0, colour_transform: str = "") -> None:
        super().__init__()
        self.takes, self.size, self.error, self.colour_transform = PixelRange(), size, error, colour_transform

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        return self.keep(pixels + pixels.dtype.type(self.error), self.size, form, None, OWN_WAY)


class Lossy(Kept):
    """A `LossyEncoder`: at a level, each value is off by `error(level)` in `size(level)` bytes."""

    takes = PixelRange()

    def __init__(
        self,
        size: Callable[[float], float] = lambda level: 50,
        error: Callable[[float], float] = lambda level: 1,
        *,
        dial: Dial = DB,
        method: str = "TOY",
        ways: tuple[Way, ...] = (OWN_WAY,),
        colours: tuple[str, ...] = ("RGB",),
    ) -> None:
        super().__init__()
        self.size, self.error, self.method, self.ways = size, error, method, ways
        self._dial, self._colours = dial, colours

    def dial(self, form: FrameFormat) -> Dial:
        return self._dial

    def rgb_as(self, way: Way) -> tuple[str, ...]:
        return self._colours

    def encode_at(self, pixels: Pixels, form: FrameFormat, level: float, way: Way = OWN_WAY) -> bytes:
        off = pixels.astype(np.int64) + int(self.error(level))
        return self.keep(off.astype(pixels.dtype), int(self.size(level)), form, level, way)

    @property
    def levels(self) -> list[float | None]:
        return [level for _, level, _ in self.encoded]


class Sized(Lossy):
    """A `RateControlEncoder`, unless it says `why` not: the best of a thousand levels that has the size, or
    the highest. `of_size` notes what was asked for."""

    def __init__(self, *arguments: Any, why: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.why = why
        self.of_size: list[tuple[int, Way]] = []

    def no_rate_control(self) -> str:
        return self.why

    def encode_to_size(self, pixels: Pixels, form: FrameFormat, size: int, way: Way = OWN_WAY) -> bytes:
        self.of_size.append((size, way))
        dial = self.dial(form)
        levels = np.linspace(dial.highest, dial.lowest, 1000)
        level = next((one for one in levels if self.size(one) <= size), dial.lowest)
        return self.encode_at(pixels, form, float(level), way)


@dataclass
class FramesAt:
    """`Frames` of given values, that note which were read."""

    image: Image
    values: Sequence[Pixels]
    was_read: list[int] = field(default_factory=list)

    def cells(self, index: int) -> bytes:
        return self.values[index].tobytes()

    def frame(self, index: int) -> Pixels:
        self.was_read.append(index)
        return self.values[index]


def described(values: Sequence[Pixels], stored: int = 12, **changes: Any) -> Image:
    """What a header says of such frames of 16 bits."""
    rows, columns, *samples = values[0].shape
    facts: dict[str, Any] = {
        "attributes": Attributes(b""),
        "rows": rows,
        "columns": columns,
        "samples": (samples or [1])[0],
        "planar": 0,
        "allocated": 16,
        "stored": stored,
        "high": stored - 1,
        "signed": False,
        "frames": len(values),
        "photometric": "RGB" if samples else "MONOCHROME2",
    }
    return Image(**(facts | changes))


def ramp(count: int = 1, rows: int = 10, columns: int = 100) -> list[Pixels]:
    """Frames of 2,000 bytes whose values span 1,000."""
    return [
        np.linspace(100, 1100, rows * columns).astype(np.uint16).reshape(rows, columns) for _ in range(count)
    ]


def encoder_of(
    values: Sequence[Pixels],
    lossless: Lossless | None = None,
    lossy: Lossy | None = None,
    *,
    guard: Guard | None = None,
    padding: Padding | None = None,
    frames: FramesAt | None = None,
    held: int = 1 << 20,
    transform_colour: bool = False,
    at_once: int = 1,
) -> FrameEncoder:
    """The frames on their way through such codecs."""
    return FrameEncoder(
        (lossless, lossy),
        frames or FramesAt(described(values), values),
        threading.BoundedSemaphore(2),
        guard or Guard(),
        padding,
        scratch=Scratch(held),
        transform_colour=transform_colour,
        at_once=at_once,
    )
