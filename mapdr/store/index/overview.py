"""What people look at: studies with what became of them at each destination, and why images are parked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, Select, case, exists, func, literal_column, select

from mapdr.kernel.item import Source, TagPath
from mapdr.store.index import schema, selection
from mapdr.store.index.database import Database, portions
from mapdr.store.index.schema import ENDED, Kind, State
from mapdr.store.index.selection import Selection
from mapdr.store.index.strings import Sources, StringTable
from mapdr.store.index.studies import study_tags

_study, _series, _instance, _delivery = schema.study, schema.series, schema.instance, schema.delivery
_FIRST = _instance.c.kind.in_((int(Kind.FIRST), int(Kind.VERSION)))
"""What is no repeat of something that is counted already."""
Order = Literal["newest", "oldest", "stuck"]
"""How studies are sorted: by their last image, by their first one, or those with parked or held deliveries
before all others."""
_IS_STUCK = _study.c.id.in_(select(_delivery.c.study).where(literal_column(schema.STUCK)))
_ORDERS: dict[Order, tuple[ColumnElement[Any], ...]] = {
    "newest": (_study.c.last_at.desc(),),
    "oldest": (_study.c.first_at.asc(),),
    "stuck": (_IS_STUCK.desc(), _study.c.last_at.desc()),
}
_LOOKED_AT = 250
"""Studies that are looked at together."""
_UNROUTED_UID = case((literal_column(schema.UNROUTED), _instance.c.sop_instance_uid))


@dataclass(frozen=True, slots=True)
class Standing:
    """How many distinct images of a study are in one state at a destination for one reason ("": none).

    `again`: they were delivered there before, count as delivered as well, and are promised once more.
    """

    state: str
    reason: str
    images: int
    again: bool = False


@dataclass
class StudyRow:
    """A study for a listing. Every number counts distinct images: `modalities`, `unrouted`, and
    `destinations` by what became of the image there, without what was superseded; `bytes` is the
    size of their data sets as received, each version's and no repeat's; `tags` hold what identifies the
    patient.
    """

    number: int
    study_instance_uid: str
    study_date: str
    first_at: float
    last_at: float
    tags: dict[TagPath, str]
    modalities: dict[str, int] = field(default_factory=dict)
    images: int = 0
    series: int = 0
    bytes: int = 0
    unrouted: int = 0
    destinations: dict[str, list[Standing]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image as it was received, and the state of its newest promise at each destination.

    `instance` is its id in the spool, `kind` what it is to those before it (`schema.Kind`), `revision` the
    configuration that it was routed by. `unrouted`: no rule took it; `purged_at`: when its file was removed.
    """

    instance: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    source: Source
    bytes: int
    received_at: float
    kind: str
    revision: str
    unrouted: bool
    purged_at: float | None
    destinations: dict[str, str]


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """The deliveries to one destination that are parked for one reason; when the first and the last was."""

    reason: str
    destination: str
    number: int
    first_at: float | None
    last_at: float | None


def _is_broad(chosen: Selection) -> bool:
    """Whether it has conditions, and none that an index leads to: much may meet them."""
    led_to = ("study_instance_uid", "study_date_from", "study_date_to", "since", "until", "instances")
    by_index = any(getattr(chosen, name) for name in led_to) or bool(chosen.deliveries)
    of_study = bool(chosen.patient_id or chosen.accession_number)
    few = chosen.state in ("pending", "leased", "held", "parked", selection.UNROUTED)
    return not (chosen.of_everything or by_index or of_study or few)


