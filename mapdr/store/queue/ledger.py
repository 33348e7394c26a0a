"""The ledger is the queue (design, decision 4): one row per image, destination and batch.

                      ┌──────────── release (lease ran out, node restarted), try again later ─────────┐
                      ▼                                                                               │
    enter ──▶  pending ──── lease ────▶ leased ──── settle ──┬──▶ delivered (the receiver's status)   │
               ▲  │  ▲                                       ├──▶ parked (a person sees why) ── retry ─┤
        release│  │hold                                      └──▶ pending, not before ... ────────────┘
               │  ▼
               held          pending, held, parked ── reroute, to the same destination ──▶ superseded
                                           parked ── dismiss ──▶ dismissed

A row ends as delivered only through `settle` with that state; nothing else writes it, and nothing takes it
back. Superseded and dismissed rows end too: only a late answer that the receiver has the image changes them.
At least once: whoever loses a lease may still report what the receiver said, and it counts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    bindparam,
    delete,
    exists,
    insert,
    literal,
    literal_column,
    select,
    update,
)

from mapdr.kernel.errors import LocalProtocolError
from mapdr.kernel.item import Instance, Priority, Verdict
from mapdr.kernel.privacy import place
from mapdr.store.index import schema
from mapdr.store.index.counters import RECEIVED, Counters
from mapdr.store.index.database import Database, Prepared
from mapdr.store.index.fault import fault_of_the_index
from mapdr.store.index.instances import FACTS, Instances
from mapdr.store.index.recipes import Recipes
from mapdr.store.index.schema import State
from mapdr.store.index.strings import Sources, StringTable
from mapdr.store.index.studies import Studies
from mapdr.store.queue.repeats import last_given
from mapdr.store.queue.settle import Settlement, SettlementWriter

log = logging.getLogger("mapdr.store")

_delivery, _hold = schema.delivery, schema.hold
SHARE = 8
"""One row in so many that are leased is of each lower priority that waits, so that none waits for ever."""

_MOST = (1 << 63) - 1  # the largest number that a database takes
_LEASED_NAMES = ("id", "batch", "priority", "recipe", "syntax", "attempts")
_LEASED_COLUMNS = tuple(_delivery.c[name] for name in _LEASED_NAMES)
_PRIORITY = _LEASED_NAMES.index("priority")


@dataclass(frozen=True, slots=True)
class LeasedDelivery:
    """A leased row: one image for one destination. `syntax` overrides the recipe's transfer syntax if set;
    `attempts` counts those that went before and count."""

    id: int
    instance: Instance
    destination: str
    batch: int
    priority: int
    recipe: str
    syntax: str
    attempts: int
    leased_until: float


class Ledger:
    """Leases and settles deliveries.

    What people see of them and do to them stands beside it: `listing`, `actions`, `reroute`.
    """

    def __init__(
        self,
        database: Database,
        *,
        strings: StringTable,
        sources: Sources,
        recipes: Recipes,
        instances: Instances,
        studies: Studies,
        counters: Counters,
    ) -> None:
        self._database = database
        self._strings = strings
        self._recipes = recipes
        self._instances = instances
        self._ways: dict[tuple[bool, bool, bool], _Way] = {}
        self._held, self._take = database.prepared(_HELD), database.prepared(_TAKE)
        self._lower_waits = database.prepared(_LOWER_WAITS)
        self._settlements = SettlementWriter(database, strings, sources, studies=studies, counters=counters)

    def lease(
        self,
        destination: str,
        limit: int,
        seconds: float,
        owner: str,
        *,
        quiet_seconds: float = 0.0,
        untried_first: bool = False,
        stat_only: bool = False,
    ) -> list[LeasedDelivery]:
        """Take up to `limit` due rows for `seconds`: by priority, then study, then age; none while held.

        Lower priorities that wait behind have a share of it (`SHARE`), however many rows of higher ones come.
        With `quiet_seconds` only those of studies that got no image for so long. With `untried_first` those
        that were tried least come first, mixed of all studies: neighbours often share what is wrong. With
        `stat_only` no other priority is leased.
        """
        now = time.time()
        target, who = self._strings.number(destination), self._strings.number(owner)
        way = self._way(bool(quiet_seconds), untried_first, stat_only)
        asked = {"target": target, "now": now, "most": limit, "quiet": now - quiet_seconds}
        with self._database.read() as connection:
            if self._held.finds(connection, asked) or not way.due.finds(connection, {**asked, "most": 1}):
                return []
        with self._database.write() as connection:
            rows = way.rows.all(connection, asked)
            if len(rows) == limit and not (untried_first or stat_only):
                rows = self._with_shares(connection, way, rows, asked)
            # Within the transaction: what fails here leaves no row leased that nobody has.
            leases = self._deliveries(rows, destination, now + seconds)
            taken = {"until": now + seconds, "who": who}
            self._take.execute(connection, [{**taken, "delivery": row[0]} for row in rows])
        return leases

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Write how attempts ended: an attempt row each, and what it did to its delivery.

        One transaction. Raises LocalProtocolError for a delivery that does not exist or a state that is none,
        and what the database raises when it cannot be written. An end that the index does not take for its
        own sake is written alone, and without what a peer said: the row must not stay open.
        """
        if not settlements:
            return
        try:
            self._settlements.settle(settlements)
        except LocalProtocolError:
            raise
        except Exception as error:
            if fault_of_the_index(error):
                raise
            if len(settlements) > 1:  # one of them: told, and the others are written
                for settlement in settlements:
                    self.settle([settlement])
                return
            one = settlements[0]
            log.error("delivery %d: its end is written without words (%s)", one.delivery_id, place(error))
            self._settlements.settle(
                [one._replace(comment="", reason="unwritten", bytes=min(one.bytes, _MOST))]
            )

    def extend(self, delivery_ids: Iterable[int], seconds: float, owner: str) -> None:
        """Keep rows leased to `owner` for `seconds` from now: a long object is still on its way."""
        who = self._strings.number(owner)
        statement = (
            update(_delivery)
            .where(_delivery.c.id == bindparam("delivery"), literal_column(schema.LEASED))
            .where(_delivery.c.owner == who)
            .values(leased_until=time.time() + seconds)
        )
        rows = [{"delivery": id_} for id_ in delivery_ids]
        if rows:
            with self._database.write() as connection:
                connection.execute(statement, rows)

    def give_back(self, delivery_ids: Iterable[int]) -> None:
        """Leased rows that were not tried become pending again; nothing else about them changes."""
        rows = [{"delivery": id_} for id_ in delivery_ids]
        if rows:
            with self._database.write() as connection:
                connection.execute(_UNLEASE.where(_delivery.c.id == bindparam("delivery")), rows)

    def release_owner(self, owner: str) -> int:
        """Give back what a lost owner (`owner`, or `owner/...`) has leased; how many rows are pending again.

        What it had may have been sent: each such row gets an attempt without an answer, so that a repeat is
        seen.
        """
        owners = [self._strings.number(owner), *self._strings.beginning(owner + "/")]
        with self._database.write() as connection:
            return _interrupt(connection, _delivery.c.owner.in_(owners))

    def release_expired(self, now: float) -> int:
        """Give back what leases that ended before `now` held, as `release_owner` does; how many rows."""
        with self._database.read() as connection:
            query = select(_delivery.c.id).where(literal_column(schema.LEASED))
            if connection.execute(query.where(_delivery.c.leased_until < now).limit(1)).first() is None:
                return 0
        with self._database.write() as connection:
            return _interrupt(connection, _delivery.c.leased_until < now)

    def next_due(self, destination: str) -> float | None:
        """When the destination's next row is due (past: now); None if none is pending, or it is held."""
        target = self._strings.find(destination)
        if target is None:
            return None
        pending = select(_delivery.c.not_before).where(
            literal_column(schema.OPEN),
            _delivery.c.destination == target,
            _delivery.c.state == State.PENDING,
        )
        with self._database.read() as connection:
            if connection.execute(select(_hold.c.since).where(_hold.c.destination == target)).first():
                return None
            due = connection.execute(pending.where(_delivery.c.not_before <= time.time()).limit(1)).scalar()
            if due is not None:
                return float(due)
            return connection.execute(pending.order_by(_delivery.c.not_before).limit(1)).scalar()

    def differs(self, delivery: LeasedDelivery) -> bool:
        """Whether its destination was last given other bytes under its UID, by digest and recipe."""
        own = bytes.fromhex(delivery.instance.id)
        target = self._strings.number(delivery.destination)
        with self._database.read() as connection:
            last = last_given(connection, own, target, delivery.id)
            if last is None:
                return False
            digest = connection.execute(
                select(schema.instance.c.digest).where(schema.instance.c.id == own)
            ).scalar_one()
        return last != (digest, self._recipes.number(delivery.recipe))

    def hold_destination(self, destination: str) -> None:
        """Lease nothing for a destination, now and after a restart, until it is released."""
        target = self._strings.number(destination)
        with self._database.write() as connection:
            connection.execute(self._database.upsert(_hold), [{"destination": target, "since": time.time()}])

    def release_destination(self, destination: str) -> None:
        """End a hold of a destination."""
        target = self._strings.number(destination)
        with self._database.write() as connection:
            connection.execute(delete(_hold).where(_hold.c.destination == target))

    def held_destinations(self) -> dict[str, float]:
        """The destinations on hold, and since when."""
        with self._database.read() as connection:
            rows = connection.execute(select(_hold)).all()
        return {self._strings.text(row.destination): row.since for row in rows}

    def _way(self, quiet: bool, untried_first: bool, stat_only: bool) -> _Way:
        """The statements of one way to lease, made when it is first used: made anew they cost each lease
        0.8 ms."""
        key = (quiet, untried_first, stat_only)
        if (found := self._ways.get(key)) is not None:
            return found
        due = _due(quiet=quiet, untried_first=untried_first, stat_only=stat_only)
        rows = _with_facts(due)
        of_priority = rows.where(_delivery.c.priority == bindparam("priority"))
        self._ways[key] = way = _Way(*map(self._database.prepared, (due, rows, of_priority)))
        return way  # two threads at once make the same

    def _with_shares(
        self, connection: Connection, way: _Way, rows: Sequence[Row[Any]], asked: dict[str, Any]
    ) -> Sequence[Row[Any]]:
        """As many `rows`, of which the last are the first ones of each lower priority that waits."""
        share, first = len(rows) // SHARE, rows[0][_PRIORITY]
        if not share or first == Priority.BULK:
            return rows
        if not self._lower_waits.finds(connection, {**asked, "above": first}):
            return rows
        lower: list[Row[Any]] = []
        for priority in Priority:
            if priority > first:
                waiting = {**asked, "priority": int(priority), "most": share}
                lower += way.of_priority.all(connection, waiting)
        shared = {row[0] for row in lower}
        return [*[row for row in rows if row[0] not in shared][: len(rows) - len(lower)], *lower]

    def _deliveries(self, rows: Sequence[Row[Any]], destination: str, until: float) -> list[LeasedDelivery]:
        made, text, recipe_of = self._instances.from_facts, self._strings.text, self._recipes.hash
        return [
            LeasedDelivery(
                id_,
                made(*facts),
                destination,
                batch,
                priority,
                recipe_of(recipe),
                text(syntax),
                attempts,
                until,
            )
            for id_, batch, priority, recipe, syntax, attempts, *facts in map(tuple, rows)
        ]


