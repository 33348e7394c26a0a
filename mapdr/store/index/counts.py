"""Reading the counts and the queues: what came, what reached whom, what waits, what is stuck."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, literal_column, select

from mapdr.store.index import schema
from mapdr.store.index.counters import ALL, EVERY, RECEIVED, today
from mapdr.store.index.database import Database
from mapdr.store.index.schema import State
from mapdr.store.index.strings import StringTable

_tally, _delivery, _instance = schema.tally, schema.delivery, schema.instance

_OPEN_ROWS = (
    select(_delivery.c.destination, func.count().label("number"), func.min(_delivery.c.id).label("first"))
    .where(literal_column(schema.OPEN))
    .group_by(_delivery.c.destination)
)
_GROUPS = select(_delivery.c.destination, _delivery.c.state, func.count().label("number")).group_by(
    _delivery.c.destination, _delivery.c.state
)

Numbers = dict[str, int]
"""images, studies, repeats and versions."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One destination's queue. `oldest` is when its oldest pending or leased image was received, or None;
    `next_due` when its next row may be tried."""

    destination: str
    pending: int
    leased: int
    held: int
    parked: int
    oldest: float | None
    next_due: float | None


class Counts:
    """Reads counts; writes nothing."""

    def __init__(self, database: Database, strings: StringTable) -> None:
        self._database = database
        self._strings = strings

    def today(self) -> dict[str, Any]:
        """The counts of the node's current local day; see `day`."""
        return self.day(today())

    def day(self, date: int | str) -> dict[str, Any]:
        """The counts of a local day (20261123 or "2026-11-23"), of all origins together.

        {"received": {modality: numbers}, "delivered": {destination: {modality: numbers}}}, where numbers
        are {"images", "studies", "repeats", "versions"}.
        """
        day = int(str(date).replace("-", ""))
        query = select(_tally).where(_tally.c.day == day, _tally.c.origin == ALL, _tally.c.modality != EVERY)
        received: dict[str, Numbers] = {}
        delivered: dict[str, dict[str, Numbers]] = {}
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            modality = self._strings.text(row.modality)
            if row.destination == RECEIVED:
                received[modality] = _numbers(row)
            else:
                delivered.setdefault(self._strings.text(row.destination), {})[modality] = _numbers(row)
        return {"received": received, "delivered": delivered}

    def received_today(self) -> dict[str, int]:
        """Images that came on the node's current local day, by the name of the peer (`Source.peer`)."""
        query = (
            select(_tally.c.origin, func.sum(_tally.c.images).label("images"))
            .where(_tally.c.day == today(), _tally.c.destination == RECEIVED, _tally.c.origin != ALL)
            .group_by(_tally.c.origin)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return {self._strings.text(row.origin): int(row.images) for row in rows}

    def pending(self) -> int:
        """Deliveries that are open or on hold."""
        return self._count(schema.OPEN) + self._stuck(State.HELD)

    def parked(self) -> int:
        """Deliveries that wait for a person."""
        return self._stuck(State.PARKED)

    def unrouted(self) -> int:
        """Images in the spool that no rule took; one that came several times is one."""
        with self._database.read() as connection:
            uid = _instance.c.sop_instance_uid
            query = select(func.count(uid.distinct())).where(literal_column(schema.UNROUTED))
            return int(connection.execute(query).scalar_one())

    def status(self) -> dict[str, Any]:
        """What `mapdr status --json` has at least."""
        return {
            "today": self.today(),
            "pending": self.pending(),
            "parked": self.parked(),
            "unrouted": self.unrouted(),
        }

    def queues(self) -> list[Queue]:
        """Every destination that has rows which are not delivered."""
        found: dict[int, dict[str, Any]] = {}
        with self._database.read() as connection:
            for row in connection.execute(_OPEN_ROWS):
                oldest = select(_instance.c.received_at).join(
                    _delivery, _delivery.c.instance == _instance.c.id
                )
                found[row.destination] = {
                    "pending": row.number,
                    "oldest": connection.execute(oldest.where(_delivery.c.id == row.first)).scalar_one(),
                    "due": self._due(connection, row.destination),
                }
            for where in (schema.LEASED, schema.STUCK):
                for row in connection.execute(_GROUPS.where(literal_column(where))):
                    facts = found.setdefault(row.destination, {})
                    facts[State(row.state).word] = row.number
                    if row.state == State.LEASED:
                        facts["pending"] -= row.number
        return [
            Queue(
                destination=self._strings.text(destination),
                pending=facts.get("pending", 0),
                leased=facts.get("leased", 0),
                held=facts.get("held", 0),
                parked=facts.get("parked", 0),
                oldest=facts.get("oldest"),
                next_due=facts.get("due"),
            )
            for destination, facts in sorted(found.items(), key=lambda item: self._strings.text(item[0]))
        ]

    def _due(self, connection: Connection, destination: int) -> float | None:
        now = time.time()
        pending = select(_delivery.c.not_before).where(
            literal_column(schema.OPEN),
            _delivery.c.destination == destination,
            _delivery.c.state == State.PENDING,
        )
        if connection.execute(pending.where(_delivery.c.not_before <= now).limit(1)).first() is not None:
            return now
        earliest: float | None = connection.execute(
            pending.order_by(_delivery.c.not_before).limit(1)
        ).scalar()
        return earliest

    def _count(self, where: str) -> int:
        with self._database.read() as connection:
            query = select(func.count()).select_from(_delivery).where(literal_column(where))
            return int(connection.execute(query).scalar_one())

    def _stuck(self, state: State) -> int:
        return self._count(f"{schema.STUCK} AND state = {int(state)}")


def _numbers(row: Row[Any]) -> Numbers:
    return {
        "images": row.images,
        "studies": row.studies,
        "repeats": row.repeats,
        "versions": row.versions,
    }
