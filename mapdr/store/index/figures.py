"""Reading what was counted of whole days (`counters`), added up: for counts of a period, plots and reports.

Days are the node's local days, as YYYYMMDD; both ends are included. Purges take nothing away from any of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import case, func, select

from mapdr.store.index import schema
from mapdr.store.index.counters import ALL, EVERY, RECEIVED
from mapdr.store.index.database import Database
from mapdr.store.index.strings import StringTable

_tally, _hourly, _delay, _failure = schema.tally, schema.hourly, schema.delay, schema.failure


class Where(NamedTuple):
    """What was counted: `destination` is None of what was received, `origin` (the peer's name) of all origins
    together, `modality` of all modalities together; an image without one has the empty one."""

    destination: str | None
    origin: str | None
    modality: str | None


@dataclass(frozen=True, slots=True)
class Tally:
    """What came or was delivered; bytes are those of data sets, repeats and versions too."""

    where: Where
    images: int
    studies: int
    repeats: int
    versions: int
    bytes_received: int
    bytes_sent: int


@dataclass(frozen=True, slots=True)
class DayTally:
    """What came (`destination` None) or was delivered on one day, of all origins and modalities."""

    day: int
    destination: str | None
    images: int
    studies: int
    bytes_received: int
    bytes_sent: int


@dataclass(frozen=True, slots=True)
class HourTally:
    """Images that came (`destination` None) or were delivered within one hour of local days."""

    hour: int
    destination: str | None
    images: int


@dataclass(frozen=True, slots=True)
class FailureTally:
    """Attempts that failed for one reason, and how many of them left their image parked."""

    where: Where
    reason: str
    attempts: int
    parked: int


class Figures:
    """Reads what was counted of days; writes nothing."""

    def __init__(self, database: Database, strings: StringTable) -> None:
        self._database = database
        self._strings = strings

    def tallies(self, first: int, last: int) -> list[Tally]:
        """By destination, origin and modality.

        Of every modality together there are studies alone: all else can be added up.
        """
        names = ("images", "studies", "repeats", "versions", "bytes_received", "bytes_sent")
        key = (_tally.c.destination, _tally.c.origin, _tally.c.modality)
        sums = (func.sum(_tally.c[name]).label(name) for name in names)
        query = select(*key, *sums).where(_tally.c.day.between(first, last)).group_by(*key)
        with self._database.read() as connection:
            return [
                Tally(
                    self._where(row.destination, row.origin, row.modality),
                    *(int(getattr(row, name)) for name in names),
                )
                for row in connection.execute(query)
            ]

    def days(self, first: int, last: int) -> list[DayTally]:
        """By day and destination, in the order of days."""
        names = ("images", "bytes_received", "bytes_sent")
        key = (_tally.c.day, _tally.c.destination)
        every = case((_tally.c.modality == EVERY, _tally.c.studies), else_=0)
        query = (
            select(
                *key,
                func.sum(every).label("studies"),
                *(func.sum(_tally.c[name]).label(name) for name in names),
            )
            .where(_tally.c.day.between(first, last), _tally.c.origin == ALL)
            .group_by(*key)
            .order_by(*key)
        )
        with self._database.read() as connection:
            return [
                DayTally(
                    row.day,
                    self._destination(row.destination),
                    int(row.images),
                    int(row.studies),
                    int(row.bytes_received),
                    int(row.bytes_sent),
                )
                for row in connection.execute(query)
            ]

    def hours(self, first: int, last: int) -> list[HourTally]:
        """By hour of the day (0 to 23) and destination."""
        key = (_hourly.c.hour, _hourly.c.destination)
        query = select(*key, func.sum(_hourly.c.images).label("images"))
        query = query.where(_hourly.c.day.between(first, last)).group_by(*key).order_by(*key)
        with self._database.read() as connection:
            return [
                HourTally(row.hour, self._destination(row.destination), int(row.images))
                for row in connection.execute(query)
            ]

    def delays(self, first: int, last: int) -> Mapping[Where, Mapping[int, int]]:
        """Images by the bucket of the time from their arrival to their delivery (`delays.quantile`); by
        destination, origin and modality, never of several together."""
        key = (_delay.c.destination, _delay.c.origin, _delay.c.modality, _delay.c.bucket)
        query = select(*key, func.sum(_delay.c.images).label("images"))
        query = query.where(_delay.c.day.between(first, last)).group_by(*key)
        found: dict[Where, dict[int, int]] = defaultdict(dict)
        with self._database.read() as connection:
            for row in connection.execute(query):
                where = self._where(row.destination, row.origin, row.modality)
                found[where][row.bucket] = int(row.images)
        return found

    def failures(self, first: int, last: int) -> Sequence[FailureTally]:
        """By destination, origin, modality and reason, never of several together."""
        key = (_failure.c.destination, _failure.c.origin, _failure.c.modality, _failure.c.reason)
        sums = (func.sum(_failure.c[name]).label(name) for name in ("attempts", "parked"))
        query = select(*key, *sums).where(_failure.c.day.between(first, last)).group_by(*key)
        with self._database.read() as connection:
            return [
                FailureTally(
                    self._where(row.destination, row.origin, row.modality),
                    row.reason,
                    int(row.attempts),
                    int(row.parked),
                )
                for row in connection.execute(query)
            ]

    def _where(self, destination: int, origin: int, modality: int) -> Where:
        return Where(
            self._destination(destination),
            None if origin == ALL else self._strings.text(origin),
            None if modality == EVERY else self._strings.text(modality),
        )

    def _destination(self, number: int) -> str | None:
        return None if number == RECEIVED else self._strings.text(number)
