"""Pixels made whole, compared, and their finest details counted: the reference of `_pixels.pyx`."""

from __future__ import annotations

import math
from array import array
from typing import Any, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

KINDS = ("b", "B", "h", "H")
NEITHER = (0, 0, 0, 0, 0)
"""What is told of frames without a value that counts."""

STRIP, EVERY = 8, 32
"""Rows whose details are counted, and out of how many."""
PER_OCTAVE, OCTAVES = 8, 20
"""Sizes of details that are told apart: from 1 on, eight in each octave."""
SIZES = (
    0.0,
    *(
        2.0 ** (each // PER_OCTAVE) * (1 + (each % PER_OCTAVE + 0.5) / PER_OCTAVE) - 1
        for each in range(1, PER_OCTAVE * OCTAVES)
    ),
)
"""The sizes themselves: the middle of each, and 0."""
FINEST = 0.01
"""dB that a level is told to."""


def whole_pixels(pairs: Buffer) -> bytes:
    """Y1 Y2 Cb Cr of each pair of pixels as Y1 Cb Cr Y2 Cb Cr (PS3.3 section C.7.6.3.1.2, YBR_FULL_422).

    Raises ValueError for bytes that are no whole pairs.
    """
    if len(pairs) % 4:
        raise ValueError("the cells are no pairs of pixels")
    whole = bytearray(len(pairs) // 4 * 6)
    for place, source in enumerate((0, 2, 3, 1, 2, 3)):
        whole[place::6] = bytes(pairs[source::4])
    return bytes(whole)


FULL_RANGE = (0, 1_000_000, 1_402_000, 344_136, 714_136, 1_772_000)
"""What luminance begins at, by what it counts, and by what chrominance less 128 does: Cr in red, Cb and Cr
in green (taken away), Cb in blue; in millionths. The inverse of CCIR 601-2, whose weights (0.299, 0.587,
0.114) PS3.3 section C.7.6.3.1.2 gives for YBR_FULL."""
STUDIO_RANGE = (16, 1_164_384, 1_596_027, 391_762, 812_968, 2_017_232)
"""The same of YBR_PARTIAL: luminance from 16 to 235, chrominance from 16 to 240 (PS3.3, retired)."""


def ybr_to_rgb(samples: Buffer, *, full: bool = True) -> tuple[bytes, int]:
    """Y Cb Cr of pixels with 8 bits a sample as R G B, and how many pixels had a colour that RGB has not.

    Values are rounded to the nearest (halves up), and cut off at 0 and 255. A pixel of YBR_FULL that is not
    cut off comes back exactly by the equations of PS3.3 section C.7.6.3.1.2. `full` is false for the range of
    YBR_PARTIAL. Raises ValueError for bytes that are no whole pixels.
    """
    import numpy as np  # as below

    if len(samples) % 3:
        raise ValueError("the samples are no pixels of three")
    black, luminance, red, green_b, green_r, blue = FULL_RANGE if full else STUDIO_RANGE
    pixels = np.frombuffer(samples, "u1").reshape(-1, 3).astype(np.int64)
    y, cb, cr = luminance * (pixels[:, 0] - black), pixels[:, 1] - 128, pixels[:, 2] - 128
    exact = np.stack([y + red * cr, y - green_b * cb - green_r * cr, y + blue * cb], -1)
    rounded = (exact + 500_000) // 1_000_000
    cut = np.clip(rounded, 0, 255)
    return cut.astype("u1").tobytes(), int((cut != rounded).any(axis=1).sum())


def differences(
    original: Buffer, decoded: Buffer, kind: str, low: int, high: int
) -> tuple[int, int, int, int, int]:
    """How far `decoded` is from `original`: cells of a `kind` (b, B, h or H, as `struct` has them), in the
    machine's byte order.

    Values of `original` from `low` to `high` do not count. Gives how many do, their greatest difference, the
    sum of the squares of all differences, and the least and the greatest value of `original`; NEITHER if none
    counts. Raises ValueError for another kind of cells, and for lengths that do not fit.
    """
    import numpy as np  # commands that compare no pixels do not wait for it

    if kind not in KINDS or len(original) != len(decoded) or len(original) % np.dtype(kind).itemsize:
        raise ValueError("the cells of two frames are to be compared")
    values, others = (np.frombuffer(cells, kind).astype(np.int64) for cells in (original, decoded))
    counts = (values < low) | (values > high)
    values, others = values[counts], others[counts]
    if not values.size:
        return NEITHER
    off = np.abs(values - others)
    return values.size, int(off.max()), int((off * off).sum()), int(values.min()), int(values.max())


def padding_gap(
    original: Buffer, decoded: Buffer, kind: str, low: int, high: int
) -> tuple[int, int, int | None, int | None]:
    """The range of `low` to `high` and of the values that `decoded` has where `original` is in it; then of
    the other values of `decoded` the greatest that is not above the range's lower end, and the least that is
    above it (None: there is none). Cells as for `differences`. Raises ValueError as it does.
    """
    import numpy as np

    if kind not in KINDS or len(original) != len(decoded) or len(original) % np.dtype(kind).itemsize:
        raise ValueError("the cells of two frames are to be compared")
    values, others = (np.frombuffer(cells, kind).astype(np.int64) for cells in (original, decoded))
    inside = (values >= low) & (values <= high)
    padded, rest = others[inside], others[~inside]
    least, most = (min(int(padded.min()), low), max(int(padded.max()), high)) if padded.size else (low, high)
    under, over = rest[rest <= least], rest[rest > least]
    return least, most, int(under.max()) if under.size else None, int(over.min()) if over.size else None


def details(cells: Buffer, kind: str, rows: int, columns: int, samples: int) -> array[int]:
    """How many details of each size a frame has, STRIP rows out of EVERY looked at, or all of fewer.

    Details are the coefficients of one 5-3 transform (ISO/IEC 15444-1, F.4.8.2) without what mirrors the
    image at its edges, as floating-point numbers; their sizes plus one are told apart by eighths of an
    octave, those in both directions weighed by their error in the image. `kind` as `struct` has it, of whole
    numbers. Raises ValueError for cells that are no frame of this shape.
    """
    import numpy as np

    if kind not in "bBhHiI" or len(cells) != rows * columns * samples * np.dtype(kind).itemsize:
        raise ValueError("the cells are no frame of this shape")
    frame = np.frombuffer(cells, kind).reshape(rows, columns, samples)
    groups = rows // EVERY
    strips = frame[np.newaxis]
    if groups:
        strips = frame[: groups * EVERY].reshape(groups, EVERY, columns, samples)[:, :STRIP]
    low, high = _split(strips.astype(np.float32), 2)
    _, along = _split(low, 1)
    across, both = _split(high, 1)
    counts = np.zeros(PER_OCTAVE * OCTAVES, np.int64)
    for weight, found in ((1.0, along), (1.0, across), (math.sqrt(0.5), both)):
        sizes = np.abs(found).ravel() * np.float32(weight) + np.float32(1)
        # Exponent and three bits of the fraction of an IEEE 754 single.
        counts += np.bincount((sizes.view(np.int32) >> 20) - (127 << 3), minlength=counts.size)
    return array("q", counts.tolist())


def detail_bits(counts: array[int], step: float) -> float:
    """Bits that as many details of each of `SIZES` take in steps of `step`, which is above 0.

    Raises ValueError for other than as many counts.
    """
    sized = zip(counts, SIZES, strict=True)
    return sum(count * math.log2(1 + size / step) for count, size in sized if count)


def detail_level(counts: array[int], scale: float, bits: float, least: float, most: float) -> float:
    """The level in dB between `least` and `most` at which details take `bits`, in steps of `scale` at 0 dB.

    Raises as `detail_bits`.
    """
    while most - least > FINEST:
        middle = (least + most) / 2
        found = detail_bits(counts, scale * 10 ** (-middle / 20))
        least, most = (middle, most) if found < bits else (least, middle)
    return least


def _split(cells: Any, axis: int) -> tuple[Any, Any]:
    """Low and high pass along `axis`; the ends, where the transform mirrors the image, are left out."""
    count = max((cells.shape[axis] - 1) // 2, 0)
    before = (slice(None),) * axis
    even, odd, after = (cells[(*before, slice(start, start + 2 * count, 2))] for start in (0, 1, 2))
    high = odd - (even + after) / 2
    return high / 2 + even, high
