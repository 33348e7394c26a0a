"""The index's connections and statements, each by itself, on a database without a store."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import bindparam, delete, select, update

import mapdr
from mapdr.kernel.errors import ConfigurationError
from mapdr.store.index import schema
from mapdr.store.index.database import MADE_BY, Database, portions
from mapdr.store.index.engines import remove_leftovers
from mapdr.store.index.fault import IndexFault

_tally, _word = schema.tally, schema.word


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open("sqlite", tmp_path, "process-crash", busy=0.05)
    yield opened
    opened.close()


def words(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(_word.c.text).order_by(_word.c.id)))


def test_portions_are_all_of_it_in_order() -> None:
    assert list(map(list, portions(range(7), 3))) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(map(list, portions(range(6), 3))) == [[0, 1, 2], [3, 4, 5]]
    assert list(portions([])) == []
    assert [len(some) for some in portions(range(1001))] == [500, 500, 1]


def test_a_prepared_statement_is_run_for_each_row_and_says_how_many_it_changed(database: Database) -> None:
    one = database.prepared(database.upsert(_word))
    both = database.prepared(
        update(_word).where(_word.c.id == bindparam("row")).values(text=bindparam("new"))
    )
    with database.write() as connection:
        one.execute(connection, ({"text": text} for text in ("a", "b", "a")))
        one.execute(connection, [])
        assert one.execute_one(connection, {"text": "c"}) == 1
        assert one.execute_one(connection, {"text": "a"}) == 0
        both.execute(connection, [{"new": "A", "row": 1}, {"row": 2, "new": "B"}])
        assert both.execute_one(connection, {"row": 99, "new": "x"}) == 0
    assert words(database) == ["A", "B", "c"]
    constant = database.prepared(
        select(_word.c.text).where(_word.c.id == bindparam("row"), _word.c.text != "B").limit(5)
    )
    assert [list(database.rows(constant, {"row": row})) for row in (1, 2)] == [[("A",)], []]
    only = database.prepared(delete(_word).where(_word.c.id == bindparam("row")))
    with database.write() as connection:
        only.execute(connection, [{"row": 3}, {"row": 1}])
    assert words(database) == ["B"]


def test_rows_that_exist_are_added_to_replaced_or_only_grow(database: Database) -> None:
    key = {"day": 1, "destination": 0, "origin": 0, "modality": 0}
    row = {**key, "images": 10, "studies": 10, "repeats": 10, "versions": 10}
    statement = database.upsert(_tally, add=["images"], replace=["studies"], greater=["repeats"])
    with database.write() as connection:
        connection.execute(statement, [row])
        connection.execute(statement, [{**row, "images": 3, "studies": 3, "repeats": 3, "versions": 3}])
        told = select(_tally.c.images, _tally.c.studies, _tally.c.repeats, _tally.c.versions)
        assert tuple(connection.execute(told).one()) == (13, 3, 10, 10)
        connection.execute(statement, [{**row, "repeats": 11}])
        assert tuple(connection.execute(told).one()) == (23, 10, 11, 10)
        connection.execute(database.upsert(_tally), [{**row, "images": 99}])
        assert tuple(connection.execute(told).one()) == (23, 10, 11, 10)


def test_columns_are_given_in_the_tables_order(database: Database) -> None:
    text = database.insertion(_tally, ("day", "destination", "origin", "modality"))
    assert text == "INSERT INTO tally (day, destination, origin, modality) VALUES (?, ?, ?, ?)"
    with pytest.raises(ValueError, match="order"):
        database.insertion(_tally, ("destination", "day", "origin", "modality"))


def test_what_is_read_for_each_image_sees_what_is_committed_and_no_more(database: Database) -> None:
    query = database.prepared(select(_word.c.text).order_by(_word.c.id))
    assert list(database.rows(query, {})) == []
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO word (text) VALUES ('a')")
        assert list(database.rows(query, {})) == []
    assert list(database.rows(query, {})) == [("a",)]
    database.close()
    assert list(database.rows(query, {})) == [("a",)], "a thread that has not ended yet reads on"


@pytest.mark.skipif(os.name == "nt", reason="a file that is open cannot be renamed there")
def test_a_file_of_the_index_that_is_another_is_told(database: Database, tmp_path: Path) -> None:
    database.check_file()
    index, away = tmp_path / "index.db", tmp_path / "away.db"
    index.rename(away)
    with pytest.raises(IndexFault, match=r"index\.db was removed or replaced"):
        database.check_file()
    index.write_bytes(away.read_bytes())
    with pytest.raises(IndexFault, match="removed or replaced"):
        database.check_file()
    away.replace(index)
    database.check_file()


def test_the_log_is_emptied_unless_somebody_reads(database: Database, tmp_path: Path) -> None:
    log = tmp_path / "index.db-wal"
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO word (text) VALUES ('a secret')")
    assert b"a secret" in log.read_bytes()
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM word")
    with closing(sqlite3.connect(tmp_path / "index.db")) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM word").fetchall()
        with database.write() as connection:
            connection.exec_driver_sql("INSERT INTO word (text) VALUES ('b')")
        assert not database.empty_log()
    assert database.empty_log()
    assert log.stat().st_size == 0
    assert b"a secret" not in (tmp_path / "index.db").read_bytes(), "and what was deleted is written over"


def test_an_index_says_who_made_it(database: Database) -> None:
    with database.read() as connection:
        facts = dict(tuple(row) for row in connection.execute(select(schema.fact)).all())
    assert facts == {"schema": str(schema.VERSION), MADE_BY: mapdr.__version__}
    assert database.is_file


def test_who_opens_an_index_that_is_whole_writes_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program may hold the lock for long."""

    def refuse(*_: object) -> None:
        raise AssertionError("it is made already")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "_create", refuse)
        Database.open("sqlite", tmp_path, "process-crash").close()
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE job_image")
        connection.exec_driver_sql("INSERT INTO word (text) VALUES ('kept')")
    again = Database.open("sqlite", tmp_path, "process-crash")
    try:
        with again.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM job_image").scalar() == 0
        assert words(again) == ["kept"]
    finally:
        again.close()


