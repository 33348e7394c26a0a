"""Error, PSNR, padding and the guards, by value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mapdr.dicom.tags import PIXEL_PADDING_RANGE_LIMIT, PIXEL_PADDING_VALUE
from mapdr.dicom.write import number
from mapdr.transform.encode.quality import Guard, Padding, PaddingGap, Quality, Reached, measure
from mapdr.transform.encode.ssim import ssim
from mapdr.transform.image import Attributes

from .toy import described


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
        (Guard(), Quality(500, 60.0, 1.0, 1000), ""),
        (Guard(), Quality(501, 60.0, 1.0, 1000), "corrupted"),
        (Guard(), Quality(3, 60.0, 10.6, 1000), ""),
        (Guard(), Quality(3, 60.0, 10.7, 1000), "corrupted"),
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


FAR = 1 << 16
"""An error that sets padding no limit."""


def gap(frame: list[int], decoded: list[int], padding: Padding) -> PaddingGap:
    return PaddingGap.of(padding, np.array(frame), np.array(decoded))


def test_padding_becomes_the_range_that_no_image_value_is_in() -> None:
    padding = Padding(-1500, -1500)
    gaps = [
        gap([-1500, -1500, -1000], [-1504, -1497, -1003], padding),
        gap([-1500, -1024, 7], [-1495, -1028, 9], padding),
        gap([5, 6, 7], [5, 6, 7], padding),
    ]
    assert PaddingGap.join(padding, gaps, FAR) == Padding(-1504, -1495)


def test_padding_that_an_image_value_came_into_is_refused() -> None:
    padding = Padding(0, 0)
    assert PaddingGap.join(padding, [gap([0, 0, 3], [2, 0, 1], padding)], FAR) is None
    # In another frame of the same image:
    assert (
        PaddingGap.join(padding, [gap([0, 0, 9], [2, 0, 9], padding), gap([9, 3], [9, 1], padding)], FAR)
        is None
    )


def test_padding_that_nothing_moved_stays() -> None:
    padding = Padding(-2000, -2000)
    assert PaddingGap.join(padding, [gap([-2000, 0, 9], [-2000, 1, 8], padding)], FAR) == padding


def test_padding_lies_where_image_values_begin() -> None:
    padding = Padding(10, 20)
    for value, is_free in ((21, True), (20, False), (10, False), (9, True)):
        found = PaddingGap.join(padding, [PaddingGap(10, 20, *beside(value))], FAR)
        assert found == (padding if is_free else None)
    # A frame without padding still has values that may come into that of another.
    assert PaddingGap.of(padding, np.array([5, 30]), np.array([5, 30])) == PaddingGap(10, 20, 5, 30)
    assert PaddingGap.of(padding, np.array([15, 15]), np.array([14, 15])) == PaddingGap(
        10, 20, -math.inf, math.inf
    )
    assert PaddingGap.of(padding, np.array([15, 9, 30]), np.array([8, 8, 30])) == PaddingGap(8, 20, 8, 30)
    assert PaddingGap.of(None, np.array([15]), np.array([8])) == PaddingGap(0, 0, -math.inf, math.inf)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "i4"])
def test_padding_is_measured_alike_in_cells_of_any_size(kind: str) -> None:
    padding = Padding(10, 20)
    for frame, decoded, found in (
        ([5, 30], [5, 30], PaddingGap(10, 20, 5, 30)),
        ([15, 15], [14, 15], PaddingGap(10, 20, -math.inf, math.inf)),
        ([15, 9, 30], [8, 8, 31], PaddingGap(8, 20, 8, 31)),
        ([15, 30], [25, 33], PaddingGap(10, 25, -math.inf, 33)),
        ([15, 3], [15, 4], PaddingGap(10, 20, 4, math.inf)),
    ):
        assert PaddingGap.of(padding, np.array([frame], kind), np.array([decoded], kind)) == found


def test_similarity_is_measured_where_it_is_asked_for_outside_of_the_padding() -> None:
    original = np.random.default_rng(1).integers(100, 4000, (24, 24)).astype("u2")
    original[:, :12] = 0
    decoded = original.copy()
    decoded[:, :12] = 900  # padding that moved
    assert measure(original, decoded).ssim is None
    assert measure(original, original, with_ssim=True).ssim == 1.0
    without, within = (
        measure(original, decoded, with_ssim=True),
        measure(original, decoded, Padding(0, 0), with_ssim=True),
    )
    assert without.ssim is not None
    assert without.ssim < 0.9
    assert without.ssim == ssim(original, decoded, without.peak, None)
    assert within.ssim == ssim(original, decoded, within.peak, original == 0)
    assert (within.max_error, without.max_error) == (0, 900)


def beside(value: int) -> tuple[float, float]:
    """The image's nearest values below and above a padding of 10 to 20."""
    return (value, math.inf) if value < 15 else (-math.inf, value)


