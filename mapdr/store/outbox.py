"""The outbox of webhooks: what is to be told, once per key, until a hook has taken it or given up."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)

from mapdr.store.index import schema
from mapdr.store.index.database import Database
from mapdr.store.index.schema import AFTER_ATTEMPT, ENDED, State
from mapdr.store.messages import (
    HookQueue,
    HookTotals,
    MessageSelection,
    OutboxEntry,
    OutboxMessage,
    OutboxSettlement,
    message_of,
    shown_text,
)

_outbox = schema.outbox
_before = schema.outbox.alias("before")
_EARLIER = exists().where(
    literal_column(f"before.{schema.OPEN}"),
    _before.c.hook == _outbox.c.hook,
    _before.c.study == _outbox.c.study,
    _before.c.id < _outbox.c.id,
)
"""An earlier message of the same study to the same hook is not settled yet."""

ERASED_PAYLOAD = "{}"
"""What is left of a message whose images were erased (`mapdr.store.erasure`); no other is so empty."""

_PORTION = 1000
"""Messages that are removed in one transaction."""

_SENDABLE = (_outbox.c.state != State.LEASED) & (_outbox.c.payload != ERASED_PAYLOAD)
"""Whether a person may have a message sent again."""

_INDEXED = {State.PENDING: schema.OPEN, State.LEASED: schema.OPEN, State.PARKED: schema.STUCK}
"""State -> the condition of the index that has it."""


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
                "shown": shown_text(entry),
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
        return [message_of(row) for row in rows]

    def release(self) -> int:
        """Make due what a process that ended had leased; how many messages.

        What another node of this system has on its way at this moment goes twice, under one `webhook-id`.
        """
        leased = update(_outbox).where(literal_column(schema.OPEN), _outbox.c.state == State.LEASED)
        with self._database.write() as connection:
            return connection.execute(leased.values(state=int(State.PENDING), leased_until=None)).rowcount

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
                tried_at=now,
                attempts=_outbox.c.attempts + 1,
                leased_until=None,
            )
        )
        with self._database.write() as connection:
            connection.execute(statement, rows)

    def forget(self, before: float) -> int:
        """Remove up to _PORTION messages that ended at `before` or earlier, the oldest first; how many.

        They are told no more: that a study or an alarm has been told of stands with these.
        """
        at = func.coalesce(_outbox.c.settled_at, _outbox.c.created_at)  # an erased one was never settled
        ended = select(_outbox.c.id).where(_outbox.c.state >= int(ENDED), at <= before)
        with self._database.write() as connection:
            oldest = ended.order_by(_outbox.c.id).limit(_PORTION)
            return connection.execute(delete(_outbox).where(_outbox.c.id.in_(oldest))).rowcount

    def retry(self) -> int:
        """Make messages that were given up, or that wait for their next try, due now; how many."""
        return sum(
            self.again(MessageSelection(state=word)) for word in (State.PENDING.word, State.PARKED.word)
        )

    def again(self, chosen: MessageSelection, now: float | None = None) -> int:
        """Make the chosen messages due now, those that were taken as well, but none that is on its way or was
        erased; how many. What was given up has all its time again."""
        statement = (
            update(_outbox)
            .where(_outbox.c.id.in_(self._chosen(chosen).with_only_columns(_outbox.c.id)))
            .where(_SENDABLE)
            .values(
                state=int(State.PENDING),
                not_before=0.0,
                attempts=0,
                settled_at=None,
                asked_at=time.time() if now is None else now,
            )
        )
        with self._database.write() as connection:
            return connection.execute(statement).rowcount

    def repeatable(self, chosen: MessageSelection) -> Counter[tuple[str, str]]:
        """How many messages `again` would make due, by hook and state."""
        found = self._chosen(chosen).where(_SENDABLE).subquery()
        query = select(found.c.hook, found.c.state, func.count()).group_by(found.c.hook, found.c.state)
        with self._database.read() as connection:
            return Counter(
                {(hook, State(state).word): number for hook, state, number in connection.execute(query)}
            )

    def _chosen(self, chosen: MessageSelection) -> Select[Any]:
        query = select(_outbox)
        if chosen.ids:
            query = query.where(_outbox.c.id.in_(chosen.ids))
        if chosen.hooks:
            query = query.where(_outbox.c.hook.in_(chosen.hooks))
        if chosen.state:
            state = State[chosen.state.upper()]
            query = query.where(_outbox.c.state == state)
            if state in _INDEXED:
                query = query.where(literal_column(_INDEXED[state]))
        if chosen.event:
            query = query.where(_outbox.c.kind == chosen.event)
        if chosen.study is not None:
            query = query.where(_outbox.c.study == chosen.study)
        if chosen.study_instance_uid:
            uid = schema.study.c.uid == chosen.study_instance_uid
            query = query.where(_outbox.c.study.in_(select(schema.study.c.id).where(uid)))
        if chosen.since is not None:
            query = query.where(_outbox.c.created_at >= chosen.since)
        if chosen.until is not None:
            query = query.where(_outbox.c.created_at < chosen.until)
        return query.order_by(_outbox.c.id.desc()).limit(chosen.limit)

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

    def list(self, hook: str | None = None) -> Sequence[OutboxMessage]:
        """The messages of a hook, or of all hooks; the newest first."""
        return self.choose(MessageSelection(hooks=() if hook is None else (hook,)))

    def choose(self, chosen: MessageSelection) -> Sequence[OutboxMessage]:
        """The chosen messages, the newest first."""
        with self._database.read() as connection:
            return [message_of(row) for row in connection.execute(self._chosen(chosen))]

    def totals(self) -> Sequence[HookTotals]:
        """Every hook that ever had a message, by name."""
        query = select(_outbox.c.hook, _outbox.c.state, func.count()).group_by(
            _outbox.c.hook, _outbox.c.state
        )
        states: dict[str, dict[str, int]] = {}
        with self._database.read() as connection:
            for hook, state, number in connection.execute(query):
                states.setdefault(hook, {})[State(state).word] = number
            return [
                HookTotals(hook, numbers, self._last(connection, hook))
                for hook, numbers in sorted(states.items())
            ]

    def _last(self, connection: Connection, hook: str) -> OutboxMessage | None:
        query = select(_outbox).where(_outbox.c.hook == hook, _outbox.c.tried_at.is_not(None))
        row = connection.execute(query.order_by(_outbox.c.tried_at.desc()).limit(1)).first()
        return None if row is None else message_of(row)

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
