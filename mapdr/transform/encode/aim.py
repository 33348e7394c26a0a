"""From what a rule aims at to the codec's level that meets it: a ratio, a PSNR, a greatest error."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mapdr.kernel.cached import cached_property
from mapdr.kernel.codec import OWN_WAY, Way
from mapdr.kernel.errors import OwnFault, Permanent
from mapdr.transform.encode.forecast import TYPICAL
from mapdr.transform.encode.frames import Encoded, FrameEncoder, Objection, Setting
from mapdr.transform.encode.quality import Reached
from mapdr.transform.encode.search import TOLERANCE, Found, Hints, find_level, find_quality, find_whole
from mapdr.transform.encode.series import SeriesCourses
from mapdr.transform.encode.streams import Streams

MET = 0.95
"""Share of the ratio at which it counts as met: the 5 % that are promised."""
LIKELY = 0.7
"""Share of the ratio that lossless must be forecast to reach to be tried: see `Forecast.lossless_bits`."""
SIMPLER = 1.25
"""How many times smaller than its goal an image is that is simpler than it looks: one that came out so at a
level that should meet the goal is tried without loss, and one of a series that goes with loss must reach so
many times the ratio without."""
DOUBT = 6.0
"""dB by which a frame of a wanted size may have lost more than is forecast. At 10:1 that allows as much error
as a level does (0.7 of it in the median), at 40:1 three times as much; by 3 dB small images were refused."""
NEXT_SIZE = 0.8
"""Share of a wanted size that a codestream has at least whose next larger one may be within the tolerance."""
NEARLY_LOSSLESS = 0.2
"""Mean square error that a level allows at which a lossless codestream may be about as small."""
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
    encoder: FrameEncoder,
    aim: Aim,
    hints: Hints,
    key: Hashable,
    courses: SeriesCourses | None = None,
    *,
    others: Callable[[], Iterable[float | None]] = tuple,
) -> Encoded:
    """The image as `aim` wants it; without loss where that is smaller or meets a ratio.

    `hints` under `key` tell where earlier images of the series ended. With `courses` the images of a series
    go without loss, or with it, together; `others` are asked for, where nothing is known of a series, and are
    the ratios of images that went without loss before this process began, None for one that went with it.
    Raises Objection: "ratio", "target", what a guard says.
    """
    if aim.ratio is not None:
        search = _RatioSearch(encoder, aim.ratio, hints, key)
        if courses is None:
            return search.lossless_if_likely(aim.ratio * MET) or search.lossy()
        with courses.turn(key):
            if courses.is_open(key):
                _recall(encoder, aim.ratio * MET, key, courses, others())
            return _with_its_series(search, aim.ratio * MET, key, courses)
    if aim.near is not None:
        return encoder.lossy(Setting(float(max(-aim.near, encoder.dial.lowest))))
    return _to_quality(encoder, aim, hints, key)


def _recall(
    encoder: FrameEncoder,
    ratio: float,
    key: Hashable,
    courses: SeriesCourses,
    others: Iterable[float | None],
) -> None:
    """Note what became of other images of a series, as if each were as large as this one."""
    image = encoder.image
    for reached in others:
        if reached is None:
            courses.note(key, image.native_bytes, None, ratio)
        elif image.allocated / reached >= LEAST_TELLING:
            courses.note(key, image.native_bytes, int(image.native_bytes / reached), ratio)


def _with_its_series(search: _RatioSearch, ratio: float, key: Hashable, courses: SeriesCourses) -> Encoded:
    """The image as its series goes: without loss as long as that meets `ratio` for all of it so far."""
    encoder = search.encoder
    if not encoder.writes_lossless:
        return search.lossy()  # for a receiver that takes nothing else: it tells nothing of the series
    if courses.is_lossy(key):
        return search.lossless_if_simple(SIMPLER * ratio) or search.lossy()
    native = encoder.image.native_bytes
    needed = courses.least_ratio(key, native, ratio)
    encoded = encoder.try_lossless(needed) if needed is not None else None
    if encoder.lossless_bits is None or encoder.lossless_bits >= LEAST_TELLING:
        courses.note(key, native, encoded.size if encoded is not None else None, ratio)
    return encoded or search.lossy()


class _RatioSearch:
    """One image on its way to a ratio."""

    def __init__(self, encoder: FrameEncoder, ratio: float, hints: Hints, key: Hashable) -> None:
        self.encoder = encoder
        self._hints, self._key = hints, key
        image, dial = encoder.image, encoder.dial
        self._bits = image.allocated / ratio
        self._forecast = encoder.forecast()
        self._by_forecast = dial.unit == "dB"
        self._hint = hints.get(key)
        # An image may be of fewer bytes than the ratio.
        self._goal = max(int(image.native_bytes / ratio), 1)
        self._search = _Search(encoder, self._goal)

    @cached_property
    def _start(self) -> float:
        """Where the level is likely to be."""
        if not self._by_forecast:
            return self._hint or self.encoder.dial.start
        level = self._frame_level
        return level if level is not None and self._is_likely(level) else self._forecast_level

    @cached_property
    def _forecast_level(self) -> float:
        dial = self.encoder.dial
        return self._forecast.level(self._hint or TYPICAL * self._bits, dial.lowest, dial.highest)

    @cached_property
    def _frame_level(self) -> float | None:
        """The level at which the first frame of the sample of several has its share of the size, if rate
        control tells."""
        encoder = self.encoder
        if not self._uses_rate_control or len(encoder.all) == 1:
            return None
        try:
            return encoder.level_at_size(encoder.sample[0], max(self._goal // len(encoder.all), 1))
        except (Permanent, OwnFault):
            return None  # as in `_cut_in`

    @cached_property
    def _uses_rate_control(self) -> bool:
        """Whether the codec meets a size by itself, and that helps: where something is known of the series a
        level is as good, and takes less time; of few frames one more encode is too much."""
        encoder = self.encoder
        is_first = not self._hint and self._by_forecast and encoder.has_rate_control
        return is_first and (len(encoder.all) == 1 or len(encoder.sample) < len(encoder.all))

    @cached_property
    def _slope(self) -> float:
        return self._forecast.slope(self._start) if self._by_forecast else self.encoder.dial.slope

    def lossless_if_likely(self, ratio: float) -> Encoded | None:
        """The image without loss if it reaches `ratio` so, which is tried where the forecast lets hope."""
        if self._shortfall <= 1:
            return self.encoder.try_lossless(ratio)
        return self.lossless_if_simple(ratio)

    def lossless_if_simple(self, ratio: float) -> Encoded | None:
        """The same, tried only where the image is far smaller than the goal at a level that should meet it:
        it may be simpler than it looks, and than others of its series."""
        if self._shortfall > 2 or not self._is_simple():
            return None
        return self.encoder.try_lossless(ratio)

    def _is_simple(self) -> bool:
        """Whether the image is smaller, or better, than one as large as its forecast would be."""
        encoder, search = self.encoder, self._search
        level = self._cut.level if self._cut else self._frame_level
        size = search.sizes.get(self._sized(OWN_WAY)) if self._cut is None else None
        if size is not None and size < self._goal * (1 - TOLERANCE):
            return True  # it is all that the way gives
        if level is None or not self._is_likely(level):
            return SIMPLER * search.size(encoder.sample, Setting(self._start)) < self._goal
        is_nearly_lossless = level >= encoder.level_for_error(NEARLY_LOSSLESS)
        return is_nearly_lossless or self._slope * (level - self._forecast_level) > math.log(SIMPLER)

    @property
    def _shortfall(self) -> float:
        """How many times larger than the goal it is without loss, at the best that the forecast allows."""
        return LIKELY * self._forecast.lossless_bits() / self._bits

    def lossy(self) -> Encoded:
        """The image at the level that gives its size. Raises Objection: "ratio", what a guard says."""
        encoder, search = self.encoder, self._search
        setting = self._to_size() or search.find(self._start, self._slope)
        off = math.log(search.size(encoder.all, setting) / self._goal)
        level = setting.level - off / self._slope
        if setting.way == OWN_WAY or not setting.size:  # the level of another way's size would mislead
            self._hints.learn(self._key, self._forecast.bits(level) if self._by_forecast else setting.level)
        return encoder.lossy(setting, search.made(setting))

    def _to_size(self) -> Setting | None:
        """The setting of the first way that rate control meets the size in, if one does.

        Where that has lost far more than is forecast, it is a level that is sought, from there: to a level a
        codec can be held.
        """
        if self._cut:
            level = self._cut.level
            if self._is_likely(level):
                return self._cut
            return self._search.find(level, self._forecast.slope(level))
        if not self._cuts:
            return None
        others = map(self._cut_in, self.encoder.ways[1:])
        return next((cut for cut in others if cut and self._is_likely(cut.level)), None)

    @property
    def _cuts(self) -> bool:
        """Whether rate control makes the image itself: of several frames it only tells where to begin."""
        return self._uses_rate_control and len(self.encoder.all) == 1

    @cached_property
    def _cut(self) -> Setting | None:
        return self._cut_in(OWN_WAY) if self._cuts else None

    def _cut_in(self, way: Way) -> Setting | None:
        """The setting of a way, with its level, if rate control meets the size in it."""
        encoder, search, setting = self.encoder, self._search, self._sized(way)
        try:
            size = search.size(encoder.all, setting)
            if NEXT_SIZE * self._goal < size < (1 - TOLERANCE) * self._goal:
                # Sizes lie far apart where there are few code blocks: the next may be as near.
                setting = replace(setting, size=int(self._goal * (1 + TOLERANCE)))
                size = search.size(encoder.all, setting)
            return search.with_level(setting) if abs(self._goal / size - 1) <= TOLERANCE else None
        except (Permanent, OwnFault):
            self._uses_rate_control = False
            return None  # the search by level does without, and tells what is wrong if it fails as well

    def _sized(self, way: Way) -> Setting:
        return Setting(0.0, way.reversible, way.resolutions, self._goal)

    def _is_likely(self, level: float) -> bool:
        return level >= min(self._forecast_level, self.encoder.level_for_error(1.0)) - DOUBT


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
        self.sizes: dict[Setting, int] = {}
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

    def with_level(self, setting: Setting) -> Setting:
        """The setting of the size that was made last, with its level."""
        assert self._made is not None
        streams = self._made[1]
        found = self._encoder.with_level(setting, streams)
        self.sizes[found], self._made = streams.size, (found, streams)
        return found

    def size(self, indexes: Sequence[int], setting: Setting) -> int:
        """The size of the image as far as the frames at `indexes` tell."""
        if self._indexes != indexes:
            self.sizes.clear()
            self._indexes, self._made = indexes, None
        if setting not in self.sizes:
            self._made = None  # one set of codestreams is enough
            self._made = setting, self._encoder.streams(indexes, setting)
            self.sizes[setting] = self._made[1].size
        return self.sizes[setting] * len(self._encoder.all) // len(indexes)

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
