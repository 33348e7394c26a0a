"""Counts of days, months and any range of days: what came, and what reached whom; by source, hour and day."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from mapdr.operate import words
from mapdr.operate.access import Access
from mapdr.operate.model import Counted
from mapdr.store.index.figures import Tally

NONE = Counted(0, 0)
HOURS = 24
DAYS = 30
ALL_OF_THEM = "(all)"
"""In a table: of several sources or modalities together."""


@dataclass(frozen=True, slots=True)
class Volume:
    """Bytes of the data sets that a destination has confirmed, repeats too: as they came, and as they went.

    `saved` is their difference as a share of what came, negative where they grew; None without any.
    """

    bytes_received: int
    bytes_sent: int
    saved: float | None


@dataclass(frozen=True, slots=True)
class PeriodCounts:
    """Counts of local days, both ends included: by modality, and by destination and modality.

    A study with images of two modalities counts once for each of them: the whole is in `received_all` and
    `delivered_all`, where it counts once. `received_bytes` are those of repeats too, and so are those of
    `delivered_bytes`, by destination, and of `volumes`, by destination and modality.
    """

    received: Mapping[str, Counted]
    received_all: Counted
    received_bytes: int
    delivered: Mapping[str, Mapping[str, Counted]]
    delivered_all: Mapping[str, Counted]
    delivered_bytes: Mapping[str, Volume]
    volumes: Mapping[str, Mapping[str, Volume]]


@dataclass(frozen=True, slots=True)
class CountLine:
    """A line of the counts as a table: what came, where `destination` is empty, or what reached it. Of every
    modality together it says ALL_OF_THEM. Bytes are those of a destination's `Volume`; None of what came."""

    first: str
    last: str
    destination: str
    modality: str
    images: int
    studies: int
    bytes_received: int | None = None
    bytes_sent: int | None = None


@dataclass(frozen=True, slots=True)
class HourCounts:
    """Images by the hour of local days, 0 to 23. An hour that the end of daylight-saving time repeats is one,
    one that its beginning leaves out has none."""

    received: Sequence[int]
    delivered: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class DayCounts:
    """Counts by the day, of the same number as `days` (YYYY-MM-DD), the oldest first."""

    days: Sequence[str]
    received: Sequence[Counted]
    delivered: Mapping[str, Sequence[Counted]]


def counts(opened: Access, first: date, last: date, *, source: str | None = None) -> PeriodCounts:
    """The counts of local days, both included, of all sources or of one (`Source.peer`).

    Raises MapdrError if there is no index.
    """
    return _period(one for one in _tallies(opened, first, last) if one.where.origin == source)


def count_lines(found: PeriodCounts, first: date, last: date) -> list[CountLine]:
    """Counts of those days as one table: what came, then each destination; the whole before its parts."""
    groups = [("", found.received_all, found.received)]
    groups += [(name, found.delivered_all[name], each) for name, each in found.delivered.items()]
    lines = []
    for name, whole, parts in groups:
        volumes = {**found.volumes.get(name, {})}
        if name in found.delivered_bytes:
            volumes[ALL_OF_THEM] = found.delivered_bytes[name]
        for modality, one in [(ALL_OF_THEM, whole), *parts.items()]:
            volume = volumes.get(modality)
            came, went = (volume.bytes_received, volume.bytes_sent) if volume else (None, None)
            lines.append(
                CountLine(f"{first}", f"{last}", name, modality, one.images, one.studies, came, went)
            )
    return lines


def share_saved(received: int, sent: int) -> float | None:
    """The share of bytes as received that was saved, 0 to 1, negative where they grew; None without any."""
    return (received - sent) / received if received else None


def counts_by_source(opened: Access, first: date, last: date) -> dict[str, PeriodCounts]:
    """The counts of local days, both included, of each source (`Source.peer`) that has any."""
    by_source: dict[str, list[Tally]] = {}
    for tally in _tallies(opened, first, last):
        if tally.where.origin is not None:
            by_source.setdefault(words.plain(tally.where.origin), []).append(tally)
    return {name: _period(tallies) for name, tallies in sorted(by_source.items())}


