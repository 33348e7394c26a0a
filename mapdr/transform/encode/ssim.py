"""Structural similarity of two frames (Wang, Bovik, Sheikh, Simoncelli: "Image quality assessment: from error
visibility to structural similarity", IEEE Transactions on Image Processing 13, 2004).

Means, variances and covariances are those of uniform windows of 7 x 7 pixels, without Bessel's correction:
the paper's Gaussian window gives nearly the same mean, and sums over squares are exact in whole numbers. K1
is 0.01, K2 is 0.03; the range L is that of the original frame, as for PSNR (design, decision 18).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mapdr.kernel.codec import Pixels

WINDOW = 7
K1, K2 = 0.01, 0.03
STRIP = 64
"""Rows of windows that are worked on at once: memory follows the width of a frame, not its size."""


def ssim(original: Pixels, decoded: Pixels, peak: int, left_out: Pixels | None = None) -> float:
    """The mean similarity over all windows that lie wholly in the frame, of all samples; 1 for equal frames.

    Takes integers of at most 16 bits, as (rows, columns) or (rows, columns, samples), and the range `peak` of
    the original. Windows that hold a pixel of `left_out` (of the frame's shape) do not count. A frame smaller
    than a window is one window.
    """
    if original.ndim == 2:
        original, decoded = original[..., np.newaxis], decoded[..., np.newaxis]
        left_out = None if left_out is None else left_out[..., np.newaxis]
    total, count = 0.0, 0
    for strip in _strips(original.shape[0]):
        for sample in range(original.shape[2]):
            one, other = (each[strip, :, sample].astype(np.int64) for each in (original, decoded))
            found = _similarities(one, other, peak)
            if left_out is not None:
                found = found[_sums(left_out[strip, :, sample].astype(np.int64)) == 0]
            total += float(found.sum())
            count += found.size
    return total / count if count else 1.0


def _strips(rows: int) -> Iterator[slice]:
    """Rows whose windows are looked at together; each window is in one strip."""
    height = min(WINDOW, rows)
    for start in range(0, rows - height + 1, STRIP):
        yield slice(start, min(start + STRIP + height - 1, rows))


def _similarities(one: Pixels, other: Pixels, peak: int) -> Pixels:
    """The similarity of each window of two arrays of whole numbers."""
    size = min(WINDOW, one.shape[0]) * min(WINDOW, one.shape[1])
    first, second = _sums(one), _sums(other)
    # Times the square of the window's size, so that nothing is divided before the end.
    both = (first * second).astype(float)
    squares = (first * first + second * second).astype(float)
    covariance = size * _sums(one * other) - both
    variances = size * (_sums(one * one) + _sums(other * other)) - squares
    c1, c2 = ((k * max(peak, 1) * size) ** 2 for k in (K1, K2))
    similarity: Pixels = (2 * both + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return similarity


def _sums(cells: Pixels) -> Pixels:
    """The sum over each window; exact, for whole numbers."""
    for axis in (0, 1):
        width = min(WINDOW, cells.shape[axis])
        head = np.zeros_like(cells.take([0], axis))
        sums = np.concatenate((head, cells.cumsum(axis)), axis)
        count = sums.shape[axis]
        cells = sums.take(range(width, count), axis) - sums.take(range(count - width), axis)
    return cells
