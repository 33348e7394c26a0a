"""A store that makes images safe by a journal: what its index, backups and people see of it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mapdr.store
from mapdr.kernel.errors import Refused
from mapdr.store import Rules, Selection, Settlement, Store
from mapdr.store.backup import copy_data
from mapdr.store.spool import files
from mapdr.store.spool.folder import SpoolFolder
from mapdr.store.spool.headers import PREFIX
from mapdr.store.spool.journal import keeper, segment
from mapdr.store.spool.journal.journal import Journal
from mapdr.store.spool.journal.record import Image
from mapdr.store.spool.journal.replay import journal_folder
from mapdr.store.spool.trust import DiskTrust
from store.world import CT, EXPLICIT, SOURCE, To, data_set, push

Opener = Callable[..., Store]


def rules(revision: str) -> Rules | None:
    return Rules(To("pacs"), {"r0": {"steps": []}})


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper that comes when a segment is full, or at the end."""
    monkeypatch.setattr(mapdr.store, "Journal", partial(Journal, size=1 << 18, most=3))
    monkeypatch.setattr(keeper, "QUIET_SECONDS", 60.0)
    monkeypatch.setattr(keeper, "LONGEST_SECONDS", 60.0)


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Opener]:
    stores: list[Store] = []

    def make(durability: Any = "power-loss", **rest: Any) -> Store:
        store = Store.open(tmp_path / "data", "node", durability=durability, journal=True, **rest)
        stores.append(store)
        store.use("rev1", To("pacs"), {"r0": {"steps": []}})
        store.recover(rules)
        store.start()
        return store

    yield make
    for store in stores:
        store.close()


def copied(store: Store, tmp_path: Path) -> Path:
    """The data folder as a crash leaves it now, in another place."""
    to = tmp_path / "crashed" / "data"
    shutil.copytree(store.data, to)
    return to


def reopened(data: Path) -> Store:
    store = Store.open(data, "node", durability="process-crash")
    store.use("rev1", To("pacs"), {"r0": {"steps": []}})
    return store


