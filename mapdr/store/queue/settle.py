"""Settlements: what the end of an attempt does to the ledger, to the counts and to the studies."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, exists, select, update

from mapdr.kernel.errors import LocalProtocolError
from mapdr.kernel.status import to_number
from mapdr.store.index import schema
from mapdr.store.index.counters import (
    CounterKey,
    Counters,
    FailureKey,
    Failures,
    Increment,
    day_of,
    hour_of,
)
from mapdr.store.index.database import Database, portions
from mapdr.store.index.delays import bucket_of
from mapdr.store.index.schema import AFTER_ATTEMPT, ENDED, State
from mapdr.store.index.strings import Sources, StringTable, clean
from mapdr.store.index.studies import Studies
from mapdr.store.queue.repeats import find_known, find_shared

_delivery, _instance = schema.delivery, schema.instance

_ATTEMPT_COLUMNS = (
    "delivery", "number", "started_at", "milliseconds", "verdict", "status", "comment", "reason", "bytes",
    "syntax", "sop_instance_uid", "treatment", "credential",
)  # fmt: skip
_other = schema.delivery.alias("other")
_PROMISED_AGAIN = (
    exists()
    .where(_other.c.study == _delivery.c.study, _other.c.instance == _delivery.c.instance)
    .where(_other.c.destination == _delivery.c.destination, _other.c.id != _delivery.c.id)
    .correlate(_delivery)
    .label("promised_again")
)
"""Whether the instance has another delivery to the same destination: that may have delivered it already."""
_CURRENT = (
    select(
        _delivery.c.id,
        _delivery.c.study,
        _delivery.c.destination,
        _delivery.c.instance,
        _delivery.c.batch,
        _delivery.c.state,
        _delivery.c.tries,
        _instance.c.series,
        _instance.c.uid_hash,
        _instance.c.sop_instance_uid,
        _instance.c.modality,
        _instance.c.source,
        _instance.c.size,
        _instance.c.received_at,
        _PROMISED_AGAIN,
    )
    .join(_instance, _instance.c.id == _delivery.c.instance)
    .where(_delivery.c.id.in_(bindparam("ids", expanding=True)))
    .with_for_update(of=_delivery)
)
_OUTCOME = (
    update(_delivery)
    .where(_delivery.c.id == bindparam("delivery"))
    .values(
        state=bindparam("next"),
        not_before=bindparam("after"),
        settled_at=bindparam("ended"),
        reason=bindparam("why"),
        comment=bindparam("words"),
        attempts=_delivery.c.attempts + bindparam("counted"),
        tries=_delivery.c.tries + 1,
        leased_until=None,
        owner=None,
    )
)
_TRIED = update(_delivery).where(_delivery.c.id == bindparam("delivery")).values(tries=_delivery.c.tries + 1)
_OVERRIDE = (
    update(_delivery).where(_delivery.c.id == bindparam("delivery")).values(syntax=bindparam("override"))
)


class Settlement(NamedTuple):
    """How one attempt at one delivery ended.

    `state` is "delivered" (only on the receiver's final status), "pending" (again at `not_before`, seconds
    since the epoch) or "parked" (for a person; `reason` is a short word, `comment` plain words without
    values). `credential` is what the receiver has proved to be. `syntax` overrides the transfer syntax of
    later attempts, None leaves it. An attempt with `count_attempt=False` does not bring giving up nearer.
    """

    delivery_id: int
    state: str
    not_before: float = 0.0
    verdict: str = ""
    status: int | None = None
    comment: str = ""
    reason: str = ""
    started_at: float = 0.0
    milliseconds: int = 0
    bytes: int = 0
    transfer_syntax_uid: str = ""
    sop_instance_uid: str = ""
    treatment: str = ""
    credential: str = ""
    syntax: str | None = None
    count_attempt: bool = True


class SettlementWriter:
    """Writes settlements."""

    def __init__(
        self,
        database: Database,
        strings: StringTable,
        sources: Sources,
        *,
        studies: Studies,
        counters: Counters,
    ) -> None:
        self._database = database
        self._strings = strings
        self._sources = sources
        self._studies = studies
        self._counters = counters
        self._outcome = database.prepared(_OUTCOME)
        self._tried = database.prepared(_TRIED)
        self._override = database.prepared(_OVERRIDE)
        self._insert_attempt = database.insertion(schema.attempt, _ATTEMPT_COLUMNS)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Write a batch in one transaction.

        Raises LocalProtocolError for a delivery that does not exist or a state that is none.
        """
        for settlement in settlements:
            if settlement.state not in AFTER_ATTEMPT:
                raise LocalProtocolError(f"a delivery cannot be settled as {settlement.state!r}")
        number = self._strings.intern(
            {s.transfer_syntax_uid for s in settlements}
            | {word for s in settlements for word in (s.syntax, s.credential) if word}
        )
        now = time.time()
        with self._database.write() as connection:
            batch = _Batch(_current(connection, settlements))
            for settlement in settlements:
                batch.add(settlement, number, now)
            counts = self._count(connection, batch.delivered, now)
            failures = self._count_failures(batch.failed, now)
            self._write(connection, batch)
            self._studies.touch(connection, batch.changed, now)
            counted = self._counters.add(connection, counts, failures)
        self._counters.remember(counted)

    def _write(self, connection: Connection, batch: _Batch) -> None:
        if batch.attempts:
            connection.exec_driver_sql(self._insert_attempt, batch.attempts)
        self._outcome.execute(connection, batch.outcomes)
        self._tried.execute(connection, batch.late)
        self._override.execute(connection, batch.overrides)

    def _count(
        self, connection: Connection, delivered: Sequence[tuple[Row[Any], Settlement]], now: float
    ) -> Mapping[CounterKey, Increment]:
        """What rows that become delivered add to the counters; read before they are written as delivered.

        An image that the destination has had already counts as a repeat if it had the same bytes as received
        under this UID, else as a version.
        """
        counts: dict[CounterKey, Increment] = defaultdict(Increment)
        shared = find_shared(connection, {(row.series, row.uid_hash) for row, _ in delivered})
        again = {(row.series, row.uid_hash) for row, _ in delivered if row.promised_again}
        known = find_known(connection, shared | again)
        hour = hour_of(now)
        today = hour // 100
        here: dict[tuple[int, int, str], set[bytes]] = defaultdict(set)
        for row, settlement in delivered:
            origin = self._origin(row)
            increment = counts[CounterKey(hour, row.destination, origin, row.modality, row.study)]
            same_hash = known.get((row.series, row.uid_hash), ())
            digests = {one.id: one.digest for one in same_hash if one.uid == row.sop_instance_uid}
            days: set[int] = set()
            had: set[bytes] = set()
            if len(digests) > 1 or row.promised_again:
                for instance, day in _delivered_before(connection, row.study, row.destination, list(digests)):
                    days.add(day)
                    had.add(digests[instance])
            digest = digests.get(row.instance, b"")  # not looked up for an image that stands alone
            in_batch = here[row.destination, row.series, row.sop_instance_uid]
            if in_batch:
                days.add(today)
            same = digest in had or digest in in_batch
            in_batch.add(digest)
            increment.images += today not in days
            increment.repeats += bool(days) and same
            increment.versions += bool(days) and not same
            increment.moved += 1
            increment.bytes_received += row.size
            increment.bytes_sent += settlement.bytes
            if not days and row.batch == 0:  # what was promised anew has not waited since it came
                bucket = bucket_of(_ended(settlement, now) - row.received_at)
                increment.delays[bucket] = increment.delays.get(bucket, 0) + 1
        return counts

    def _count_failures(
        self, failed: Sequence[tuple[Row[Any], Settlement, bool]], now: float
    ) -> Mapping[FailureKey, Failures]:
        """What attempts that did not deliver add to the counters.

        One after which the image goes in another transfer syntax, which the receiver takes, is none.
        """
        failures: dict[FailureKey, Failures] = defaultdict(Failures)
        today = day_of(now)
        for row, settlement, parked in failed:
            if settlement.syntax is None or parked:
                reason = clean(settlement.reason)
                key = FailureKey(today, row.destination, self._origin(row), row.modality, reason)
                failures[key].attempts += 1
                failures[key].parked += parked
        return failures

    def _origin(self, row: Row[Any]) -> int:
        """The number of the peer that sent a row's image."""
        return self._strings.find(self._sources.source(row.source).peer) or 0


