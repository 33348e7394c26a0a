"""Counters (design, decision 14): what came and what reached whom, per local day; written with the rows.

An image counts once per destination and day (by its SOP Instance UID), a study on the day of its first
image. Repeats and other versions of an image are counted beside. Each count is kept twice: per peer that
sent it, and for all of them together, because a study that comes from two sources is one study. Studies are
counted for every modality together, too, because a study with images of two is one study.

Beside them, of the same images: by hour, by the time that they took (`delays`), and the attempts that failed.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import Connection

from mapdr.store.index import schema
from mapdr.store.index.database import Database
from mapdr.store.index.flow import Flow

RECEIVED = 0
"""The destination of what was received."""
ALL = 0
"""The origin of all origins together."""
EVERY = -1
"""The modality under which studies of all modalities together are counted, and nothing else; 0 is that of
images without one."""

_LARGEST_CACHE = 100_000


class CounterKey(NamedTuple):
    """What an image counts under: the local hour (YYYYMMDDHH), where it went, the peer that sent it
    (`Source.peer`), its modality; and its study, which counts once per key without its hour."""

    hour: int
    destination: int
    origin: int
    modality: int
    study: int


class FailureKey(NamedTuple):
    """What an attempt that failed counts under; `day` is a local day, YYYYMMDD."""

    day: int
    destination: int
    origin: int
    modality: int
    reason: str


@dataclass(slots=True)
class Increment:
    """What a batch adds to one counter.

    `moved` is all that came, or was delivered, repeats and versions too, and bytes are those of its data
    sets. `delays` are the images that came and were delivered for the first time, by `delays.bucket_of`.
    """

    images: int = 0
    repeats: int = 0
    versions: int = 0
    moved: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    delays: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Failures:
    """Attempts that failed for one reason, and how many of them left their image parked."""

    attempts: int = 0
    parked: int = 0


_StudyKey = tuple[int, int, int, int]


@dataclass(slots=True)
class Counted:
    """What a transaction has counted, for `Counters.remember`."""

    studies: set[_StudyKey] = field(default_factory=set)
    from_origins: dict[int, int] = field(default_factory=dict)
    to_destinations: dict[int, int] = field(default_factory=dict)


class Counters:
    """Adds a batch's counts within the batch's own transaction.

    `sources` and `destinations` are the images of the last hour, by the numbers of their names.
    """

    def __init__(self, database: Database) -> None:
        added = ("images", "studies", "repeats", "versions", "bytes_received", "bytes_sent")
        self._add = database.prepared(database.upsert(schema.tally, add=added))
        self._hours = database.prepared(database.upsert(schema.hourly, add=("images",)))
        self._delays = database.prepared(database.upsert(schema.delay, add=("images",)))
        self._failures = database.prepared(database.upsert(schema.failure, add=("attempts", "parked")))
        self._first = database.prepared(database.upsert(schema.tallied))
        self._known: set[_StudyKey] = set()
        self.sources = Flow()
        self.destinations = Flow()

    def add(
        self,
        connection: Connection,
        counts: Mapping[CounterKey, Increment],
        failures: Mapping[FailureKey, Failures] | None = None,
    ) -> Counted:
        """Write counts. The answer goes to `remember` once the transaction is committed."""
        counted = Counted()
        rows: dict[tuple[int, int, int, int], _Row] = {}
        hours: dict[tuple[int, int], int] = defaultdict(int)
        delays: dict[tuple[int, int, int, int, int], int] = defaultdict(int)
        for where, increment in counts.items():
            hour, destination, origin, modality, study = where
            day = hour // 100
            for each in {origin, ALL}:
                row = rows.setdefault((day, destination, each, modality), _Row())
                row.add(increment)
                if increment.images and self._is_first(
                    connection, (study, destination, each, modality), counted
                ):
                    row.studies += 1
                    if self._is_first(connection, (study, destination, each, EVERY), counted):
                        rows.setdefault((day, destination, each, EVERY), _Row()).studies += 1
            hours[hour, destination] += increment.images
            for bucket, images in increment.delays.items():
                delays[day, destination, origin, modality, bucket] += images
            to, number = _moved(counted, destination, origin)
            to[number] = to.get(number, 0) + increment.moved
        self._add.execute(connection, [row.values(*key) for key, row in rows.items()])
        self._hours.execute(
            connection,
            (
                {"day": hour // 100, "hour": hour % 100, "destination": destination, "images": images}
                for (hour, destination), images in hours.items()
                if images
            ),
        )
        names = ("day", "destination", "origin", "modality", "bucket")
        self._delays.execute(
            connection, ({**dict(zip(names, key, strict=True)), "images": n} for key, n in delays.items())
        )
        if failures:
            self._failures.execute(
                connection,
                (
                    {**key._asdict(), "attempts": each.attempts, "parked": each.parked}
                    for key, each in failures.items()
                ),
            )
        return counted

    def remember(self, counted: Counted) -> None:
        """What a committed batch counted."""
        if len(self._known) > _LARGEST_CACHE:
            self._known = set()
        self._known |= counted.studies
        self.sources.add(counted.from_origins)
        self.destinations.add(counted.to_destinations)

    def _is_first(self, connection: Connection, key: _StudyKey, counted: Counted) -> bool:
        if key in self._known or key in counted.studies:
            return False
        counted.studies.add(key)
        study, destination, origin, modality = key
        values = {"study": study, "destination": destination, "origin": origin, "modality": modality}
        return self._first.execute_one(connection, values) > 0


def _moved(counted: Counted, destination: int, origin: int) -> tuple[dict[int, int], int]:
    if destination == RECEIVED:
        return counted.from_origins, origin
    return counted.to_destinations, destination


@dataclass(slots=True)
class _Row:
    images: int = 0
    studies: int = 0
    repeats: int = 0
    versions: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0

    def add(self, increment: Increment) -> None:
        self.images += increment.images
        self.repeats += increment.repeats
        self.versions += increment.versions
        self.bytes_received += increment.bytes_received
        self.bytes_sent += increment.bytes_sent

    def values(self, day: int, destination: int, origin: int, modality: int) -> dict[str, int]:
        return {
            "day": day,
            "destination": destination,
            "origin": origin,
            "modality": modality,
            "images": self.images,
            "studies": self.studies,
            "repeats": self.repeats,
            "versions": self.versions,
            "bytes_received": self.bytes_received,
            "bytes_sent": self.bytes_sent,
        }


@lru_cache(maxsize=64)
def _hour_of_quarter(quarter: int) -> int:
    # Local hours and days begin at a quarter of an hour everywhere (offsets are multiples of 15 minutes).
    moment = time.localtime(quarter * 900)
    return ((moment.tm_year * 100 + moment.tm_mon) * 100 + moment.tm_mday) * 100 + moment.tm_hour


def hour_of(seconds: float) -> int:
    """The local hour of a moment, as YYYYMMDDHH; the hour that the end of daylight-saving time repeats is
    the same twice."""
    return _hour_of_quarter(int(seconds) // 900)


def day_of(seconds: float) -> int:
    """The local day of a moment, as YYYYMMDD."""
    return hour_of(seconds) // 100


def today() -> int:
    """The current local day, as YYYYMMDD."""
    return day_of(time.time())