def test_a_crash_loses_nothing_though_no_file_was_flushed(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    ids = [push(store, f"1.2.{number}") for number in range(5)]
    assert store.writer.flush()
    data = copied(store, tmp_path)
    for path in data.rglob("*.dcm"):
        path.unlink()
    again = reopened(data)
    again.recover(rules)
    assert again.instances.intact([bytes.fromhex(id_) for id_ in ids]) == dict.fromkeys(
        [bytes.fromhex(id_) for id_ in ids], True
    )
    again.close()


def test_what_was_purged_or_erased_stays_gone(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    purged = push(store, "1.2.1", patient="P1", study="1.3.1", series="1.3.1.1")
    erased = push(store, "1.2.2", patient="P2", study="1.3.2", series="1.3.2.1")
    assert store.writer.flush()
    rows = store.ledger.lease("pacs", 9, 60, "node")
    store.ledger.settle([Settlement(row.id, "delivered", status=0) for row in rows])
    assert store.erasure.erase(store.erasure.choose(Selection(patient_id="P2"))) == []
    assert store.retention.purge(rows[0].instance.received_at + 10_000, 1).images == 1
    assert not store.spool.path(purged).exists()
    assert not store.spool.path(erased).exists()
    again = reopened(copied(store, tmp_path))
    again.recover(rules)
    assert not list(again.data.rglob("*.dcm"))
    assert not again.ledger.lease("pacs", 9, 60, "node")
    again.close()


def test_a_store_that_ends_leaves_nothing_to_replay(opener: Opener) -> None:
    store = opener()
    for number in range(20):
        push(store, f"1.2.{number}")
    store.close()
    assert segment.read_checkpoint(journal_folder(SpoolFolder(store.data, "node"))).sequence == 20
    opener()
    for path in store.data.rglob("*.dcm"):
        assert path.stat().st_size


def test_a_journal_that_is_turned_off_is_replayed_all_the_same(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    id_ = push(store, "1.2.3")
    data = copied(store, tmp_path)
    SpoolFolder(data, "node").path(id_).write_bytes(b"")
    again = reopened(data)
    assert again.recover(rules).indexed == 1
    again.close()


def test_a_fault_of_the_journal_is_told(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opener()
    push(store, "1.2.3")
    assert store.health()["refusing"] == store.look_at_the_index() == store.health()["without_journal"] == ""

    def fail(file: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(segment, "flush_data", fail)
    with pytest.raises(Refused, match="journal"):
        push(store, "1.2.4")
    monkeypatch.undo()
    assert store.health()["refusing"] == store.look_at_the_index()
    assert "the journal cannot be written" in store.look_at_the_index()
    with pytest.raises(Refused, match="journal"):
        push(store, "1.2.5")


def test_without_power_loss_there_is_no_journal(opener: Opener) -> None:
    store = opener("process-crash")
    push(store, "1.2.3")
    assert store.spool.journal is None
    assert not journal_folder(store.spool).exists()


def test_a_backup_of_a_node_at_work_has_its_files_and_not_its_journal(opener: Opener, tmp_path: Path) -> None:
    """Of a node that has crashed it has both: what the journal promises may be in no file."""
    store = opener()
    id_ = push(store, "1.2.3")
    assert store.writer.flush()
    copy_data(store.data, tmp_path / "backup")
    there = SpoolFolder(tmp_path / "backup", "node")
    assert there.path(id_).read_bytes() == store.spool.path(id_).read_bytes()
    assert not journal_folder(there).exists()
    data = copied(store, tmp_path)
    SpoolFolder(data, "node").path(id_).unlink()
    copy_data(data, tmp_path / "second")
    again = reopened(tmp_path / "second")
    again.recover(rules)
    assert again.spool.path(id_).read_bytes() == store.spool.path(id_).read_bytes()
    again.close()


@pytest.mark.parametrize("nth", [1, 3])
def test_where_no_journal_can_be_made_files_are_flushed(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, nth: int
) -> None:
    real, made = segment._fill, []

    def full(file: int, size: int) -> None:
        made.append(file)
        if len(made) == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file, size)

    monkeypatch.setattr(segment, "_fill", full)
    store = opener()
    monkeypatch.undo()
    id_ = push(store, "1.2.3")
    assert store.spool.journal is None
    assert store.spool.path(id_).exists()
    assert "there is no journal" in caplog.text
    assert "(No space left on device); make room on the disk" in store.health()["without_journal"]
    assert not list(journal_folder(SpoolFolder(store.data, "node")).glob("*.segment")), (
        "the room is the index's"
    )


@pytest.mark.parametrize("left", [0, 1], ids=["room", "one byte less"])
def test_a_journal_leaves_the_disk_what_stays_free_and_the_index_room_to_be_written(
    opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """A start on a disk that is nearly full is there to deliver what is owed, which takes the index."""
    size, free, real = 1 << 18, 10**9, shutil.disk_usage

    def usage(path: Any) -> Any:
        made = sum(each.stat().st_size for each in tmp_path.rglob("*.segment"))
        return real(path)._replace(free=free + 4 * size - left - made)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    store = opener(min_free=free)
    assert (store.spool.journal is None) == bool(left)
    assert len(list(tmp_path.rglob("*.segment"))) == (0 if left else 3)


@pytest.mark.parametrize("way", ["at once", "in pieces", "to the descriptor", "both ways"])
@pytest.mark.parametrize("more", [-2, 0, 2])
def test_the_journal_is_given_what_the_file_holds(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, way: str, more: int
) -> None:
    """A small object is not read back from its file for that, unless its bytes went past `write`."""
    store = opener()
    data = data_set("1.2.3", pixels=1000)
    data = data_set("1.2.3", pixels=1000 + PREFIX + more - len(data))
    assert len(data) == PREFIX + more
    given: list[bytes] = []
    read: list[int] = []
    append, real = Journal.append, files._read

    def appended(journal: Journal, path: Path, image: Image, **rest: Any) -> None:
        given.append(image.before + bytes(image.data))
        append(journal, path, image, **rest)

    def read_back(file: int, count: int) -> bytes:
        read.append(count)
        return real(file, count)

    monkeypatch.setattr(Journal, "append", appended)
    monkeypatch.setattr(files, "_read", read_back)
    incoming = store.spool.begin(SOURCE, CT, "1.2.3", EXPLICIT)
    cut = 0 if way == "to the descriptor" else 5000 if way == "both ways" else len(data)
    piece = 777 if way == "in pieces" else len(data)
    for at in range(0, cut, piece):
        incoming.write(memoryview(data)[at : min(at + piece, cut)])
    if cut < len(data):
        with open(incoming.fileno(), "wb", closefd=False) as file:
            file.write(data[cut:])
    incoming.commit()
    assert given == [store.spool.path(incoming.id).read_bytes()]
    assert given[0].endswith(data)
    assert bool(read) == (more > 0 or cut < len(data))


@pytest.mark.parametrize("recovers", [True, False])
def test_a_journal_is_replayed_once_before_it_is_opened(
    recovers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(mapdr.store, "replay", lambda spool: calls.append("replayed") or 0)

    def opened(folder: Path, trust: DiskTrust, *, min_free: Callable[[], int]) -> Journal:
        calls.append("opened")
        return Journal(folder, trust, size=1 << 18, min_free=min_free)

    monkeypatch.setattr(mapdr.store, "Journal", opened)
    store = Store.open(tmp_path / "data", "node", journal=True)
    try:
        store.use("rev1", To("pacs"), {"r0": {"steps": []}})
        if recovers:
            store.recover(rules)
        store.start()
    finally:
        store.close()
    assert calls == ["replayed", "opened"]
