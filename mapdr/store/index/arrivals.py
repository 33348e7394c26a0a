"""When the last image of each source came, and since when a node takes images without a break."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select

from mapdr.kernel.item import Source
from mapdr.store.index import schema
from mapdr.store.index.database import Database
from mapdr.store.index.strings import Sources

BREAK = 300.0
"""Seconds without a node that are told apart from a restart."""

_last = schema.last_arrival


class LastArrivals:
    """The last images of an index, and the breaks of one node of those that share it.

    Sources are those of a receiver's name: nodes that use one name for theirs are one system.
    """

    def __init__(self, database: Database, sources: Sources, node: str) -> None:
        self._database = database
        self._sources = sources
        self._fact = f"resumed {node}"
        self._add = database.prepared(database.upsert(_last, greater=("at",)))
        self._keep = database.upsert(schema.fact, replace=("value",))

    def add(self, connection: Connection, last_at: Mapping[int, float]) -> None:
        """Images of these sources, by number, were received at these times."""
        # In one order, so that two nodes that write to one database do not wait for each other.
        self._add.execute(
            connection, ({"source": source, "at": at} for source, at in sorted(last_at.items()))
        )

    def all(self) -> list[tuple[Source, float]]:
        """Each source of any node with the time of its last image (seconds since the epoch), also one that is
        purged."""
        with self._database.read() as connection:
            rows = connection.execute(select(_last)).all()
        return [(self._sources.source(row.source), row.at) for row in rows]

    def resume(self, lived_until: float | None, now: float) -> None:
        """The node takes images from `now` on, and may have lived until `lived_until`
        (`Heartbeat.lived_until`): nobody could send to it in between."""
        if lived_until is None or now - lived_until < BREAK:
            return
        with self._database.write() as connection:
            connection.execute(self._keep, [{"name": self._fact, "value": repr(now)}])

    def resumed_at(self) -> float:
        """Since when the node takes images, but for breaks shorter than BREAK; 0 if there was none longer."""
        query = select(schema.fact.c.value).where(schema.fact.c.name == self._fact)
        with self._database.read() as connection:
            return float(connection.execute(query).scalar() or 0.0)
