"""An index that an earlier or a later MAPDR made: moved on with a copy kept, or refused in words."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

import mapdr
from mapdr.kernel.errors import ConfigurationError
from mapdr.store.index import moving, schema
from mapdr.store.index.copying import facts_of_copy
from mapdr.store.index.database import Database
from mapdr.store.spool.claim import Claim

from .test_database import FIRST_SCHEMA


def version(index: Path) -> str:
    with closing(sqlite3.connect(index)) as connection:
        return str(connection.execute("SELECT value FROM fact WHERE name = 'schema'").fetchone()[0])


def say(index: Path, name: str, value: str) -> None:
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))
        connection.commit()


def opened(folder: Path) -> None:
    Database.open("sqlite", folder, "process-crash").close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The index of a data folder, of the first schema."""
    database = Database.open("sqlite", tmp_path, "process-crash")
    with database.write() as connection:
        for statement in FIRST_SCHEMA:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("DELETE FROM fact WHERE name = 'made_by'")
    database.close()
    return tmp_path / "index.db"


def test_a_copy_of_the_index_is_kept_as_it_was(old: Path) -> None:
    opened(old.parent)
    assert version(old) == str(schema.VERSION)
    (copy,) = moving.copies(old)
    assert copy.name.startswith("index.db.schema-1.")
    assert facts_of_copy(copy).schema == "1"
    opened(old.parent)
    assert moving.copies(old) == [copy], "an index that is up to date is not copied"
    # And back: the copy in the index's place is the index of then, which this program moves on again.
    old.unlink()
    copy.rename(old)
    opened(old.parent)
    assert version(old) == str(schema.VERSION)


def test_an_index_that_lacks_no_table_is_moved_on_too(tmp_path: Path) -> None:
    """The last step adds columns alone: by its tables, an index of the schema before is whole."""
    opened(tmp_path)
    index = tmp_path / "index.db"
    with closing(sqlite3.connect(index)) as connection:
        for column in ("bytes_received", "bytes_sent"):
            connection.execute(f"ALTER TABLE tally DROP COLUMN {column}")
        connection.commit()
    say(index, "schema", "4")
    opened(tmp_path)
    assert version(index) == str(schema.VERSION)
    assert [facts_of_copy(copy).schema for copy in moving.copies(index)] == ["4"]


def test_an_index_that_says_no_schema_yet_is_made_whole(tmp_path: Path) -> None:
    opened(tmp_path)
    index = tmp_path / "index.db"
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("DELETE FROM fact WHERE name = 'schema'")
        connection.commit()
    opened(tmp_path)
    assert version(index) == str(schema.VERSION)


def test_only_the_newest_copies_stay(old: Path) -> None:
    names = [f"index.db.schema-{number}.2026010{number}-000000" for number in (1, 2, 3)]
    for name in names:
        (old.parent / name).write_bytes(b"")
    (old.parent / "index.db.schema-1.20260101-000000.part").write_bytes(b"")
    opened(old.parent)
    kept = [each.name for each in moving.copies(old)]
    assert len(kept) == moving.COPIES
    assert kept[0].startswith("index.db.schema-1.")
    assert kept[1] == names[2]
    assert not list(old.parent.glob("*.part"))


def test_without_room_for_a_copy_nothing_is_changed(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ConfigurationError, match=r"needed in .* Nothing was changed: make room"):
        opened(old.parent)
    assert version(old) == "1"
    assert not moving.copies(old)


def test_room_is_needed_for_two_indexes_with_their_logs_and_some_to_spare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index.db"
    index.write_bytes(bytes(1000))
    (tmp_path / "index.db-wal").write_bytes(bytes(500))
    done: list[str] = []
    free = [2 * 1500 + 64_000_000 - 1]

    def copy(source: Path, target: Path) -> None:
        done.append(f"copied to {target.suffix}")
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(moving, "copy_index", copy)
    monkeypatch.setattr(moving, "sync_folder", lambda folder: done.append(f"flushed {folder == tmp_path}"))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    with pytest.raises(ConfigurationError, match="64 MB are needed"):
        moving.keep_copy(index, "4")
    assert done == []
    free[0] += 1
    kept = moving.keep_copy(index, "4")
    assert moving.copies(index) == [kept]
    assert kept.name.startswith("index.db.schema-4.")
    assert kept.read_bytes() == index.read_bytes()
    assert done == ["copied to .part", "flushed True"], "under its name only when it is whole"


@pytest.mark.parametrize("claim", ["node", "running", "claim"])
def test_nothing_is_moved_under_a_node_of_an_earlier_version(old: Path, claim: str) -> None:
    folder = old.parent / "spool" / "clinic"
    folder.mkdir(parents=True)
    held = Claim(folder / claim, "clinic")
    held.alone(1.0)
    try:
        with pytest.raises(ConfigurationError, match='node "clinic" runs with an earlier MAPDR'):
            opened(old.parent)
        assert version(old) == "1"
        assert not moving.copies(old)
    finally:
        held.release()
    opened(old.parent)
    assert version(old) == str(schema.VERSION)


def test_beside_a_node_of_this_version_all_may_look(tmp_path: Path) -> None:
    opened(tmp_path)
    folder = tmp_path / "spool" / "clinic"
    folder.mkdir(parents=True)
    held = Claim(folder / "node", "clinic")
    held.alone(1.0)
    try:
        opened(tmp_path)
    finally:
        held.release()


def test_an_index_of_a_later_version_is_refused_in_words(old: Path) -> None:
    opened(old.parent)
    say(old, "schema", "99")
    say(old, "made_by", "9.1.0")
    before = old.read_bytes()
    with pytest.raises(ConfigurationError) as refused:
        opened(old.parent)
    told = str(refused.value)
    assert "schema 99 and was made by MAPDR 9.1.0" in told
    assert f"this is MAPDR {mapdr.__version__}, which knows schemas up to {schema.VERSION}" in told
    assert "mapdr restore" in told
    assert "rename" not in told, "there is no copy that this version can use"
    assert old.read_bytes() == before
    copy = old.with_name(f"index.db.schema-{schema.VERSION}.20270101-000000")
    copy.write_bytes(b"")
    with pytest.raises(ConfigurationError, match=f"rename {copy.name} to index.db"):
        opened(old.parent)


@pytest.mark.parametrize("nonsense", ["0", "-1", "abc"])
def test_what_is_no_schema_is_said_to_be_none(old: Path, nonsense: str) -> None:
    say(old, "schema", nonsense)
    with pytest.raises(ConfigurationError, match="no MAPDR has written"):
        opened(old.parent)


KILLED = """
import os, sys
from pathlib import Path
from mapdr.store.index import database, moving
def die(*_):
    os.kill(os.getpid(), 9)
where = sys.argv[2]
if where == "copying":
    moving.os.replace = die
elif where == "copied":
    database.migrate = die
else:
    real = database.migrate
    database.migrate = lambda connection: (real(connection), die())
database.Database.open("sqlite", Path(sys.argv[1]), "process-crash")
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9")
@pytest.mark.parametrize("where", ["copying", "copied", "moved"])
def test_a_process_that_is_killed_leaves_the_index_as_it_was(old: Path, where: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(old.parent), where], check=False)
    assert done.returncode == -9
    assert version(old) == "1"
    assert len(moving.copies(old)) == (where != "copying")
    opened(old.parent)
    assert version(old) == str(schema.VERSION)
    assert facts_of_copy(moving.copies(old)[0]).schema == "1"
    assert not list(old.parent.glob("*.part"))
