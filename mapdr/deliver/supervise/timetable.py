"""Whether a destination may be sent to now by its hours, and until when that is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from mapdr.net.hours import Hours


class Window(NamedTuple):
    """`until` is when it closes, or opens (seconds since the epoch); None: it never does."""

    is_open: bool
    until: float | None


ALWAYS = Window(True, None)


class Timetable:
    """Asked every second or more often, by any thread; `clock` is the wall clock, which may be set."""

    def __init__(self, hours: Hours | None, clock: Callable[[], float] = time.time) -> None:
        self._hours = hours
        self._clock = clock
        self._known = ALWAYS
        self._from = float("inf")

    def now(self) -> Window:
        """The window now. When it changes is looked up once for each window, and after the clock was set."""
        if self._hours is None:
            return ALWAYS
        now, known = self._clock(), self._known
        is_open = self._hours.open_at(now)
        passed = known.until is not None and now >= known.until
        if now < self._from or passed or is_open != known.is_open:
            known = self._known = Window(is_open, self._hours.changes_at(now))
            self._from = now
        return known