@pytest.mark.skipif(os.name == "nt", reason="modes of files are POSIX's")
def test_the_index_and_its_log_give_others_no_rights(tmp_path: Path) -> None:
    """They hold what is known of patients, whatever the folder lets others see."""
    before = os.umask(0)
    try:
        opened = Database.open("sqlite", tmp_path, "process-crash")
        try:
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        finally:
            opened.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("index.db", "index.db-wal", "index.db-shm"), 0o640)


def test_an_index_that_is_refused_is_not_held_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is told to move it aside could not, on Windows."""
    Database.open("sqlite", tmp_path, "process-crash").close()
    with closing(sqlite3.connect(tmp_path / "index.db")) as connection:
        connection.execute("UPDATE fact SET value = '99' WHERE name = 'schema'")
        connection.commit()
    closed: list[Database] = []
    close = Database.close
    monkeypatch.setattr(Database, "close", lambda self: (closed.append(self), close(self)))
    with pytest.raises(ConfigurationError):
        Database.open("sqlite", tmp_path, "process-crash")
    assert len(closed) == 1


def test_a_database_of_another_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a file of no folder would be made there
    with pytest.raises(ConfigurationError, match="postgresql"):
        Database.open("oracle://x", tmp_path, "process-crash")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [False, True])
def test_leftovers_are_those_of_an_index_that_is_gone(tmp_path: Path, there: bool) -> None:
    names = [f"index.db{ending}" for ending in ("-wal", "-shm", ".schema-4.x", *(("",) if there else ()))]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path / "index.db")
    left = names if there else ["index.db.schema-4.x"]
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(left)
    remove_leftovers(tmp_path / "index.db")


def test_connections_are_set_up_as_the_index_needs_it(database: Database) -> None:
    def pragma(connection: object, name: str) -> object:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()  # type: ignore[attr-defined]

    with database.write() as writing, database.read() as reading:
        for connection in (writing, reading):
            told = {name: pragma(connection, name) for name in ("journal_mode", "temp_store", "synchronous")}
            assert told == {"journal_mode": "wal", "temp_store": 2, "synchronous": 1}
            assert pragma(connection, "journal_size_limit") == 64 << 20
        assert pragma(writing, "secure_delete") == 1
        assert (pragma(writing, "cache_size"), pragma(reading, "cache_size")) == (-48 * 1024, -8 * 1024)


def test_a_reader_begins_no_write_and_a_writer_has_the_lock_from_its_beginning(
    database: Database, tmp_path: Path
) -> None:
    with database.read(), closing(sqlite3.connect(tmp_path / "index.db", timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
        with database.write(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