@pytest.mark.parametrize(
    ("signed", "value", "limit", "expected"),
    [
        (True, ("SS", -2000), None, Padding(-2000, -2000)),
        (True, ("US", 63536), None, Padding(-2000, -2000)),  # of the wrong sign, which is common
        (True, ("US", 32768), None, Padding(-32768, -32768)),
        (True, ("US", 32767), None, Padding(32767, 32767)),
        (False, ("SS", -1), None, Padding(65535, 65535)),
        (False, ("SS", 0), None, Padding(0, 0)),
        (False, ("US", 4095), ("US", 4000), Padding(4000, 4095)),
        (True, ("SS", -2000), ("US", 64536), Padding(-2000, -1000)),
        (True, None, ("SS", -2000), None),
    ],
)
def test_declared_padding_is_in_the_units_of_the_pixels(
    signed: bool, value: tuple[str, int] | None, limit: tuple[str, int] | None, expected: Padding | None
) -> None:
    header = b""
    for tag, told in ((PIXEL_PADDING_VALUE, value), (PIXEL_PADDING_RANGE_LIMIT, limit)):
        header += number(tag, told[1], told[0]) if told else b""
    image = described([np.zeros((1, 1), np.uint16)], signed=signed)
    assert Padding.of(Attributes(header), image) == expected


def test_both_ends_of_a_range_are_padding() -> None:
    assert Padding(-3, 2).mask(np.array([-4, -3, 0, 2, 3])).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
@pytest.mark.parametrize(
    ("original", "decoded", "padding", "expected"),
    [
        ([0, 1, 2, 9], [0, 3, 2, 9], None, (2, 1.0, 9)),
        ([0, 1, 2, 9], [9, 9, 1, 5], Padding(0, 1), (4, 8.5, 7)),
        ([-3, 0, 5, 6], [7, 9, 5, 3], Padding(-3, 0), (3, 4.5, 1)),
        ([4, 5], [9, 9], Padding(4, 5), (0, 0.0, 0)),
        ([7, 7], [7, 8], None, (1, 0.5, 0)),
    ],
)
def test_cells_of_any_size_are_measured_alike(
    dtype: type,
    original: list[int],
    decoded: list[int],
    padding: Padding | None,
    expected: tuple[int, float, int],
) -> None:
    found = measure(np.array([original], dtype), np.array([decoded], dtype), padding)
    assert (found.max_error, found.mean_square, found.peak) == expected
    assert found.psnr == (math.inf if not found.max_error else -math.inf if not found.peak else found.psnr)


def test_an_image_is_as_good_as_the_worst_of_its_frames() -> None:
    frames = [Quality(3, 60.0, 1.0, 99, 0.9), Quality(5, 70.0, 2.0, 99), Quality(4, 50.0, 3.0, 99, 0.8)]
    assert Reached.of(frames) == Reached(5, 50.0, 0.8)
    assert Reached.of(frames[1:2]) == Reached(5, 70.0, None)
