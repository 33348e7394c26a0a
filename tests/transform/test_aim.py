"""From what a rule aims at to a codec's level, with a codec whose size and error follow from the level."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest

from mapdr.kernel.codec import OWN_WAY, Dial, Way
from mapdr.kernel.errors import OwnFault, Permanent
from mapdr.transform.encode import aim as module
from mapdr.transform.encode.aim import Aim, hit
from mapdr.transform.encode.forecast import TYPICAL, Forecast
from mapdr.transform.encode.frames import Encoded, Objection, Setting
from mapdr.transform.encode.quality import Padding, Reached
from mapdr.transform.encode.search import TOLERANCE, Hints

from .toy import NEAR, Lossless, Lossy, Sized, encoder_of, ramp

NATIVE = 2000
"""Bytes of a frame of `ramp`."""


def noise(count: int = 1, most: int = 4096) -> list[np.ndarray]:
    random = np.random.default_rng(7)
    return [random.integers(0, most, (40, 64)).astype(np.uint16) for _ in range(count)]


def doubling(level: float) -> float:
    """Bytes of a frame of `ramp`: 200, a tenth, at 60 dB, and e times as many for each 1 / 0.07 dB more."""
    return 200 * math.exp(0.07 * (level - 60))


def rounding(level: float) -> int:
    """An error as a codec has by its level in dB, of values of 12 bits."""
    return round(4096 / 10 ** (level / 20))


def test_the_margin_is_what_is_better_than_it_must_be() -> None:
    assert Aim(psnr=50).margin(Reached(3, 52.5)) == 2.5
    assert Aim(max_error=4).margin(Reached(4, 0)) == pytest.approx(20 * math.log10(4.5 / 4))
    assert Aim(max_error=4).margin(Reached(5, 0)) < 0 < Aim(max_error=4).margin(Reached(4, 0))
    assert Aim(max_error=4).margin(Reached(0, 0)) == pytest.approx(20 * math.log10(4.5 / 0.25))
    assert (Aim(psnr=50).excess, Aim(max_error=4).excess) == (0.3, 2.0)


def test_the_level_is_told_in_the_codec_s_depth() -> None:
    assert Aim(psnr=50).level(12, 4096) == 50
    assert Aim(psnr=50).level(12, 1024) == pytest.approx(50 + 20 * math.log10(4))
    assert Aim(psnr=50).level(12, 0) == pytest.approx(50 + 20 * math.log10(4096))
    assert Aim(max_error=20).level(12, 4096) == pytest.approx(20 * math.log10(1024))


# A ratio


def test_a_ratio_is_met_and_what_was_found_leads_the_next_image() -> None:
    hints, codec = Hints(), Lossy(doubling, rounding)
    made = hit(encoder_of(noise(), None, codec), Aim(ratio=40), hints, "key")
    goal = 40 * 64 * 2 / 40
    assert made.setting is not None
    assert abs(goal / made.size - 1) <= TOLERANCE
    assert codec.levels[-1] == made.setting.level, "what was made is what is sent, and not made again"
    assert codec.levels.count(made.setting.level) == 1
    # What is learnt is what the forecast says at the level that would have given the goal itself.
    exact = 60 + math.log(goal / 200) / 0.07
    forecast = Forecast.of(noise(), 12)
    slope = forecast.slope(forecast.level(TYPICAL * 16 / 40, 2, 120))
    level = made.setting.level - math.log(made.size / goal) / slope
    assert hints.get("key") == pytest.approx(forecast.bits(level))
    assert abs(level - exact) < 1
    again = Lossy(doubling, rounding)
    hit(encoder_of(noise(), None, again), Aim(ratio=40), hints, "key")
    assert again.levels == [pytest.approx(forecast.level(forecast.bits(level), 2, 120))]


def test_the_first_of_a_series_has_its_size_in_one_encode_where_the_codec_can() -> None:
    hints, codec = Hints(), Sized(doubling, rounding)
    made = hit(encoder_of(noise(most=64), None, codec), Aim(ratio=40), hints, "key")
    goal = 40 * 64 * 2 // 40
    assert codec.of_size == [(goal, OWN_WAY)]
    assert (len(codec.levels), len(codec.decoded)) == (1, 1)
    assert made.setting == Setting(made.setting.level, size=goal)
    assert goal * (1 - TOLERANCE) <= made.size <= goal
    assert made.reached is not None
    # Its level is that which its error says, and leads the next image, which goes by its level.
    assert made.setting.level == pytest.approx(codec.levels[0], abs=0.5)
    again = Sized(doubling, rounding)
    other = hit(encoder_of(noise(most=64), None, again), Aim(ratio=40), hints, "key")
    assert again.of_size == []
    assert len(again.levels) == 1
    assert other.setting.level == pytest.approx(made.setting.level, abs=0.5)


def test_a_codec_that_meets_sizes_nowhere_here_is_asked_for_levels() -> None:
    codec = Sized(doubling, rounding, why="nothing is found")
    made = hit(encoder_of(noise(most=64), None, codec), Aim(ratio=40), Hints(), "key")
    assert codec.of_size == []
    assert made.setting.size == 0


class Broken(Sized):
    """What it encodes to a size has lost all."""

    def encode_to_size(self, pixels, form, size, way=OWN_WAY):
        stream = super().encode_to_size(pixels, form, size, way)
        self._frames[stream] = np.zeros_like(pixels)
        return stream


def test_a_frame_of_a_size_that_lost_far_more_than_forecast_is_encoded_to_a_level() -> None:
    codec = Broken(doubling, rounding, ways=(OWN_WAY, Way(True)))
    made = hit(encoder_of(ramp(), None, codec), Aim(ratio=10), Hints(), "key")
    assert codec.of_size == [(200, OWN_WAY)], "other ways would be no better"
    assert codec.levels[1] < 30, "what it has lost is where the search begins"
    assert made.setting.size == 0
    assert made.reached.max_error == rounding(made.setting.level)


@pytest.mark.parametrize("error", [Permanent("as it may", reason="codec"), OwnFault("no more files")])
@pytest.mark.parametrize("shortfall", [1.5, 3])
@pytest.mark.parametrize("frames", [1, 20])
def test_where_rate_control_fails_a_level_is_sought(
    monkeypatch: pytest.MonkeyPatch, error: Exception, shortfall: float, frames: int
) -> None:
    failed: list[int] = []

    class Failing(Sized):
        def encode_to_size(self, pixels, form, size, way=OWN_WAY):
            failed.append(size)
            raise error

    monkeypatch.setattr(Forecast, "lossless_bits", lambda self: 0.4 * shortfall / module.LIKELY)
    codec = Failing(doubling, rounding, ways=(OWN_WAY, Way(True)))
    made = hit(encoder_of(noise(frames, 64), Lossless(NATIVE), codec), Aim(ratio=40), Hints(), "key")
    assert len(failed) == 1, "it is not tried again"
    assert made.setting.size == 0
    assert abs(frames * 128 / made.size - 1) <= TOLERANCE


def test_a_size_that_the_own_way_does_not_reach_is_tried_in_the_others() -> None:
    class TwoWays(Sized):
        def encode_at(self, pixels, form, level, way=OWN_WAY):
            self.size = doubling if way.reversible else (lambda level: 100)
            return super().encode_at(pixels, form, level, way)

        def encode_to_size(self, pixels, form, size, way=OWN_WAY):
            self.size = doubling if way.reversible else (lambda level: 100)
            return super().encode_to_size(pixels, form, size, way)

    hints, codec = Hints(), TwoWays(error=rounding, ways=(OWN_WAY, Way(True, 3)))
    made = hit(encoder_of(noise(most=64), None, codec), Aim(ratio=25.6), hints, "key")
    assert codec.of_size == [(200, OWN_WAY), (200, Way(True, 3))]
    assert made.setting == Setting(made.setting.level, True, 3, 200)
    assert hints.get("key") is None, "a level of another way would mislead"


def test_padding_is_no_part_of_the_error_but_of_the_level() -> None:
    class Careful(Sized):
        def encode_at(self, pixels, form, level, way=OWN_WAY):
            stream = super().encode_at(pixels, form, level, way)
            self._frames[stream] = np.where(pixels == 0, 0, self._frames[stream]).astype(pixels.dtype)
            return stream

    (values,) = noise(most=64)
    values[:, :32] = 0
    codec = Careful(doubling, rounding)
    encoder = encoder_of([values], None, codec, padding=Padding(0, 0))
    made = hit(encoder, Aim(ratio=40), Hints(), "key")
    assert made.setting.size
    # Half of the frame has no error.
    assert made.setting.level == pytest.approx(codec.levels[0] + 10 * math.log10(2), abs=0.6)


def test_a_level_of_many_frames_begins_at_that_of_a_frame_of_its_size() -> None:
    codec, frames = Sized(doubling, rounding), noise(20, 64)
    made = hit(encoder_of(frames, None, codec), Aim(ratio=40), Hints(), "key")
    assert codec.of_size == [(128, OWN_WAY)]
    assert made.setting.size == 0
    assert abs(20 * 128 / made.size - 1) <= TOLERANCE
    assert len(codec.levels) == 1 + 4 + 20, "one frame, a sample, and all"


def test_of_few_frames_none_is_encoded_to_a_size() -> None:
    codec = Sized(doubling, rounding)
    hit(encoder_of(noise(3, 64), None, codec), Aim(ratio=40), Hints(), "key")
    assert codec.of_size == []


def at_512(level: float) -> Callable[[float], float]:
    """Bytes of a frame that has a tenth of `noise` at a level."""
    return lambda other: 512 * math.exp(0.07 * (other - level))


@pytest.mark.parametrize("frames", [1, 20])
@pytest.mark.parametrize(
    ("size", "error", "is_tried"),
    [
        (lambda level: 400, rounding, True),  # all that the way gives is less than the goal
        (at_512(53), lambda level: 0, True),  # hardly anything is lost
        (at_512(53), rounding, False),
        (at_512(65), rounding, True),  # it has its size far above its forecast
    ],
)
def test_the_first_of_a_series_tells_whether_it_is_simple_by_its_size(
    monkeypatch: pytest.MonkeyPatch,
    size: Callable[[float], float],
    error: Callable[[float], float],
    is_tried: bool,
    frames: int,
) -> None:
    monkeypatch.setattr(Forecast, "lossless_bits", lambda self: 1.6 * 1.5 / module.LIKELY)
    codec, lossless = Sized(size, error), Lossless(NATIVE)
    with pytest.raises(Objection) if size(0) == size(100) else nullcontext():
        hit(encoder_of(noise(frames, 64), lossless, codec), Aim(ratio=10), Hints(), "key")
    assert bool(lossless.encoded) == is_tried


def test_a_search_begins_where_the_forecast_says() -> None:
    codec = Lossy(doubling, rounding)
    hit(encoder_of(noise(), None, codec), Aim(ratio=40), Hints(), "key")
    assert codec.levels[0] == Forecast.of(noise(), 12).level(TYPICAL * 16 / 40, 2.0, 120.0)
    # A dial of another unit knows no forecast.
    codec = Lossy(lambda level: 1000 * math.exp(0.1 * level), lambda level: -level, dial=NEAR)
    hints = Hints()
    made = hit(encoder_of(ramp(), None, codec), Aim(ratio=3), hints, "key")
    assert codec.levels[0] == NEAR.start
    assert hints.get("key") == made.setting.level
    again = Lossy(codec.size, codec.error, dial=NEAR)
    hit(encoder_of(ramp(), None, again), Aim(ratio=3), hints, "key")
    assert again.levels[0] == made.setting.level


def test_a_dial_of_whole_numbers_has_the_best_that_fits() -> None:
    codec = Lossy(lambda level: 1000 * math.exp(0.1 * level), lambda level: -level, dial=NEAR)
    made = hit(encoder_of(ramp(), None, codec), Aim(ratio=10), Hints(), "key")
    assert made.setting == Setting(-16)
    assert all(level == int(level) for level in codec.levels if level is not None)


def test_a_ratio_out_of_reach_is_an_objection() -> None:
    with pytest.raises(Objection) as caught:
        hit(encoder_of(ramp(), None, Lossy(lambda level: 1000)), Aim(ratio=10), Hints(), "key")
    assert caught.value.reason == "ratio"


def test_another_way_is_tried_where_the_codec_s_own_does_not_reach() -> None:
    class TwoWays(Lossy):
        def encode_at(self, pixels, form, level, way=OWN_WAY):
            self.size = doubling if way.reversible else (lambda level: 1000)
            return super().encode_at(pixels, form, level, way)

    codec = TwoWays(error=rounding, ways=(OWN_WAY, Way(True, 3)))
    made = hit(encoder_of(ramp(), None, codec), Aim(ratio=10), Hints(), "key")
    assert made.setting == Setting(made.setting.level, True, 3)
    assert abs(200 / made.size - 1) <= TOLERANCE


def test_a_level_is_searched_on_a_sample_and_then_held_to_all_frames() -> None:
    codec = Lossy(doubling, rounding)
    made = hit(encoder_of(ramp(20), None, codec), Aim(ratio=10), Hints(), "key")
    assert abs(20 * NATIVE / 10 / made.size - 1) <= TOLERANCE
    searched = codec.levels.index(made.setting.level)
    assert searched % 4 == 0
    # As all frames weigh the same, the level of the sample is that of all.
    assert codec.levels[searched:] == [made.setting.level] * (4 + 20)


def test_what_an_image_weighs_is_told_by_some_frames_of_it() -> None:
    encoder = encoder_of(ramp(20), None, Lossy(lambda level: 50))
    search = module._Search(encoder, 1000)
    assert search.size(encoder.sample, Setting(50)) == 20 * 50
    assert search.made(Setting(50)) is None
    assert search.size(encoder.all, Setting(50)) == 20 * 50
    assert search.made(Setting(51)) is None
    assert len(search.made(Setting(50))) == 20
    # Asked for once more, it is known; asked for of other frames, it is not.
    before = encoder.encodes
    search.size(encoder.all, Setting(50))
    assert encoder.encodes == before
    search.size(encoder.sample, Setting(50))
    assert encoder.encodes > before


# Without loss where that will do


class Told:
    """A forecast that says what the test wants: where a level is, that is what it takes, so many bits."""

    def __init__(self, lossless: float) -> None:
        self.lossless = lossless
        self.asked: list[float] = []

    def level(self, bits: float, least: float, most: float) -> float:
        self.asked.append(bits)
        return 60.0

    def bits(self, level: float) -> float:
        return level

    def slope(self, level: float) -> float:
        return 0.05

    def lossless_bits(self) -> float:
        return self.lossless


def to_ten(
    bits: float,
    lossless: Lossless,
    at_60: float = 200,
    hints: Hints | None = None,
    count: int = 1,
) -> tuple[Encoded, Lossy]:
    """Frames at 10:1, which is 200 bytes or 1.6 bits of 16, where lossless is forecast to take `bits`; the
    lossy codec takes `at_60` bytes where its search begins."""
    codec = Lossy(lambda level: round(at_60 * math.exp(0.07 * (level - 60))), rounding)
    encoder = encoder_of(ramp(count), lossless, codec)
    encoder.forecast = lambda: Told(bits)
    return hit(encoder, Aim(ratio=10), hints or Hints(), "key"), codec


@pytest.mark.parametrize(
    ("bits", "at_60", "is_tried"),
    [
        (1.6 / 0.7 - 0.01, 200, True),
        (1.6 / 0.7 + 0.01, 200, False),
        (1.6 / 0.7 + 0.01, 159, True),  # far smaller than it should be at that level: it may be simple
        (1.6 / 0.7 + 0.01, 160, False),
        (3.2 / 0.7 - 0.01, 159, True),
        (3.2 / 0.7 + 0.01, 100, False),
    ],
)
def test_without_loss_is_tried_where_it_may_reach_the_ratio(
    bits: float, at_60: float, is_tried: bool
) -> None:
    lossless = Lossless(size=1000)
    made, codec = to_ten(bits, lossless, at_60)
    assert bool(lossless.encoded) == is_tried
    assert made.setting is not None
    assert abs(200 / made.size - 1) <= TOLERANCE
    assert codec.levels.count(60) == 1


@pytest.mark.parametrize(("size", "is_sent"), [(210, True), (211, False)])
def test_without_loss_is_sent_where_it_reaches_the_ratio_but_for_a_twentieth(
    size: int, is_sent: bool
) -> None:
    made, codec = to_ten(1.6, Lossless(size=size))
    assert (made.setting is None) == is_sent
    assert bool(codec.encoded) != is_sent


def test_a_hint_leads_and_the_next_is_what_would_have_met_the_goal() -> None:
    hints = Hints()
    made, codec = to_ten(100.0, Lossless(), at_60=205, hints=hints)
    assert (codec.levels, made.size) == ([60.0], 205)
    assert hints.get("key") == pytest.approx(60 - math.log(205 / 200) / 0.05)


# A quality


def to_quality(aim: Aim, codec: Lossy, hints: Hints | None = None, count: int = 1, **more: float) -> Encoded:
    lossless = Lossless(size=int(more.get("lossless", 2000)))
    encoder = encoder_of(ramp(count), lossless, codec)
    encoder.forecast = lambda: Told(more.get("bits", 100.0))
    return hit(encoder, aim, hints or Hints(), "key")


def test_a_quality_is_met_with_little_to_spare_and_leads_the_next_image() -> None:
    hints, codec = Hints(), Lossy(doubling, rounding)
    made = to_quality(Aim(psnr=30), codec, hints)
    assert codec.levels[0] == pytest.approx(30 + 20 * math.log10(4.096))
    assert 30 <= made.reached.psnr <= 30.3
    assert (codec.levels[-1], hints.get("key")) == (made.setting.level, made.setting.level)
    assert len(codec.decoded) == len(codec.encoded), "and none of it was made or checked twice"
    again = Lossy(doubling, rounding)
    to_quality(Aim(psnr=30), again, hints)
    assert again.levels == [made.setting.level]


def test_a_quality_of_another_dial_begins_at_its_start_or_at_the_error() -> None:
    by_near = Lossy(lambda level: 100, lambda level: -level, dial=NEAR)
    made = to_quality(Aim(max_error=20), by_near)
    assert by_near.levels[0] == -20
    assert 16 <= made.reached.max_error <= 20
    by_near = Lossy(lambda level: 100, lambda level: -level, dial=NEAR)
    assert to_quality(Aim(psnr=30), by_near).reached.psnr >= 30
    assert by_near.levels[0] == NEAR.start
    other = Dial(1.0, 100.0, "quality", 0.05, 70.0)
    by_other = Lossy(lambda level: 100, lambda level: 101 - level, dial=other)
    assert 16 <= to_quality(Aim(max_error=20), by_other).reached.max_error <= 20
    assert by_other.levels[0] == 70


def test_each_frame_has_the_quality_that_a_sample_was_given() -> None:
    values = ramp(20)
    values[0] = values[0] // 2  # not of the sample, and of half the range: the same error is worse in it
    codec = Lossy(doubling, rounding)
    encoder = encoder_of(values, Lossless(2000), codec)
    encoder.forecast = lambda: Told(100.0)
    made = hit(encoder, Aim(psnr=30), Hints(), "key")
    assert 30 <= made.reached.psnr <= 30.3 + 0.2
    assert len(set(codec.levels[:4])) == 1, "four frames first"
    assert codec.levels[4] != codec.levels[3]


def test_a_quality_is_tried_in_another_way_and_is_an_objection_where_none_has_it() -> None:
    class Better(Lossy):
        def encode_at(self, pixels, form, level, way=OWN_WAY):
            self.error = rounding if way.reversible else (lambda level: 400)
            return super().encode_at(pixels, form, level, way)

    codec = Better(doubling, ways=(OWN_WAY, Way(True, 3)))
    made = to_quality(Aim(psnr=30), codec)
    assert made.setting == Setting(made.setting.level, True, 3)
    with pytest.raises(Objection) as caught:
        to_quality(Aim(psnr=30), Lossy(doubling, lambda level: 400))
    assert caught.value.reason == "target"


@pytest.mark.parametrize(
    ("bits", "lossless", "is_lossless"),
    [
        (0.56, 50, True),  # 0.7 * 0.56 / 16 of 2,000 bytes is just less than the lossy 50
        (0.58, 50, False),
        (0.56, 51, False),
    ],
)
def test_without_loss_is_sent_where_it_is_no_larger(bits: float, lossless: int, is_lossless: bool) -> None:
    made = to_quality(Aim(psnr=30), Lossy(lambda level: 50, rounding), bits=bits, lossless=lossless)
    assert (made.setting is None) == is_lossless
    assert made.size == 50


@pytest.mark.parametrize(("near", "lowest", "level"), [(3, -255, -3), (255, -127, -127)])
def test_near_is_the_level_itself(near: int, lowest: int, level: float) -> None:
    codec = Lossy(error=lambda level: 1, dial=Dial(lowest, -1, "NEAR below zero", 0.1, -4, whole=True))
    made = hit(encoder_of(ramp(), None, codec), Aim(near=near), Hints(), "key")
    assert (made.setting, codec.levels) == (Setting(level), [level])
