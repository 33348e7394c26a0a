"""Copies of an index: whole and flushed, or none; and what is told of one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mapdr.store import Selection, Settlement, Store
from mapdr.store.index import copying, schema
from mapdr.store.index.copying import IndexFacts, copy_index, facts_of_copy, files_of_copy
from mapdr.store.index.fault import IndexFault
from store.conftest import Opener
from store.entered import image, to


@pytest.fixture
def index(opener: Opener, tmp_path: Path) -> Path:
    """That of two nodes: three images, one of them purged; four deliveries, two of them still to be made."""
    north, south = opener(node="north", start=False), opener(node="south", start=False)
    north.ingest.enter([image(1), image(2)], to("pacs"))
    south.ingest.enter([image(3, study="8")], to("pacs", "other"))
    rows = {(row.sop_instance_uid, row.destination): row.id for row in north.listing.select(Selection())}
    north.ledger.settle(
        [
            Settlement(rows["1.2.1", "pacs"], "delivered"),
            Settlement(rows["1.2.3", "pacs"], "parked"),
        ]
    )
    leased(south)
    with north.database.write() as connection:
        connection.exec_driver_sql("UPDATE instance SET purged_at = 5.0 WHERE sop_instance_uid = '1.2.1'")
    return tmp_path / "data" / "index.db"


def leased(store: Store) -> None:
    assert len(store.ledger.lease("other", 9, 60, "south")) == 1


def test_a_copy_holds_what_the_index_holds_while_it_is_written_to(index: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    with closing(sqlite3.connect(index)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO word (text) VALUES ('not committed')")
        copy_index(index, target)
    assert facts_of_copy(target) == IndexFacts(str(schema.VERSION), 2, 2)
    assert sorted(files_of_copy(target)) == [("north", image(2).id), ("south", image(3).id)]
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == ["copy.db"], (
        "nothing beside it"
    )


def test_a_copy_is_private_and_made_safe_before_it_counts(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    made: list[Path] = []
    touch = copying.touch_private
    monkeypatch.setattr(copying, "touch_private", lambda path: (made.append(path), touch(path)))
    monkeypatch.setattr(copying, "sync_file", flushed.append)
    monkeypatch.setattr(copying, "sync_folder", flushed.append)
    target = tmp_path / "copy.db"
    copy_index(index, target)
    assert (made, flushed) == ([target], [target, tmp_path]), "the file, then its name"


def test_what_is_there_is_not_written_over(index: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"copy\.db"):
        copy_index(index, target)
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_a_copy_that_fails_leaves_nothing(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(path: Path) -> None:
        raise error

    monkeypatch.setattr(copying, "sync_file", fail)
    target = tmp_path / "copy.db"
    with pytest.raises(type(error)):
        copy_index(index, target)
    assert not target.exists()


def test_what_is_no_index_is_refused_in_words(tmp_path: Path) -> None:
    none, empty, nonsense = tmp_path / "none.db", tmp_path / "empty.db", tmp_path / "nonsense.db"
    empty.write_bytes(b"")
    nonsense.write_bytes(b"no index" * 1000)
    target = tmp_path / "copy.db"
    for index in (none, nonsense):
        with pytest.raises(IndexFault, match=f"the index .*{index.name} cannot be copied"):
            copy_index(index, target)
        assert not target.exists()
    assert not none.exists(), "nothing is made by looking"
    for index in (none, empty, nonsense):
        with pytest.raises(IndexFault, match=f"{index.name} cannot be read"):
            facts_of_copy(index)
        with pytest.raises(IndexFault, match=f"{index.name} cannot be read"):
            list(files_of_copy(index))


def test_a_damaged_copy_is_told(index: Path, tmp_path: Path) -> None:
    """Pages that belong to nothing: all can be read, and it is not what it was."""
    target = tmp_path / "copy.db"
    copy_index(index, target)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'delivery_by_study'")
        connection.commit()
    with pytest.raises(IndexFault, match="is damaged"):
        facts_of_copy(target)


def test_an_index_that_does_not_say_its_schema_has_none(index: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    copy_index(index, target)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("DELETE FROM fact WHERE name = 'schema'")
        connection.commit()
    assert facts_of_copy(target).schema == ""