def month(year: int, number: int) -> tuple[date, date]:
    """The first and the last day of a month."""
    return date(year, number, 1), date(year, number, monthrange(year, number)[1])


def counts_of_month(opened: Access, year: int, number: int) -> PeriodCounts:
    """The counts of a month."""
    return counts(opened, *month(year, number))


def counts_by_hour(opened: Access, first: date, last: date) -> HourCounts:
    """Images by the hour, of local days, both included."""
    received, delivered = [0] * HOURS, dict[str, list[int]]()
    for one in opened.index().figures.hours(day_number(first), day_number(last)):
        name = one.destination
        series = received if name is None else delivered.setdefault(words.plain(name), [0] * HOURS)
        series[one.hour] += one.images
    return HourCounts(received, delivered)


def counts_by_day(opened: Access, first: date, last: date) -> DayCounts:
    """Images and studies by the day, of local days, both included."""
    days = [f"{first + timedelta(days=number)}" for number in range((last - first).days + 1)]
    place = {int(day.replace("-", "")): number for number, day in enumerate(days)}
    received, delivered = [NONE] * len(days), dict[str, list[Counted]]()
    for one in opened.index().figures.days(day_number(first), day_number(last)):
        name = one.destination
        series = received if name is None else delivered.setdefault(words.plain(name), [NONE] * len(days))
        series[place[one.day]] = Counted(one.images, one.studies)
    return DayCounts(days, received, delivered)


def last_days(opened: Access, number: int = DAYS) -> DayCounts:
    """Images and studies of the last days, today included."""
    today = date.today()
    return counts_by_day(opened, today - timedelta(days=number - 1), today)


def day_number(day: date) -> int:
    """A day as the index counts under it, YYYYMMDD."""
    return day.year * 10_000 + day.month * 100 + day.day


def _tallies(opened: Access, first: date, last: date) -> Sequence[Tally]:
    return opened.index().figures.tallies(day_number(first), day_number(last))


def _period(tallies: Iterable[Tally]) -> PeriodCounts:
    received: dict[str, Counted] = {}
    delivered: dict[str, dict[str, Counted]] = {}
    studies: dict[str | None, int] = {}
    came: dict[str | None, int] = {}
    went: dict[str | None, int] = {}
    volumes: dict[str, dict[str, Volume]] = {}
    for tally in tallies:
        destination, _, modality = tally.where
        came[destination] = came.get(destination, 0) + tally.bytes_received
        went[destination] = went.get(destination, 0) + tally.bytes_sent
        if modality is None:
            studies[destination] = tally.studies
        elif tally.images or tally.studies:
            where = received if destination is None else delivered.setdefault(destination, {})
            where[words.modality(modality)] = Counted(tally.images, tally.studies)
        if destination is not None and modality is not None and (tally.bytes_received or tally.bytes_sent):
            each = volumes.setdefault(words.plain(destination), {})
            each[words.modality(modality)] = _volume(tally.bytes_received, tally.bytes_sent)
    return PeriodCounts(
        received=dict(sorted(received.items())),
        received_all=_all(received, studies.get(None, 0)),
        received_bytes=came.get(None, 0),
        delivered={words.plain(name): dict(sorted(each.items())) for name, each in sorted(delivered.items())},
        delivered_all={
            words.plain(name): _all(each, studies.get(name, 0)) for name, each in sorted(delivered.items())
        },
        delivered_bytes={words.plain(name): _volume(came[name], went[name]) for name in sorted(delivered)},
        volumes={name: dict(sorted(each.items())) for name, each in sorted(volumes.items())},
    )


def _volume(received: int, sent: int) -> Volume:
    return Volume(received, sent, share_saved(received, sent))


def _all(counted: Mapping[str, Counted], studies: int) -> Counted:
    return Counted(sum(one.images for one in counted.values()), studies)
