"""How the command line and a node speak to each other: through the index (design, decision 16)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, insert, literal_column, or_, select, update

from mapdr.store.index import schema
from mapdr.store.index.database import Database

RESTS = 300.0
"""Seconds between two signs of life of a node that has nothing new to say and is not asked
(`mapdr.node.sign`) ..."""
RESTS_ELSEWHERE = 10.0
"""... and of one whose index is no file beside it: who looks may be on another machine, and cannot ask."""

_command, _heartbeat = schema.command, schema.heartbeat
_UNTAKEN = (
    select(_command)
    .where(literal_column("taken_at IS NULL"))
    .where(or_(_command.c.node == bindparam("node"), _command.c.node == ""))
    .order_by(_command.c.id)
)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A node's last sign of life: times in seconds since the epoch, its process id, its counters."""

    node: str
    at: float
    started_at: float
    process: int
    counters: Mapping[str, Any]

    @property
    def lived_until(self) -> float:
        """Until when its process may have lived, if it was killed: with nothing to say it gave no other sign
        for as long as this one tells."""
        rests = self.counters.get("rests") or 0.0
        return self.at if self.counters.get("state") == "stopped" else self.at + rests


@dataclass(frozen=True, slots=True)
class Command:
    """An order to a node. `result` is what the node made of it, None while it has not."""

    id: int
    node: str
    name: str
    arguments: Mapping[str, Any]
    given_at: float
    taken_at: float | None = None
    done_at: float | None = None
    result: Mapping[str, Any] | None = None


class Commands:
    """Orders and signs of life. `node` is this process's node; the command line uses any name."""

    def __init__(self, database: Database, node: str) -> None:
        self._database = database
        self._node = node
        self._started_at = time.time()
        # Both are used once or twice a second, and to make one anew takes longer than to use it.
        self._keep_beat = database.prepared(
            database.upsert(_heartbeat, replace=("at", "started_at", "process", "counters"))
        )
        self._untaken = database.prepared(
            _UNTAKEN.with_only_columns(_command.c.id).limit(literal_column("1"))
        )

    def moved(self, jump: float) -> None:
        """The clock was set by `jump` seconds: so was the moment of the start."""
        self._started_at += jump

    def beat(self, counters: Mapping[str, Any]) -> None:
        """Write this node's sign of life with its live counters."""
        row = {
            "node": self._node,
            "at": time.time(),
            "started_at": self._started_at,
            "process": os.getpid(),
            "counters": json.dumps(counters),
        }
        with self._database.write() as connection:
            self._keep_beat.execute_one(connection, row)

    def last_beat(self) -> Heartbeat | None:
        """This node's last sign of life; None if it never gave one."""
        query = select(_heartbeat).where(_heartbeat.c.node == self._node)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _beat(row)

    def heartbeats(self) -> list[Heartbeat]:
        """Every node's last sign of life."""
        with self._database.read() as connection:
            rows = connection.execute(select(_heartbeat).order_by(_heartbeat.c.node)).all()
        return [_beat(row) for row in rows]

    def give(self, name: str, arguments: Mapping[str, Any] | None = None, *, node: str = "") -> int:
        """Order something of a node (of any node, if none is named); the order's id."""
        row = {"node": node, "name": name, "arguments": json.dumps(arguments or {}), "given_at": time.time()}
        with self._database.write() as connection:
            return int(connection.execute(insert(_command).values(row).returning(_command.c.id)).scalar_one())

    def take(self) -> list[Command]:
        """The orders for this node that nobody has taken, oldest first; they are taken now."""
        node = {"node": self._node}
        with self._database.read() as connection:
            if not self._untaken.finds(connection, node):
                return []
        now = time.time()
        with self._database.write() as connection:
            rows = connection.execute(_UNTAKEN.with_for_update(skip_locked=True), node).all()
            ids = [row.id for row in rows]
            connection.execute(update(_command).where(_command.c.id.in_(ids)).values(taken_at=now))
        return [Command(r.id, r.node, r.name, json.loads(r.arguments), r.given_at, now) for r in rows]

    def withdraw(self, id_: int) -> bool:
        """Take an order back; whether that was in time: one that a node has taken stands."""
        query = update(_command).where(_command.c.id == id_).where(literal_column("taken_at IS NULL"))
        now, result = time.time(), {"ok": False, "problems": ["it was withdrawn"]}
        with self._database.write() as connection:
            done = connection.execute(query.values(taken_at=now, done_at=now, result=json.dumps(result)))
            return done.rowcount > 0

    def done(self, id_: int, result: Mapping[str, Any]) -> None:
        """Say what became of an order."""
        statement = update(_command).where(_command.c.id == id_)
        with self._database.write() as connection:
            connection.execute(statement.values(done_at=time.time(), result=json.dumps(result)))

    def get(self, id_: int) -> Command:
        """An order as it stands. KeyError if there is none."""
        with self._database.read() as connection:
            row = connection.execute(select(_command).where(_command.c.id == id_)).first()
        if row is None:
            raise KeyError(id_)
        result = None if row.result is None else json.loads(row.result)
        arguments = json.loads(row.arguments)
        times = (row.given_at, row.taken_at, row.done_at)
        return Command(row.id, row.node, row.name, arguments, *times, result)


def _beat(row: Row[Any]) -> Heartbeat:
    return Heartbeat(row.node, row.at, row.started_at, row.process, json.loads(row.counters))
