"""Deliveries as people look at them: listings by selection, and every attempt at one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, literal_column, select

from mapdr.kernel.item import Priority, TagPath
from mapdr.kernel.status import from_number, protocol
from mapdr.store.index import schema, selection
from mapdr.store.index.counters import RECEIVED
from mapdr.store.index.database import Database, portions
from mapdr.store.index.recipes import Recipes
from mapdr.store.index.schema import OWED, State
from mapdr.store.index.selection import Selection
from mapdr.store.index.strings import StringTable
from mapdr.store.index.studies import study_tags

_delivery, _instance, _attempt, _study = schema.delivery, schema.instance, schema.attempt, schema.study


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as the ledger keeps it; `sop_instance_uid` is the UID sent.

    `credential` is what the receiver has proved to be, as `mapdr.kernel.item.Source` has it.
    """

    number: int
    started_at: float
    milliseconds: int
    verdict: str
    status: int | None
    status_protocol: str
    comment: str
    reason: str
    bytes: int
    transfer_syntax_uid: str
    sop_instance_uid: str
    treatment: str
    credential: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery for a listing, with its last attempt (None if it was never tried).

    `study_received_at` is when its study got its last image. `tags` hold what identifies the patient. A
    comment that came with a status is the receiver's own, and may quote a value of the image. `recipe` is the
    hash of what was promised.
    """

    id: int
    instance: str
    study_instance_uid: str
    study_date: str
    sop_instance_uid: str
    modality: str
    destination: str
    batch: int
    priority: str
    recipe: str
    state: str
    reason: str
    comment: str
    attempts: int
    not_before: float
    received_at: float
    settled_at: float | None
    last: Attempt | None
    tags: Mapping[TagPath, str]
    study_received_at: float


_LAST_IMAGE = (
    select(func.max(schema.progress.c.changed_at))
    .where(schema.progress.c.study == _study.c.id, schema.progress.c.destination == RECEIVED)
    .scalar_subquery()
)


class Listing:
    """Reads deliveries; writes nothing."""

    def __init__(self, database: Database, strings: StringTable, recipes: Recipes) -> None:
        self._database = database
        self._strings = strings
        self._recipes = recipes

    def select(self, chosen: Selection) -> list[DeliveryRow]:
        """The deliveries that a selection chooses, newest first, with their last attempt."""
        query = selection.deliveries(
            chosen,
            self._strings,
            _delivery,
            _instance.c.sop_instance_uid,
            _instance.c.modality,
            _instance.c.received_at,
            _study.c.uid.label("study_uid"),
            _study.c.study_date,
            _study.c.tags,
            _LAST_IMAGE.label("study_received_at"),
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            attempts = self._last_attempts(connection, [row.id for row in rows])
        return [self._row(row, attempts.get(row.id)) for row in rows]

    def attempts(self, deliveries: Sequence[int]) -> dict[int, list[Attempt]]:
        """Every attempt at each of these deliveries, by their ids, oldest first."""
        query = (
            select(_attempt, _instance.c.sop_instance_uid.label("received_uid"))
            .join(_delivery, _delivery.c.id == _attempt.c.delivery)
            .join(_instance, _instance.c.id == _delivery.c.instance)
            .order_by(_attempt.c.number)
        )
        found: dict[int, list[Attempt]] = {id_: [] for id_ in deliveries}
        with self._database.read() as connection:
            for some in portions(deliveries):
                for row in connection.execute(query.where(_attempt.c.delivery.in_(some))):
                    found[row.delivery].append(self._attempt(row, row.received_uid))
        return found

    def kinds(self, destination: str, newest: int) -> Counter[tuple[str, str]]:
        """How many of a destination's newest images have which SOP class and transfer syntax: the one that
        they were last sent in, or that they came in."""
        number = self._strings.find(destination)
        if number is None:
            return Counter()
        last = (
            select(_delivery.c.id, _delivery.c.instance, _delivery.c.tries)
            .where(_delivery.c.destination == number)
            .order_by(_delivery.c.id.desc())
            .limit(newest)
            .subquery()
        )
        syntax = func.coalesce(func.nullif(_attempt.c.syntax, 0), _instance.c.syntax)
        query = (
            select(_instance.c.sop_class, syntax.label("syntax"), func.count().label("images"))
            .select_from(last)
            .join(_instance, _instance.c.id == last.c.instance)
            .outerjoin(_attempt, (_attempt.c.delivery == last.c.id) & (_attempt.c.number == last.c.tries))
            .group_by(_instance.c.sop_class, syntax)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        text = self._strings.text
        return Counter({(text(row.sop_class), text(row.syntax)): row.images for row in rows})

    def parked_recipes(self, chosen: Selection) -> Counter[str]:
        """How many of the chosen deliveries are parked, by the hash of the recipe that was promised."""
        query = selection.deliveries(chosen, self._strings, _delivery.c.recipe).where(
            literal_column(schema.STUCK), _delivery.c.state == State.PARKED
        )
        with self._database.read() as connection:
            numbers = Counter(row.recipe for row in connection.execute(query))
        return Counter({self._recipes.hash(number): count for number, count in numbers.items()})

    def retriable(self, chosen: Selection) -> Counter[str]:
        """How many deliveries `retry` would make due, by destination."""
        query = selection.deliveries(chosen, self._strings, _delivery.c.destination)
        with self._database.read() as connection:
            rows = connection.execute(query.where(_delivery.c.state.in_((State.PARKED, State.PENDING))))
            numbers = Counter(row.destination for row in rows)
        return Counter({self._strings.text(number): count for number, count in numbers.items()})

    def of_other_priority(self, chosen: Selection, priority: Priority) -> Counter[str]:
        """How many deliveries `prioritize` would change, by destination."""
        query = selection.deliveries(chosen, self._strings, _delivery.c.destination).where(
            _delivery.c.state.in_(OWED), _delivery.c.priority != int(priority)
        )
        with self._database.read() as connection:
            numbers = Counter(row.destination for row in connection.execute(query))
        return Counter({self._strings.text(number): count for number, count in numbers.items()})

    def _last_attempts(self, connection: Connection, ids: Sequence[int]) -> dict[int, Row[Any]]:
        found: dict[int, Row[Any]] = {}
        for some in portions(ids):
            query = (
                select(_attempt)
                .join(_delivery, _delivery.c.id == _attempt.c.delivery)
                .where(_attempt.c.number == _delivery.c.tries)
                .where(_delivery.c.id.in_(some))
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
            modality=self._strings.text(row.modality),
            destination=self._strings.text(row.destination),
            batch=row.batch,
            priority=Priority(row.priority).word,
            recipe=self._recipes.hash(row.recipe),
            state=State(row.state).word,
            reason=row.reason or "",
            comment=row.comment or "",
            attempts=row.attempts,
            not_before=row.not_before,
            received_at=row.received_at,
            settled_at=row.settled_at,
            last=None if last is None else self._attempt(last, row.sop_instance_uid),
            tags=study_tags(row.tags),
            study_received_at=row.study_received_at or 0.0,
        )

    def _attempt(self, row: Row[Any], received_uid: str) -> Attempt:
        status = from_number(row.status)
        return Attempt(
            number=row.number,
            started_at=row.started_at,
            milliseconds=row.milliseconds,
            verdict=row.verdict,
            status=status,
            status_protocol=protocol(status),
            comment=row.comment or "",
            reason=row.reason or "",
            bytes=row.bytes,
            transfer_syntax_uid=self._strings.text(row.syntax),
            sop_instance_uid=row.sop_instance_uid or received_uid,
            treatment=row.treatment or "",
            credential=self._strings.text(row.credential) if row.credential else "",
        )
