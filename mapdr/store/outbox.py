"""The outbox of webhooks: what is to be told, once per key, until a hook has taken it or given up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, literal_column, or_, select, update

from mapdr.store import schema
from mapdr.store.database import Database
from mapdr.store.schema import State

_outbox = schema.outbox


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One message to one hook; a `key` that was ever put is not put again."""

    key: str
    hook: str
    kind: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message as the outbox has it; `state` is pending, leased, held, parked or delivered."""

    id: int
    key: str
    hook: str
    kind: str
    payload: Mapping[str, Any]
    created_at: float
    state: str
    not_before: float
    attempts: int
    settled_at: float | None
    status: int | None
    comment: str


@dataclass(frozen=True, slots=True)
class OutboxSettlement:
    """How one attempt ended: `state` is "delivered", "pending" (again at `not_before`) or "parked"."""

    id: int
    state: str
    not_before: float = 0.0
    status: int | None = None
    comment: str = ""


class Outbox:
    """Messages for webhooks, durable and in order per hook."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = database.upsert(_outbox)

    def add(self, entries: Iterable[OutboxEntry], now: float) -> None:
        """Put messages in a transaction of their own."""
        with self._database.write() as connection:
            self.put(connection, entries, now)

    def put(self, connection: Connection, entries: Iterable[OutboxEntry], now: float) -> None:
        """Put messages within a transaction; known keys are left alone."""
        rows = [
            {
                "key": entry.key,
                "hook": entry.hook,
                "kind": entry.kind,
                "payload": json.dumps(entry.payload),
                "created_at": now,
                "state": int(State.PENDING),
                "not_before": 0.0,
                "attempts": 0,
            }
            for entry in entries
        ]
        if rows:
            connection.execute(self._insert, rows)

    def lease(self, hook: str, limit: int, seconds: float, now: float) -> list[OutboxMessage]:
        """Due messages of a hook, oldest first, taken for `seconds`; a lease that ran out is due again."""
        due = or_(
            _outbox.c.state == State.PENDING,
            (_outbox.c.state == State.LEASED) & (_outbox.c.leased_until < now),
        )
        query = (
            select(_outbox)
            .where(literal_column(schema.OPEN), _outbox.c.hook == hook, _outbox.c.not_before <= now, due)
            .order_by(_outbox.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            if connection.execute(query.limit(1)).first() is None:
                return []
        with self._database.write() as connection:
            rows = connection.execute(query.with_for_update(skip_locked=True)).all()
            connection.execute(
                update(_outbox)
                .where(_outbox.c.id.in_([row.id for row in rows]))
                .values(state=int(State.LEASED), leased_until=now + seconds)
            )
        return [_message(row) for row in rows]

    def settle(self, settlements: Sequence[OutboxSettlement], now: float) -> None:
        """Write how attempts ended. Raises ValueError for a state that is none."""
        rows = [
            {
                "message": settlement.id,
                "next": int(_settled_state(settlement.state)),
                "after": settlement.not_before,
                "code": settlement.status,
                "words": settlement.comment,
                "ended": None if settlement.state == "pending" else now,
            }
            for settlement in settlements
        ]
        if not rows:
            return
        statement = (
            update(_outbox)
            .where(_outbox.c.id == bindparam("message"), _outbox.c.state != State.DELIVERED)
            .values(
                state=bindparam("next"),
                not_before=bindparam("after"),
                status=bindparam("code"),
                comment=bindparam("words"),
                settled_at=bindparam("ended"),
                attempts=_outbox.c.attempts + 1,
                leased_until=None,
            )
        )
        with self._database.write() as connection:
            connection.execute(statement, rows)

    def retry(self, hook: str | None = None, now: float = 0.0) -> int:
        """Make parked messages due again; how many."""
        statement = update(_outbox).where(literal_column(schema.STUCK), _outbox.c.state == State.PARKED)
        if hook is not None:
            statement = statement.where(_outbox.c.hook == hook)
        with self._database.write() as connection:
            statement = statement.values(state=int(State.PENDING), not_before=now, attempts=0)
            return connection.execute(statement).rowcount

    def list(
        self, hook: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[OutboxMessage]:
        """The newest messages first."""
        query = select(_outbox).order_by(_outbox.c.id.desc()).limit(limit)
        if hook is not None:
            query = query.where(_outbox.c.hook == hook)
        if state is not None:
            query = query.where(_outbox.c.state == State[state.upper()])
        with self._database.read() as connection:
            return [_message(row) for row in connection.execute(query)]

    def next_due(self, hook: str) -> float | None:
        """When the hook's next message is due, None if there is none."""
        query = select(func.min(_outbox.c.not_before)).where(
            literal_column(schema.OPEN), _outbox.c.hook == hook
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar()


def _settled_state(name: str) -> State:
    if name not in ("delivered", "pending", "parked"):
        raise ValueError(f"a message cannot be settled as {name!r}")
    return State[name.upper()]


def _message(row: Row[Any]) -> OutboxMessage:
    return OutboxMessage(
        id=row.id,
        key=row.key,
        hook=row.hook,
        kind=row.kind,
        payload=json.loads(row.payload),
        created_at=row.created_at,
        state=State(row.state).name.lower(),
        not_before=row.not_before,
        attempts=row.attempts,
        settled_at=row.settled_at,
        status=row.status,
        comment=row.comment or "",
    )
