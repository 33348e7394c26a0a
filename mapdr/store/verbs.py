"""What people do to the ledger: look, try again, hold, release, and promise anew (design, decision 16)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Header, Routing, Source, TagPath
from mapdr.store import schema, selection
from mapdr.store.database import Database
from mapdr.store.enrol import DELIVERY_COLUMNS, LATER_LANE
from mapdr.store.headers import read_file_header
from mapdr.store.instances import Instances
from mapdr.store.names import Recipes, Words
from mapdr.store.schema import State
from mapdr.store.selection import Selection
from mapdr.store.studies import Studies
from mapdr.store.twins import promises_of

_delivery, _instance, _attempt, _study = schema.delivery, schema.instance, schema.attempt, schema.study
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as the ledger keeps it; `sop_instance_uid` is the UID sent."""

    number: int
    started_at: float
    milliseconds: int
    verdict: str
    status: int | None
    comment: str
    reason: str
    bytes: int
    transfer_syntax_uid: str
    sop_instance_uid: str
    treatment: str


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery for a listing, with its last attempt (None if it was never tried)."""

    id: int
    instance: str
    study_instance_uid: str
    study_date: str
    sop_instance_uid: str
    modality: str
    destination: str
    batch: int
    state: str
    reason: str
    comment: str
    attempts: int
    not_before: float
    received_at: float
    settled_at: float | None
    last: Attempt | None


@dataclass(frozen=True, slots=True)
class Rerouted:
    """What a re-route did: images read, deliveries promised, images whose file is gone or unreadable,
    and images that no rule takes."""

    images: int = 0
    deliveries: int = 0
    missing: int = 0
    unrouted: int = 0


class Verbs:
    """Reads and changes deliveries by selection."""

    def __init__(
        self,
        database: Database,
        *,
        words: Words,
        recipes: Recipes,
        instances: Instances,
        studies: Studies,
    ) -> None:
        self._database = database
        self._words = words
        self._recipes = recipes
        self._instances = instances
        self._studies = studies
        self._insert = database.insertion(schema.delivery, DELIVERY_COLUMNS)

    def select(self, chosen: Selection) -> list[DeliveryRow]:
        """The deliveries that a selection chooses, newest first, with their last attempt."""
        query = selection.deliveries(
            chosen,
            self._words,
            _delivery,
            _instance.c.sop_instance_uid,
            _instance.c.modality,
            _instance.c.received_at,
            _study.c.uid.label("study_uid"),
            _study.c.study_date,
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            attempts = self._last_attempts(connection, [row.id for row in rows])
        return [self._row(row, attempts.get(row.id)) for row in rows]

    def attempts(self, delivery_id: int) -> list[Attempt]:
        """Every attempt at a delivery, oldest first."""
        query = (
            select(_attempt, _instance.c.sop_instance_uid.label("received_uid"))
            .join(_delivery, _delivery.c.id == _attempt.c.delivery)
            .join(_instance, _instance.c.id == _delivery.c.instance)
            .where(_attempt.c.delivery == delivery_id)
            .order_by(_attempt.c.number)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [self._attempt(row, row.received_uid) for row in rows]

    def retry(self, chosen: Selection) -> int:
        """Parked rows, and those that wait for their next try, are due now; how many."""
        return self._move(
            chosen,
            (State.PARKED, State.PENDING),
            state=int(State.PENDING),
            not_before=0.0,
            attempts=0,
            settled_at=None,
            reason=None,
            comment=None,
        )

    def hold(self, chosen: Selection) -> int:
        """Pending rows wait until they are released; how many. What is leased is under way and stays."""
        return self._move(chosen, (State.PENDING,), state=int(State.HELD))

    def release(self, chosen: Selection) -> int:
        """Held rows are pending again; how many."""
        return self._move(chosen, (State.HELD,), state=int(State.PENDING))

    def reroute(
        self,
        chosen: Selection,
        route: Callable[[Header, Source], Routing],
        wanted: frozenset[TagPath],
        *,
        only: Iterable[str] = (),
    ) -> Rerouted:
        """Evaluate the rules again for images in the spool and promise what they say, as a new batch.

        `only` limits it to these destinations. A promise that is still open is not made twice.
        """
        limit = frozenset(only)
        done = Rerouted()
        for rows in self._image_rows(chosen):
            promised = []
            missing = unrouted = 0
            for row in rows:
                routing = self._route(row, route, wanted)
                if routing is None:
                    missing += 1
                    continue
                to = [(name, hash_) for name, hash_ in routing.deliveries if not limit or name in limit]
                unrouted += not routing.deliveries
                number, recipe = self._words.number, self._recipes.number
                promised.append((row, [(number(name), recipe(hash_)) for name, hash_ in to]))
            made = self._promise(promised)
            done = Rerouted(
                done.images + len(promised),
                done.deliveries + made,
                done.missing + missing,
                done.unrouted + unrouted,
            )
        return done

    def _move(self, chosen: Selection, states: Sequence[State], **values: Any) -> int:
        query = selection.deliveries(chosen, self._words, _delivery.c.id).where(_delivery.c.state.in_(states))
        moved = 0
        with self._database.write() as connection:
            ids = [row.id for row in connection.execute(query)]
            for start in range(0, len(ids), _AT_ONCE):
                statement = update(_delivery).where(_delivery.c.id.in_(ids[start : start + _AT_ONCE]))
                moved += connection.execute(statement.values(values)).rowcount
        return moved

    def _image_rows(self, chosen: Selection) -> Iterator[list[Row[Any]]]:
        query = selection.images(chosen, self._words, _instance.c.id)
        with self._database.read() as connection:
            keys = [row.id for row in connection.execute(query)]
        for start in range(0, len(keys), _AT_ONCE):
            with self._database.read() as connection:
                rows = self._instances.rows(connection, keys[start : start + _AT_ONCE])
            yield sorted(rows, key=lambda row: bytes(row.id))

    def _route(
        self, row: Row[Any], route: Callable[[Header, Source], Routing], wanted: frozenset[TagPath]
    ) -> Routing | None:
        instance = self._instances.of(row)
        if row.purged_at is not None:
            return None
        try:
            header = read_file_header(
                instance.path,
                instance.data_offset,
                instance.size,
                transfer_syntax_uid=instance.transfer_syntax_uid,
                wanted=wanted,
            )
        except (OSError, Permanent):
            return None
        return route(header, instance.source)

    def _promise(self, promised: Sequence[tuple[Row[Any], list[tuple[int, int]]]]) -> int:
        made: list[tuple[Any, ...]] = []
        changed: set[tuple[int, int]] = set()
        routed: list[bytes] = []
        with self._database.write() as connection:
            for row, to in promised:
                standing = promises_of(connection, row.study, [row.id])
                now_gone = select(_instance.c.purged_at).where(_instance.c.id == row.id).with_for_update()
                gone = connection.execute(now_gone).scalar()
                batch = self._next_batch(connection, row)
                for promise in to if gone is None else ():
                    if any(state <= State.HELD for state in standing.get(promise, ())):
                        continue
                    destination, recipe = promise
                    pending = int(State.PENDING)
                    made.append((row.id, row.study, destination, batch, LATER_LANE, recipe, pending, 0.0))
                    changed.add((row.study, destination))
                    routed.append(row.id)
            if made:
                connection.exec_driver_sql(self._insert, made)
                connection.execute(update(_instance).where(_instance.c.id.in_(routed)).values(routed=1))
            self._studies.touch(connection, changed, time.time())
        return len(made)

    def _next_batch(self, connection: Connection, row: Row[Any]) -> int:
        query = select(func.max(_delivery.c.batch)).where(
            _delivery.c.study == row.study, _delivery.c.instance == row.id
        )
        newest: int | None = connection.execute(query).scalar()
        return 0 if newest is None else newest + 1

    def _last_attempts(self, connection: Connection, ids: Sequence[int]) -> dict[int, Row[Any]]:
        found: dict[int, Row[Any]] = {}
        for start in range(0, len(ids), _AT_ONCE):
            query = (
                select(_attempt)
                .join(_delivery, _delivery.c.id == _attempt.c.delivery)
                .where(_attempt.c.number == _delivery.c.tries)
                .where(_delivery.c.id.in_(ids[start : start + _AT_ONCE]))
            )
            found |= {row.delivery: row for row in connection.execute(query)}
        return found

    def _row(self, row: Row[Any], last: Row[Any] | None) -> DeliveryRow:
        return DeliveryRow(
            id=row.id,
            instance=row.instance.hex(),
            study_instance_uid=row.study_uid,
            study_date=row.study_date,
            sop_instance_uid=row.sop_instance_uid,
            modality=self._words.text(row.modality),
            destination=self._words.text(row.destination),
            batch=row.batch,
            state=State(row.state).name.lower(),
            reason=row.reason or "",
            comment=row.comment or "",
            attempts=row.attempts,
            not_before=row.not_before,
            received_at=row.received_at,
            settled_at=row.settled_at,
            last=None if last is None else self._attempt(last, row.sop_instance_uid),
        )

    def _attempt(self, row: Row[Any], received_uid: str) -> Attempt:
        return Attempt(
            number=row.number,
            started_at=row.started_at,
            milliseconds=row.milliseconds,
            verdict=row.verdict,
            status=row.status,
            comment=row.comment or "",
            reason=row.reason or "",
            bytes=row.bytes,
            transfer_syntax_uid=self._words.text(row.syntax),
            sop_instance_uid=row.sop_instance_uid or received_uid,
            treatment=row.treatment or "",
        )
