"""Exponential back-off with jitter, in floats, never above its cap."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from mapdr.net.retry import Retry

SHORTEST = 1e-6
"""Seconds; a shorter first wait is none."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """`first * factor ** (attempt - 1)` seconds, at most `cap`, less up to a share `jitter` of it.

    `factor` is at least 1. The jitter only shortens: the longest wait that is promised holds.
    """

    first: float = 10.0
    factor: float = 2.0
    cap: float = 3600.0
    jitter: float = 0.2

    @classmethod
    def of(cls, retry: Retry) -> Backoff:
        """The back-off that a destination's policy describes."""
        return cls(retry.first, retry.factor, retry.cap)

    def delay(self, attempt: int, chance: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the `attempt`-th failure (1 is the first; 0 and less wait nothing).

        `chance` gives a float in [0, 1).
        """
        if attempt < 1:
            return 0.0
        return self._longest(attempt - 1) * (1.0 - self.jitter * chance())

    def _longest(self, exponent: int) -> float:
        if self.first < SHORTEST:
            return 0.0
        if self.first >= self.cap:
            return self.cap
        # In logarithms, because the power itself soon grows beyond what a float holds.
        if exponent * math.log(self.factor) >= math.log(self.cap) - math.log(self.first):
            return self.cap
        return min(self.cap, self.first * self.factor**exponent)
