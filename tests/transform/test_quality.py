"""Error, PSNR, padding and the guards, by value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mapdr.transform.encode.quality import Guard, Padding, PaddingGap, Quality, measure


def test_measured_against_the_range_of_the_frame() -> None:
    original = np.array([[0, 100], [50, 50]], np.uint16)
    decoded = np.array([[2, 100], [50, 46]], np.uint16)
    found = measure(original, decoded)
    assert (found.max_error, found.peak, found.mean_square) == (4, 100, 5.0)
    assert found.psnr == pytest.approx(10 * math.log10(100 * 100 / 5))


def test_equal_frames_are_infinitely_good() -> None:
    frame = np.arange(16, dtype=np.int16).reshape(4, 4)
    assert measure(frame, frame.copy()) == Quality(0, math.inf, 0.0, 15)


def test_a_difference_over_16_bits_does_not_wrap() -> None:
    low, high = np.full((2, 2), -32768, np.int16), np.full((2, 2), 32767, np.int16)
    assert measure(low, high).max_error == 65535


def test_padding_counts_neither_as_peak_nor_as_error() -> None:
    original = np.array([[-1500, 0], [10, 20]], np.int16)
    decoded = np.array([[-1400, 0], [10, 22]], np.int16)
    found = measure(original, decoded, Padding(-1500, -1500))
    assert (found.max_error, found.peak) == (2, 20)


def test_a_frame_of_padding_alone_has_no_error() -> None:
    frame = np.full((2, 2), -1500, np.int16)
    assert measure(frame, frame + 3, Padding(-1500, -1500)).max_error == 0


@pytest.mark.parametrize(
    ("guard", "quality", "reason"),
    [
        (Guard(), Quality(3, 60.0, 1.0, 1000), ""),
        (Guard(max_error=3), Quality(3, 60.0, 1.0, 1000), ""),
        (Guard(max_error=2), Quality(3, 60.0, 1.0, 1000), "max-error"),
        (Guard(min_psnr=60.0), Quality(3, 60.0, 1.0, 1000), ""),
        (Guard(min_psnr=60.1), Quality(3, 60.0, 1.0, 1000), "min-psnr"),
        (Guard(), Quality(600, 60.0, 1.0, 1000), "corrupted"),
        (Guard(), Quality(3, 60.0, 30.0, 1000), "corrupted"),
        (Guard(), Quality(8, 6.0, 1.0, 9), ""),
        (Guard(), Quality(9, 6.0, 1.0, 9), "corrupted"),
        (Guard(), Quality(3, 6.0, 1.0, 4), ""),
        (Guard(), Quality(4, 6.0, 1.0, 4), "corrupted"),
        (Guard(), Quality(1, 6.0, 1.0, 1), "corrupted"),
        (Guard(), Quality(1, 6.0, 1.0, 2), ""),
        (Guard(), Quality(8, -math.inf, 1.0, 0), ""),
        (Guard(), Quality(9, -math.inf, 1.0, 0), "corrupted"),
        (Guard(min_ssim=0.9), Quality(3, 60.0, 1.0, 1000, 0.9), ""),
        (Guard(min_ssim=0.9), Quality(3, 60.0, 1.0, 1000, 0.89), "min-ssim"),
    ],
)
def test_guards(guard: Guard, quality: Quality, reason: str) -> None:
    assert guard.objection(quality, allowed=10.6) == reason


def gap(frame: list[int], decoded: list[int], padding: Padding) -> PaddingGap:
    return PaddingGap.of(padding, np.array(frame), np.array(decoded))


def test_padding_becomes_the_range_that_no_image_value_is_in() -> None:
    padding = Padding(-1500, -1500)
    gaps = [
        gap([-1500, -1500, -1000], [-1504, -1497, -1003], padding),
        gap([-1500, -1024, 7], [-1495, -1028, 9], padding),
        gap([5, 6, 7], [5, 6, 7], padding),
    ]
    assert PaddingGap.join(padding, gaps) == Padding(-1504, -1495)


def test_padding_that_an_image_value_came_into_is_refused() -> None:
    padding = Padding(0, 0)
    assert PaddingGap.join(padding, [gap([0, 0, 3], [2, 0, 1], padding)]) is None
    # In another frame of the same image:
    assert (
        PaddingGap.join(padding, [gap([0, 0, 9], [2, 0, 9], padding), gap([9, 3], [9, 1], padding)]) is None
    )


def test_padding_that_nothing_moved_stays() -> None:
    padding = Padding(-2000, -2000)
    assert PaddingGap.join(padding, [gap([-2000, 0, 9], [-2000, 1, 8], padding)]) == padding
