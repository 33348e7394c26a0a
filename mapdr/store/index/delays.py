"""How long images took from arrival to delivery, as a histogram.

Its buckets are fixed, so that those of days, sources and destinations can be added up: the median of a month
is none of daily medians. A bucket is an eighth of an octave of milliseconds, [2^(b/8), 2^((b+1)/8)). A
quantile is told as the middle of its bucket: it is off by no more than 2^(1/16) - 1 = 4.4 %, and of less than
a millisecond by less than one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

PER_OCTAVE = 8
LARGEST = 36 * PER_OCTAVE
"""The bucket of all that took longer than two years."""


def bucket_of(seconds: float) -> int:
    """The bucket of a length of time; one that a clock that was set has made negative is in the first."""
    milliseconds = seconds * 1000
    if milliseconds <= 1:
        return 0
    return min(LARGEST, int(math.log2(milliseconds) * PER_OCTAVE))


def quantile(images: Mapping[int, int], share: float) -> float | None:
    """Seconds within which `share` (0 to 1) of the images, by bucket, were delivered; None without images.

    It is that of the image of rank ceil(share x number), but for the width of a bucket.
    """
    rank = max(1, math.ceil(share * sum(images.values())))
    seen = 0
    for bucket in sorted(images):
        seen += images[bucket]
        if seen >= rank:
            return float(2 ** ((bucket + 0.5) / PER_OCTAVE) / 1000)
    return None
