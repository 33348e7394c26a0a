"""What people look at: studies with what became of them at each destination, and why images are parked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, case, func, literal_column, select

from mapdr.kernel.item import Source, TagPath
from mapdr.store.index import schema, selection
from mapdr.store.index.database import Database
from mapdr.store.index.schema import ENDED, Kind, State
from mapdr.store.index.selection import Selection
from mapdr.store.index.strings import Sources, StringTable
from mapdr.store.index.studies import study_tags

_study, _series, _instance, _delivery = schema.study, schema.series, schema.instance, schema.delivery
_AT_ONCE = 500
_FIRST = _instance.c.kind.in_((int(Kind.FIRST), int(Kind.VERSION)))
"""What is no repeat of something that is counted already."""
_UNROUTED_UID = case((literal_column(schema.UNROUTED), _instance.c.sop_instance_uid))


@dataclass(frozen=True, slots=True)
class Standing:
    """How many distinct images of a study are in one state at a destination for one reason ("": none)."""

    state: str
    reason: str
    images: int


@dataclass
class StudyRow:
    """A study for a listing. Every number counts distinct images: `modalities`, `unrouted`, and
    `destinations` by what became of the image there, without what was superseded or dismissed; `bytes` is the
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
class Arrivals:
    """When a source sent its last image (seconds since the epoch), and how many distinct ones today."""

    source: Source
    last_at: float
    today: int


class Overview:
    """Reads; writes nothing."""

    def __init__(self, database: Database, strings: StringTable, sources: Sources) -> None:
        self._database = database
        self._strings = strings
        self._sources = sources

    def studies(self, chosen: Selection) -> list[StudyRow]:
        """The studies that hold what a selection chooses, the last received first; whole, not in part."""
        wanted = selection.images(replace(chosen, limit=None), self._strings, _study.c.id).order_by(None)
        query = select(_study).where(_study.c.id.in_(wanted)).order_by(_study.c.last_at.desc())
        if chosen.limit is not None:
            query = query.limit(chosen.limit)
        with self._database.read() as connection:
            rows = [
                StudyRow(row.id, row.uid, row.study_date, row.first_at, row.last_at, study_tags(row.tags))
                for row in connection.execute(query)
            ]
            for start in range(0, len(rows), _AT_ONCE):
                part = {row.number: row for row in rows[start : start + _AT_ONCE]}
                self._images(connection, part)
                self._deliveries(connection, part)
        return rows

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

    def received_from(self, midnight: float) -> list[Arrivals]:
        """Every source that sent an image which is still known, the last one first.

        `midnight`: seconds since the epoch from which on images count as today's.
        """
        today = func.count(
            case((_instance.c.received_at >= midnight, _instance.c.sop_instance_uid)).distinct()
        )
        query = select(
            _instance.c.source, func.max(_instance.c.received_at).label("last_at"), today.label("today")
        ).group_by(_instance.c.source)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        found = [Arrivals(self._sources.source(row.source), row.last_at, row.today) for row in rows]
        return sorted(found, key=lambda one: -one.last_at)

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
            for start in range(0, len(studies), _AT_ONCE):
                part = query.where(_series.c.study.in_(studies[start : start + _AT_ONCE]))
                for row in sorted(connection.execute(part), key=lambda row: bytes(row.first)):
                    found[row.study].append(self._sources.source(row.source))
        return dict(found)

    def _deliveries(self, connection: Connection, studies: dict[int, StudyRow]) -> None:
        for study, name, standing in self._stand(connection, list(studies)):
            studies[study].destinations.setdefault(name, []).append(standing)

    def _stand(self, connection: Connection, studies: Sequence[int]) -> Iterator[tuple[int, str, Standing]]:
        # An image that was promised several times (a repeat, a re-route) is there once it was delivered,
        # unless its newest promise is parked.
        had = func.max(case((_delivery.c.state == State.DELIVERED, 1), else_=0)).label("had")
        images = (
            select(func.max(_delivery.c.id).label("newest"), had)
            .join(_instance, _instance.c.id == _delivery.c.instance)
            .where(_delivery.c.study.in_(studies), _delivery.c.state <= ENDED)
            .group_by(_delivery.c.study, _delivery.c.destination, _instance.c.sop_instance_uid)
            .subquery()
        )
        there = (images.c.had == 1) & (_delivery.c.state != State.PARKED)
        state = case((there, int(State.DELIVERED)), else_=_delivery.c.state).label("stands")
        reason = case((there, ""), else_=func.coalesce(_delivery.c.reason, "")).label("why")
        query = (
            select(_delivery.c.study, _delivery.c.destination, state, reason, func.count().label("number"))
            .join(images, images.c.newest == _delivery.c.id)
            .group_by(_delivery.c.study, _delivery.c.destination, state, reason)
            .order_by(_delivery.c.study, _delivery.c.destination, state, reason)
        )
        for row in connection.execute(query).all():
            standing = Standing(State(row.stands).word, row.why, row.number)
            yield row.study, self._strings.text(row.destination), standing
