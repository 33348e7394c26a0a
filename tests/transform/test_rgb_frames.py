"""Frames of luminance and chrominance that are read as RGB, and which may be: by their cells alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mapdr.kernel.codec import FrameFormat
from mapdr.transform.rgb import RgbFrames, may_be_rgb

from .toy import FramesAt, described

FORM = FrameFormat(2, 2, 3, 8, 8, False, "YBR_FULL")
GREY, BEYOND, BLACK = (100, 128, 128), (255, 255, 255), (16, 128, 128)


def frames(*pixels: tuple[int, int, int], photometric: str = "YBR_FULL", planar: int = 0) -> RgbFrames:
    """Frames of twice the same pixel, in larger cells than it needs."""
    values = [np.array([[pixel, pixel]], "u2") for pixel in pixels]
    came = described(values, 8, allocated=8, photometric=photometric, planar=planar)
    return RgbFrames(FramesAt(came, values), replace(came, photometric="RGB"))


def test_bytes_of_three_samples_may_become_rgb() -> None:
    for photometric in ("YBR_FULL", "YBR_PARTIAL_422"):
        assert may_be_rgb(replace(FORM, photometric=photometric))
    for other in (
        {"photometric": "RGB"},
        {"photometric": "YBR_FULL_422"},
        {"samples": 1},
        {"allocated": 16},
        {"stored": 7},
        {"signed": True},
    ):
        assert not may_be_rgb(replace(FORM, **other)), other  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("photometric", "black", "white"),
    [("YBR_FULL", (16, 16, 16), (235, 235, 235)), ("YBR_PARTIAL_422", (0, 0, 0), (255, 255, 255))],
)
def test_which_values_are_black_is_said_by_what_came(
    photometric: str, black: tuple[int, ...], white: tuple[int, ...]
) -> None:
    made = frames(BLACK, (235, 128, 128), photometric=photometric, planar=1)
    assert (made.cells(0), made.cells(1)) == (bytes(black) * 2, bytes(white) * 2)
    assert made.image.photometric == "RGB"
    assert made.frame(1).tolist() == [[list(white)] * 2]
    assert made.frame(1).dtype == np.uint8
    assert made.cut_off == 0


def test_pixels_that_are_cut_off_are_counted_once_for_each_frame() -> None:
    made = frames(BEYOND, GREY, BEYOND, planar=1)
    counts = []
    for index in (1, 0, 0, 2, 1):
        made.cells(index)
        counts.append(made.cut_off)
    assert counts == [0, 2, 2, 4, 4]
    assert made.frame(0).tolist() == [[[255, 121, 255]] * 2]
    assert made.cut_off == 4
