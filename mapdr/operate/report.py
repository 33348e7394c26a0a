"""The report of a period: for each destination what it was sent, from whom, how quickly, and what failed.

It is made of what was counted (`mapdr.store.index.counters`), which purges do not change, and names no
patient and no study: sources and destinations go by their names.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from mapdr.operate import words
from mapdr.operate.access import Access
from mapdr.operate.counts import (
    ALL_OF_THEM,
    DayCounts,
    HourCounts,
    counts_by_day,
    counts_by_hour,
    day_number,
    month,
    share_saved,
)
from mapdr.operate.errors import RequestError
from mapdr.store.index.delays import quantile
from mapdr.store.index.figures import FailureTally, Tally, Where

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
"""Whatever the system's language."""

MOST_DAYS = 3660
"""Days of one report: ten years."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Attempts that did not deliver for one reason, and how many of them left their image parked."""

    reason: str
    attempts: int
    parked: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came: distinct images by the day, studies by their first image; `bytes` are of repeats and other
    versions too, which `repeats` and `versions` count."""

    images: int
    studies: int
    repeats: int
    versions: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Reached:
    """What a destination has confirmed.

    `bytes_received` are the bytes as they came of what was delivered, `bytes_sent` those that went out,
    `bytes_saved` their difference, which is negative where images grew. `median_seconds` and `p95_seconds`
    are those from arrival to delivery of images that were delivered there for the first time, as they came,
    off by 4.4 % at most; None if there were none.
    """

    images: int
    studies: int
    repeats: int
    versions: int
    bytes_received: int
    bytes_sent: int
    bytes_saved: int
    median_seconds: float | None
    p95_seconds: float | None
    failures: Sequence[Reason]


@dataclass(frozen=True, slots=True)
class SourceArrived:
    """What came from one source, of one modality."""

    source: str
    modality: str
    arrived: Arrived


@dataclass(frozen=True, slots=True)
class SourceReached:
    """What reached a destination from one source, of one modality."""

    source: str
    modality: str
    reached: Reached


@dataclass(frozen=True, slots=True)
class ReportedDestination:
    """A destination: all that it has confirmed, and the same by source and modality."""

    name: str
    total: Reached
    sources: Sequence[SourceReached]


@dataclass(frozen=True, slots=True)
class Report:
    """The report of local days, `first` and `last` (YYYY-MM-DD) included; `over` says whether they are."""

    node: str
    first: str
    last: str
    over: bool
    received: Arrived
    received_from: Sequence[SourceArrived]
    destinations: Sequence[ReportedDestination]
    by_day: DayCounts
    by_hour: HourCounts


@dataclass(frozen=True, slots=True)
class ReportLine:
    """A line of the report as a table: what came, where `destination` is empty, or what was delivered.

    Of several sources or modalities together it says ALL_OF_THEM; studies of those are not the sum of the
    others, for a study with images of two modalities is one.
    """

    destination: str
    source: str
    modality: str
    studies: int
    images: int
    repeats: int
    versions: int
    bytes_received: int
    bytes_sent: int | None = None
    bytes_saved: int | None = None
    median_seconds: float | None = None
    p95_seconds: float | None = None
    failed_attempts: int | None = None
    parked: int | None = None
    failures: Sequence[Reason] = ()


def lines(told: Report) -> list[ReportLine]:
    """The report as one table: what came, then each destination; the whole before its parts."""
    all_of_them = (ALL_OF_THEM, ALL_OF_THEM)
    found = [_line("", *all_of_them, told.received)]
    found += [_line("", one.source, one.modality, one.arrived) for one in told.received_from]
    for destination in told.destinations:
        found.append(_line(destination.name, *all_of_them, destination.total))
        found += [
            _line(destination.name, one.source, one.modality, one.reached) for one in destination.sources
        ]
    return found


def _line(destination: str, source: str, modality: str, one: Arrived | Reached) -> ReportLine:
    counted = (destination, source, modality, one.studies, one.images, one.repeats, one.versions)
    if isinstance(one, Arrived):
        return ReportLine(*counted, one.bytes)
    return ReportLine(
        *counted,
        one.bytes_received,
        one.bytes_sent,
        one.bytes_saved,
        one.median_seconds,
        one.p95_seconds,
        sum(each.attempts for each in one.failures),
        sum(each.parked for each in one.failures),
        one.failures,
    )


def saved(one: Reached) -> float | None:
    """The share of the bytes as received that was saved, 0 to 1, negative where images grew; None if nothing
    was received."""
    return share_saved(one.bytes_received, one.bytes_sent)


def title(told: Report) -> str:
    """What the report is of, in words: a month by its name, else its days."""
    first, last = date.fromisoformat(told.first), date.fromisoformat(told.last)
    if (first, last) == month(first.year, first.month):
        return f"{MONTHS[first.month - 1]} {first.year}"
    return told.first if first == last else f"{told.first} to {told.last}"


def period(*, of_month: str = "", first: str = "", last: str = "") -> tuple[date, date]:
    """The days that a month (2026-11), or its first and last day (2026-11-01), name; without any of them this
    month, without `last` until today.

    Raises RequestError with the field that is wrong.
    """
    today = date.today()
    if of_month:
        if first or last:
            raise RequestError("give a month, or a first and a last day", field="month")
        year, _, number = of_month.partition("-")
        try:
            return month(int(year), int(number))
        except ValueError:
            raise RequestError(f'"{of_month}" is no month; write 2026-11', field="month") from None
    if not first and not last:
        return month(today.year, today.month)
    if not first:
        raise RequestError("say from which day on, too", field="from")
    begin, end = _day(first, "from"), _day(last, "to") if last else today
    if end < begin:
        raise RequestError("the last day is before the first", field="to" if last else "from")
    if (end - begin).days >= MOST_DAYS:
        raise RequestError(f"a report is of {MOST_DAYS} days at most", field="from")
    return begin, end


def report(opened: Access, first: date, last: date) -> Report:
    """The report of local days, both included. Raises MapdrError if there is no index."""
    figures = opened.index().figures
    days = day_number(first), day_number(last)
    tallies, delays, failures = figures.tallies(*days), figures.delays(*days), figures.failures(*days)
    received = [one for one in tallies if one.where.destination is None]
    names = {one.where.destination for one in tallies} | {one.where.destination for one in failures}
    return Report(
        node=opened.plan.node.name,
        first=str(first),
        last=str(last),
        over=last < date.fromtimestamp(time.time()),
        received=_arrived(received, _whole),
        received_from=[
            SourceArrived(*_shown(key), _arrived(received, _is(key)))
            for key in _parts(one.where for one in received)
        ],
        destinations=[_destination(name, tallies, delays, failures) for name in sorted(filter(None, names))],
        by_day=counts_by_day(opened, first, last),
        by_hour=counts_by_hour(opened, first, last),
    )


_Chooses = Callable[[Where], bool]
_Part = tuple[str, str]
"""A source and a modality."""


def _destination(
    name: str,
    tallies: Iterable[Tally],
    delays: Mapping[Where, Mapping[int, int]],
    failures: Iterable[FailureTally],
) -> ReportedDestination:
    own = [one for one in tallies if one.where.destination == name]
    slow = {where: buckets for where, buckets in delays.items() if where.destination == name}
    failed = [one for one in failures if one.where.destination == name]
    parts = _parts([*(one.where for one in own), *(one.where for one in failed)])
    return ReportedDestination(
        name=words.plain(name),
        total=_reached(own, slow, failed, _whole),
        sources=[SourceReached(*_shown(key), _reached(own, slow, failed, _is(key))) for key in parts],
    )


def _parts(found: Iterable[Where]) -> list[_Part]:
    """The sources and modalities of what was counted, but for those of all together."""
    parts = {(where.origin, where.modality) for where in found}
    return sorted(
        (origin, modality) for origin, modality in parts if origin is not None and modality is not None
    )


def _shown(part: _Part) -> _Part:
    return words.plain(part[0]), words.modality(part[1])


def _is(part: _Part) -> _Chooses:
    return lambda where: (where.origin, where.modality) == part


def _whole(where: Where) -> bool:
    """What is counted of all sources together: by modality, and the studies of every modality."""
    return where.origin is None


def _studies(chosen: Iterable[Tally], chooses: _Chooses) -> int:
    """Of the whole those of every modality together: one of two modalities is one study."""
    return sum(one.studies for one in chosen if (one.where.modality is None) == (chooses is _whole))


def _arrived(tallies: Iterable[Tally], chooses: _Chooses) -> Arrived:
    chosen = [one for one in tallies if chooses(one.where)]
    return Arrived(
        images=sum(one.images for one in chosen),
        studies=_studies(chosen, chooses),
        repeats=sum(one.repeats for one in chosen),
        versions=sum(one.versions for one in chosen),
        bytes=sum(one.bytes_received for one in chosen),
    )


def _reached(
    tallies: Iterable[Tally],
    delays: Mapping[Where, Mapping[int, int]],
    failures: Iterable[FailureTally],
    chooses: _Chooses,
) -> Reached:
    chosen = [one for one in tallies if chooses(one.where)]
    buckets: Counter[int] = Counter()
    attempts: Counter[str] = Counter()
    parked: Counter[str] = Counter()
    for where, images in delays.items():
        if chooses is _whole or chooses(where):  # these are of single sources, which add up
            buckets.update(images)
    for one in failures:
        if chooses is _whole or chooses(one.where):
            attempts[one.reason] += one.attempts
            parked[one.reason] += one.parked
    received, sent = sum(one.bytes_received for one in chosen), sum(one.bytes_sent for one in chosen)
    return Reached(
        images=sum(one.images for one in chosen),
        studies=_studies(chosen, chooses),
        repeats=sum(one.repeats for one in chosen),
        versions=sum(one.versions for one in chosen),
        bytes_received=received,
        bytes_sent=sent,
        bytes_saved=received - sent,
        median_seconds=_rounded(quantile(buckets, 0.5)),
        p95_seconds=_rounded(quantile(buckets, 0.95)),
        failures=[
            Reason(words.plain(name) or "unknown", number, parked[name])
            for name, number in attempts.most_common()
        ],
    )


def _rounded(seconds: float | None) -> float | None:
    """To the millisecond, which is more than is known."""
    return None if seconds is None else round(seconds, 3)


def _day(text: str, field: str) -> date:
    if text == "today":
        return date.today()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise RequestError(f'"{text}" is not a date; write 2026-11-01', field=field) from None
