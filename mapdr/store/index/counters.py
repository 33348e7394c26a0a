"""Counters (design, decision 14): what came and what reached whom, per local day; written with the rows.

An image counts once per destination and day (by its SOP Instance UID), a study on the day of its first
image. Repeats and other versions of an image are counted beside. Each count is kept twice: per peer that
sent it, and for all of them together, because a study that comes from two sources is one study.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import Connection

from mapdr.store.index import schema
from mapdr.store.index.database import Database

RECEIVED = 0
"""The destination of what was received."""
ALL = 0
"""The origin of all origins together."""

_LARGEST_CACHE = 100_000


class CounterKey(NamedTuple):
    """What an image counts under. An origin is the name of the peer that sent it (`Source.peer`), and a
    study counts once per key without its day."""

    day: int
    destination: int
    origin: int
    modality: int
    study: int


@dataclass(slots=True)
class Increment:
    """What a batch adds to one counter."""

    images: int = 0
    repeats: int = 0
    versions: int = 0


class Counters:
    """Adds a batch's counts within the batch's own transaction."""

    def __init__(self, database: Database) -> None:
        self._add = database.upsert(schema.tally, add=("images", "studies", "repeats", "versions"))
        self._first = database.upsert(schema.tallied)
        self._known: set[tuple[int, int, int, int]] = set()

    def add(
        self, connection: Connection, counts: Mapping[CounterKey, Increment]
    ) -> set[tuple[int, int, int, int]]:
        """Write counts. The answer goes to `remember` once the transaction is committed."""
        fresh: set[tuple[int, int, int, int]] = set()
        rows: dict[tuple[int, int, int, int], _Row] = {}
        for where, increment in counts.items():
            for origin in {where.origin, ALL}:
                row = rows.setdefault((where.day, where.destination, origin, where.modality), _Row())
                row.images += increment.images
                row.repeats += increment.repeats
                row.versions += increment.versions
                if increment.images:
                    key = (where.study, where.destination, origin, where.modality)
                    row.studies += self._is_first(connection, key, fresh)
        if rows:
            connection.execute(self._add, [row.values(*key) for key, row in rows.items()])
        return fresh

    def remember(self, fresh: set[tuple[int, int, int, int]]) -> None:
        """The studies that a committed batch counted."""
        if len(self._known) > _LARGEST_CACHE:
            self._known = set()
        self._known |= fresh

    def _is_first(
        self, connection: Connection, key: tuple[int, int, int, int], fresh: set[tuple[int, int, int, int]]
    ) -> int:
        if key in self._known or key in fresh:
            return 0
        names = ("study", "destination", "origin", "modality")
        fresh.add(key)
        return max(0, connection.execute(self._first, dict(zip(names, key, strict=True))).rowcount)


@dataclass(slots=True)
class _Row:
    images: int = 0
    studies: int = 0
    repeats: int = 0
    versions: int = 0

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
        }


@lru_cache(maxsize=64)
def _day_of_quarter(quarter: int) -> int:
    # Local days begin at a quarter of an hour everywhere (offsets are multiples of 15 minutes).
    moment = time.localtime(quarter * 900)
    return moment.tm_year * 10_000 + moment.tm_mon * 100 + moment.tm_mday


def day_of(seconds: float) -> int:
    """The local day of a moment, as YYYYMMDD."""
    return _day_of_quarter(int(seconds) // 900)


def today() -> int:
    """The current local day, as YYYYMMDD."""
    return day_of(time.time())