class _Way(NamedTuple):
    """The statements of one way to lease: what is due, the same with its facts, and those of one priority."""

    due: Prepared
    rows: Prepared
    of_priority: Prepared


def _due(*, quiet: bool, untried_first: bool, stat_only: bool) -> Select[Any]:
    """Up to `most` rows of the destination `target` that may be tried at `now`, in the order in which they
    are leased; with `quiet` only those of studies that got no image since the moment of that name."""
    order: list[ColumnElement[Any]] = [_delivery.c.priority, _delivery.c.study, _delivery.c.id]
    if untried_first:
        # Multiplied, modulo a power of two: numbers that follow each other end up far apart.
        order = [_delivery.c.tries, _delivery.c.priority, _delivery.c.id * 40503 % 65536, *order]
    query = select(*_LEASED_COLUMNS).where(
        literal_column(schema.OPEN),
        _delivery.c.destination == bindparam("target"),
        _delivery.c.state == int(State.PENDING),
        _delivery.c.not_before <= bindparam("now"),
    )
    if stat_only:
        query = query.where(_delivery.c.priority == int(Priority.STAT))
    if quiet:
        query = query.where(_quiet_since(bindparam("quiet")))
    return query.order_by(*order).limit(bindparam("most", type_=Integer))


_HELD = select(_hold.c.since).where(_hold.c.destination == bindparam("target"))
_TAKE = (
    update(_delivery)
    .where(_delivery.c.id == bindparam("delivery"))
    .values(state=int(State.LEASED), leased_until=bindparam("until"), owner=bindparam("who"))
)


