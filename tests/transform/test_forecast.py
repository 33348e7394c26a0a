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


# What is counted, by its definition


def split(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and high pass of the 5-3 transform along the first axis, without the ends."""
    count = (len(cells) - 1) // 2
    high = np.stack([cells[2 * k + 1] - (cells[2 * k] + cells[2 * k + 2]) / 2 for k in range(count)])
    return np.stack([cells[2 * k] + high[k] / 2 for k in range(count)]), high


def sizes_of(frame: np.ndarray) -> np.ndarray:
    """The magnitudes of the finest coefficients of one strip of rows, by their weight in the image."""
    low, high = (each.swapaxes(0, 1) for each in split(frame.astype(float).swapaxes(0, 1)))
    found = [split(low)[1], split(high)[0], split(high)[1] * math.sqrt(0.5)]
    return np.concatenate([np.abs(each).ravel() for each in found])


def in_bins(sizes: np.ndarray) -> np.ndarray:
    """Each size as the middle of its bin: of eight in each octave of 1 more; less than an eighth is none."""
    octave = 2.0 ** np.floor(np.log2(sizes + 1))
    eighth = np.floor(((sizes + 1) / octave - 1) * 8)
    return np.where(sizes < 1 / 8, 0, octave * (1 + (eighth + 0.5) / 8) - 1)


@pytest.mark.parametrize(
    ("rows", "strips"), [(9, [(0, 9)]), (31, [(0, 31)]), (33, [(0, 8)]), (70, [(0, 8), (32, 40)])]
)
@pytest.mark.parametrize("samples", [1, 3])
def test_the_finest_coefficients_of_some_rows_are_counted_by_size(
    rows: int, strips: list[tuple[int, int]], samples: int
) -> None:
    frame = np.random.default_rng(rows).integers(0, 900, (rows, 11, samples)).astype(np.uint16)
    frame = frame if samples > 1 else frame[..., 0]
    forecast = Forecast.of([frame, frame // 3], 10)
    sizes = np.concatenate(
        [in_bins(sizes_of(each[start:stop])) for each in (frame, frame // 3) for start, stop in strips]
    )

    def bits(step: float) -> float:
        return 0.75 * float(np.log2(1 + sizes / step).mean())

    for level in (20.0, 60.0):
        assert forecast.bits(level) == pytest.approx(bits(3 * 1024 / 10 ** (level / 20)))
    assert forecast.lossless_bits() == pytest.approx(3.2 * bits(2 / 3) ** 0.8)
    rise = math.log(forecast.bits(50.5) / forecast.bits(49.5))
    assert forecast.slope(50) == pytest.approx(min(max(rise, 0.04), 0.12))


def test_a_level_is_within_the_range_and_a_hundredth() -> None:
    forecast = Forecast.of([grain(12, shape=(64, 64))], 12)
    assert forecast.level(forecast.bits(70), 2, 120) == pytest.approx(70 - 0.005, abs=0.006)
    assert forecast.level(1000, 2, 120) == pytest.approx(120, abs=0.01)
    assert forecast.level(0, 2, 120) == 2


def test_the_slope_is_within_what_codestreams_show() -> None:
    flat = Forecast.of([np.zeros((40, 40), np.uint16)], 12)
    assert (flat.slope(50), flat.bits(50), flat.lossless_bits()) == (PER_DB, 0, 0)
    coarse = Forecast.of([np.random.default_rng(0).integers(0, 4096, (40, 40)).astype(np.uint16)], 12)
    assert coarse.slope(119) == 0.04
    # Bits are at most inversely proportional to the step: a tenth of it for 20 dB.
    assert 0.11 < Forecast.of([grain(1, shape=(40, 40))], 12).slope(2) < math.log(10) / 20


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
    slices = [image(grain(10 * 1.07**number, number, (400, 400))) for number in range(12)]
    applied(step, *payload_of(slices[0]), Notebook())
    levels.clear()
    for one in slices[1:]:
        applied(step, *payload_of(one), Notebook())
    assert None not in levels
    assert len(levels) <= 1.2 * (len(slices) - 1)
