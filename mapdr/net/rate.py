"""A limit on bytes per second, shared by the sessions of one destination: a token bucket that may owe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BURST = 0.1
"""Seconds' worth of bytes that may go out at once after a pause."""


class Bandwidth:
    """`rate` bytes per second over any longer time. Thread-safe; it never sleeps itself."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock() - BURST

    def reserve(self, size: int) -> float:
        """Take `size` bytes of the line; the seconds to wait before they may be sent."""
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now - BURST)
            self._free_at = start + size / self._rate
            return max(0.0, start - now)
