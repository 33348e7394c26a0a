"""The grammar of selections: texts as people type them, made into a `Selection`."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from mapdr.operate.errors import RequestError
from mapdr.store.index.selection import STATES, UNROUTED, Selection

__all__ = ["STATES", "UNROUTED", "Selection", "choose"]

SHOWN = 50
"""How many rows a listing shows unless it is asked for more."""


def choose(
    *, study_date: str = "", received: str = "", since: str = "", limit: int | None = None, **equal: str
) -> Selection:
    """What the conditions that are set choose; an empty text is no condition.

    `study_date` and `received` are days: 2026-11-01, 2026-11-01.., ..2026-11-30, 2026-11-01..2026-11-30 or
    today. `since` is a moment (2026-11-01, "2026-11-01 14:30") or a length of time ago ("2 h"). The others
    are fields of `Selection` and are compared whole. Raises RequestError with the field that is wrong.
    """
    first, last = _dates(study_date, "study_date")
    begin, end = _dates(received, "received")
    if since and begin:
        raise RequestError("--since and --received both say when an image came; give one of them")
    return Selection(
        study_date_from=first,
        study_date_to=last,
        since=_moment(since) if since else _midnight(begin),
        until=_midnight(end, days=1),
        limit=limit,
        **equal,  # type: ignore[arg-type]
    )


def limited(chosen: Selection) -> Selection:
    """The selection, of the newest SHOWN if it has no limit of its own."""
    return chosen if chosen.limit is not None else replace(chosen, limit=SHOWN)


def _dates(text: str, field: str) -> tuple[str, str]:
    """First and last day of a range as YYYYMMDD, both included; empty where it is open."""
    first, dots, last = text.strip().partition("..")
    if dots and not (first.strip() or last.strip()):
        raise RequestError(f'"{text}" is no range; write 2026-11-01.. or ..2026-11-30', field=field)
    return _day(first, field), _day(last, field) if dots else _day(first, field)


def _day(text: str, field: str) -> str:
    text = text.strip()
    if not text:
        return ""
    if text == "today":
        return f"{datetime.now():%Y%m%d}"
    try:
        found = datetime.strptime(text.replace("-", ""), "%Y%m%d")
        return found.date().isoformat().replace("-", "")  # four digits of the year, which %Y has not
    except ValueError:
        raise RequestError(
            f'"{text}" is not a date; write 2026-11-01, or a range such as 2026-11-01..', field=field
        ) from None


def _midnight(day: str, days: int = 0) -> float | None:
    """When a day (YYYYMMDD, local time) begins, or one `days` later; None where there is none."""
    if not day:
        return None
    try:
        return _seconds(datetime.strptime(day, "%Y%m%d") + timedelta(days=days))
    except OverflowError:  # behind the last day of the calendar
        return None


def _seconds(moment: datetime) -> float:
    """A moment in seconds since the epoch; 0 for any before it, when no image had come."""
    try:
        seconds = moment.timestamp()
    except (OSError, OverflowError, ValueError):  # Windows knows no local time before 1970, nor after 3000
        seconds = moment.replace(tzinfo=UTC).timestamp()
    return max(0.0, seconds)


def _moment(text: str) -> float:
    try:
        return _seconds(datetime.fromisoformat(text))
    except ValueError:
        pass
    from mapdr.config.units import parse_duration  # its field types cost a look

    try:
        return max(0.0, time.time() - parse_duration(text))
    except ValueError:
        raise RequestError(
            f'"{text}" is neither a date with or without a time nor a length of time such as 2 h',
            field="since",
        ) from None
