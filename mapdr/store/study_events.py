"""When a study has become quiet, or complete for a destination: each time is told once.

The index has a `progress` row per study and destination (0: received). Whatever changes there makes it due;
when it has been left alone for the quiet time it is judged by the ledger's rows, never by a running sum:

    arrival ─┐                    quiet time                 ┌─ nothing open ──▶ event, in the outbox
    settled ─┴─▶ due, changed_at ────────────▶ due_events ───┤
                                                             └─ something open ▶ no longer due; its
                                                                settling will make it due again

While images of a study still come, nothing is told of it for any destination: repeats are owed to none, and
what the destination has so far would be told as the whole.

An event and its outbox rows are one transaction: it happens exactly once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Integer, Row, bindparam, literal_column, select, update

from mapdr.kernel.item import TagPath
from mapdr.kernel.privacy import place
from mapdr.store.index import schema
from mapdr.store.index.counters import RECEIVED
from mapdr.store.index.database import Database
from mapdr.store.index.schema import ENDED, UNDER_WAY, State
from mapdr.store.index.strings import StringTable
from mapdr.store.index.studies import study_tags
from mapdr.store.messages import OutboxEntry
from mapdr.store.outbox import Outbox

log = logging.getLogger("mapdr.store")

_AT_ONCE = 200
_study, _series, _progress = schema.study, schema.series, schema.progress
_arrival = _progress.alias("arrival")
_instance, _delivery = schema.instance, schema.delivery
_COMING = select(_arrival.c.study).where(
    _arrival.c.study == _progress.c.study,
    _arrival.c.destination == RECEIVED,
    _arrival.c.changed_at > bindparam("before"),
)
_DUE = (
    select(_progress)
    .where(literal_column(schema.DUE), _progress.c.changed_at <= bindparam("before"), ~_COMING.exists())
    # What was received is told before what became of it.
    .order_by(_progress.c.destination != RECEIVED, _progress.c.changed_at)
    .limit(bindparam("most", type_=Integer))
)
_WAITING = select(_progress.c.study).where(literal_column(schema.DUE)).limit(literal_column("1"))


@dataclass(frozen=True, slots=True)
class SeriesPart:
    """A series within an event: its Modality (several joined by a backslash), and its images as the event
    counts them."""

    uid: str
    modality: str
    images: int
    parked: int


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """A study that became quiet ("study.received") or complete for a destination ("study.delivered", or
    "study.parked" when some of its images are parked).

    `update` counts earlier events of the same kind of row: 0 is the first, more follow when images come
    late. `images` and `series` count what was received, or promised to the destination and not dismissed.
    `by_series` has the same counts for each series, in the order in which they came. `key` is unique.
    """

    key: str
    kind: str
    study: int
    study_instance_uid: str
    study_date: str
    destination: str
    tags: Mapping[TagPath, str]
    modalities: tuple[str, ...]
    series: int
    images: int
    delivered: int
    parked: int
    reason: str
    update: int
    first_at: float
    last_at: float
    at: float
    by_series: tuple[SeriesPart, ...] = ()


class StudyEvents:
    """Finds the studies that there is something to tell of, and puts it into the outbox."""

    def __init__(self, database: Database, strings: StringTable, outbox: Outbox) -> None:
        self._database = database
        self._strings = strings
        self._outbox = outbox
        # Asked once a second while images move; to make them anew takes longer than to ask.
        self._due_ones = database.prepared(_DUE.with_only_columns(_progress.c.study, _progress.c.destination))
        self._any_due = database.prepared(_WAITING)
        self._later: dict[tuple[int, int], float] = {}  # could not be told of: when to look again (monotonic)

    def due_events(
        self,
        now: float,
        quiet_seconds: float,
        entries: Callable[[StudyEvent], Iterable[OutboxEntry]] = lambda event: (),
    ) -> list[StudyEvent]:
        """The studies that are quiet or complete since the last call; each is told once.

        `entries` makes the outbox rows of an event; they are written in the transaction that tells it. A
        study that cannot be told of is logged, and looked at again after another `quiet_seconds`.
        """
        moment = time.monotonic()
        self._later = {key: at for key, at in self._later.items() if at > moment}
        before = now - quiet_seconds
        with self._database.read() as connection:
            found = self._due_ones.all(connection, self._asked(before))
        if all(tuple(row) in self._later for row in found):
            return []
        with self._database.write() as connection:
            events = []
            for row in self._due(connection, before):
                this = update(_progress).where(
                    _progress.c.study == row.study, _progress.c.destination == row.destination
                )
                event = self._judge(connection, row, now)
                try:
                    told = [] if event is None else list(entries(event))
                except Exception as error:  # noqa: BLE001  one study must not keep the others from being told of
                    log.error("study %d cannot be told of (%s); later again", row.study, place(error))
                    # Not in the row: destinations that wait for a quiet study go by `changed_at`.
                    self._later[row.study, row.destination] = time.monotonic() + quiet_seconds
                    continue
                connection.execute(this.values(due=0, announced=row.announced + (event is not None)))
                if event is not None:
                    events.append(event)
                    self._outbox.put(connection, told, now)
        return events

    def waiting(self) -> bool:
        """Whether a study or destination has changed since it was judged: it is, once it has been quiet."""
        with self._database.read() as connection:
            return self._any_due.finds(connection, {})

    def _due(self, connection: Connection, before: float) -> Sequence[Row[Any]]:
        rows = connection.execute(_DUE, self._asked(before)).all()
        return [row for row in rows if (row.study, row.destination) not in self._later]

    def _asked(self, before: float) -> dict[str, Any]:
        """The values of `_DUE`: enough rows that those for later keep none of the others out."""
        return {"before": before, "most": _AT_ONCE + len(self._later)}

    def _judge(self, connection: Connection, row: Row[Any], now: float) -> StudyEvent | None:
        """What a `progress` row that is due amounts to; None while something is open, or without images."""
        images = self._images(connection, row.study, row.destination)
        states = [state for _, _, state, _ in images]
        if not images or any(state in UNDER_WAY for state in states):
            return None
        parked = states.count(State.PARKED)
        kind = "study.parked" if parked else "study.delivered"
        if row.destination == RECEIVED:
            kind = "study.received"
        study = connection.execute(select(_study).where(_study.c.id == row.study)).one()
        return StudyEvent(
            key=f"{kind}:{row.study}:{row.destination}:{row.announced}",
            kind=kind,
            study=row.study,
            study_instance_uid=study.uid,
            study_date=study.study_date,
            destination=self._strings.text(row.destination),
            tags=study_tags(study.tags),
            modalities=tuple(sorted({self._strings.text(modality) for _, modality, _, _ in images})),
            series=len({series for series, _, _, _ in images}),
            images=len(images),
            delivered=states.count(State.DELIVERED),
            parked=parked,
            reason=next((reason or "" for _, _, state, reason in images if state == State.PARKED), ""),
            update=row.announced,
            first_at=study.first_at,
            last_at=study.last_at,
            at=now,
            by_series=self._by_series(connection, row.study, images),
        )

    def _by_series(
        self, connection: Connection, study: int, images: Iterable[tuple[int, int, State | None, str | None]]
    ) -> tuple[SeriesPart, ...]:
        """The series of a study that have some of `images`, as `_images` gives them."""
        grouped: dict[int, list[tuple[int, State | None]]] = {}
        for series, modality, state, _ in images:
            grouped.setdefault(series, []).append((modality, state))
        query = select(_series.c.id, _series.c.uid).where(_series.c.study == study).order_by(_series.c.id)
        return tuple(
            SeriesPart(
                row.uid,
                "\\".join(sorted({self._strings.text(modality) for modality, _ in grouped[row.id]})),
                len(grouped[row.id]),
                sum(state == State.PARKED for _, state in grouped[row.id]),
            )
            for row in connection.execute(query)
            if row.id in grouped
        )

    def _images(
        self, connection: Connection, study: int, destination: int
    ) -> list[tuple[int, int, State | None, str | None]]:
        """Series, modality, state and reason per SOP Instance UID: the newest promise that nobody superseded
        or dismissed speaks for it."""
        found: dict[tuple[int, str], tuple[int, int, State | None, str | None]] = {}
        if destination == RECEIVED:
            rows = connection.execute(
                select(_instance.c.series, _instance.c.sop_instance_uid, _instance.c.modality).where(
                    _instance.c.series.in_(select(_series.c.id).where(_series.c.study == study))
                )
            )
            for row in rows:
                found[row.series, row.sop_instance_uid] = (row.series, row.modality, None, None)
            return list(found.values())
        rows = connection.execute(
            select(
                _instance.c.series,
                _instance.c.sop_instance_uid,
                _instance.c.modality,
                _delivery.c.state,
                _delivery.c.reason,
            )
            .join(_instance, _instance.c.id == _delivery.c.instance)
            .where(_delivery.c.study == study, _delivery.c.destination == destination)
            .where(_delivery.c.state <= ENDED)
            .order_by(_delivery.c.id)
        )
        for row in rows:
            key = (row.series, row.sop_instance_uid)
            found[key] = (row.series, row.modality, State(row.state), row.reason)
        return list(found.values())
