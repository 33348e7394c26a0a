"""What people choose deliveries and images by: one grammar for listings and actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Select,
    and_,
    exists,
    false,
    literal_column,
    or_,
    select,
    type_coerce,
)

from mapdr.kernel.item import TagPath
from mapdr.store.index import schema
from mapdr.store.index.schema import State
from mapdr.store.index.strings import StringTable, clean
from mapdr.store.index.studies import tag_key
from mapdr.store.index.texts import texts
from mapdr.store.spool.headers import ACCESSION_NUMBER, PATIENT_ID
from mapdr.store.spool.ids import id_floor

_delivery, _instance, _series, _study = schema.delivery, schema.instance, schema.series, schema.study
_source = schema.source

UNROUTED = "unrouted"
STATES = (*(state.word for state in State), UNROUTED)
"""What `Selection.state` may be."""

LISTED_AS = {
    "study_instance_uid": _study.c.uid,
    "series_instance_uid": _series.c.uid,
    "sop_instance_uid": _instance.c.sop_instance_uid,
    "accession_number": type_coerce(_study.c.tags, JSON)[tag_key(ACCESSION_NUMBER)].as_string(),
}
"""What a list of values may name images by, and where that stands."""

_INDEXED = {
    State.PENDING: schema.OPEN,
    State.LEASED: schema.OPEN,
    State.HELD: schema.STUCK,
    State.PARKED: schema.STUCK,
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Everything that meets all conditions which are set.

    Study dates are YYYYMMDD, both ends included; `since` and `until` bound the time of receipt in seconds
    since the epoch; `peer` is whom an image came from, by the name of `mapdr.kernel.item.Source.peer`;
    patient ID and accession number are those of the study, whole. `limit` takes the newest so many. State
    "unrouted" chooses images without deliveries. `listed` are values of which an image has one as its
    `listed_as` (a key of LISTED_AS), or as any of those if that is empty.
    A delivery that a newer promise has superseded is chosen only by its state or by its number.
    """

    study_date_from: str = ""
    study_date_to: str = ""
    modality: str = ""
    destination: str = ""
    state: str = ""
    reason: str = ""
    study_instance_uid: str = ""
    sop_instance_uid: str = ""
    peer: str = ""
    patient_id: str = ""
    accession_number: str = ""
    since: float | None = None
    until: float | None = None
    deliveries: Sequence[int] = ()
    instances: Sequence[str] = ()
    listed: Sequence[str] = ()
    listed_as: str = ""
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.state and self.state not in STATES:
            raise ValueError(f"a state is one of {', '.join(STATES)}")
        if self.listed_as and self.listed_as not in LISTED_AS:
            raise ValueError(f"values are listed as one of {', '.join(LISTED_AS)}")

    @property
    def of_everything(self) -> bool:
        """Whether no condition is set. A limit alone is one (the newest so many); a list of nothing is none,
        which its maker may not have meant."""
        return all(
            getattr(self, each.name) in (None, "", (), [])
            for each in fields(self)
            if each.name != "listed_as"
        )

    @property
    def of_deliveries(self) -> bool:
        """Whether a condition concerns deliveries and not only images."""
        by_state = self.state not in ("", UNROUTED)
        return bool(self.destination or self.deliveries or self.reason or by_state)


def deliveries(selection: Selection, strings: StringTable, *columns: Any) -> Select[Any]:
    """A query of `columns` over deliveries with their image, series and study; newest first."""
    query = (
        select(*columns)
        .select_from(_delivery)
        .join(_instance, _instance.c.id == _delivery.c.instance)
        .join(_series, _series.c.id == _instance.c.series)
        .join(_study, _study.c.id == _series.c.study)
        .where(_delivery.c.study == _study.c.id)  # follows from the joins, and lets the index serve
        .where(*_of_image(selection, strings), *_of_delivery(selection, strings))
        .order_by(_delivery.c.id.desc())
    )
    if selection.state == UNROUTED:
        query = query.where(false())
    return query if selection.limit is None else query.limit(selection.limit)


