"""Purging files that are no longer needed; rows and counts stay.

    1  choose: every delivery of the image has ended, the last one longer ago than the retention
    2  commit `purged_at` in the rows
    3  unlink the files

Where the disk is filling, what was delivered goes before its time, the oldest first (`make_room`). Of
a clock that was set back by more than a day there are hours that lie ahead, and deliveries that ended then:
once a day these hours are looked through too, and such a delivery has ended when the clock was set back.

A crash between 2 and 3 leaves a file whose row says that it may go: the next run, or recovery, unlinks it.
Choosing and committing are one transaction, so that a re-route cannot promise an image in between.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, delete, func, select, update

from mapdr.store.clock import set_back_at
from mapdr.store.index import schema
from mapdr.store.index.database import Database, portions
from mapdr.store.index.schema import ENDED, State
from mapdr.store.spool.files import Spool
from mapdr.store.spool.ids import hour_of, hour_of_time

log = logging.getLogger("mapdr.store")

_AT_ONCE, _EARLY = 500, 50
"""Images that are looked at in one transaction; before their time, between two looks at the disk."""

_DAY = 86400.0

_instance, _delivery, _series = schema.instance, schema.delivery, schema.series


@dataclass(frozen=True, slots=True)
class Purged:
    """How many files went, and how many bytes of data sets they held; `more`: not all was looked at."""

    images: int = 0
    bytes: int = 0
    more: bool = False


class _Walk:
    """Goes through a spool, the oldest first, in several calls if it takes long; `size` images at a time."""

    def __init__(self, spool: Spool, size: int) -> None:
        self._spool = spool
        self._size = size
        self._last = ""  # the last id that was looked at; empty at the beginning
        self.more = False
        """Whether the last call ended before the walk did: the next goes on from there."""

    def portions(
        self, seconds: float, wanted: Callable[[str], bool] = lambda hour: True
    ) -> Iterator[Sequence[str]]:
        """The ids of files, of the hours that are `wanted`; but for the first, which is there however long it
        took to find it, none begins after some `seconds`.

        Folders of hours that are empty then are removed.
        """
        until = time.monotonic() + seconds
        after, self.more, has_begun = self._last, True, False
        for hour in self._spool.hours():
            if not wanted(hour) or (after and hour < hour_of(after)):
                continue
            if has_begun and time.monotonic() > until:
                return
            for ids in portions([id_ for id_ in self._spool.files(hour) if id_ > after], self._size):
                if has_begun and time.monotonic() > until:
                    return
                has_begun = True
                yield ids
                self._last = ids[-1]
            self._spool.remove_hour(hour)
        self.begin_anew()

    def begin_anew(self) -> None:
        """The next call begins with the oldest."""
        self._last, self.more = "", False


class Retention:
    """Purges one node's files; walks the spool, where only what is left is found."""

    def __init__(self, database: Database, spool: Spool) -> None:
        self._database = database
        self._spool = spool
        self._due = _Walk(spool, _AT_ONCE)
        self._early = _Walk(spool, _EARLY)
        self._ahead = _Walk(spool, _AT_ONCE)
        self._ahead_due = -math.inf

    def purge(self, now: float, keep_seconds: float, seconds: float = math.inf) -> Purged:
        """Purge what was delivered everywhere, or dismissed, `keep_seconds` ago or earlier.

        What is pending, held or parked anywhere stays, and so does what no rule took. Ends after some
        `seconds`, as `make_room` does.
        """
        images = size = 0
        for ids in self._walked(now, keep_seconds, seconds):
            images, size = self._purge(ids, now, now - keep_seconds, images, size)
        return Purged(images, size, self._due.more or self._ahead.more)

    def _walked(self, now: float, keep_seconds: float, seconds: float) -> Iterator[Sequence[str]]:
        """The ids of hours that are old enough; once a day of those that lie ahead as well."""
        newest, ahead = hour_of_time(now - keep_seconds), hour_of_time(now + _DAY)
        if not self._ahead.more:
            yield from self._due.portions(seconds, lambda hour: hour <= newest)
        if not self._due.more and time.monotonic() >= self._ahead_due:
            yield from self._ahead.portions(seconds, lambda hour: hour > ahead)
            if not self._ahead.more:
                self._ahead_due = time.monotonic() + _DAY

    def make_room(self, now: float, enough: Callable[[], bool], seconds: float) -> Purged:
        """Purge what was delivered somewhere and is owed nowhere, however short ago, the oldest first.

        Ends when there is `enough`, or after some `seconds`: then the next call goes on from there. `more` of
        the answer says whether it has not seen all.
        """
        images = size = 0
        for ids in self._early.portions(seconds):
            if enough():
                self._early.begin_anew()
                break
            images, size = self._purge(ids, now, now, images, size, delivered=True)
        return Purged(images, size, self._early.more)

    def _purge(
        self,
        ids: Sequence[str],
        now: float,
        before: float,
        images: int,
        size: int,
        *,
        delivered: bool = False,
    ) -> tuple[int, int]:
        """Purge what of these may go; `images` and `size` with it added."""
        for id_, bytes_ in self._choose(ids, now, before, delivered).items():
            if self._unlink(id_):
                images, size = images + 1, size + bytes_
        return images, size

    def _choose(self, ids: Sequence[str], now: float, before: float, delivered: bool) -> dict[str, int]:
        """The ids whose row says purged, after this call, with their size; `delivered`: not those that only
        a person's word has ended."""
        keys = [bytes.fromhex(id_) for id_ in ids]
        with self._database.write() as connection:
            rows = connection.execute(
                select(_instance, _series.c.study)
                .join(_series, _series.c.id == _instance.c.series)
                .where(_instance.c.id.in_(keys))
                .with_for_update(of=_instance)
            ).all()
            settled = _last_settled(connection, {row.study for row in rows}, keys, now)
            go = []
            for row in rows:
                last, arrived = settled.get(row.id, (None, False))
                if row.purged_at is None and last is not None and last <= before and arrived >= delivered:
                    go.append(row.id)
            if go:
                statement = update(_instance).where(_instance.c.id.in_(go))
                connection.execute(statement.values(purged_at=now))
                connection.execute(delete(schema.death).where(schema.death.c.instance.in_(go)))
        gone = set(go)
        return {row.id.hex(): row.size for row in rows if row.purged_at is not None or row.id in gone}

    def _unlink(self, id_: str) -> bool:
        try:
            return self._spool.discard(id_)
        except OSError as error:
            log.warning("%s: could not be purged (%s)", id_, error.strerror)
            return False


def _last_settled(
    connection: Connection, studies: set[int], keys: Sequence[bytes], now: float
) -> dict[bytes, tuple[float | None, bool]]:
    """By image that has deliveries: when the last of them ended, None while one has not or where that is not
    known, and whether one of them was delivered."""
    query = (
        select(
            _delivery.c.instance,
            func.max(_delivery.c.settled_at).label("last"),
            func.min(_delivery.c.state).label("least"),
            func.max(case((_delivery.c.state == State.DELIVERED, 1), else_=0)).label("arrived"),
        )
        .where(_delivery.c.study.in_(studies), _delivery.c.instance.in_(keys))
        .group_by(_delivery.c.instance)
    )
    rows = connection.execute(query).all()
    # By a day or more: one that ended while this round is under way, or before a small step, is no such one.
    ahead = {row.instance for row in rows if row.last is not None and row.last > now + _DAY}
    back = set_back_at(connection) if ahead else None
    ended = {row.instance: back if row.instance in ahead else row.last for row in rows if row.least >= ENDED}
    return {row.instance: (ended.get(row.instance), bool(row.arrived)) for row in rows}