def _ended(settlement: Settlement, now: float) -> float:
    """When an attempt ended."""
    if not settlement.started_at:
        return now
    return settlement.started_at + settlement.milliseconds / 1000


class _Batch:
    """What a batch of settlements writes; `current` are the rows as the ledger has them."""

    def __init__(self, current: dict[int, Row[Any]]) -> None:
        self.attempts: list[tuple[Any, ...]] = []
        self.outcomes: list[dict[str, Any]] = []
        self.late: list[dict[str, Any]] = []
        self.overrides: list[dict[str, Any]] = []
        self.delivered: list[tuple[Row[Any], Settlement]] = []
        self.failed: list[tuple[Row[Any], Settlement, bool]] = []  # and whether it parked the image
        self.changed: set[tuple[int, int]] = set()
        self._current = current
        self._states = {id_: State(row.state) for id_, row in current.items()}
        self._tries = {id_: int(row.tries) for id_, row in current.items()}

    def add(self, settlement: Settlement, number: Mapping[str, int], now: float) -> None:
        """Work out what one settlement writes. Raises LocalProtocolError if its delivery does not exist."""
        id_ = settlement.delivery_id
        row = self._current.get(id_)
        if row is None:
            raise LocalProtocolError(f"there is no delivery {id_}")
        self._tries[id_] += 1
        sent = settlement.sop_instance_uid
        self.attempts.append(
            (
                id_, self._tries[id_], settlement.started_at or now, settlement.milliseconds,
                settlement.verdict, to_number(settlement.status), clean(settlement.comment) or None,
                settlement.reason or None, settlement.bytes, number[settlement.transfer_syntax_uid],
                sent if sent and sent != row.sop_instance_uid else None, settlement.treatment or None,
                number.get(settlement.credential) if settlement.credential else None,
            )
        )  # fmt: skip
        before, after = self._states[id_], AFTER_ATTEMPT[settlement.state]
        if _is_too_late(before, after):
            self.late.append({"delivery": id_})  # somebody was faster: the attempt is kept, the row stands
            if after is not State.DELIVERED:
                self.failed.append((row, settlement, False))
            return
        self._states[id_] = after
        self.outcomes.append(
            {
                "delivery": id_,
                "next": int(after),
                "after": settlement.not_before,
                "ended": None if after is State.PENDING else now,
                "why": settlement.reason or None,
                "words": clean(settlement.comment) or None,
                "counted": int(settlement.count_attempt),
            }
        )
        if settlement.syntax is not None:
            self.overrides.append({"delivery": id_, "override": number.get(settlement.syntax, 0)})
        if after is not State.PENDING:
            self.changed.add((row.study, row.destination))
        if after is State.DELIVERED:
            self.delivered.append((row, settlement))
        else:
            self.failed.append((row, settlement, after is State.PARKED))


