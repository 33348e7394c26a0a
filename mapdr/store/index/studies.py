"""Studies and series: what the index keeps of them, and that something changed for one (`progress`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from sqlalchemy import Connection, bindparam, delete, select, update

from mapdr.kernel.item import Header, TagPath
from mapdr.store.index import schema
from mapdr.store.index.database import Database
from mapdr.store.index.strings import clean
from mapdr.store.spool.headers import STUDY_DATE

_study, _series, _progress = schema.study, schema.series, schema.progress

_LAST_AT = (
    update(_study)
    .where(_study.c.id == bindparam("study"), _study.c.last_at < bindparam("at"))
    .values(last_at=bindparam("at"))
)


class Studies:
    """Writes and reads the rows of studies and series."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._touch = database.upsert(_progress, replace=("due",), greater=("changed_at",))
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
        """Something changed for these (study, destination) pairs: they are to be judged (`StudyEvents`)."""
        rows = [
            {"study": study, "destination": destination, "changed_at": now, "due": 1, "announced": 0}
            for study, destination in changed
        ]
        if rows:
            connection.execute(self._touch, rows)

    def arrived(self, connection: Connection, last_at: Mapping[int, float]) -> None:
        """Images of these studies were received at these times."""
        connection.execute(_LAST_AT, [{"study": study, "at": at} for study, at in last_at.items()])

    def tags(self, study: int) -> dict[TagPath, str]:
        """What the index keeps of a study's tags. KeyError if there is no such study."""
        with self._database.read() as connection:
            text = connection.execute(select(_study.c.tags).where(_study.c.id == study)).scalar()
        if text is None:
            raise KeyError(study)
        return study_tags(text)

    def identifying(self, most: int) -> list[str]:
        """What the index keeps of the tags of the last `most` studies, each value once: who they are of."""
        query = select(_study.c.tags).order_by(_study.c.id.desc()).limit(most)
        with self._database.read() as connection:
            found = connection.scalars(query).all()
        return list(dict.fromkeys(value for text in found for value in study_tags(text).values()))

    def _complete(self, connection: Connection, study: int, tags: str, values: Mapping[str, str]) -> None:
        known = json.loads(tags)
        merged = {**values, **known}
        if merged != known:
            connection.execute(update(_study).where(_study.c.id == study).values(tags=json.dumps(merged)))


_GENERATION = "SELECT value FROM fact WHERE name = 'erasures'"


def generation(connection: Connection) -> str:
    """How often studies or series were erased: numbers of them in memory hold while it is the same."""
    return connection.exec_driver_sql(_GENERATION).scalar() or ""


def count_generation(connection: Connection) -> None:
    """Studies or series are erased in this transaction."""
    fact, number = schema.fact, int(generation(connection) or 0) + 1
    connection.execute(delete(fact).where(fact.c.name == "erasures"))
    connection.execute(fact.insert().values(name="erasures", value=str(number)))


def tag_key(path: TagPath) -> str:
    """A tag path as the index writes it: hexadecimal tags joined by dots."""
    return ".".join(f"{tag:08x}" for tag in path)


def tag_path(key: str) -> TagPath:
    """The tag path that `tag_key` wrote."""
    return tuple(int(tag, 16) for tag in key.split("."))


def study_tags(text: str) -> dict[TagPath, str]:
    """What the index keeps of a study's tags, from its JSON."""
    return {tag_path(key): value for key, value in json.loads(text).items()}
