"""Studies: what the index keeps of them, and when one has become quiet or complete for a destination.

`progress` has a row per study and destination (0: received). Whatever changes there makes it due; when it
has been left alone for the quiet time it is judged by the ledger's rows, never by a running sum:

    arrival ─┐                    quiet time                 ┌─ nothing open ──▶ event, in the outbox
    settled ─┴─▶ due, changed_at ────────────▶ due_events ───┤
                                                             └─ something open ▶ no longer due; its
                                                                settling will make it due again

An event and its outbox rows are one transaction: it happens exactly once.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, literal_column, select, update

from mapdr.kernel.item import Header, TagPath
from mapdr.kernel.output import place
from mapdr.store.index import schema
from mapdr.store.index.counters import RECEIVED
from mapdr.store.index.database import Database
from mapdr.store.index.outbox import Outbox, OutboxEntry
from mapdr.store.index.schema import ENDED, State
from mapdr.store.index.strings import Words, clean
from mapdr.store.spool.headers import STUDY_DATE

log = logging.getLogger("mapdr.store")

_AT_ONCE = 200
_OPEN_STATES = (State.PENDING, State.LEASED, State.HELD)
_study, _series, _progress = schema.study, schema.series, schema.progress
_instance, _delivery = schema.instance, schema.delivery

_LAST_AT = (
    update(_study)
    .where(_study.c.id == bindparam("study"), _study.c.last_at < bindparam("at"))
    .values(last_at=bindparam("at"))
)


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """A study that became quiet ("study.received") or complete for a destination ("study.delivered", or
    "study.parked" when some of its images are parked).

    `update` counts earlier events of the same kind of row: 0 is the first, more follow when images come
    late. `images` and `series` count what was received, or promised to the destination and not dismissed.
    `key` is unique.
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


class Studies:
    """The studies of the index."""

    def __init__(self, database: Database, words: Words, outbox: Outbox) -> None:
        self._database = database
        self._words = words
        self._outbox = outbox
        self._touch = database.upsert(_progress, replace=("due",), greater=("changed_at",))
        self._later: dict[tuple[int, int], float] = {}  # could not be told of: when to look again (monotonic)
        self._new_study = database.upsert(_study)
        self._new_series = database.upsert(_series)

    def enter(
        self,
        connection: Connection,
        uids: tuple[str, str],
        header: Header,
        received_at: float,
        tags: AbstractSet[TagPath],
    ) -> tuple[tuple[int, int], bool]:
        """The numbers of a study and a series (by UID), made if new, and whether the series was new."""
        study_uid, series_uid = uids
        values = {tag_key(path): clean(text) for path in tags if (text := header.text(path))}
        study = connection.execute(
            select(_study.c.id, _study.c.tags).where(_study.c.uid == study_uid)
        ).first()
        if study is None:
            row = {
                "uid": study_uid,
                "study_date": clean(header.text(STUDY_DATE))[:8],
                "first_at": received_at,
                "last_at": received_at,
                "tags": json.dumps(values),
            }
            connection.execute(self._new_study, [row])
            number = connection.execute(select(_study.c.id).where(_study.c.uid == study_uid)).scalar_one()
        else:
            number = study.id
            self._complete(connection, study.id, study.tags, values)
        query = select(_series.c.id).where(_series.c.study == number, _series.c.uid == series_uid)
        known = connection.execute(query).scalar()
        if known is not None:
            return (number, known), False
        connection.execute(self._new_series, [{"study": number, "uid": series_uid}])
        return (number, connection.execute(query).scalar_one()), True

    def touch(self, connection: Connection, changed: Iterable[tuple[int, int]], now: float) -> None:
        """Something changed for these (study, destination) pairs."""
        rows = [
            {"study": study, "destination": destination, "changed_at": now, "due": 1, "announced": 0}
            for study, destination in changed
        ]
        if rows:
            connection.execute(self._touch, rows)

    def arrived(self, connection: Connection, last_at: Mapping[int, float]) -> None:
        """Images of these studies were received at these times."""
        connection.execute(_LAST_AT, [{"study": study, "at": at} for study, at in last_at.items()])

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
        with self._database.read() as connection:
            if not self._due(connection, now - quiet_seconds):
                return []
        with self._database.write() as connection:
            events = []
            for row in self._due(connection, now - quiet_seconds):
                this = update(_progress).where(
                    _progress.c.study == row.study, _progress.c.destination == row.destination
                )
                event = self._judge(connection, row, now)
                try:
                    told = [] if event is None else list(entries(event))
                except Exception as error:  # noqa: BLE001  one study must not keep the others from being told of
                    log.error("study %d cannot be told of (%s); later again", row.study, place(error))
                    # Not in the row: lanes that wait for a quiet study go by `changed_at`.
                    self._later[row.study, row.destination] = time.monotonic() + quiet_seconds
                    continue
                connection.execute(this.values(due=0, announced=row.announced + (event is not None)))
                if event is not None:
                    events.append(event)
                    self._outbox.put(connection, told, now)
        return events

    def tags(self, study: int) -> dict[TagPath, str]:
        """What the index keeps of a study's tags. KeyError if there is no such study."""
        with self._database.read() as connection:
            text = connection.execute(select(_study.c.tags).where(_study.c.id == study)).scalar()
        if text is None:
            raise KeyError(study)
        return study_tags(text)

    def _complete(self, connection: Connection, study: int, tags: str, values: Mapping[str, str]) -> None:
        known = json.loads(tags)
        merged = {**values, **known}
        if merged != known:
            connection.execute(update(_study).where(_study.c.id == study).values(tags=json.dumps(merged)))

    def _due(self, connection: Connection, before: float) -> Sequence[Row[Any]]:
        rows = connection.execute(
            select(_progress)
            .where(literal_column(schema.DUE), _progress.c.changed_at <= before)
            .order_by(_progress.c.changed_at)
            .limit(_AT_ONCE + len(self._later))
        ).all()
        return [row for row in rows if (row.study, row.destination) not in self._later]

    def _judge(self, connection: Connection, row: Row[Any], now: float) -> StudyEvent | None:
        images = self._images(connection, row.study, row.destination)
        states = [state for _, _, state, _ in images]
        if not images or any(state in _OPEN_STATES for state in states):
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
            destination=self._words.text(row.destination),
            tags=study_tags(study.tags),
            modalities=tuple(sorted({self._words.text(modality) for _, modality, _, _ in images})),
            series=len({series for series, _, _, _ in images}),
            images=len(images),
            delivered=states.count(State.DELIVERED),
            parked=parked,
            reason=next((reason or "" for _, _, state, reason in images if state == State.PARKED), ""),
            update=row.announced,
            first_at=study.first_at,
            last_at=study.last_at,
            at=now,
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


def tag_key(path: TagPath) -> str:
    """A tag path as the index writes it: hexadecimal tags joined by dots."""
    return ".".join(f"{tag:08x}" for tag in path)


def study_tags(text: str) -> dict[TagPath, str]:
    """What the index keeps of a study's tags, from its JSON."""
    return {tuple(int(tag, 16) for tag in key.split(".")): value for key, value in json.loads(text).items()}
