"""Limits on what goes to a destination in a second, shared by its sessions."""

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


class Rate:
    """`rate` of anything a second, over any longer time: a token bucket that may owe.

    Thread-safe; it never sleeps itself. After a pause as much is free as comes in `burst` seconds.
    """

    def __init__(
        self, rate: float, *, burst: float = BURST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock() - burst

    def reserve(self, amount: float) -> float:
        """Take so much; the seconds to wait before it is there."""
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now - self._burst)
            self._free_at = start + amount / self._rate
            return max(0.0, start - now)


class Bandwidth(Rate):
    """Bytes per second. Who sends asks for `piece` of them at a time: over ten seconds the rate is then met
    within 5 %."""

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(rate, clock=clock)
        self.piece = max(SMALLEST, min(LARGEST, int(rate * STEP)))


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
