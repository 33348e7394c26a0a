"""Structural similarity against its definition, written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapdr.transform.encode import ssim as module
from mapdr.transform.encode.quality import Padding, measure
from mapdr.transform.encode.ssim import K1, K2, WINDOW, ssim


def by_definition(original: np.ndarray, decoded: np.ndarray, peak: int, left_out: np.ndarray) -> float:
    """The paper's formula 13 for each window, in floats; the mean of them."""
    height, width = (min(WINDOW, size) for size in original.shape)
    found = []
    for row in range(original.shape[0] - height + 1):
        for column in range(original.shape[1] - width + 1):
            place = slice(row, row + height), slice(column, column + width)
            if left_out[place].any():
                continue
            x, y = original[place].astype(float), decoded[place].astype(float)
            covariance = ((x - x.mean()) * (y - y.mean())).mean()
            c1, c2 = (K1 * max(peak, 1)) ** 2, (K2 * max(peak, 1)) ** 2
            means = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
            found.append(means * (2 * covariance + c2) / (x.var() + y.var() + c2))
    return float(np.mean(found)) if found else 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.sampled_from(["u1", "<u2", "<i2"]), st.integers(0, 1 << 30))
def test_it_is_what_the_paper_says(rows: int, columns: int, dtype: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    span = int(random.integers(1, limits.max))
    low = max(int(limits.min), -span)
    original = random.integers(low, span, (rows, columns), endpoint=True).astype(dtype)
    noise = random.integers(-9, 9, original.shape)
    decoded = np.clip(original.astype(int) + noise, limits.min, limits.max).astype(dtype)
    left_out = random.random(original.shape) < 0.01
    peak = int(original.max()) - int(original.min())
    expected = by_definition(original, decoded, peak, left_out)
    assert ssim(original, decoded, peak, left_out) == pytest.approx(expected, abs=1e-9)


def test_strips_and_samples_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    original = random.integers(0, 255, (50, 20, 3)).astype(np.uint8)
    decoded = np.clip(original + random.integers(0, 9, original.shape), 0, 255).astype(np.uint8)
    whole = ssim(original, decoded, 255)
    monkeypatch.setattr(module, "STRIP", 5)
    assert ssim(original, decoded, 255) == pytest.approx(whole)
    nothing = np.zeros((50, 20), bool)
    each = [by_definition(original[..., n], decoded[..., n], 255, nothing) for n in range(3)]
    assert whole == pytest.approx(np.mean(each))


def test_it_is_measured_where_it_is_asked_for_and_not_in_padding() -> None:
    frame = np.full((30, 30), -2000, np.int16)
    frame[8:22, 8:22] = np.arange(196).reshape(14, 14)
    decoded = frame.copy()
    decoded[:4] += 40
    padding = Padding(-2000, -2000)
    assert measure(frame, decoded, padding).ssim is None
    assert measure(frame, decoded, padding, with_ssim=True).ssim == 1.0
    assert measure(frame, decoded, with_ssim=True).ssim != 1.0


@pytest.mark.parametrize("shape", [(7, 7), (8, 9), (3, 9), (9, 3), (1, 1), (70, 8), (72, 7), (134, 7)])
@pytest.mark.parametrize("peak", [0, 40])
def test_windows_at_every_end_and_of_every_strip_count_once(shape: tuple[int, int], peak: int) -> None:
    random = np.random.default_rng(shape[0])
    original = random.integers(0, 40, shape).astype(np.int16)
    decoded = original + random.integers(-5, 6, shape).astype(np.int16)
    nothing = np.zeros(shape, bool)
    assert ssim(original, decoded, peak) == pytest.approx(by_definition(original, decoded, peak, nothing))
    corner = nothing.copy()
    corner[-1, -1] = True
    expected = by_definition(original, decoded, peak, corner)
    assert ssim(original, decoded, peak, corner) == pytest.approx(expected)
    assert ssim(original, decoded, peak, ~nothing) == 1.0


def test_what_is_left_out_is_so_in_each_sample() -> None:
    original = np.zeros((9, 9, 3), np.uint8)
    decoded = original.copy()
    decoded[4, 4, 1] = 200
    left_out = decoded > 0
    assert ssim(original, decoded, 255) < 0.9
    assert ssim(original, decoded, 255, left_out) == 1.0
