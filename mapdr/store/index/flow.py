"""How many images passed in each minute of the last hour, by who sent them and where they went: for drawings.

In memory alone, so it begins anew with the node. Its size is bounded: a peer may invent names without end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

MINUTES = 60
MOST = 100
"""Names that are kept of each kind; of more, those that were silent longest are dropped."""


class Flow:
    """The minutes of the last hour, for numbers of names. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._series: dict[int, dict[int, int]] = {}  # name -> minute -> images

    def add(self, images: Mapping[int, int]) -> None:
        """So many images of each passed now."""
        minute = int(self._clock() // 60)
        with self._lock:
            for name, number in images.items():
                series = self._series.pop(name, None)
                if series is None:
                    series = {}
                elif minute not in series:
                    series = {each: n for each, n in series.items() if each > minute - MINUTES}
                series[minute] = series.get(minute, 0) + number
                self._series[name] = series  # the last one to send stands last
            while len(self._series) > MOST:
                del self._series[next(iter(self._series))]

    def told(self) -> dict[int, list[int]]:
        """Images in each of the last 60 minutes, oldest first, the last of them not over yet; of those names
        alone that had any."""
        minute = int(self._clock() // 60)
        minutes = range(minute - MINUTES + 1, minute + 1)
        with self._lock:
            told = {name: [series.get(each, 0) for each in minutes] for name, series in self._series.items()}
        return {name: numbers for name, numbers in told.items() if any(numbers)}

    def elapsed(self) -> float:
        """Seconds of the minute that is not over yet."""
        return self._clock() % 60