class Overview:
    """Reads; writes nothing."""

    def __init__(self, database: Database, strings: StringTable, sources: Sources) -> None:
        self._database = database
        self._strings = strings
        self._sources = sources

    def studies(self, chosen: Selection, order: Order = "newest") -> list[StudyRow]:
        """The studies that hold what a selection chooses, the last received first unless another order is
        asked for; whole, not in part."""
        with self._database.read() as connection:
            rows = [
                StudyRow(row.id, row.uid, row.study_date, row.first_at, row.last_at, study_tags(row.tags))
                for row in self._chosen(connection, chosen, order)
            ]
            for some in portions(rows):
                part = {row.number: row for row in some}
                self._images(connection, part)
                self._deliveries(connection, part)
        return rows

    def _chosen(self, connection: Connection, chosen: Selection, order: Order) -> Sequence[Row[Any]]:
        """The studies themselves, in order."""
        query = select(_study).order_by(*_ORDERS[order], _study.c.id.desc())
        whole = replace(chosen, limit=None)
        if chosen.limit is not None and _is_broad(whole):
            return self._first_of_many(connection, whole, query, chosen.limit)
        if whole.of_everything:
            query = query.where(exists().where(_series.c.study == _study.c.id))
        else:  # the deliveries of a state lie side by side: they lead to the studies
            holds = selection.deliveries if whole.of_deliveries else selection.images
            query = query.where(_study.c.id.in_(holds(whole, self._strings, _study.c.id).order_by(None)))
        return connection.execute(query if chosen.limit is None else query.limit(chosen.limit)).all()

    def _first_of_many(
        self, connection: Connection, chosen: Selection, query: Select[Any], limit: int
    ) -> Sequence[Row[Any]]:
        """The first studies of an order that hold what is chosen, looked for study by study, and no further
        than they are found: where much is chosen, nobody looks at all of it."""
        holds = selection.deliveries if chosen.of_deliveries else selection.images
        found: list[int] = []
        # Of all studies nothing but their numbers, and of these a part at a time.
        with connection.execute(query.with_only_columns(_study.c.id)) as every:
            for some in every.scalars().partitions(_LOOKED_AT):
                held = holds(chosen, self._strings, _study.c.id).order_by(None).where(_study.c.id.in_(some))
                those = set(connection.execute(held.distinct()).scalars())
                found += [number for number in some if number in those]
                if len(found) >= limit:
                    break
        rows: dict[int, Row[Any]] = {}
        for some in portions(found[:limit]):
            rows |= {row.id: row for row in connection.execute(select(_study).where(_study.c.id.in_(some)))}
        return [rows[number] for number in found[:limit]]

    def newest_studies(self, beginning: str, number: int) -> list[str]:
        """The UIDs that begin so of the studies that were received last."""
        query = select(_study.c.uid).where(_study.c.uid.startswith(beginning, autoescape=True))
        with self._database.read() as connection:
            return list(connection.scalars(query.order_by(_study.c.last_at.desc()).limit(number)))

    def images(self, chosen: Selection) -> list[ImageRow]:
        """The images that a selection chooses, the last received first."""
        columns = _instance, _series.c.uid.label("series_uid"), _study.c.uid.label("study_uid")
        query = selection.images(chosen, self._strings, *columns)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            states = self._states(connection, [row.id for row in rows])
        return [self._image(row, states.get(row.id, {})) for row in rows]

    def _states(self, connection: Connection, images: Sequence[bytes]) -> dict[bytes, dict[str, str]]:
        """The state of the newest promise of images at each destination."""
        found: dict[bytes, dict[str, str]] = defaultdict(dict)
        query = (
            select(_delivery.c.instance, _delivery.c.destination, _delivery.c.state)
            .join(_instance, _instance.c.id == _delivery.c.instance)
            .join(_series, _series.c.id == _instance.c.series)
            .where(_delivery.c.study == _series.c.study)  # follows, and lets the index serve
            .order_by(_delivery.c.id)
        )
        for some in portions(images):
            for row in connection.execute(query.where(_instance.c.id.in_(list(some)))):
                found[row.instance][self._strings.text(row.destination)] = State(row.state).word
        return found

    def _image(self, row: Row[Any], destinations: dict[str, str]) -> ImageRow:
        text = self._strings.text
        return ImageRow(
            instance=row.id.hex(),
            study_instance_uid=row.study_uid,
            series_instance_uid=row.series_uid,
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=text(row.sop_class),
            transfer_syntax_uid=text(row.syntax),
            modality=text(row.modality),
            source=self._sources.source(row.source),
            bytes=row.size,
            received_at=row.received_at,
            kind=Kind(row.kind).name.lower(),
            revision=text(row.revision),
            unrouted=not row.routed and row.purged_at is None,
            purged_at=row.purged_at,
            destinations=destinations,
        )

    def parked(self, chosen: Selection) -> list[ParkedRow]:
        """The chosen deliveries that are parked, by reason and destination, the most first."""
        columns = _delivery.c.destination, _delivery.c.reason, _delivery.c.settled_at
        rows = selection.deliveries(replace(chosen, state="parked"), self._strings, *columns).subquery()
        query = select(
            rows.c.destination,
            rows.c.reason,
            func.count().label("number"),
            func.min(rows.c.settled_at).label("first_at"),
            func.max(rows.c.settled_at).label("last_at"),
        ).group_by(rows.c.destination, rows.c.reason)
        with self._database.read() as connection:
            found = [
                ParkedRow(
                    row.reason or "unknown",
                    self._strings.text(row.destination),
                    row.number,
                    row.first_at,
                    row.last_at,
                )
                for row in connection.execute(query)
            ]
        return sorted(found, key=lambda row: (-row.number, row.reason, row.destination))

    def by_destination(self, chosen: Selection) -> Counter[str]:
        """How many deliveries a selection chooses, by destination."""
        rows = selection.deliveries(chosen, self._strings, _delivery.c.destination).subquery()
        query = select(rows.c.destination, func.count().label("number")).group_by(rows.c.destination)
        with self._database.read() as connection:
            return Counter(
                {self._strings.text(row.destination): row.number for row in connection.execute(query)}
            )

    def parked_reasons(self) -> dict[str, dict[str, int]]:
        """How many deliveries are parked, by destination and reason."""
        query = (
            select(_delivery.c.destination, _delivery.c.reason, func.count().label("number"))
            .where(literal_column(schema.STUCK), _delivery.c.state == State.PARKED)
            .group_by(_delivery.c.destination, _delivery.c.reason)
        )
        found: dict[str, dict[str, int]] = defaultdict(dict)
        with self._database.read() as connection:
            for row in connection.execute(query):
                found[self._strings.text(row.destination)][row.reason or "unknown"] = row.number
        return dict(found)

    def received_since(self, midnight: float) -> dict[Source, int]:
        """How many distinct images each source has sent since then (seconds since the epoch).

        They are those of studies that were sent to since then, so that nobody looks at all images.
        """
        studies = select(_study.c.id).where(_study.c.last_at >= midnight)
        series = select(_series.c.id).where(_series.c.study.in_(studies))
        query = (
            select(_instance.c.source, func.count(_instance.c.sop_instance_uid.distinct()).label("images"))
            .where(_instance.c.series.in_(series), _instance.c.received_at >= midnight)
            .group_by(_instance.c.source)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return {self._sources.source(row.source): row.images for row in rows}

    def _images(self, connection: Connection, studies: dict[int, StudyRow]) -> None:
        query = (
            select(
                _series.c.study,
                _series.c.id,
                _instance.c.modality,
                func.count(_instance.c.sop_instance_uid.distinct()).label("images"),
                func.sum(case((_FIRST, _instance.c.size), else_=0)).label("bytes"),
                func.count(_UNROUTED_UID.distinct()).label("unrouted"),
            )
            .join(_instance, _instance.c.series == _series.c.id)
            .where(_series.c.study.in_(list(studies)))
            .group_by(_series.c.study, _series.c.id, _instance.c.modality)
        )
        series: dict[int, set[int]] = defaultdict(set)
        for row in connection.execute(query):
            study, modality = studies[row.study], self._strings.text(row.modality)
            study.modalities[modality] = study.modalities.get(modality, 0) + row.images
            study.images += row.images
            study.bytes += int(row.bytes)
            study.unrouted += int(row.unrouted)
            series[row.study].add(row.id)
        for number, ids in series.items():
            studies[number].series = len(ids)

    def sources(self, studies: Sequence[int]) -> dict[int, list[Source]]:
        """Who sent images of each study, by the study's number; in the order in which they came first."""
        found: dict[int, list[Source]] = defaultdict(list)
        query = (
            select(_series.c.study, _instance.c.source, func.min(_instance.c.id).label("first"))
            .join(_instance, _instance.c.series == _series.c.id)
            .group_by(_series.c.study, _instance.c.source)
        )
        with self._database.read() as connection:
            for some in portions(studies):
                part = query.where(_series.c.study.in_(some))
                for row in sorted(connection.execute(part), key=lambda row: bytes(row.first)):
                    found[row.study].append(self._sources.source(row.source))
        return dict(found)

    def _deliveries(self, connection: Connection, studies: dict[int, StudyRow]) -> None:
        found: dict[tuple[int, int], dict[tuple[bool, int, str], int]] = defaultdict(lambda: defaultdict(int))
        for row in connection.execute(_stands(list(studies))):
            there = found[row.study, row.destination]
            # A parked promise that is newer than what was delivered: what it has is not what it is owed.
            delivered = bool(row.had) and not (row.state == State.PARKED and row.last)
            if delivered:
                there[False, State.DELIVERED, ""] += row.number
            if row.state < ENDED:
                there[delivered, row.state, row.reason or ""] += row.number
            elif not row.had:
                there[False, State.DISMISSED, ""] += row.number
        for (study, destination), there in sorted(found.items()):
            studies[study].destinations[self._strings.text(destination)] = [
                Standing(State(state).word, reason, number, again)
                for (again, state, reason), number in sorted(there.items())
            ]


def _stands(studies: Sequence[int]) -> Select[Any]:
    """How many images of these studies stand how at each destination.

    An image that was promised several times (a repeat, a re-route) counts once: by its newest promise that
    has not ended, else by the newest. `had`: one of them was delivered; `last`: none but a dismissed one is
    newer than the promise it counts by.
    """
    id_, state = _delivery.c.id, _delivery.c.state
    images = (
        select(
            func.coalesce(func.max(case((state < ENDED, id_))), func.max(id_)).label("told"),
            func.max(case((state <= ENDED, id_))).label("newest"),
            func.max(case((state == State.DELIVERED, 1), else_=0)).label("had"),
        )
        .join(_instance, _instance.c.id == _delivery.c.instance)
        .where(_delivery.c.study.in_(studies), state != int(State.SUPERSEDED))
        .group_by(_delivery.c.study, _delivery.c.destination, _instance.c.sop_instance_uid)
        .subquery()
    )
    last = case((images.c.newest == id_, 1), else_=0).label("last")
    columns = (_delivery.c.study, _delivery.c.destination, state, _delivery.c.reason, images.c.had, last)
    return (
        select(*columns, func.count().label("number")).join(images, images.c.told == id_).group_by(*columns)
    )
