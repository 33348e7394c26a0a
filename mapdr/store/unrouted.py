"""Purging images that no rule takes: after a time of their own, and a week after that was told.

    told, once a day:  "what came before this moment goes within a week"   kept in `fact`
                              │
                              └── a week later ──▶ those that are still unrouted: `purged_at`, then the files

Rules are not asked again: `mapdr reroute` does that. What it has routed meanwhile is not unrouted any more;
which of both is first, the transaction decides. An image is purged only if it was among those that were told
of: neither a node that has not run for a month, nor a shorter time in a new configuration takes that away.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, literal_column, select, update

from mapdr.store.index import schema
from mapdr.store.index.database import Database
from mapdr.store.index.strings import StringTable
from mapdr.store.retention import Purged
from mapdr.store.spool.files import Spool

log = logging.getLogger("mapdr.store")

NOTICE = 7 * 86400.0
"""Seconds between telling that an image goes and its purge; all of the retention where that is shorter."""
TOLD_EVERY = 86400.0
"""Seconds between two tellings, at most."""
_AT_ONCE = 500

_instance, _fact = schema.instance, schema.fact


@dataclass(frozen=True, slots=True)
class Expiring:
    """Unrouted images that go within the notice: how many, and when the first does (seconds since the
    epoch); `tell`: it is time to tell of them."""

    images: int = 0
    first_at: float = 0.0
    tell: bool = False


class UnroutedRetention:
    """Purges one node's unrouted images."""

    def __init__(self, database: Database, strings: StringTable, spool: Spool) -> None:
        self._database = database
        self._strings = strings
        self._spool = spool
        self._name = f"unrouted-told:{spool.node}"
        self.expiring = Expiring()

    def look(self, now: float, keep: float) -> Expiring:
        """What goes within the notice, of images that are kept `keep` seconds."""
        notice = min(NOTICE, keep)
        with self._database.read() as connection:
            told = self._told(connection)
            query = select(func.count().label("images"), func.min(_instance.c.received_at).label("first"))
            row = connection.execute(query.where(*self._of_this_node(now + notice - keep))).one()
        # What was told at a moment that lies ahead, by a clock that was set back since, counts as not told.
        tell = not told or not 0 <= now - told[-1][0] < min(TOLD_EVERY, notice / 4)
        first_at = max(now, row.first + keep) if row.images else 0.0
        self.expiring = Expiring(row.images, first_at, tell)
        return self.expiring

    def told(self, now: float, keep: float) -> None:
        """What goes within the notice has been told at `now`."""
        notice = min(NOTICE, keep)
        with self._database.write() as connection:
            told = self._told(connection)
            # The newest of those that are old enough says what may go; what was told before it says less.
            old = [each for each in told if each[0] <= now - notice][-1:]
            young = [each for each in told if now - notice < each[0] <= now]
            self._write(connection, [*old, *young, (now, now + notice - keep)])

    def forget(self) -> None:
        """Unrouted images are kept for ever: what was told holds no longer."""
        self.expiring = Expiring()
        with self._database.read() as connection:
            if not self._told(connection):
                return
        with self._database.write() as connection:
            self._write(connection, [])

    def purge(self, now: float, keep: float, seconds: float = math.inf) -> Purged:
        """Purge what came `keep` seconds ago or earlier, and was told of a notice ago or earlier.

        Ends after some `seconds`: `more` of the answer says whether there may be others.
        """
        until = time.monotonic() + seconds
        notice = min(NOTICE, keep)
        with self._database.read() as connection:
            covered = [upto for at, upto in self._told(connection) if at <= now - notice]
        if not covered:
            return Purged()
        images = size = 0
        while chosen := self._choose(now, min(now - keep, *covered[-1:])):
            # These go, however late it is: their rows say that they are gone.
            for id_, bytes_ in chosen.items():
                try:
                    gone = self._spool.discard(id_)
                except OSError as error:  # its row says that it may go: the next start removes it
                    log.warning("%s: could not be purged (%s)", id_, error.strerror)
                    continue
                images, size = images + gone, size + bytes_ * gone
            if time.monotonic() > until:
                return Purged(images, size, more=True)
        return Purged(images, size)

    def _choose(self, now: float, before: float) -> dict[str, int]:
        """Some ids whose row says purged after this call, with their size."""
        query = select(_instance.c.id, _instance.c.size).where(*self._of_this_node(before)).limit(_AT_ONCE)
        with self._database.read() as connection:
            if connection.execute(query.limit(1)).first() is None:
                return {}
        with self._database.write() as connection:
            rows = connection.execute(query.with_for_update()).all()
            these = _instance.c.id.in_([row.id for row in rows])
            connection.execute(update(_instance).where(these).values(purged_at=now))
        return {row.id.hex(): row.size for row in rows}

    def _of_this_node(self, before: float) -> list[ColumnElement[bool]]:
        return [
            literal_column(schema.UNROUTED),
            _instance.c.node == self._strings.number(self._spool.node),
            _instance.c.received_at <= before,
        ]

    def _told(self, connection: Connection) -> list[tuple[float, float]]:
        """When it was told, and up to which time of receipt; the oldest first."""
        text = connection.execute(select(_fact.c.value).where(_fact.c.name == self._name)).scalar()
        return [(at, upto) for at, upto in json.loads(text)] if text else []

    def _write(self, connection: Connection, told: list[tuple[float, float]]) -> None:
        connection.execute(delete(_fact).where(_fact.c.name == self._name))
        if told:
            connection.execute(_fact.insert().values(name=self._name, value=json.dumps(told)))
