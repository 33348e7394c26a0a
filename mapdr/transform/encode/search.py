"""Find the codec's level that gives a size: few encodes, and none when the series was seen before.

The logarithm of the size is nearly a straight line in dB, so a secant with a bracket converges in one to
three encodes from a neighbour's level.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

TOLERANCE = 0.049
"""How far the ratio may be from the one asked for: 5 % are promised, and the last digits round."""
PER_DB = 0.07
"""Change of the logarithm of the size per dB (0.05 to 0.09 on CT, CR and DX between 6:1 and 27:1)."""
LEAST, MOST_ENCODES = 2.0, 14


@dataclass(frozen=True, slots=True)
class Found:
    """Where a search ended. `exact` says that `size` is within the tolerance of the goal; `saturated` that
    even the highest level gives less than the goal: the image is simpler than the ratio."""

    level: float
    size: int
    exact: bool
    saturated: bool
    encodes: int


def find_level(
    size_at: Callable[[float], int], goal: int, start: float, most: float, slope: float = PER_DB
) -> Found:
    """Search the level in [LEAST, most] at which `size_at` is `goal`, beginning at `start`.

    `slope` is by how much the logarithm of the size should rise per dB there.
    """
    low: tuple[float, int] | None = None  # too small: the level must rise
    high: tuple[float, int] | None = None
    level = min(max(start, LEAST), most)
    best = (math.inf, level, 0)
    stride = 3.0
    for encodes in range(1, MOST_ENCODES + 1):
        size = size_at(level)
        off = math.log(size / goal)
        best = min(best, (abs(off), level, size))
        if abs(goal / size - 1) <= TOLERANCE:
            return Found(level, size, True, False, encodes)
        if off < 0:
            if level >= most:
                return Found(level, size, False, True, encodes)
            low = (level, size)
        else:
            if level <= LEAST:
                break
            high = (level, size)
        if low is None or high is None:
            # Where the size hardly answers to the level, steps by the slope would creep: each is wider.
            step = math.copysign(max(abs(off) / slope, stride), -off) if encodes > 1 else -off / slope
            level, stride = min(max(level + step, LEAST), most), 2 * stride
        else:
            level = _between(low, high, goal)
        if low and high and high[0] - low[0] < 1e-3:
            break
    return Found(best[1], best[2], False, False, encodes)


def _between(low: tuple[float, int], high: tuple[float, int], goal: int) -> float:
    width, rise = high[0] - low[0], math.log(high[1] / low[1])
    guess = low[0] + width * (math.log(goal / low[1]) / rise)
    # Near an end of the bracket a secant creeps; keep a tenth of the width away.
    return min(max(guess, low[0] + width / 10), high[0] - width / 10)


class Hints:
    """What the last image of each series taught, a number; bounded, thread-safe."""

    def __init__(self, keep: int = 512) -> None:
        self._keep = keep
        self._hints: OrderedDict[Hashable, float] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> float | None:
        """What was learnt last about `key`."""
        with self._lock:
            return self._hints.get(key)

    def learn(self, key: Hashable, number: float) -> None:
        """Note what an image taught."""
        with self._lock:
            self._hints.pop(key, None)
            self._hints[key] = number
            while len(self._hints) > self._keep:
                self._hints.popitem(last=False)
