"""Purging files that are no longer needed; rows and counts stay.

    1  choose: every delivery of the image has ended, the last one longer ago than the retention
    2  commit `purged_at` in the rows
    3  unlink the files

A crash between 2 and 3 leaves a file whose row says that it may go: the next run, or recovery, unlinks it.
Choosing and committing are one transaction, so that a re-route cannot promise an image in between.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, update

from mapdr.store.index import schema
from mapdr.store.index.database import Database, portions
from mapdr.store.index.schema import ENDED
from mapdr.store.spool.files import Spool
from mapdr.store.spool.ids import hour_of_time

log = logging.getLogger("mapdr.store")

_instance, _delivery, _series = schema.instance, schema.delivery, schema.series


@dataclass(frozen=True, slots=True)
class Purged:
    """How many files went, and how many bytes of data sets they held."""

    images: int = 0
    bytes: int = 0


class Retention:
    """Purges one node's files; walks the spool, where only what is left is found."""

    def __init__(self, database: Database, spool: Spool) -> None:
        self._database = database
        self._spool = spool

    def purge(self, now: float, keep_seconds: float) -> Purged:
        """Purge what was delivered everywhere, or dismissed, `keep_seconds` ago or earlier.

        What is pending, held or parked anywhere stays, and so does what no rule took.
        """
        images = size = 0
        newest = hour_of_time(now - keep_seconds)
        for hour in self._spool.hours():
            if hour > newest:
                break
            for ids in portions(list(self._spool.files(hour))):
                chosen = self._choose(ids, now, now - keep_seconds)
                for id_, bytes_ in chosen.items():
                    if self._unlink(id_):
                        images, size = images + 1, size + bytes_
            self._spool.remove_hour(hour)
        return Purged(images, size)

    def _choose(self, ids: Sequence[str], now: float, before: float) -> dict[str, int]:
        """The ids whose row says purged, after this call, with their size."""
        keys = [bytes.fromhex(id_) for id_ in ids]
        with self._database.write() as connection:
            rows = connection.execute(
                select(_instance, _series.c.study)
                .join(_series, _series.c.id == _instance.c.series)
                .where(_instance.c.id.in_(keys))
                .with_for_update(of=_instance)
            ).all()
            settled = _last_settled(connection, {row.study for row in rows}, keys)
            go = []
            for row in rows:
                last = settled.get(row.id)
                if row.purged_at is None and last is not None and last <= before:
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
    connection: Connection, studies: set[int], keys: Sequence[bytes]
) -> dict[bytes, float | None]:
    """By image that has deliveries: when the last of them ended, None while one has not."""
    query = (
        select(
            _delivery.c.instance,
            func.max(_delivery.c.settled_at).label("last"),
            func.min(_delivery.c.state).label("least"),
        )
        .where(_delivery.c.study.in_(studies), _delivery.c.instance.in_(keys))
        .group_by(_delivery.c.instance)
    )
    return {row.instance: row.last if row.least >= ENDED else None for row in connection.execute(query)}
