"""What an image will weigh, before it is encoded: properties, and against what the codec then says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mapdr.transform.codecs.jpeg2000 import Jpeg2000
from mapdr.transform.encode.forecast import Forecast
from mapdr.transform.encode.search import PER_DB, TOLERANCE
from mapdr.transform.image import Pixels

from .helpers import Notebook, applied, image, payload_of, picture
from .test_compress import compressing


def grain(amplitude: float, seed: int = 0, shape: tuple[int, ...] = (256, 256)) -> Pixels:
    """Anatomy under noise, 12 bits in 16."""
    random = np.random.default_rng(seed)
    values = picture(*shape[:2], 0, 3000, seed) + random.normal(0, amplitude, shape[:2])
    return np.clip(values.round(), 0, 4095).astype(np.uint16)


def level_for(frame: Pixels, ratio: float) -> float:
    """The level at which the codec meets a ratio, by halving."""
    low, high, codec = 20.0, 110.0, Jpeg2000()
    while high - low > 0.05:
        level = (low + high) / 2
        larger = len(codec.encode(frame, 12, mct=False, level=level)) * ratio > frame.nbytes
        low, high = (low, level) if larger else (level, high)
    return low


def test_bits_rise_with_the_level_and_a_level_is_found_again() -> None:
    forecast = Forecast.of([grain(12)], 12)
    bits = [forecast.bits(level) for level in range(30, 100, 5)]
    assert bits == sorted(bits)
    assert forecast.level(forecast.bits(70), 2, 120) == pytest.approx(70, abs=0.02)
    assert 0.04 <= forecast.slope(70) <= 0.12


@pytest.mark.parametrize("ratio", [6, 10, 20])
@pytest.mark.parametrize("change", [1.0, 1.3, 2.0])
def test_a_neighbour_leads_to_the_level_within_the_tolerance(ratio: float, change: float) -> None:
    one, other = grain(20, 1), grain(20 * change, 2)
    counted = Forecast.of([one], 12).bits(level_for(one, ratio))
    found = Forecast.of([other], 12).level(counted, 2, 120)
    assert abs(found - level_for(other, ratio)) < TOLERANCE / PER_DB


@pytest.mark.parametrize("amplitude", [0.5, 3, 12, 60, 400])
def test_lossless_is_told_to_a_third(amplitude: float) -> None:
    frame = grain(amplitude)
    bits = 8 * len(Jpeg2000().encode(frame, 12, mct=False)) / frame.size
    assert 0.6 < Forecast.of([frame], 12).lossless_bits() / bits < 1.3


def test_frames_are_counted_together_and_colour_by_sample() -> None:
    plain, rough = grain(3), grain(60)
    both = Forecast.of([plain, rough], 12).bits(70)
    assert Forecast.of([plain], 12).bits(70) < both < Forecast.of([rough], 12).bits(70)
    colour = np.stack([plain, plain, plain], axis=-1)
    assert Forecast.of([colour], 12).bits(70) == pytest.approx(Forecast.of([plain], 12).bits(70))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (33, 31), (65, 7)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_any_shape_and_type_can_be_looked_at(shape: tuple[int, int], dtype: type) -> None:
    limits = np.iinfo(dtype)
    frame = np.random.default_rng(0).integers(limits.min, limits.max, shape, dtype, endpoint=True)
    for values in (frame, np.where(frame % 2, limits.min, limits.max).astype(dtype), np.zeros_like(frame)):
        forecast = Forecast.of([values], limits.bits)
        assert math.isfinite(forecast.lossless_bits())
        assert 2 <= forecast.level(0.5, 2, 90) <= 90
        assert forecast.slope(50) > 0


def test_a_series_whose_noise_grows_takes_one_encode_for_nearly_every_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels: list[float | None] = []
    real = Jpeg2000.encode

    def counted(self: Jpeg2000, *args: object, **options: object) -> bytes:
        levels.append(options.get("level"))
        return real(self, *args, **options)

    monkeypatch.setattr(Jpeg2000, "encode", counted)
    step = compressing(to="jpeg2000", ratio=10)
    slices = [image(grain(10 * 1.07**number, number)) for number in range(12)]
    applied(step, *payload_of(slices[0]), Notebook())
    levels.clear()
    for one in slices[1:]:
        applied(step, *payload_of(one), Notebook())
    assert None not in levels
    assert len(levels) <= 1.2 * (len(slices) - 1)
