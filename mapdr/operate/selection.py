"""The grammar of selections: texts as people type them, made into a `Selection`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from mapdr.kernel.finding import instead
from mapdr.operate.errors import RequestError
from mapdr.store.index.selection import STATES, UNROUTED, Selection

__all__ = ["STATES", "UNROUTED", "Selection", "choose", "parse"]

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


KEYS: Mapping[str, str] = MappingProxyType(
    {
        "study-date": "study_date",
        "modality": "modality",
        "to": "destination",
        "state": "state",
        "reason": "reason",
        "study": "study_instance_uid",
        "from": "peer",
        "patient": "patient_id",
        "accession": "accession_number",
        "received": "received",
        "since": "since",
        "limit": "limit",
    }
)
"""The words of conditions, as the options of commands are called, and what they are here."""

IDENTIFYING = frozenset({"patient", "accession", "study-date"})
"""Conditions whose value identifies a patient."""


def parse(text: str) -> Selection:
    """What a line chooses: conditions as KEY=VALUE, or as the options of commands are written (--KEY VALUE).

    A state stands for itself, so does "today", which is received=today. Values with spaces stand in quotes.
    Raises RequestError with the condition that is wrong.
    """
    values: dict[str, str] = {}
    for key, value in _conditions(text):
        if key not in KEYS:
            raise RequestError(f'"{key}" is no condition; {instead(key, list(KEYS), "conditions")}')
        if not value.strip():
            raise RequestError(f"{key} is empty; leave it out, or say what to choose", field=KEYS[key])
        if KEYS[key] in values:
            raise RequestError(f"{key} is there twice; give it once", field=KEYS[key])
        values[KEYS[key]] = value
    limit = values.pop("limit", "")
    if limit and not (limit.isdecimal() and int(limit)):
        raise RequestError(f'"{limit}" is no number of rows', field="limit")
    if values.get("state", STATES[0]) not in STATES:
        raise RequestError(f"a state is one of {', '.join(STATES)}", field="state")
    return choose(**values, limit=int(limit) if limit else None)


def _conditions(text: str) -> Iterator[tuple[str, str]]:
    """The conditions of a line: keys and values."""
    try:
        words = iter(shlex.split(text))
    except ValueError:
        raise RequestError("a quotation mark is not closed") from None
    for word in words:
        key, equals, value = word.removeprefix("--").partition("=")
        if equals:
            yield key, value
        elif word.startswith("--"):
            yield key, next(words, "")
        elif word in STATES:
            yield "state", word
        elif word == "today":
            yield "received", word
        else:
            raise RequestError(f'"{word}" is no condition; write e.g. modality=CT, to=NAME, parked or today')


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
