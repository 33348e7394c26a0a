"""Erasing images on a person's word: the file goes, and what identifies anybody in the index.

    1  one transaction: nothing is owed of the image; `purged_at`; its values are written over, those of its
       series and study too where no other image is left; which files are to go is noted in `fact`
    2  unlink the files
    3  take the note away

Rows stay, without a value: what is counted stays counted, no number is ever given twice, and recovery finds
that a file whose row says so may go. A crash between 1 and 3 leaves files and the note: `finish` goes on.

Where a study is written over, an image of it that comes later begins a new one: who enters images has the
numbers of studies in memory, and looks in each transaction whether something was erased
(`mapdr.store.index.studies.generation`).
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, bindparam, delete, select, update

from mapdr.store.index import schema, selection
from mapdr.store.index.corrections import write_over as write_over_corrections
from mapdr.store.index.database import Database, portions
from mapdr.store.index.schema import ENDED, REPLACEABLE, State
from mapdr.store.index.selection import Selection
from mapdr.store.index.strings import StringTable
from mapdr.store.index.studies import Studies, count_generation
from mapdr.store.outbox import ERASED_PAYLOAD
from mapdr.store.spool.folder import SpoolFolder

log = logging.getLogger("mapdr.store")

ERASED = "erased:"
"""What stands in the place of a UID that was written over, with the number of its row behind it."""
_NOTE = "erasing:"
_AT_ONCE = 200
_TOLD = ("study.received", "study.delivered", "study.parked")
"""Kinds of events of a study: keys of the outbox begin with one of them, and the study's number."""

_instance, _series, _study = schema.instance, schema.series, schema.study
_delivery, _attempt, _outbox, _fact = schema.delivery, schema.attempt, schema.outbox, schema.fact

