"""Dates moved within the calendar: DA and DT (PS3.5, section 6.2). Times of day and time zones stay."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta

Move = Callable[[date], date]
"""The day in place of a day. It may raise OverflowError: a day beyond the years 1 to 9999."""

_OLD_DATE = re.compile(r"([0-9]{4})\.([0-9]{2})\.([0-9]{2})()()")
_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})()()")
_DATE_TIME = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})"
    r"((?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?)?)?)?"
    r"([+-][0-9]{4})?"
)


def by_days(days: int) -> Move:
    """The day so many days later."""
    return lambda day: day + timedelta(days)


def to_year(day: date) -> date:
    """The first day of its year: of the date nothing is left but the year."""
    return day.replace(month=1, day=1)


def moved(value: str, vr: str, move: Move, *, partial: bool = True) -> str | None:
    """A value of a DA or DT with its day moved; None for what is no date, or leaves the calendar.

    A date of old, 2026.01.31, becomes one of today's form. A DT that names no day or month is moved from the
    first one, and keeps its precision; without `partial` it is no date.
    """
    found = _OLD_DATE.fullmatch(value) or (_DATE if vr == "DA" else _DATE_TIME).fullmatch(value)
    if found is None:
        return None
    year, month, day, time, zone = found.groups("")
    if not day and not partial:
        return None
    try:
        new = move(date(int(year), int(month or 1), int(day or 1)))
    except (ValueError, OverflowError):
        return None
    digits = len(year + month + day)
    return f"{new.year:04d}{new.month:02d}{new.day:02d}"[:digits] + time + zone
