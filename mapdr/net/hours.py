"""When a destination may be sent to: windows of days and times, by the clock on the wall where the node is.

A moment is within a window when that clock shows a time within it. So where the clock is set forward, what
lies in the hour that is left out does not come that day; where it is set back, what lies in the hour that
comes twice is open twice. A window ends on the day that it began, or on the next.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Annotated, Any, Protocol, runtime_checkable

from pydantic import BeforeValidator, InstanceOf

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY = 24 * 60
WEEK = 7 * DAY
"""Minutes."""

FARTHEST = 8 * DAY
"""Minutes within which hours that change at all do so, in a week in which the clock is set, too."""

EXAMPLE = 'write "Mon-Fri 18:00-06:00", or a list of such windows'

_WINDOW = re.compile(r"(?:([A-Za-z][A-Za-z, -]*) +)?(\d?\d):(\d\d) ?- ?(\d?\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Hours:
    """`minutes` has a byte for each minute of the week, from Monday 00:00 on: 1 where it is open."""

    minutes: bytes

    @classmethod
    def of(cls, windows: list[str]) -> Hours:
        """The hours of windows as they are written in a configuration. Raises ValueError with the cure."""
        week = bytearray(WEEK)
        for text in windows:
            days, begins, ends = _window(text)
            for day in days:
                for minute in range(begins, ends):
                    week[(day * DAY + minute) % WEEK] = 1
        return cls(bytes(week))

    def open_at(self, moment: float, zone: tzinfo | None = None) -> bool:
        """Whether it is open at a moment (seconds since the epoch); by the system's time zone, or `zone`."""
        if zone is None:
            local = time.localtime(moment)
            minute = local.tm_wday * DAY + local.tm_hour * 60 + local.tm_min
        else:
            there = datetime.fromtimestamp(moment, zone)
            minute = there.weekday() * DAY + there.hour * 60 + there.minute
        return bool(self.minutes[minute])

    def changes_at(self, moment: float, zone: tzinfo | None = None) -> float | None:
        """When it opens or closes next after a moment; None where it never does.

        It looks at each minute up to then, since the clock on the wall may be set at any.
        """
        if 0 not in self.minutes or 1 not in self.minutes:
            return None
        now = self.open_at(moment, zone)
        first = int(moment // 60 + 1) * 60
        later = range(first, first + FARTHEST * 60, 60)
        return next((float(each) for each in later if self.open_at(each, zone) != now), None)

    def after(self, begin: float, seconds: float, zone: tzinfo | None = None) -> float:
        """The moment at which it has been open for `seconds` since `begin`; infinite if it never opens."""
        moment, left = begin, seconds
        while True:
            changes = self.changes_at(moment, zone)
            if self.open_at(moment, zone):
                if changes is None or changes - moment >= left:
                    return moment + left
                left -= changes - moment
            elif changes is None:
                return math.inf
            moment = changes

    @property
    def seconds_a_week(self) -> float:
        """For how long it is open in a week in which the clock is not set."""
        return 60.0 * sum(self.minutes)


def _window(text: str) -> tuple[frozenset[int], int, int]:
    """Days (0 is Monday), and the minutes from their midnight on between which a window is open."""
    match = _WINDOW.fullmatch(text.strip()) if len(text) <= 100 else None
    if match is None:
        raise ValueError(f"is not a window of days and times; {EXAMPLE}")
    days, *times = match.groups()
    hour, minute, end_hour, end_minute = map(int, times)
    begins, ends = hour * 60 + minute, end_hour * 60 + end_minute
    if minute > 59 or end_minute > 59 or begins >= DAY or ends > DAY:
        raise ValueError("has a time that no clock shows; write times from 00:00 to 24:00")
    if begins == ends:
        raise ValueError('begins and ends at one time; write "00:00-24:00" for a whole day')
    return _days(days) if days else frozenset(range(7)), begins, ends if ends > begins else ends + DAY


def _days(text: str) -> frozenset[int]:
    """Days as "Mon-Fri" or "Sat,Sun" has them; a range may go over Sunday."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (each.strip() for each in part.partition("-"))
        begin = _day(first)
        end = _day(last) if dash else begin
        found.update((begin + day) % 7 for day in range((end - begin) % 7 + 1))
    return frozenset(found)


def _day(name: str) -> int:
    if name.capitalize() not in DAYS:
        raise ValueError(f'there is no day "{name}"; days: {", ".join(DAYS)}')
    return DAYS.index(name.capitalize())


def _hours(value: Any) -> Any:
    if value is None or isinstance(value, Hours):
        return value
    windows = [value] if isinstance(value, str) else value
    if not isinstance(windows, list | tuple) or not all(isinstance(each, str) for each in windows):
        raise ValueError(f"is not a window of days and times; {EXAMPLE}")
    if not windows:
        raise ValueError("has no window; leave it out, or `mapdr hold` the destination")
    return Hours.of(list(windows))


HoursField = Annotated[InstanceOf[Hours] | None, BeforeValidator(_hours)]
"""The key `hours` of a destination: a window, or a list of them."""


@runtime_checkable
class KeepsHours(Protocol):
    """An egress that is sent to at certain hours only; others at any."""

    @property
    def hours(self) -> Hours | None:
        """The hours of this destination; None: any."""
