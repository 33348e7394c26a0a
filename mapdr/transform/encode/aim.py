"""From what a rule aims at to the codec's level that meets it: a ratio, a PSNR, a greatest error."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mapdr.transform.encode.forecast import TYPICAL, Forecast
from mapdr.transform.encode.frames import Encoded, FrameEncoder, Objection, Setting
from mapdr.transform.encode.quality import Reached
from mapdr.transform.encode.search import Found, Hints, find_level, find_quality, find_whole
from mapdr.transform.encode.streams import Streams

MET = 0.95
"""Share of the ratio at which it counts as met: the 5 % that are promised."""
LIKELY = 0.7
"""Share of the ratio that lossless must be forecast to reach to be tried: see `Forecast.lossless_bits`."""
NEIGHBOUR = 0.9
"""... where an earlier image of the series told by how much its forecast was off."""
LEAST_TELLING = 0.05
"""Bits per sample below which a lossless codestream is mostly its own headers."""
PSNR_EXCESS, ERROR_EXCESS = 0.3, 2.0
"""dB by which a target of quality may be surpassed; the greatest error is that of one pixel, and jumps."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a lossy image is to reach: one of a ratio, a PSNR in dB, JPEG-LS's NEAR, and a greatest error in
    stored values."""

    ratio: float | None = None
    psnr: float | None = None
    near: int | None = None
    max_error: int | None = None

    def margin(self, reached: Reached) -> float:
        """By how many dB what was reached is better than it has to be."""
        if self.psnr is not None:
            return reached.psnr - self.psnr
        assert self.max_error is not None
        return 20 * math.log10((self.max_error + 0.5) / max(reached.max_error, 0.25))

    @property
    def excess(self) -> float:
        """dB by which it may be better."""
        return PSNR_EXCESS if self.psnr is not None else ERROR_EXCESS

    def level(self, bits: int, peak: int) -> float:
        """The PSNR against 2 ** `bits` that it is likely to be, for a frame whose values span `peak`."""
        if self.psnr is not None:
            return self.psnr + 20 * math.log10(2**bits / max(peak, 1))
        assert self.max_error is not None
        # The greatest error of a frame is some five times the root of its mean square.
        return 20 * math.log10(5 * 2**bits / self.max_error)


def hit(
    encoder: FrameEncoder, aim: Aim, hints: Hints, key: Hashable, lossless: Hints | None = None
) -> Encoded:
    """The image as `aim` wants it; without loss where that is smaller or meets a ratio.

    `hints` under `key` tell where earlier images of the series ended. With `lossless`, the first image of a
    series is encoded without loss in any case, and tells there by how much the forecast of it was off: later
    ones are tried where that says that they meet the ratio. Raises Objection: "ratio", "target", what a guard
    says.
    """
    if aim.ratio is not None:
        return _to_ratio(encoder, aim.ratio, hints, key, lossless)
    if aim.near is not None:
        return encoder.lossy(Setting(float(max(-aim.near, encoder.dial.lowest))))
    return _to_quality(encoder, aim, hints, key)


def _to_ratio(
    encoder: FrameEncoder, ratio: float, hints: Hints, key: Hashable, lossless: Hints | None
) -> Encoded:
    """Lossless if that reaches `ratio` times `MET`, else lossy at `ratio`."""
    image, dial = encoder.image, encoder.dial
    bits = image.allocated / ratio
    forecast = encoder.forecast()
    by_forecast = dial.unit == "dB"
    start = hints.get(key) or dial.start
    if by_forecast:
        start = forecast.level(hints.get(key) or TYPICAL * bits, dial.lowest, dial.highest)
    goal = max(int(image.native_bytes / ratio), 1)  # an image may be of fewer bytes than the ratio
    search = _Search(encoder, goal)
    told = lossless.get(key) if lossless is not None else None
    short = (LIKELY if told is None else NEIGHBOUR * told) * forecast.lossless_bits() / bits
    # Far smaller than the goal at a level that should meet it: it may be simpler than it looks.
    likely = (lossless is not None and told is None) or short <= 1
    likely = likely or (short <= 2 and 1.25 * search.size(encoder.sample, Setting(start)) < goal)
    encoded = encoder.try_lossless(ratio * MET) if likely else None
    if lossless is not None:
        _learn_lossless(lossless, key, encoder, forecast)
    if encoded is not None:
        return encoded
    slope = forecast.slope(start) if by_forecast else dial.slope
    setting = search.find(start, slope)
    off = math.log(search.size(encoder.all, setting) / goal)
    level = setting.level - off / slope
    hints.learn(key, forecast.bits(level) if by_forecast else setting.level)
    return encoder.lossy(setting, search.made(setting))


def _learn_lossless(lossless: Hints, key: Hashable, encoder: FrameEncoder, forecast: Forecast) -> None:
    """Note by how much the forecast of an image was off that was encoded without loss; not of one that holds
    next to nothing, which tells nothing of others."""
    bits = forecast.lossless_bits()
    if encoder.lossless_bits is not None and bits >= LEAST_TELLING:
        lossless.learn(key, min(max(encoder.lossless_bits / bits, 0.5), 2.0))


def _to_quality(encoder: FrameEncoder, aim: Aim, hints: Hints, key: Hashable) -> Encoded:
    """At the lowest level that is good enough, or lossless where that is no larger."""
    dial = encoder.dial
    start = hints.get(key)
    if start is None:
        start = aim.level(encoder.bits, encoder.peak) if dial.unit == "dB" else dial.start
        if dial.unit.startswith("NEAR") and aim.max_error is not None:
            start = -aim.max_error
    search = _QualitySearch(encoder, aim)
    setting = search.find(start)
    hints.learn(key, setting.level)
    streams = search.made(setting)
    size = streams.size
    lossless = LIKELY * encoder.forecast().lossless_bits() / encoder.image.allocated
    if lossless * encoder.image.native_bytes <= size:
        encoded = encoder.try_lossless(encoder.image.native_bytes / size)
        if encoded is not None:
            return encoded
    return encoder.lossy(setting, streams)


class _QualitySearch:
    """The search for the lowest level that is good enough, with what it encoded last."""

    def __init__(self, encoder: FrameEncoder, aim: Aim) -> None:
        self._encoder = encoder
        self._aim = aim
        self._made: tuple[Setting, Streams] | None = None

    def find(self, start: float) -> Setting:
        """The setting, or Objection("target"): on a sample of the frames first, then on all."""
        encoder = self._encoder
        for way in encoder.ways:
            setting = Setting(start, way.reversible, way.resolutions)
            level = self._find(setting, encoder.sample)
            if level is not None and len(encoder.sample) < len(encoder.all):
                level = self._find(replace(setting, level=level), encoder.all)
            if level is not None:
                return replace(setting, level=level)
        raise Objection("target")

    def _find(self, start: Setting, indexes: Sequence[int]) -> float | None:
        margin_at = partial(self._margin, indexes, start)
        return find_quality(margin_at, start.level, self._encoder.dial, self._aim.excess)

    def made(self, setting: Setting) -> Streams:
        """The codestreams of all frames at `setting`."""
        frames = self._encoder.all
        if self._made is not None and self._made[0] == setting and len(self._made[1]) == len(frames):
            return self._made[1]
        return self._encoder.streams(frames, setting)

    def _margin(self, indexes: Sequence[int], way: Setting, level: float) -> float:
        setting = replace(way, level=level)
        self._made = None  # one set of codestreams is enough
        streams = self._encoder.streams(indexes, setting)
        self._made = setting, streams
        return self._aim.margin(self._encoder.reached(indexes, setting, streams))


class _Search:
    """The search for the setting that gives one image's size, with what it encoded on the way."""

    def __init__(self, encoder: FrameEncoder, goal: int) -> None:
        self._encoder = encoder
        self._goal = goal
        self._sizes: dict[Setting, int] = {}
        self._made: tuple[Setting, Streams] | None = None
        self._indexes: Sequence[int] = ()

    def find(self, start: float, slope: float) -> Setting:
        """The setting, or Objection("ratio"): on a sample of the frames first, then on all."""
        setting = self._find(Setting(start), slope, self._encoder.sample)
        if len(self._encoder.sample) < len(self._encoder.all):
            setting = self._find(setting, slope, self._encoder.all)
        return setting

    def made(self, setting: Setting) -> Streams | None:
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
            self._made = None  # one set of codestreams is enough
            self._made = setting, self._encoder.streams(indexes, setting)
            self._sizes[setting] = self._made[1].size
        return self._sizes[setting] * len(self._encoder.all) // len(indexes)

    def _find(self, start: Setting, slope: float, indexes: Sequence[int]) -> Setting:
        others = (Setting(0, way.reversible, way.resolutions) for way in self._encoder.ways[1:])
        for setting in (start, *others):
            found = self._search(partial(self._size_at, indexes, setting), start.level, slope)
            if found.exact:
                return replace(setting, level=found.level)
        raise Objection("ratio")

    def _search(self, size_at: Callable[[float], int], start: float, slope: float) -> Found:
        dial = self._encoder.dial
        if dial.whole:
            return find_whole(size_at, self._goal, start, dial)
        return find_level(size_at, self._goal, start, dial.highest, slope, least=dial.lowest)

    def _size_at(self, indexes: Sequence[int], setting: Setting, level: float) -> int:
        return self.size(indexes, replace(setting, level=level))