_LOWER_WAITS = (
    select(literal(1))
    .select_from(_delivery)
    .where(
        literal_column(schema.OPEN),
        _delivery.c.destination == bindparam("target"),
        _delivery.c.priority > bindparam("above"),
        _delivery.c.state == int(State.PENDING),
        _delivery.c.not_before <= bindparam("now"),
    )
    .limit(1)
)
"""Whether a due row of lower priority than `above` waits."""


def _quiet_since(moment: BindParameter[Any]) -> ColumnElement[bool]:
    """Whether a delivery's study got its last image at `moment` or earlier."""
    progress = schema.progress.c
    last_arrival = exists().where(
        progress.study == _delivery.c.study,
        progress.destination == RECEIVED,
        progress.changed_at <= moment,
    )
    return last_arrival.correlate(_delivery)


def _with_facts(query: Select[Any]) -> Select[Any]:
    """The same rows with what an `Instance` is made of; no other node gets them meanwhile."""
    return (
        query.add_columns(*FACTS)
        .join(schema.instance, schema.instance.c.id == _delivery.c.instance)
        .join(schema.series, schema.series.c.id == schema.instance.c.series)
        .join(schema.study, schema.study.c.id == schema.series.c.study)
        .with_for_update(of=_delivery, skip_locked=True)
    )


_UNLEASE = (
    update(_delivery)
    .where(literal_column(schema.LEASED))
    .values(state=int(State.PENDING), leased_until=None, owner=None)
)


def _interrupt(connection: Connection, of: ColumnElement[bool]) -> int:
    """Make leased rows pending again whose owner is lost, with an attempt that has no answer; how many."""
    attempt = schema.attempt.c
    values = {
        attempt.delivery: _delivery.c.id,
        attempt.number: _delivery.c.tries + 1,
        attempt.started_at: literal(time.time()),
        attempt.milliseconds: literal(0),
        attempt.verdict: literal(Verdict.RETRY.value),
        attempt.comment: literal("the node ended before an answer was written; it may have been sent"),
        attempt.reason: literal("interrupted"),
        attempt.bytes: literal(0),
        attempt.syntax: literal(0),
    }
    lost = select(*values.values()).where(literal_column(schema.LEASED), of)
    connection.execute(insert(schema.attempt).from_select([column.name for column in values], lost))
    return connection.execute(_UNLEASE.where(of).values(tries=_delivery.c.tries + 1)).rowcount
