"""Which alarms hold at a node and were told: what makes each be told once, across restarts.

The row and what webhooks are told of it are one transaction: a node that is killed in between has either told
it, and knows so when it starts again, or will tell it then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import delete, select

from mapdr.kernel.alarm import Fact
from mapdr.store.index import schema
from mapdr.store.index.database import Database
from mapdr.store.messages import OutboxEntry
from mapdr.store.outbox import Outbox

_alarm = schema.alarm


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm that holds: `event` told its beginning, at `since` (seconds since the epoch)."""

    event: str
    subject: str
    level: str
    since: float
    facts: Mapping[str, Fact]


class RaisedAlarms:
    """Those of one node."""

    def __init__(self, database: Database, outbox: Outbox, node: str) -> None:
        self._database = database
        self._outbox = outbox
        self._node = node
        self._keep = database.upsert(_alarm, replace=("level", "facts"))

    def all(self) -> list[Raised]:
        """What holds, by event and subject."""
        query = select(_alarm).where(_alarm.c.node == self._node).order_by(_alarm.c.event, _alarm.c.subject)
        with self._database.read() as connection:
            return [
                Raised(row.event, row.subject, row.level, row.since, json.loads(row.facts))
                for row in connection.execute(query)
            ]

    def keep(self, alarm: Raised, told: Iterable[OutboxEntry], now: float) -> None:
        """It holds, for the first time or at another level; `told` goes into the outbox."""
        row = {
            "node": self._node,
            "event": alarm.event,
            "subject": alarm.subject,
            "level": alarm.level,
            "since": alarm.since,
            "facts": json.dumps(dict(alarm.facts)),
        }
        with self._database.write() as connection:
            connection.execute(self._keep, [row])
            self._outbox.put(connection, told, now)

    def remove(self, alarm: Raised, told: Iterable[OutboxEntry], now: float) -> None:
        """It holds no more; `told` goes into the outbox."""
        this = (_alarm.c.node, self._node), (_alarm.c.event, alarm.event), (_alarm.c.subject, alarm.subject)
        with self._database.write() as connection:
            connection.execute(delete(_alarm).where(*(column == value for column, value in this)))
            self._outbox.put(connection, told, now)