_OVERWRITE = (
    update(_instance)
    .where(_instance.c.id == bindparam("key"))
    .values(
        sop_instance_uid=bindparam("uid"),
        uid_hash=0,
        digest=bytes(16),
        purged_at=bindparam("at"),
    )
)


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be erased: images, distinct studies, bytes of their files that are there, and by destination
    how many deliveries are `owed` of them; `leased` images are on their way at this moment."""

    images: int = 0
    studies: int = 0
    bytes: int = 0
    owed: Mapping[str, int] = field(default_factory=dict)
    leased: int = 0


class Erasure:
    """Erases images of one index, whichever node has received them."""

    def __init__(
        self, database: Database, strings: StringTable, studies: Studies, folder: SpoolFolder
    ) -> None:
        self._database = database
        self._strings = strings
        self._studies = studies
        self._folder = folder

    def choose(self, chosen: Selection) -> list[bytes]:
        """The images that a selection chooses at this moment, purged ones too; not what was erased before."""
        query = selection.images(chosen, self._strings, _instance.c.id).where(_kept(_instance))
        with self._database.read() as connection:
            return [row.id for row in connection.execute(query)]

    def look(self, keys: Sequence[bytes]) -> Found:
        """What these images are, and what is owed of them."""
        images = size = 0
        studies: set[int] = set()
        owed: Counter[int] = Counter()
        leased: set[bytes] = set()
        with self._database.read() as connection:
            for some in portions(keys):
                rows = _rows(connection, some)
                images += len(rows)
                size += sum(row.size for row in rows if row.purged_at is None)
                studies |= {row.study for row in rows}
                for row in _owed(connection, rows):
                    owed[row.destination] += 1
                    if row.state == State.LEASED:
                        leased.add(row.instance)
        to = {self._strings.text(number): count for number, count in owed.items()}
        return Found(images, len(studies), size, to, len(leased))

    def dismiss(self, keys: Sequence[bytes]) -> Counter[str]:
        """End what is owed of these images, but for what is on its way; how many, by destination."""
        ended: Counter[int] = Counter()
        now = time.time()
        for some in portions(keys, _AT_ONCE):
            with self._database.write() as connection:
                rows = [row for row in _owed(connection, _rows(connection, some)) if row.state in REPLACEABLE]
                for row in rows:
                    this = update(_delivery).where(_delivery.c.id == row.id)
                    comment = f"it was {State(row.state).word} when its image was purged"
                    values = {"state": int(State.DISMISSED), "settled_at": now, "comment": comment}
                    connection.execute(this.values(reason="dismissed by the operator", **values))
                self._studies.touch(connection, {(row.study, row.destination) for row in rows}, now)
            ended.update(row.destination for row in rows)
        return Counter({self._strings.text(number): count for number, count in ended.items()})

    def erase(self, keys: Sequence[bytes]) -> list[bytes]:
        """Erase those of these images of which nothing is owed; gives the others."""
        left: list[bytes] = []
        for some in portions(keys, _AT_ONCE):
            with self._database.write() as connection:
                rows = _rows(connection, some)
                owed = {row.instance for row in _owed(connection, rows)}
                going = [row for row in rows if row.id not in owed]
                self._write_over(connection, going)
                files = [(self._strings.text(row.node), row.id.hex()) for row in going]
                # By an image that is erased here, so that no other note has the name.
                note = f"{_NOTE}{files[0][1]}" if files else ""
                if files:
                    connection.execute(_fact.insert().values(name=note, value=json.dumps(files)))
            left += [row.id for row in rows if row.id in owed]
            self._unlink(note, files)
        return left

    def finish(self) -> None:
        """Go on where a process ended between index and files."""
        with self._database.read() as connection:
            notes = connection.execute(select(_fact).where(_fact.c.name.startswith(_NOTE))).all()
        for note in notes:
            self._unlink(note.name, [(node, id_) for node, id_ in json.loads(note.value)])

    def _unlink(self, note: str, files: Sequence[tuple[str, str]]) -> None:
        """Remove the files of a note, and the note if that could be done with all of them."""
        all_gone = True
        for node, id_ in files:
            try:
                self._folder.path(id_, node).unlink(missing_ok=True)
            except OSError as error:
                log.warning("%s: could not be purged (%s); it is tried again", id_, error.strerror)
                all_gone = False
        if files and all_gone:
            with self._database.write() as connection:
                connection.execute(delete(_fact).where(_fact.c.name == note))

    def _write_over(self, connection: Connection, rows: Sequence[Row[Any]]) -> None:
        """Leave no value of these images in the index."""
        if not rows:
            return
        now = time.time()
        keys = [row.id for row in rows]
        connection.execute(
            _OVERWRITE,
            [{"key": row.id, "uid": ERASED + row.id.hex(), "at": row.purged_at or now} for row in rows],
        )
        deliveries = list(
            connection.scalars(
                select(_delivery.c.id).where(
                    _delivery.c.study.in_({row.study for row in rows}), _delivery.c.instance.in_(keys)
                )
            )
        )
        for some in portions(deliveries):
            # What a receiver said may quote the image; of dismissed rows the words are MAPDR's own.
            said = update(_delivery).where(_delivery.c.id.in_(some), _delivery.c.state != State.DISMISSED)
            connection.execute(said.values(comment=None))
            tried = update(_attempt).where(_attempt.c.delivery.in_(some))
            connection.execute(tried.values(comment=None, sop_instance_uid=None))
        write_over_corrections(connection, {row.study for row in rows}, keys)
        for table in (schema.derivation, schema.death):
            connection.execute(delete(table).where(table.c.instance.in_(keys)))
        self._write_over_whole(connection, {row.series for row in rows}, {row.study for row in rows})

    def _write_over_whole(
        self, connection: Connection, series: AbstractSet[int], studies: AbstractSet[int]
    ) -> None:
        """The values of those series and studies that have no other image."""
        over = [one for one in series if not _any(connection, _instance, _instance.c.series == one)]
        for one in over:
            this = update(_series).where(_series.c.id == one)
            connection.execute(this.values(uid=f"{ERASED}{one}"))
        for one in studies:
            if _any(connection, _series, _series.c.study == one):
                continue
            this = update(_study).where(_study.c.id == one)
            connection.execute(this.values(uid=f"{ERASED}{one}", study_date="", tags="{}"))
            judged = update(schema.progress).where(schema.progress.c.study == one)
            connection.execute(judged.values(due=0))
            for kind in _TOLD:
                _write_over_messages(connection, f"{kind}:{one}:", f"{kind}:{one};")
        if over:
            count_generation(connection)


def _write_over_messages(connection: Connection, first: str, end: str) -> None:
    """Leave no value in what webhooks were told or are to be told; what was not told is not told any more."""
    these = update(_outbox).where(_outbox.c.key >= first, _outbox.c.key < end)
    connection.execute(these.values(payload=ERASED_PAYLOAD, shown=None, comment=None))
    connection.execute(these.where(_outbox.c.state < ENDED).values(state=int(State.DISMISSED)))


def _kept(table: Table) -> ColumnElement[bool]:
    """Whether a row of instances or series is not erased."""
    name = "sop_instance_uid" if table is _instance else "uid"
    return ~table.c[name].startswith(ERASED)


def _any(connection: Connection, table: Table, where: ColumnElement[bool]) -> bool:
    return connection.execute(select(table.c.id).where(where, _kept(table)).limit(1)).first() is not None


def _rows(connection: Connection, keys: Collection[bytes]) -> Sequence[Row[Any]]:
    """These images with their study, but for those that are erased by now."""
    query: Select[Any] = (
        select(
            _instance.c.id,
            _instance.c.series,
            _instance.c.node,
            _instance.c.size,
            _instance.c.purged_at,
            _series.c.study,
        )
        .join(_series, _series.c.id == _instance.c.series)
        .where(_instance.c.id.in_(list(keys)), _kept(_instance))
        .with_for_update(of=_instance)
    )
    return connection.execute(query).all()


def _owed(connection: Connection, rows: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    """The deliveries of these images that have not ended."""
    query: Select[Any] = (
        select(
            _delivery.c.id,
            _delivery.c.instance,
            _delivery.c.study,
            _delivery.c.destination,
            _delivery.c.state,
        )
        .where(_delivery.c.study.in_({row.study for row in rows}))
        .where(_delivery.c.instance.in_([row.id for row in rows]), _delivery.c.state < int(ENDED))
        .with_for_update()
    )
    return connection.execute(query).all()
