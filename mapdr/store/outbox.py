"""The outbox of webhooks: what is to be told, once per key, until a hook has taken it or given up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, exists, func, literal_column, or_, select, update

from mapdr.store.index import schema
from mapdr.store.index.database import Database
from mapdr.store.index.schema import AFTER_ATTEMPT, State

_outbox = schema.outbox
_before = schema.outbox.alias("before")
_EARLIER = exists().where(
    literal_column(f"before.{schema.OPEN}"),
    _before.c.hook == _outbox.c.hook,
    _before.c.study == _outbox.c.study,
    _before.c.id < _outbox.c.id,
)
"""An earlier message of the same study to the same hook is not settled yet."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One message to one hook; a `key` that was ever put is not put again.

    The messages of one `study` go out in the order in which they were put; None is for what tells of none. A
    negative number is no study but an alarm, whose messages have an order, too.
    """

    key: str
    hook: str
    kind: str
    payload: Mapping[str, Any]
    study: int | None = None


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
    study: int | None = None


@dataclass(frozen=True, slots=True)
class OutboxSettlement:
    """How one attempt ended: `state` is "delivered", "pending" (again at `not_before`) or "parked"."""

    id: int
    state: str
    not_before: float = 0.0
    status: int | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class HookQueue:
    """One hook's messages that nobody has taken: how many wait, how many were given up; and, if the hook is
    in trouble, how the last attempt that failed ended and when the next is due (None otherwise)."""

    hook: str
    waiting: int
    parked: int
    trouble: str
    next_try: float | None


class Outbox:
    """Messages for webhooks, durable; those of a hook in order per study."""

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
                "study": entry.study,
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
        """Due messages of a hook, oldest first, taken for `seconds`; a lease that ran out is due again.

        One of a study waits while an earlier one of it is on its way or waits for its next try; one that was
        parked is not waited for. So of a study one message at a time is taken.
        """
        due = or_(
            _outbox.c.state == State.PENDING,
            (_outbox.c.state == State.LEASED) & (_outbox.c.leased_until < now),
        )
        query = (
            select(_outbox)
            .where(literal_column(schema.OPEN), _outbox.c.hook == hook, due, ~_EARLIER)
            # The sum keeps SQLite from the index by time: it would sort all that is due for each message.
            .where(_outbox.c.not_before + 0.0 <= now)
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
                "ended": None if settlement.state == State.PENDING.word else now,
            }
            for settlement in settlements
        ]
        if not rows:
            return
        statement = (
            update(_outbox)
            .where(_outbox.c.id == bindparam("message"), _outbox.c.state < int(State.DELIVERED))
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

    def retry(self) -> int:
        """Make messages that were given up, or that wait for their next try, due now; how many."""
        number = 0
        with self._database.write() as connection:
            for where, state in ((schema.OPEN, State.PENDING), (schema.STUCK, State.PARKED)):
                statement = update(_outbox).where(literal_column(where), _outbox.c.state == state)
                statement = statement.values(state=int(State.PENDING), not_before=0.0, attempts=0)
                number += connection.execute(statement).rowcount
        return number

    def not_before(self, message_id: int) -> float | None:
        """When a message is due, None if it is not in the outbox."""
        with self._database.read() as connection:
            query = select(_outbox.c.not_before).where(_outbox.c.id == message_id)
            return connection.execute(query).scalar()

    def queues(self) -> list[HookQueue]:
        """The hooks that owe a message to their receiver, by name."""
        columns = (_outbox.c.hook, _outbox.c.state, func.count().label("number"))
        found: dict[str, dict[int, int]] = {}
        queues = []
        with self._database.read() as connection:
            for where in (schema.OPEN, schema.STUCK):
                query = (
                    select(*columns).where(literal_column(where)).group_by(_outbox.c.hook, _outbox.c.state)
                )
                for row in connection.execute(query):
                    found.setdefault(row.hook, {})[row.state] = row.number
            for hook, states in sorted(found.items()):
                trouble = self._trouble(connection, hook)
                waiting = states.get(State.PENDING, 0) + states.get(State.LEASED, 0)
                parked = states.get(State.PARKED, 0)
                queues.append(HookQueue(hook, waiting, parked, *trouble))
        return queues

    def _trouble(self, connection: Connection, hook: str) -> tuple[str, float | None]:
        query = (
            select(_outbox.c.comment, _outbox.c.not_before)
            .where(literal_column(schema.OPEN), _outbox.c.hook == hook, _outbox.c.attempts > 0)
            .order_by(_outbox.c.not_before.desc())
            .limit(1)
        )
        row = connection.execute(query).first()
        return ("", None) if row is None else (row.comment or "no answer", row.not_before)

    def list(self, hook: str | None = None) -> list[OutboxMessage]:
        """The messages of a hook, or of all hooks; the newest first."""
        query = select(_outbox).order_by(_outbox.c.id.desc())
        if hook is not None:
            query = query.where(_outbox.c.hook == hook)
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
    if name not in AFTER_ATTEMPT:
        raise ValueError(f"a message cannot be settled as {name!r}")
    return AFTER_ATTEMPT[name]


def _message(row: Row[Any]) -> OutboxMessage:
    return OutboxMessage(
        id=row.id,
        key=row.key,
        hook=row.hook,
        kind=row.kind,
        payload=json.loads(row.payload),
        created_at=row.created_at,
        state=State(row.state).word,
        not_before=row.not_before,
        attempts=row.attempts,
        settled_at=row.settled_at,
        status=row.status,
        comment=row.comment or "",
        study=row.study,
    )
