"""Due times move with the node's clock (design, decision 26).

The index keeps waits as moments of the wall clock, because they outlive the process. A clock that is set back
would freeze them, one that is set forward would end them. So the node compares the wall clock with one that
only goes on, and where they part moves what waits by as much:

    kept until ...                                set back                   set forward
    next tries of deliveries                      those ahead, by as much    those ahead, by as much
    next tries of messages to hooks               those ahead, by as much    those that it jumped over
    leases                                        at most LONGEST_LEASE on   those that it jumped over
    the quiet of studies                          all of the last day        all of the last day
    the last image of each source                 all                        all
    a study's last image, which is only shown     none in the future         as it was written

What is written between the change and its being noticed, a second later, is left where it cannot be told
apart. When a delivery ended stays as it was written, for days are counted by it: of a moment that lies ahead
`set_back_at` says when it was over at the latest. Ids and sequence, which give the order, do not depend on
the clock.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from sqlalchemy import Connection, exists, literal_column, or_, select, update

from mapdr.store.index import schema
from mapdr.store.index.database import Database
from mapdr.store.index.schema import State

LEAST = 2.0
"""Seconds: a smaller step is none."""

LONGEST_LEASE = 300.0
"""Seconds that any lease runs."""

_DAY = 86400.0
_SOON = 2.0  # within so many seconds a change is noticed
_TOGETHER = 30.0  # processes of one machine notice the same change within so many seconds
_FACT, _SET_BACK = "clock", "clock-set-back"

_delivery, _outbox, _progress, _study = schema.delivery, schema.outbox, schema.progress, schema.study
_attempt, _arrival = schema.attempt, schema.last_arrival


def steady() -> float:
    """Seconds of a clock that nobody sets, the same for all processes of the machine; sleep counts."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Clock:
    """Notices that the wall clock was set, and moves the index's due times."""

    def __init__(
        self,
        database: Database,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady,
    ) -> None:
        self._database = database
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._upsert = database.upsert(schema.fact, replace=("value",))

    def look(self) -> float:
        """Move what waits if the clock was set since the last call; by how many seconds it was, or 0."""
        jump = self._wall() - self._steady() - self._offset
        if abs(jump) < LEAST:
            return 0.0
        self.move(jump)
        self._offset += jump
        return jump

    def begin(self, last_sign: float | None) -> float:
        """The node starts and gave its last sign of life at `last_sign`: if that is ahead, the clock was set
        back meanwhile, by as much at least; by how much what waits was moved."""
        jump = 0.0 if last_sign is None else self._wall() - last_sign
        if jump > -LEAST:
            return 0.0
        self.move(jump)
        return jump

    def move(self, jump: float) -> None:
        """Move what waits by `jump` seconds, once for all processes that notice the same change."""
        with self._database.write() as connection:
            if self._is_done(connection, jump):
                return
            now = self._wall()
            if jump < 0:
                _back(connection, now, jump)
                if jump <= -_DAY:  # what lies ahead by less is soon over by itself
                    connection.execute(self._upsert, [{"name": _SET_BACK, "value": json.dumps(now)}])
            else:
                _forward(connection, now, jump)
            _quiet(connection, now, jump)
            _sources(connection, now, jump)

    def _is_done(self, connection: Connection, jump: float) -> bool:
        """Whether another process has moved for this change of the clock; if not, note that this one does."""
        fact = schema.fact.c
        text = connection.execute(select(fact.value).where(fact.name == _FACT)).scalar()
        at = self._steady()
        if text is not None:
            last = json.loads(text)
            if 0 <= at - last["at"] < _TOGETHER and abs(last["by"] - jump) < LEAST:
                return True
        value = json.dumps({"at": at, "by": jump})
        connection.execute(self._upsert, [{"name": _FACT, "value": value}])
        return False


def set_back_at(connection: Connection) -> float | None:
    """When the clock was last set back by a day or more, by the clock as it is now; None if it never was.

    What is said to have happened later than now happened before that.
    """
    text = connection.execute(select(schema.fact.c.value).where(schema.fact.c.name == _SET_BACK)).scalar()
    return None if text is None else float(json.loads(text))


def _back(connection: Connection, now: float, jump: float) -> None:
    """The clock was set back (`jump` < 0): move tries and messages that lie ahead, and cap leases."""
    for table in (_delivery, _outbox):
        for where in (schema.OPEN, schema.STUCK):
            due = update(table).where(literal_column(where), table.c.not_before > now)
            connection.execute(due.values(not_before=table.c.not_before + jump))
        latest = now + LONGEST_LEASE
        leased = update(table).where(table.c.state == State.LEASED, literal_column(schema.OPEN))
        connection.execute(leased.where(table.c.leased_until > latest).values(leased_until=latest))
    connection.execute(update(_study).where(_study.c.last_at > now).values(last_at=now))


def _forward(connection: Connection, now: float, jump: float) -> None:
    """The clock was set forward: move tries ahead, and messages and leases whose time was jumped over."""
    before = now - jump
    # What was tried since the clock was set has a due time of the new clock.
    since = exists().where(_attempt.c.delivery == _delivery.c.id, _attempt.c.started_at >= now - _SOON)
    ahead = {
        _delivery: (_delivery.c.not_before > before) & ~since.correlate(_delivery),
        _outbox: _outbox.c.not_before.between(before, now),
    }
    for table, meant in ahead.items():
        for where in (schema.OPEN, schema.STUCK):
            due = update(table).where(literal_column(where), meant)
            connection.execute(due.values(not_before=table.c.not_before + jump))
        leased = update(table).where(table.c.state == State.LEASED, literal_column(schema.OPEN))
        leased = leased.where(table.c.leased_until.between(before, now))
        connection.execute(leased.values(leased_until=table.c.leased_until + jump))


def _quiet(connection: Connection, now: float, jump: float) -> None:
    """Move the moments since when studies are quiet, as far as they are of the last day."""
    changed = _progress.c.changed_at
    before = now - jump
    if jump < 0:
        meant = or_(changed > now, changed.between(before - _DAY, now - _SOON))
    else:
        meant = changed.between(before - _DAY, before + _SOON)
    connection.execute(update(_progress).where(meant).values(changed_at=changed + jump))


def _sources(connection: Connection, now: float, jump: float) -> None:
    """Move the moments since when sources are silent, but those that the clock of now has written."""
    at = _arrival.c.at
    meant = or_(at > now, at <= now - _SOON) if jump < 0 else at <= now - jump + _SOON
    connection.execute(update(_arrival).where(meant).values(at=at + jump))
