"""Find the level of a codec's dial that gives a size or a quality: few encodes, one when the series was seen
before.

The logarithm of the size is nearly a straight line in dB, and so is quality: a secant with a bracket
converges in one to three encodes from a neighbour's level. A dial of whole numbers ends at the two that the
goal lies between.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from mapdr.kernel.codec import Dial

TOLERANCE = 0.049
"""How far the ratio may be from the one asked for: 5 % are promised, and the last digits round."""
PER_DB = 0.07
"""Change of the logarithm of the size per dB (0.05 to 0.09 on CT, CR and DX between 6:1 and 27:1)."""
LEAST, MOST_ENCODES = 2.0, 14
FIRST = 16.0
"""How far the first step goes at most: the size at a bad start says little of those elsewhere."""
MOST_WHOLE_ENCODES = 20
"""More than halving a range of 256 takes, with some secants that creep."""
FINEST_DB = 0.2
"""Levels that lie closer are one."""


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
    size_at: Callable[[float], int],
    goal: int,
    start: float,
    most: float,
    slope: float = PER_DB,
    *,
    least: float = LEAST,
) -> Found:
    """Search the level in [least, most] at which `size_at` is `goal`, beginning at `start`.

    `slope` is by how much the logarithm of the size should rise per 1 of the level there.
    """
    low: tuple[float, int] | None = None  # too small: the level must rise
    high: tuple[float, int] | None = None
    level = min(max(start, least), most)
    nearest: list[tuple[float, float, int]] = []
    stride = 3.0
    for encodes in range(1, MOST_ENCODES + 1):
        size = size_at(level)
        off = math.log(size / goal)
        nearest = sorted([*nearest, (abs(off), level, size)])[:2]
        if abs(goal / size - 1) <= TOLERANCE:
            return Found(level, size, True, False, encodes)
        if off < 0:
            if level >= most:
                return Found(level, size, False, True, encodes)
            low = (level, size)
        else:
            if level <= least:
                break
            high = (level, size)
        if low is None or high is None:
            # Where the size hardly answers to the level, steps by the slope would creep: each is wider.
            step = max(abs(off) / slope, stride) if encodes > 1 else min(abs(off) / slope, FIRST)
            level, stride = min(max(level - math.copysign(step, off), least), most), 2 * stride
        else:
            level = _within(low, high, nearest, goal)
        if low and high and high[0] - low[0] < 1e-3:
            break
    _, level, size = nearest[0]
    return Found(level, size, False, False, encodes)


def _within(
    low: tuple[float, int], high: tuple[float, int], nearest: list[tuple[float, float, int]], goal: int
) -> float:
    """Where the two sizes nearest to the goal say it is; halfway if that is not between `low` and `high`: far
    up a size hardly answers to the level, and far down it falls off a cliff."""
    (_, level, size), (_, other, other_size) = nearest
    width, rise = high[0] - low[0], math.log(size / other_size)
    guess = level + (level - other) * (math.log(goal / size) / rise) if rise else low[0]
    if not low[0] < guess < high[0]:
        guess = low[0] + width / 2
    return _inside(low, high, guess)


def _between(low: tuple[float, int], high: tuple[float, int], goal: int) -> float:
    width, rise = high[0] - low[0], math.log(high[1] / low[1])
    return _inside(low, high, low[0] + width * (math.log(goal / low[1]) / rise))


def _inside(low: tuple[float, int], high: tuple[float, int], guess: float) -> float:
    """A tenth of the width away from both ends: near one of them a secant creeps."""
    margin = (high[0] - low[0]) / 10
    return min(max(guess, low[0] + margin), high[0] - margin)


def find_whole(size_at: Callable[[float], int], goal: int, start: float, dial: Dial) -> Found:
    """Search the greatest level of a dial of whole numbers at which `size_at` is `goal` at most.

    `exact` says that there is one; the next one is larger, unless `saturated`.
    """
    low: tuple[float, int] | None = None
    high: tuple[float, int] | None = None
    least, most = dial.lowest, dial.highest
    level, stride = _on(dial, start), 1
    for encodes in range(1, MOST_WHOLE_ENCODES + 1):
        size = size_at(level)
        fits = size <= goal * (1 + TOLERANCE)
        if fits and (abs(goal / size - 1) <= TOLERANCE or level >= most):
            return Found(level, size, True, size < goal * (1 - TOLERANCE), encodes)
        if fits:
            low = (level, size)
        elif level <= least:
            return Found(level, size, False, False, encodes)
        else:
            high = (level, size)
        if low is None or high is None:
            step = max(stride, round(abs(math.log(goal / size)) / dial.slope))
            level, stride = min(max(level + (step if fits else -step), least), most), 2 * stride
        elif high[0] - low[0] <= 1:
            return Found(low[0], low[1], True, False, encodes)
        else:
            level = float(min(max(round(_between(low, high, goal)), low[0] + 1), high[0] - 1))
    assert low is not None or high is not None
    found = low or high
    assert found is not None
    return Found(*found, low is not None, False, MOST_WHOLE_ENCODES)


def find_quality(
    margin_at: Callable[[float], float], start: float, dial: Dial, excess: float
) -> float | None:
    """Search the lowest level of `dial` whose margin is 0 dB or more, and `excess` at most, from `start` on.

    `margin_at` gives by how many dB the quality at a level is better than it has to be. None where even the
    highest level is not good enough.
    """
    low: tuple[float, float] | None = None
    high: tuple[float, float] | None = None
    finest = 1.0 if dial.whole else FINEST_DB * PER_DB / dial.slope
    level, stride = _on(dial, start), 3.0
    for _ in range(MOST_ENCODES):
        margin = min(max(margin_at(level), -100.0), 100.0)  # equal frames are infinitely good
        if 0 <= margin <= excess or (margin >= 0 and level <= dial.lowest):
            return level
        if margin >= 0:
            high = (level, margin)
        elif level >= dial.highest:
            return None
        else:
            low = (level, margin)
        if low is None or high is None:
            away = max(abs(excess / 2 - margin), stride) * PER_DB / dial.slope
            level, stride = _on(dial, level + (away if margin < 0 else -away)), 2 * stride
        elif high[0] - low[0] <= finest:
            return high[0]
        else:
            rise = (high[1] - low[1]) / (high[0] - low[0])
            guess = low[0] + (excess / 2 - low[1]) / rise
            tenth = (high[0] - low[0]) / 10
            level = _on(dial, min(max(guess, low[0] + tenth), high[0] - tenth))
            if dial.whole:
                level = min(max(level, low[0] + 1), high[0] - 1)
    return high[0] if high is not None else None


def _on(dial: Dial, level: float) -> float:
    """The level, as the dial has it."""
    level = min(max(level, dial.lowest), dial.highest)
    return float(round(level)) if dial.whole else level


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
