"""All frames of one image through a codec: lossless, at a level, or to a ratio; each verified by decoding."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from mapdr.kernel import budget
from mapdr.kernel.codec import Encoder, FrameFormat, LossyEncoder, Pixels, Way
from mapdr.kernel.errors import Permanent
from mapdr.transform.encode.forecast import TYPICAL, Forecast
from mapdr.transform.encode.policy import RGB
from mapdr.transform.encode.quality import Guard, Padding, PaddingGap, measure
from mapdr.transform.encode.search import LEAST, Hints, find_level
from mapdr.transform.image import Frames, same

T = TypeVar("T")

SAMPLE = 4
"""Frames of a long multi-frame image on which a level is searched first."""
LIKELY = 0.7
"""Share of the ratio that lossless must be forecast to reach to be tried: see `Forecast.lossless_bits`."""


class Objection(Exception):
    """A lossy image may not leave, for `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Setting:
    """What makes a lossy codestream: the codec's level in dB, which wavelet, and how many resolutions (0:
    the codec's default)."""

    level: float
    reversible: bool = False
    resolutions: int = 0

    @property
    def way(self) -> Way:
        """The codec's way without the level."""
        return Way(self.reversible, self.resolutions)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The codestreams of an image, the colour space they are in, and, if lossy, how they were made and the
    range that padding has afterwards."""

    frames: list[bytes]
    photometric: str
    setting: Setting | None = None
    padding: Padding | None = None

    @property
    def size(self) -> int:
        """Bytes of the codestreams."""
        return sum(map(len, self.frames))


_lock = threading.Lock()
_pools: WeakValueDictionary[int, ThreadPoolExecutor] = WeakValueDictionary()


def frame_pool(workers: int) -> ThreadPoolExecutor:
    """The node's threads for frames: one pool for all recipes, gone with the last of them."""
    with _lock:
        found = _pools.get(workers)
        if found is None:
            found = _pools[workers] = ThreadPoolExecutor(workers, thread_name_prefix="mapdr-frames")
        return found


def each_of(
    indexes: Sequence[int], work: Callable[[int], T], pool: ThreadPoolExecutor, at_once: int
) -> list[T]:
    """What `work` gives for each index, at most `at_once` of them worked on together.

    Raises what the first of them in order raises, once no other is worked on any more.
    """
    if len(indexes) == 1:
        return [work(indexes[0])]
    found: dict[int, T] = {}
    failed: dict[int, BaseException] = {}
    todo = iter(enumerate(indexes))

    def strand() -> None:
        while not failed and (place := next(todo, None)):
            try:
                found[place[0]] = work(place[1])
            except BaseException as error:  # noqa: BLE001  raised below
                failed[place[0]] = error

    wait([pool.submit(strand) for _ in range(min(at_once, len(indexes)))])
    if failed:
        # Frames are begun in order, so that the first one at fault is always the same.
        error = failed[min(failed)]
        try:
            raise error
        finally:
            failed.clear()  # else they would hold each other, and the pixels, until the collector comes
            del error
    return [found[place] for place in range(len(indexes))]


class FrameEncoder:
    """One image on its way through the codec. `pool` shares the frames of multi-frame images.

    At most `at_once` frames are worked on together. More than half of the native bytes in codestreams is
    told to the budget once they are made; half of them is what the caller has told (most need less).
    """

    def __init__(
        self,
        writers: tuple[Encoder | None, LossyEncoder | None],
        frames: Frames,
        pool: ThreadPoolExecutor,
        guard: Guard,
        padding: Padding | None,
        *,
        transform_colour: bool,
        at_once: int = 1 << 30,
    ) -> None:
        """`transform_colour`: RGB by the codec's component transform, if it has one, as YBR_RCT or
        YBR_ICT."""
        encoder, self._lossy_encoder = writers
        self._encoder = encoder
        self._frames = frames
        self._pool = pool
        self._guard = guard
        self._padding = padding
        self._bits = frames.image.stored
        count = frames.image.frames
        self.all = range(count)
        self.sample: Sequence[int] = self.all
        if count > SAMPLE:
            self.sample = [count * (2 * step + 1) // (2 * SAMPLE) for step in range(SAMPLE)]
        self.highest = 0.0
        if self._lossy_encoder is not None:
            self.highest = self._lossy_encoder.dial(frames.image.format).highest
        self._transform_colour = transform_colour
        transform = encoder.colour_transform if encoder is not None else ""
        self._lossless_form = self._form_in((transform, "RGB") if transform else ("RGB",))
        self._only: Pixels | None = None
        self._at_once = at_once
        self._told = frames.image.native_bytes // 2

    def lossless(self) -> Encoded:
        """Lossless codestreams. Raises Permanent(reason="codec") if a frame does not come back equal."""
        made = self._count(self._each(self.all, self._lossless_frame))
        return Encoded(made, self._lossless_form.photometric)

    def lossy(self, setting: Setting, streams: list[bytes] | None = None) -> Encoded:
        """Codestreams at `setting`, which may have been made already. Raises Objection when a guard fails."""
        made = streams or self.streams(self.all, setting)
        gaps = self._each(self.all, lambda index: self._verify(index, made[index], setting))
        padding = None
        if self._padding is not None:
            padding = PaddingGap.join(self._padding, gaps)
            if padding is None:
                raise Objection("padding")
        return Encoded(made, self._form(setting).photometric, setting, padding)

    def _form_in(self, colours: Sequence[str]) -> FrameFormat:
        """The format of codestreams whose RGB may be written in `colours`, that of a transform first."""
        form = self._frames.image.format
        if form.photometric not in RGB:
            return form
        plain = "RGB" in colours and not self._transform_colour
        return replace(form, photometric="RGB" if plain else colours[0])

    def to_ratio(self, ratio: float, met: float, hints: Hints, key: Hashable) -> Encoded:
        """Lossless if that reaches `ratio` times `met`, else lossy at `ratio`.

        `hints` under `key` tell where earlier images of the series ended. Raises Objection.
        """
        image = self._frames.image
        bits = image.allocated / ratio
        forecast = Forecast.of(map(self._frame, self.sample), self._bits)
        start = forecast.level(hints.get(key) or TYPICAL * bits, LEAST, self.highest)
        goal = int(image.native_bytes / ratio)
        search = _Search(self, goal)
        short = LIKELY * forecast.lossless_bits() / bits
        # Far smaller than the goal at a level that should meet it: it may be simpler than it looks.
        likely = short <= 1 or (short <= 2 and 1.25 * search.size(self.sample, Setting(start)) < goal)
        if likely and (encoded := self._try_lossless(ratio * met)):
            return encoded
        slope = forecast.slope(start)
        setting = search.find(start, slope)
        off = math.log(search.size(self.all, setting) / goal)
        hints.learn(key, forecast.bits(setting.level - off / slope))
        return self.lossy(setting, search.made(setting))

    def _try_lossless(self, ratio: float) -> Encoded | None:
        """The lossless image if it reaches `ratio`; on a sample of the frames first."""
        sample, image = self.sample, self._frames.image
        if self._encoder is None:
            return None
        if len(sample) < len(self.all):
            size = sum(len(stream) for stream in self._each(sample, self._lossless_frame))
            if len(sample) * image.frame_bytes < 0.8 * ratio * size:
                return None
        encoded = self.lossless()
        return encoded if image.native_bytes >= ratio * encoded.size else None

    def streams(self, indexes: Sequence[int], setting: Setting) -> list[bytes]:
        """The codestreams of some frames at `setting`, not verified."""
        return self._count(self._each(indexes, lambda index: self._encode(index, setting)))

    def _count(self, streams: list[bytes]) -> list[bytes]:
        size = sum(map(len, streams))
        if size > self._told:
            budget.need(size - self._told)
            self._told = size
        return streams

    def _frame(self, index: int) -> Pixels:
        """A frame; that of a single-frame image is kept, for it is read for each encode and to compare."""
        if len(self.all) > 1:
            return self._frames.frame(index)
        if self._only is None:
            self._only = self._frames.frame(0)
        return self._only

    def _encode(self, index: int, setting: Setting) -> bytes:
        assert self._lossy_encoder is not None
        return self._lossy_encoder.encode_at(
            self._frame(index), self._form(setting), setting.level, setting.way
        )

    @property
    def ways(self) -> tuple[Way, ...]:
        """What is tried one after the other to meet a ratio."""
        assert self._lossy_encoder is not None
        return self._lossy_encoder.ways

    def _form(self, setting: Setting) -> FrameFormat:
        assert self._lossy_encoder is not None
        return self._form_in(self._lossy_encoder.rgb_as(setting.way))

    def _lossless_frame(self, index: int) -> bytes:
        frame = self._frame(index)
        assert self._encoder is not None
        stream = self._encoder.encode(frame, self._lossless_form)
        if not same(self._encoder.decode(stream, self._lossless_form), frame):
            raise Permanent("a frame decodes to other pixels than were encoded", reason="codec")
        return stream

    def _verify(self, index: int, stream: bytes, setting: Setting) -> PaddingGap:
        frame = self._frame(index)
        assert self._lossy_encoder is not None
        decoded = self._lossy_encoder.decode(stream, self._form(setting))
        if decoded.shape != frame.shape:
            raise Permanent("a frame decodes to another shape than was encoded", reason="codec")
        objection = self._guard.objection(measure(frame, decoded, self._padding), self._bits, setting.level)
        if objection:
            raise Objection(objection)
        return PaddingGap.of(self._padding, frame, decoded)

    def _each(self, indexes: Sequence[int], work: Callable[[int], T]) -> list[T]:
        return each_of(indexes, work, self._pool, self._at_once)


class _Search:
    """The search for the setting that gives one image's goal, with what it encoded on the way."""

    def __init__(self, encoder: FrameEncoder, goal: int) -> None:
        self._encoder = encoder
        self._goal = goal
        self._sizes: dict[Setting, int] = {}
        self._made: tuple[Setting, list[bytes]] | None = None
        self._indexes: Sequence[int] = ()

    def find(self, start: float, slope: float) -> Setting:
        """The setting, or Objection("ratio"): on a sample of the frames first, then on all."""
        setting = self._find(Setting(start), slope, self._encoder.sample)
        if len(self._encoder.sample) < len(self._encoder.all):
            setting = self._find(setting, slope, self._encoder.all)
        return setting

    def made(self, setting: Setting) -> list[bytes] | None:
        """The codestreams of all frames at `setting`, if they are at hand."""
        if self._made is None or self._made[0] != setting or self._indexes != self._encoder.all:
            return None
        return self._made[1]

    def size(self, indexes: Sequence[int], setting: Setting) -> int:
        """The size of the image as far as the frames at `indexes` tell."""
        if self._indexes != indexes:
            self._sizes.clear()
            self._indexes, self._made = indexes, None
        if setting not in self._sizes:
            self._made = None  # one set of codestreams in memory is enough
            self._made = setting, self._encoder.streams(indexes, setting)
            self._sizes[setting] = sum(map(len, self._made[1]))
        return self._sizes[setting] * len(self._encoder.all) // len(indexes)

    def _size_at(self, indexes: Sequence[int], setting: Setting, level: float) -> int:
        return self.size(indexes, replace(setting, level=level))

    def _find(self, start: Setting, slope: float, indexes: Sequence[int]) -> Setting:
        for setting in (
            start,
            *(Setting(0, way.reversible, way.resolutions) for way in self._encoder.ways[1:]),
        ):
            size_at = partial(self._size_at, indexes, setting)
            found = find_level(size_at, self._goal, start.level, self._encoder.highest, slope)
            if found.exact:
                return replace(setting, level=found.level)
        raise Objection("ratio")
