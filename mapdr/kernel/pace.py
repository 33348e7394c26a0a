"""How long a writer of many transactions gathers rows for the next one: longer while the processors are busy.

A transaction costs about as much for one row as for ten. While the processors idle that is nobody's loss, and
rows are written soon. While the node takes all of them (it compresses a series), each transaction takes its
time from the work that the rows come from, and nobody sees a row a tenth of a second sooner.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

BUSY = 0.75
"""Share of the time of all processors that the node takes while it is busy. In a container that is given
less than the machine has, it is never seen: rows are written as soon as on an idle machine."""

GROWTH = 1.5
"""What the pause is multiplied by after each transaction of a busy time; after one that was not, it is the
shortest again."""


class Pace:
    """The pause of one writer, in seconds from `shortest` to `longest`; used by one thread.

    It grows only as far as not more than `rows` come together at the rate of the last ones: who waits for a
    transaction, or holds memory until it is there, is to be of a small number. `clock` gives seconds, `used`
    the processor time of the process.
    """

    def __init__(
        self,
        shortest: float,
        longest: float,
        *,
        rows: int,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
        processors: int | None = None,
    ) -> None:
        self.pause = shortest
        self._shortest = shortest
        self._longest = longest
        self._rows = rows
        self._clock = clock
        self._used = used
        self._processors = processors or os.cpu_count() or 1
        self._ended_at = float("-inf")
        self._used_then = 0.0

    @property
    def left(self) -> float:
        """Seconds of the pause that are left, counted from the last transaction: none for a lone row."""
        return max(0.0, self._ended_at + self.pause - self._clock())

    def ended(self, rows: int) -> None:
        """A transaction of so many rows has ended."""
        now, used = self._clock(), self._used()
        passed, worked = now - self._ended_at, used - self._used_then
        self._ended_at, self._used_then = now, used
        # Where rows come one by one, a longer pause would hardly bring any together.
        if rows > 1 and worked >= BUSY * self._processors * passed:
            longest = min(self._longest, passed * self._rows / rows)
            self.pause = max(self._shortest, min(longest, self.pause * GROWTH))
        else:
            self.pause = self._shortest
