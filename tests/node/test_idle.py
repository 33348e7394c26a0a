"""A node that has nothing to do leaves disk and index alone, and answers who asks for a sign of life."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from mapdr.node import upkeep
from mapdr.node.assembly import Node
from mapdr.node.sign import SignOfLife
from mapdr.operate import access
from mapdr.operate.access import Access
from mapdr.store import Purged
from mapdr.store.index.commands import RESTS
from mapdr.store.index.database import Database
from mapdr.store.unrouted import Expiring
from mapdr.testing.wait import until
from node.conftest import Start

ROUNDS = 100
"""So many seconds' works are watched, in a hundredth of the time."""
CONFIG = """
[receive.modalities]
type = "dicom"
ae_title = "MAPDR"
host = "127.0.0.1"
port = 0
[egress.pacs]
type = "dicom"
ae_title = "PACS"
host = "127.0.0.1"
port = 104
[egress.folder]
type = "folder"
path = "out"
[webhook.ris]
url = "http://127.0.0.1:1/"
on = ["study.received"]
[[rule]]
name = "all"
when = {}
send_to = ["pacs", "folder"]
"""


class Counted:
    """How often the index was read and written, and upkeep came to its last work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = self.writes = self.rounds = 0
        read, write = Database.read, Database.write

        def counted_read(database: Database) -> Any:
            self.reads += 1
            return read(database)

        def counted_write(database: Database) -> Any:
            self.writes += 1
            return write(database)

        purge = upkeep.Upkeep._unrouted

        @wraps(purge)
        def counted_round(works: upkeep.Upkeep) -> None:
            self.rounds += 1
            purge(works)

        monkeypatch.setattr(Database, "read", counted_read)
        monkeypatch.setattr(Database, "write", counted_write)
        monkeypatch.setattr(upkeep.Upkeep, "_unrouted", counted_round)

    def wait(self, rounds: int) -> None:
        """Until upkeep has done all its works so many times more."""
        end = self.rounds + rounds
        until(lambda: self.rounds >= end, 20, "rounds of upkeep")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """The works of a second, and those of a minute, a hundred times a second."""
    for name in ("ROUND", "BEAT", "PURGE"):
        monkeypatch.setattr(upkeep, name, 0.01)
    return Counted(monkeypatch)


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of all that a node has on its disk."""
    found = {}
    for path in folder.rglob("*"):
        told = path.stat()
        # Shared memory: a reader marks there where it reads. It is a mapped file, and never flushed.
        if not path.name.endswith("-shm"):
            found[path.relative_to(folder).as_posix()] = (told.st_size, told.st_mtime_ns)
    return found


def _settled(node: Node, counted: Counted, folder: Path) -> dict[str, tuple[int, int]]:
    """The files, once the first events of a node are written."""
    before: dict[str, tuple[int, int]] = {}

    def quiet() -> bool:
        nonlocal before
        counted.wait(ROUNDS // 4)
        last, before = before, _files(folder)
        return last == before

    until(quiet, 20, "an end of the writing")
    return before


def test_an_idle_node_writes_nothing(start: Start, path: Path, counted: Counted) -> None:
    node = start(CONFIG)
    data = path.parent / "data"
    before = _settled(node, counted, data)
    counted.wait(ROUNDS)
    assert _files(data) == before


def test_an_idle_node_reads_nothing_of_its_index_but_what_is_due_by_the_minute(
    start: Start, path: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start(CONFIG)
    _settled(node, counted, path.parent / "data")
    for part in (node.store.ledger.release_expired, node.store.erasure.finish, node.store.outbox.forget):
        monkeypatch.setattr(part.__self__, part.__name__, lambda *given: None)  # type: ignore[attr-defined]
    for kept in (node.store.retention, node.store.unrouted):
        monkeypatch.setattr(kept, "purge", lambda now, keep, seconds: Purged())
    monkeypatch.setattr(node.store.unrouted, "look", lambda now, keep: Expiring())
    counted.wait(2)
    reads, writes = counted.reads, counted.writes
    counted.wait(ROUNDS)
    # Who has sent, and whether anybody is silent, is looked up every ten seconds.
    assert counted.reads - reads <= 2
    assert counted.writes == writes


@pytest.fixture
def looking(path: Path) -> Iterator[Access]:
    """Another process that looks at the node."""
    opened: list[Access] = []

    def lazily() -> Access:
        opened.append(Access.of(path))
        return opened[0]

    yield lazily  # type: ignore[misc]
    for each in opened:
        each.close()


def test_who_asks_a_node_at_rest_has_a_sign_of_now(
    start: Start, path: Path, counted: Counted, looking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "RECENT", -1.0)
    monkeypatch.setattr(access, "OLD", 0.0)
    node = start(CONFIG)
    _settled(node, counted, path.parent / "data")
    opened = looking()
    asked_at = time.time()
    beat = opened.running()
    assert beat is not None
    assert beat.at >= asked_at
    assert beat.counters["rests"] == RESTS
    assert opened.running().at > beat.at, "and each time"


def test_an_order_and_a_row_of_another_process_end_the_rest(
    start: Start, path: Path, counted: Counted, looking: Any
) -> None:
    node = start(CONFIG)
    _settled(node, counted, path.parent / "data")
    looks: list[str] = []
    for name, deliverer in node.deliverers.items():
        deliverer.look = lambda name=name: looks.append(name)  # type: ignore[method-assign,misc]
    store = looking().index()
    order = store.commands.give("note", {"action": "retry", "by": "mona", "number": 1, "of": "x", "to": ""})
    until(lambda: store.commands.get(order).done_at is not None, 10, "the answer")
    until(lambda: {"pacs", "folder"} <= set(looks), 10, "that all look")


class Time:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_sign_is_given_when_it_says_something_new_when_asked_and_before_it_is_too_old(
    tmp_path: Path,
) -> None:
    clock, written = Time(), list[Any]()
    running = tmp_path / "running"
    running.touch()
    sign = SignOfLife(running, 300.0, clock)
    said: dict[str, Any] = {
        "state": "running",
        "flow": [1],
        "destinations": {"a": {"since": 1, "retry_at": 1.0}},
    }

    def gives(**changed: Any) -> bool:
        said.update(changed)
        return sign.give(dict(said), written.append)

    assert gives(), "the first"
    assert not gives()
    assert not gives(flow=[2]), "a minute of the last hour is over"
    assert not gives(destinations={"a": {"since": 1, "retry_at": 1.1}}), "reckoned from now"
    assert gives(destinations={"a": {"since": 2, "retry_at": 1.1}})
    assert not sign.asked()
    os.utime(running, (1.0, 1.0))
    assert sign.asked()
    assert gives()
    assert not gives()
    clock.now += 299.0
    assert not gives()
    clock.now += 1.0
    assert gives()
    sign.renew()
    assert gives(), "the clock was set"
    running.unlink()
    assert not gives(), "nobody can ask"
    assert written[-1] == said


def test_a_sign_that_could_not_be_written_is_due_still(tmp_path: Path) -> None:
    sign = SignOfLife(tmp_path / "running", 300.0)

    def refuse(told: Any) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        sign.give({"state": "running"}, refuse)
    assert sign.give({"state": "running"}, lambda told: None)
