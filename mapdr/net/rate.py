"""A limit on bytes per second, shared by the sessions of one destination: a token bucket that may owe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BURST = 0.1
"""Seconds' worth of bytes that may go out at once after a pause."""

STEP = 0.02
"""Seconds' worth of bytes that go out in one write ..."""

SMALLEST, LARGEST = 1 << 10, 1 << 18
"""... within these numbers: a TLS record costs some 30 bytes more, and a write some microseconds."""


class Bandwidth:
    """`rate` bytes per second over any longer time. Thread-safe; it never sleeps itself.

    Who sends asks for `piece` bytes at a time: over ten seconds the rate is then met within 5 %.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.piece = max(SMALLEST, min(LARGEST, int(rate * STEP)))
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


class Throttle:
    """What one session asks before each piece: it waits for its share of a `Bandwidth`.

    Nothing waits, nor counts, while `passes` is set (a STAT image), or once the session has ended.
    """

    def __init__(self, bandwidth: Bandwidth) -> None:
        self.piece = bandwidth.piece
        self.passes = False
        self._bandwidth = bandwidth
        self._ended = threading.Event()

    def __call__(self, size: int) -> None:
        """Wait until `size` bytes may be sent."""
        if not self.passes:
            wait = self._bandwidth.reserve(size)
            if wait > 0:
                self._ended.wait(wait)

    def end(self) -> None:
        """End a wait, and all to come. From any thread."""
        self._ended.set()
