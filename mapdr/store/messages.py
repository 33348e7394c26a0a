"""Messages for webhooks as the outbox has them: what is put, what is chosen, and what is told of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from mapdr.store.index.schema import State


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One message to one hook; a `key` that was ever put is not put again.

    The messages of one `study` go out in the order in which they were put; None is for what tells of none. A
    negative number is no study but an alarm, whose messages have an order, too.
    `shown` is the payload without what identifies a patient or a study; None if nobody knows what does.
    """

    key: str
    hook: str
    kind: str
    payload: Mapping[str, Any]
    study: int | None = None
    shown: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message as the outbox has it; `state` is pending, leased, held, parked or delivered.

    `attempts` are those since it was put or, at `asked_at`, a person had it sent again; `tried_at` is when
    the last one ended. `study` and `shown` are as in `OutboxEntry`.
    """

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
    shown: Mapping[str, Any] | None = None
    tried_at: float | None = None
    asked_at: float | None = None

    @property
    def webhook_id(self) -> str:
        """What names the message to its receiver: the same on every try, and from every node of a site."""
        digest = hashlib.blake2b(f"{self.key}|{self.created_at!r}".encode(), digest_size=16).hexdigest()
        return f"msg_{digest}"


@dataclass(frozen=True, slots=True)
class MessageSelection:
    """The messages that meet all conditions which are set.

    `study` is the index's number of one, `study_instance_uid` its UID; `since` and `until` bound when a
    message was made, in seconds since the epoch. `hooks` are the names of any hooks, `limit` takes the newest
    so many.
    """

    ids: Sequence[int] = ()
    hooks: Sequence[str] = ()
    state: str = ""
    event: str = ""
    study: int | None = None
    study_instance_uid: str = ""
    since: float | None = None
    until: float | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class HookTotals:
    """All messages of one hook, by state, and the one that was tried last."""

    hook: str
    states: Mapping[str, int]
    last: OutboxMessage | None


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


def shown_text(entry: OutboxEntry) -> str | None:
    """What its row has of `shown`: empty where that is the payload itself."""
    if entry.shown is None:
        return None
    return "" if entry.shown == entry.payload else json.dumps(entry.shown)


def message_of(row: Row[Any]) -> OutboxMessage:
    """The message of a row of the outbox."""
    shown = row.payload if row.shown == "" else row.shown
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
        shown=None if shown is None else json.loads(shown),
        tried_at=row.tried_at,
        asked_at=row.asked_at,
    )
