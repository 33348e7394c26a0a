"""`Instance` objects from the rows of the index: what delivery, re-route and repeats know of an image."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance
from mapdr.kernel.proof import Proof
from mapdr.store.index import schema
from mapdr.store.index.database import Database, portions
from mapdr.store.index.strings import Sources, StringTable
from mapdr.store.spool.folder import SpoolFolder

_instance, _series, _study = schema.instance, schema.series, schema.study

_PORTION = 10_000
"""Rows that are read at a time where all of them are looked through."""

_PROOFS = 20_000
"""Images whose `Proof` is kept, so that a file that goes to several destinations is compared once."""

INSTANCE_COLUMNS = (
    _instance,
    _series.c.uid.label("series_uid"),
    _series.c.study.label("study"),
    _study.c.uid.label("study_uid"),
)
"""All columns of an instance, with its series and study."""

_INSTANCES = (
    select(*INSTANCE_COLUMNS)
    .join(_series, _series.c.id == _instance.c.series)
    .join(_study, _study.c.id == _series.c.study)
)
_BY_KEY = _INSTANCES.where(_instance.c.id.in_(bindparam("ids", expanding=True)))
FACTS = (
    _instance.c.id,
    _instance.c.source,
    _instance.c.sop_class,
    _instance.c.sop_instance_uid,
    _study.c.uid.label("study_uid"),
    _series.c.uid.label("series_uid"),
    _instance.c.modality,
    _instance.c.syntax,
    _instance.c.node,
    _instance.c.data_offset,
    _instance.c.size,
    _instance.c.received_at,
    _instance.c.digest,
)
"""Only what `Instances.from_facts` takes, in its order: each image that is delivered is looked up so."""
_FACTS_BY_KEY = _BY_KEY.with_only_columns(*FACTS, maintain_column_froms=True)


def _is_intact(instance: Instance) -> bool:
    """Whether the file is there, readable, and gives the digest that was taken on receive."""
    try:
        return instance.proof is not None and instance.proof.holds()
    except (Permanent, OSError):
        return False


class Instances:
    """Looks instances up, by id, study or key. Thread-safe."""

    def __init__(
        self, database: Database, strings: StringTable, sources: Sources, folder: SpoolFolder
    ) -> None:
        self._database = database
        self._strings = strings
        self._sources = sources
        self._folder = folder
        self._lock = threading.Lock()
        self._proofs: dict[bytes, Proof] = {}

    def get(self, id_: str) -> Instance:
        """An instance by id. KeyError if the index does not know it."""
        return self.by_key([bytes.fromhex(id_)])[bytes.fromhex(id_)]

    def find(self, study_instance_uid: str) -> list[Instance]:
        """The instances of a study, oldest first."""
        with self._database.read() as connection:
            query = _INSTANCES.where(_study.c.uid == study_instance_uid).order_by(_instance.c.id)
            return [self.from_row(row) for row in connection.execute(query)]

    def by_key(self, keys: Sequence[bytes]) -> Mapping[bytes, Instance]:
        """Instances by the index's own key."""
        if not keys:
            return {}
        with self._database.read() as connection:
            return {
                row.id: self.from_facts(*tuple(row)) for row in self._rows(connection, keys, _FACTS_BY_KEY)
            }

    def intact(self, keys: Collection[bytes]) -> dict[bytes, bool]:
        """Which of these images the spool holds as they were received: their files are read."""
        return {key: _is_intact(instance) for key, instance in self.by_key(list(keys)).items()}

    def uids(self) -> Iterator[str]:
        """The UIDs of all studies, series and images of the index, in no order."""
        columns = (_study.c.uid, _series.c.uid, _instance.c.sop_instance_uid)
        with self._database.read() as connection:
            for column in columns:
                for (uid,) in connection.execution_options(yield_per=_PORTION).execute(select(column)):
                    yield uid

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
        for some in portions(keys):
            rows += connection.execute(query, {"ids": list(some)}).all()
        return rows

    def from_row(self, row: Row[Any]) -> Instance:
        """An instance from a row with what `INSTANCE_COLUMNS` names, as far as it is used here."""
        return self.from_facts(*(getattr(row, column.key) for column in FACTS))

    def from_facts(  # noqa: PLR0917  positional, as a row comes: this is done for every image that is delivered
        self,
        key: bytes,
        source: int,
        sop_class: int,
        sop_instance_uid: str,
        study_uid: str,
        series_uid: str,
        modality: int,
        syntax: int,
        node: int,
        data_offset: int,
        size: int,
        received_at: float,
        digest: bytes,
    ) -> Instance:
        """An instance from a row of `FACTS`."""
        id_, text = key.hex(), self._strings.text
        proof = self._proofs.get(key)
        if proof is None:
            proof = Proof(self._folder.path(id_, text(node)), data_offset, size, digest)
            with self._lock:  # every destination's feeder comes here
                proof = self._proofs.setdefault(key, proof)
                if len(self._proofs) > _PROOFS:
                    del self._proofs[next(iter(self._proofs))]
        return Instance(
            id_,
            self._sources.source(source),
            text(sop_class),
            sop_instance_uid,
            study_uid,
            series_uid,
            text(modality),
            text(syntax),
            proof.path,
            data_offset,
            size,
            received_at,
            proof,
        )