def images(selection: Selection, strings: StringTable, *columns: Any) -> Select[Any]:
    """A query of `columns` over images with their series and study; newest first."""
    query = (
        select(*columns)
        .select_from(_instance)
        .join(_series, _series.c.id == _instance.c.series)
        .join(_study, _study.c.id == _series.c.study)
        .where(*_of_image(selection, strings))
        .order_by(_instance.c.id.desc())
    )
    if selection.state == UNROUTED:
        query = query.where(literal_column(schema.UNROUTED))
    if selection.of_deliveries:
        query = query.where(
            exists()
            .where(_delivery.c.study == _study.c.id, _delivery.c.instance == _instance.c.id)
            .where(*_of_delivery(selection, strings))
        )
    return query if selection.limit is None else query.limit(selection.limit)


def unknown(selection: Selection, strings: StringTable, connection: Connection) -> list[str]:
    """Those of the listed values by which the selection chooses no image, in their order."""
    columns = [LISTED_AS[selection.listed_as]] if selection.listed_as else list(LISTED_AS.values())
    left = dict.fromkeys(map(clean, selection.listed))
    for row in connection.execute(images(selection, strings, *columns)):
        for value in row:
            left.pop(value, None)
    return list(left)


def _of_image(selection: Selection, strings: StringTable) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if selection.study_date_from:
        found.append(_study.c.study_date >= selection.study_date_from)
    if selection.study_date_to:
        found.append(_study.c.study_date <= selection.study_date_to)
    if selection.study_date_from or selection.study_date_to:
        found.append(_study.c.study_date != "")
    if selection.modality:
        found.append(_instance.c.modality == _number(selection.modality, strings))
    if selection.study_instance_uid:
        found.append(_study.c.uid == clean(selection.study_instance_uid))
    if selection.sop_instance_uid:
        found.append(_instance.c.sop_instance_uid == clean(selection.sop_instance_uid))
    if selection.peer:
        found.append(_instance.c.source.in_(select(_source.c.id).where(_is_peer(clean(selection.peer)))))
    if selection.patient_id:
        found.append(_study_tag(PATIENT_ID) == clean(selection.patient_id))
    if selection.accession_number:
        found.append(_study_tag(ACCESSION_NUMBER) == clean(selection.accession_number))
    if selection.since is not None:
        found.append(_instance.c.id >= bytes.fromhex(id_floor(selection.since)))
    if selection.until is not None:
        found.append(_instance.c.id < bytes.fromhex(id_floor(selection.until)))
    if selection.listed:
        columns = [LISTED_AS[selection.listed_as]] if selection.listed_as else LISTED_AS.values()
        found.append(or_(*(column.in_(texts(map(clean, selection.listed))) for column in columns)))
    if selection.instances:
        found.append(_instance.c.id.in_([bytes.fromhex(id_) for id_ in selection.instances]))
    return found


def _of_delivery(selection: Selection, strings: StringTable) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if selection.destination:
        found.append(_delivery.c.destination == _number(selection.destination, strings))
    if selection.deliveries:
        found.append(_delivery.c.id.in_(list(selection.deliveries)))
    if selection.reason:
        found.append(_delivery.c.reason == clean(selection.reason))
    if selection.state and selection.state != UNROUTED:
        state = State[selection.state.upper()]
        found.append(_delivery.c.state == int(state))
        if state in _INDEXED:
            found.append(literal_column(_INDEXED[state]))
    elif not selection.deliveries:
        found.append(_delivery.c.state != int(State.SUPERSEDED))
    return found


def _is_peer(name: str) -> ColumnElement[bool]:
    """Whether `Source.peer` of a source is this name."""
    columns = _source.c
    by_credential = and_(columns.calling_ae == "", columns.credential == name)
    by_receiver = and_(columns.calling_ae == "", columns.credential == "", columns.receiver == name)
    return or_(columns.calling_ae == name, by_credential, by_receiver)


def _study_tag(path: TagPath) -> ColumnElement[str]:
    """A value that the index keeps of a study (`study.tags`)."""
    value: ColumnElement[str] = type_coerce(_study.c.tags, JSON)[tag_key(path)].as_string()
    return value


def _number(text: str, strings: StringTable) -> int:
    number = strings.find(text)
    return -1 if number is None else number
