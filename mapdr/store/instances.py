"""The images of the index, as the rest of MAPDR knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from mapdr.kernel.item import Instance
from mapdr.store import schema
from mapdr.store.database import Database
from mapdr.store.names import Sources, Words
from mapdr.store.spool import Spool

_instance, _series, _study = schema.instance, schema.series, schema.study

INSTANCE_COLUMNS = (
    _instance,
    _series.c.uid.label("series_uid"),
    _series.c.study.label("study"),
    _study.c.uid.label("study_uid"),
)
"""All of an instance, and its place."""

_WHOLE = (
    select(*INSTANCE_COLUMNS)
    .join(_series, _series.c.id == _instance.c.series)
    .join(_study, _study.c.id == _series.c.study)
)
_BY_KEY = _WHOLE.where(_instance.c.id.in_(bindparam("ids", expanding=True)))
_UNUSED = ("uid_hash", "digest", "revision", "kind", "routed", "purged_at", "series", "study")
_FACTS_BY_KEY = _BY_KEY.with_only_columns(
    *(column for column in _BY_KEY.selected_columns if column.key not in _UNUSED), maintain_column_froms=True
)
"""Only what `Instances.of` wants: each image that is delivered is looked up so."""


class Instances:
    """Looks instances up."""

    def __init__(self, database: Database, words: Words, sources: Sources, spool: Spool) -> None:
        self._database = database
        self._words = words
        self._sources = sources
        self._spool = spool

    def get(self, id_: str) -> Instance:
        """An instance by id. KeyError if the index does not know it."""
        return self.by_key([bytes.fromhex(id_)])[bytes.fromhex(id_)]

    def find(self, study_instance_uid: str) -> list[Instance]:
        """The instances of a study, oldest first."""
        with self._database.read() as connection:
            query = _WHOLE.where(_study.c.uid == study_instance_uid).order_by(_instance.c.id)
            return [self.of(row) for row in connection.execute(query)]

    def by_key(self, keys: Sequence[bytes]) -> Mapping[bytes, Instance]:
        """Instances by the index's own key."""
        if not keys:
            return {}
        with self._database.read() as connection:
            return {row.id: self.of(row) for row in self._rows(connection, keys, _FACTS_BY_KEY)}

    def newest(self) -> str:
        """The greatest id of the index, or an empty string."""
        with self._database.read() as connection:
            key = connection.execute(select(func.max(_instance.c.id))).scalar()
        return "" if key is None else bytes(key).hex()

    def rows(self, connection: Connection, keys: Sequence[bytes]) -> list[Row[Any]]:
        """The rows of instances by key, with `INSTANCE_COLUMNS`, in no order."""
        return self._rows(connection, keys, _BY_KEY)

    def _rows(self, connection: Connection, keys: Sequence[bytes], query: Select[Any]) -> list[Row[Any]]:
        rows: list[Row[Any]] = []
        for start in range(0, len(keys), 500):
            rows += connection.execute(query, {"ids": list(keys[start : start + 500])}).all()
        return rows

    def of(self, row: Row[Any]) -> Instance:
        """An instance from a row with what `INSTANCE_COLUMNS` names, as far as it is used here."""
        id_, text = row.id.hex(), self._words.text
        return Instance(
            id=id_,
            source=self._sources.source(row.source),
            sop_class_uid=text(row.sop_class),
            sop_instance_uid=row.sop_instance_uid,
            study_instance_uid=row.study_uid,
            series_instance_uid=row.series_uid,
            modality=text(row.modality),
            transfer_syntax_uid=text(row.syntax),
            path=self._spool.path(id_, text(row.node)),
            data_offset=row.data_offset,
            size=row.size,
            received_at=row.received_at,
        )
