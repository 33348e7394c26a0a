"""Wrong passwords are slowed: by address, and all together, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

FREE = 5
"""Wrong tries of one address before it has to wait ..."""
FREE_IN_ALL = 50
"""... and of all together: who has many addresses is slowed too, and meanwhile who knows the password."""
FIRST, LONGEST = 2.0, 300.0
"""Seconds to wait after the first try too many; twice as long after each, up to LONGEST."""
IN_ALL = 5.0
"""Seconds between two tries of whomever, while too many of all are wrong."""
FORGET = 900.0
"""Seconds without a wrong try after which all is forgotten."""
MOST = 4096
"""Addresses that are remembered; of more, the one that was wrong longest ago is forgotten."""


class Throttle:
    """Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._in_all = (0, 0.0)

    def wait(self, address: str) -> float:
        """Seconds until `address` may try; 0 for now. One that may is counted as wrong until `right` says
        otherwise, so that many at once are not all let through."""
        with self._lock:
            now = self._clock()
            number, at = self._current(self._wrong.get(address, (0, 0.0)), now)
            everyone, last = self._current(self._in_all, now)
            left = at + _pause(number) - now if number >= FREE else 0.0
            if everyone >= FREE_IN_ALL:
                left = max(left, last + IN_ALL - now)
            if left > 0:
                return left
            self._wrong[address] = (number + 1, now)
            self._wrong.move_to_end(address)
            self._in_all = (everyone + 1, now)
            while len(self._wrong) > MOST:
                self._wrong.popitem(last=False)
            return 0.0

    def right(self, address: str) -> None:
        """The last try of `address` was right."""
        with self._lock:
            self._wrong.pop(address, None)
            number, at = self._in_all
            self._in_all = (max(0, number - 1), at)

    @staticmethod
    def _current(known: tuple[int, float], now: float) -> tuple[int, float]:
        return (0, 0.0) if now - known[1] > FORGET else known


def _pause(number: int) -> float:
    return min(LONGEST, FIRST * 2.0 ** min(number - FREE, 16))