def _is_too_late(before: State, after: State) -> bool:
    """Whether a row in state `before` ignores an attempt that ends in `after`.

    A delivered row stays so, one that ended otherwise changes only to delivered, and a person's hold is not
    undone by a try again.
    """
    if before is State.DELIVERED:
        return True
    if before >= ENDED:
        return after is not State.DELIVERED
    return after is State.PENDING and before in (State.HELD, State.PARKED)


def _current(connection: Connection, settlements: Sequence[Settlement]) -> dict[int, Row[Any]]:
    ids = [settlement.delivery_id for settlement in settlements]
    rows: dict[int, Row[Any]] = {}
    for some in portions(ids):
        found = connection.execute(_CURRENT, {"ids": some})
        rows |= {row.id: row for row in found}
    return rows


def _delivered_before(
    connection: Connection, study: int, destination: int, instances: list[bytes]
) -> list[tuple[bytes, int]]:
    """Which of these instances were delivered to a destination, each with the local day."""
    query = select(_delivery.c.instance, _delivery.c.settled_at).where(
        _delivery.c.study == study,
        _delivery.c.instance.in_(instances),
        _delivery.c.destination == destination,
        _delivery.c.state == State.DELIVERED,
    )
    return [(row.instance, day_of(row.settled_at)) for row in connection.execute(query)]
