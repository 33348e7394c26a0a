"""The promise, checked on a state of the disk: the store recovers on it, and what it then holds is compared
with what its senders and receivers were told."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from sqlalchemy import Table, select

from crash.disk import Tree, materialise
from crash.record import Call, Event
from mapdr.kernel.item import Instance
from mapdr.store import Rules, Store, recover
from mapdr.store.index import database, schema
from mapdr.store.index.database import Database
from mapdr.store.index.schema import State
from mapdr.store.recover import Recovered
from mapdr.wire import dimse
from store.world import To, data_set

NODE = "node"
RULES = Rules(To("pacs"), {"r0": {"steps": []}})
LENGTHS = (600, 9000)
"""Bytes of pixel data of the images: within a page, and over three."""
_PDU, _PDV = 6, 6  # bytes of their heads
_DELIVERIES = (
    select(schema.delivery.c.state, schema.instance.c.id, schema.instance.c.sop_instance_uid)
    .join(schema.instance, schema.instance.c.id == schema.delivery.c.instance)
    .order_by(schema.delivery.c.id)
)


def image(uid: str) -> bytes:
    """The data set that is pushed under a UID; no sector of it is like another, nor empty."""
    length = LENGTHS[int(uid.rpartition(".")[2]) % len(LENGTHS)]
    pixels = b"".join(
        hashlib.sha256(f"{uid} {number}".encode()).digest() for number in range(-(-length // 32))
    )
    return data_set(uid, pixels=length)[:-length] + pixels[:length]


@dataclass
class Told:
    """What was said until a moment, by UID: pushing `begun`, answered Success (`taken`), going out (`sent`),
    and known to be delivered (`settled`)."""

    begun: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)
    _messages: dict[int, str] = field(default_factory=dict)

    def hear(self, event: Event) -> None:
        """Take in an event of the record, if it says something."""
        if event.call is Call.MARK:
            what, uid, *number = event.path.split()
            {"begun": self.begun, "taken": self.taken, "sent": self.sent, "settled": self.settled}[what].add(
                uid
            )
            if number:
                self._messages[int(number[0])] = uid
        elif event.call is Call.SEND and event.data[:1] == b"\x04":
            command = dimse.parse(event.data[_PDU + _PDV :])
            if command.status == 0 and command.message_id in self._messages:
                self.taken.add(self._messages[command.message_id])


@dataclass(frozen=True)
class Row:
    """A delivery after recovery."""

    uid: str
    state: str
    whole: bool


@dataclass(frozen=True)
class Outcome:
    """What recovery made of a state: the deliveries, and what is wrong whatever anybody was told."""

    rows: tuple[Row, ...]
    wrong: tuple[str, ...]

    def broken(self, told: Told) -> list[str]:
        """What of the promise does not hold; empty if all does."""
        found = list(self.wrong)
        states: dict[str, list[str]] = defaultdict(list)
        for row in self.rows:
            states[row.uid].append(row.state)
            if row.state != "delivered" and not row.whole:
                found.append(f"{row.uid} is {row.state}, and its bytes are not those that were pushed")
        for uid, those in states.items():
            if uid not in told.begun:
                found.append(f"{uid} was never pushed")
            if set(those) - {"pending", "delivered"} or those.count("pending") > 1:
                found.append(f"{uid} is {', '.join(those)}")
            if "delivered" in those and uid not in told.sent:
                found.append(f"{uid} is told to be delivered, and was never sent")
        found += [f"{uid} was answered Success and is lost" for uid in sorted(told.taken - states.keys())]
        found += [
            f"{uid} was known to be delivered and is not any more"
            for uid in sorted(told.settled)
            if "delivered" not in states[uid]
        ]
        return found


def outcome(tree: Tree, folder: Path, *, power: bool) -> Outcome:
    """Recover on a state of the disk, made real in `folder`; `power`: the system was started since."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    materialise(tree, folder)
    try:
        with (
            _started_anew(power),
            mock.patch.object(database, "sqlite", _engine),
            mock.patch.object(Database, "insertion", _insertion),
        ):
            return _recovered(folder / "data")
    except Exception as error:
        return Outcome((), (f"recovery fails: {type(error).__name__}: {error}",))


def _started_anew(power: bool) -> mock._patch[object]:
    """The clock of a system that was started a second ago, or the one that there is."""
    clock = SimpleNamespace(time=recover.time.time, monotonic=lambda: 1.0)
    return mock.patch.object(recover, "time", clock if power else recover.time)


_engine = functools.cache(database.sqlite)
"""One engine for all states: to set one up, and to compile statements for it, costs more than recovery. It
keeps no connection over `Store.close`, and knows nothing of the index."""


_compiled = Database.insertion
_texts: dict[tuple[str, ...], str] = {}


def _insertion(self: Database, table: Table, columns: Sequence[str]) -> str:
    """As `Database.insertion`, whose texts are the same for every index."""
    key = (table.name, *columns)
    if key not in _texts:
        _texts[key] = _compiled(self, table, columns)
    return _texts[key]


def _recovered(data: Path) -> Outcome:
    store = Store.open(data, NODE, durability="power-loss", repeats="absorb")
    try:
        store.use("rev1", RULES.router, dict(RULES.recipes))
        store.recover(lambda revision: RULES)
        rows, before = _rows(store), _files(data)
        wrong = []
        again = store.recover(lambda revision: RULES)
        if again != Recovered() or _rows(store) != rows or _files(data) != before:
            wrong.append(f"a second recovery changes something: {again}")
        return Outcome(tuple(rows), tuple(wrong))
    finally:
        store.close()


def _rows(store: Store) -> list[Row]:
    """The deliveries, in the order of the index (`mapdr.store.index.selection` costs more than recovery)."""
    with store.database.read() as connection:
        found = connection.execute(_DELIVERIES).all()
    instances = store.instances.by_key([row.id for row in found])
    return [Row(row.sop_instance_uid, State(row.state).word, _is_whole(instances[row.id])) for row in found]


def _is_whole(instance: Instance) -> bool:
    """Whether the spool holds what was pushed."""
    try:
        content = instance.path.read_bytes()
    except OSError:
        return False
    return content[instance.data_offset :] == image(instance.sop_instance_uid)


def _files(data: Path) -> dict[str, bytes]:
    return {
        path.relative_to(data).as_posix(): path.read_bytes()
        for path in (data / "spool").rglob("*")
        if path.is_file()
    }


def digest(tree: Tree) -> bytes:
    """What tells states of the disk apart."""
    found = hashlib.blake2b(digest_size=16)
    for path, content in _sorted(tree.items()):
        found.update(f"{path}\0{-1 if content is None else len(content)}\0".encode())
        found.update(content or b"")
    return found.digest()


def _sorted(items: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    return sorted(items, key=lambda item: item[0])
