from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_mock_engine, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from mapdr.kernel.item import Source
from mapdr.store import Store
from mapdr.store.index import schema
from mapdr.store.index.counters import EVERY
from mapdr.store.index.database import Database
from mapdr.store.index.migrations import STEPS
from mapdr.store.index.strings import Sources
from store.conftest import Opener


def test_the_version_is_another_after_each_commit_of_whomever_and_only_then(opener: Opener) -> None:
    ours, theirs = opener(node="north", start=False), opener(node="south", start=False)
    seen = [ours.changes()]
    for work in (ours, theirs):
        with work.database.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM heartbeat").scalar()
        with work.database.write() as connection:
            connection.exec_driver_sql("DELETE FROM heartbeat WHERE node = 'nobody'")
        assert ours.changes() == seen[-1], "nothing was changed"
        work.commands.beat({})
        seen.append(ours.changes())
        assert ours.changes() == seen[-1]
    assert len(set(seen)) == 3


def test_the_schema_is_postgresqls_too() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    made: list[str] = []
    server = create_mock_engine(
        "postgresql+psycopg://", lambda each, *_, **__: made.append(str(each.compile(dialect=dialect)))
    )
    schema.metadata.create_all(server, checkfirst=False)
    for table in schema.metadata.tables.values():
        assert f"CREATE TABLE {table.name}" in str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            text = str(CreateIndex(index).compile(dialect=dialect))
            assert text in made
            assert ("WHERE" in text) == bool(index.dialect_options["sqlite"]["where"] is not None)


@pytest.mark.parametrize(("durability", "level"), [("power-loss", 2), ("process-crash", 1)])
def test_the_index_is_as_durable_as_the_node(tmp_path: Path, durability: str, level: int) -> None:
    store = Store.open(tmp_path, "node", durability=durability)  # type: ignore[arg-type]
    try:
        with store.database.write() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == level
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    finally:
        store.close()
        store.close()


def write_and_raise(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO word (text) VALUES ('x')")
        raise RuntimeError


CHILD = """
import sys
from pathlib import Path
from sqlalchemy import insert, select
from mapdr.store.index import schema
from mapdr.store.index.counters import EVERY
from mapdr.store.index.database import Database
opened = Database.open("sqlite", Path(sys.argv[1]), "process-crash")
with opened.write() as connection:
    texts = [{"text": f"{sys.argv[2]} {number}" * 50} for number in range(500)]
    connection.execute(insert(schema.word), texts)
with opened.read() as connection:
    connection.execute(select(schema.word)).all()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.name == "nt", reason="a file that is open cannot be removed there")
def test_a_removed_index_can_be_made_anew_while_somebody_looks_at_the_old_one(tmp_path: Path) -> None:
    def opened(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, str(tmp_path), name]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n", f"{name} could not open the index"
        return process

    node, looking = opened("node"), opened("looking")
    try:
        (tmp_path / "index.db").unlink()
        node.kill()
        node.wait()
        again = opened("the node again")
        again.communicate("", timeout=20)
        assert again.returncode == 0
    finally:
        for process in (node, looking):
            process.kill()
            process.communicate()


def test_a_write_that_raises_leaves_nothing(tmp_path: Path) -> None:
    database = Database.open("sqlite", tmp_path, "process-crash")
    try:
        with pytest.raises(RuntimeError):
            write_and_raise(database)
        with database.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM word").scalar_one() == 0
    finally:
        database.close()


FIRST_SCHEMA = (
    "DROP TABLE hourly",
    "DROP TABLE delay",
    "DROP TABLE failure",
    "ALTER TABLE tally DROP COLUMN bytes_sent",
    "ALTER TABLE tally DROP COLUMN bytes_received",
    "INSERT INTO tally VALUES (20261123, 1, 0, 2, 30, 2, 1, 0)",
    "INSERT INTO tally VALUES (20261123, 1, 0, 3, 4, 1, 0, 0)",
    "INSERT INTO tallied VALUES (7, 1, 0, 2), (7, 1, 0, 3), (8, 1, 0, 2)",
    "DROP INDEX outbox_order",
    "DROP INDEX outbox_study",
    "ALTER TABLE outbox DROP COLUMN asked_at",
    "ALTER TABLE outbox DROP COLUMN tried_at",
    "ALTER TABLE outbox DROP COLUMN shown",
    "ALTER TABLE outbox DROP COLUMN study",
    "ALTER TABLE attempt DROP COLUMN credential",
    "ALTER TABLE delivery RENAME COLUMN priority TO lane",
    "DROP TABLE source",
    "CREATE TABLE source (id INTEGER NOT NULL, receiver TEXT NOT NULL, calling_ae TEXT NOT NULL,"
    " called_ae TEXT NOT NULL, address TEXT NOT NULL, PRIMARY KEY (id))",
    "CREATE UNIQUE INDEX source_whole ON source (receiver, calling_ae, called_ae, address)",
    "INSERT INTO source VALUES (1, 'modalities', 'CT1', 'MAPDR', '10.1.2.3')",
    "UPDATE fact SET value = '1' WHERE name = 'schema'",
)
"""From a new index to what the first schema had, with a source and a day's counts in it."""


def test_an_index_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    database = Database.open("sqlite", tmp_path, "process-crash")
    with database.read() as connection:
        new = _columns(connection)
    with database.write() as connection:
        for statement in FIRST_SCHEMA:
            connection.exec_driver_sql(statement)
    database.close()
    for _ in range(2):
        database = Database.open("sqlite", tmp_path, "process-crash")
        try:
            with database.read() as connection:
                assert _columns(connection) == new
                version = connection.exec_driver_sql("SELECT value FROM fact WHERE name = 'schema'")
                assert version.scalar_one() == str(schema.VERSION)
            sources = Sources(database)
            known = Source("modalities", "CT1", "MAPDR", "10.1.2.3")
            assert sources.source(1) == known
            assert sources.number(known) == 1
            proved = replace(known, credential="certificate:ct1.clinic.example")
            assert sources.number(proved) == 2
            assert Sources(database).source(2) == proved
            with database.read() as connection:
                tally = connection.execute(select(schema.tally).where(schema.tally.c.modality == EVERY)).all()
                assert [(row.day, row.images, row.studies) for row in tally] == [(20261123, 0, 3)]
                tallied = select(schema.tallied.c.study).where(schema.tallied.c.modality == EVERY)
                assert sorted(connection.scalars(tallied)) == [7, 8]
        finally:
            database.close()


def test_every_schema_has_a_way_to_this_one() -> None:
    assert sorted(STEPS) == [str(number) for number in range(1, schema.VERSION)]


def _columns(connection: Connection) -> list[tuple[str, str, int]]:
    return [
        tuple(row)[1:4]
        for query in (
            "table_info(source)",
            "table_info(delivery)",
            "table_info(tally)",
            "table_info(delay)",
            "index_info(delivery_queue)",
            "index_info(outbox_study)",
        )
        for row in connection.exec_driver_sql(f"PRAGMA {query}")
    ]


def test_a_reader_sees_one_moment(tmp_path: Path) -> None:
    database = Database.open("sqlite", tmp_path, "process-crash")
    try:
        with database.read() as reading:
            before = reading.exec_driver_sql("SELECT count(*) FROM word").scalar_one()
            with database.write() as connection:
                connection.exec_driver_sql("INSERT INTO word (text) VALUES ('x')")
            assert reading.exec_driver_sql("SELECT count(*) FROM word").scalar_one() == before
    finally:
        database.close()


def test_reads_within_a_read_see_its_moment(tmp_path: Path) -> None:
    database = Database.open("sqlite", tmp_path, "process-crash")

    def words() -> int:
        with database.read() as inner:
            return int(inner.exec_driver_sql("SELECT count(*) FROM word").scalar_one())

    try:
        with database.read():
            before = words()
            with database.write() as connection:
                connection.exec_driver_sql("INSERT INTO word (text) VALUES ('x')")
            assert words() == before
        assert words() == before + 1
    finally:
        database.close()


def test_writers_of_two_connections_take_turns(tmp_path: Path) -> None:
    databases = [Database.open("sqlite", tmp_path, "process-crash") for _ in range(2)]
    failures: list[BaseException] = []

    def write(database: Database) -> None:
        try:
            for _ in range(50):
                with database.write() as connection:
                    number = connection.exec_driver_sql("SELECT count(*) FROM outbox").scalar_one()
                    connection.exec_driver_sql(
                        "INSERT INTO outbox"
                        " (key, hook, kind, payload, created_at, state, not_before, attempts)"
                        f" VALUES ('{number}', 'h', 'k', '', 0, 0, 0, 0)"
                    )
        except BaseException as error:
            failures.append(error)

    try:
        threads = [threading.Thread(target=write, args=(database,)) for database in databases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, "a writer read what another then changed"
    finally:
        for database in databases:
            database.close()


def test_hot_queries_use_their_index(tmp_path: Path) -> None:
    """A query that lost its index would slow the node with every image that it ever took."""
    database = Database.open("sqlite", tmp_path, "process-crash")
    queries = {
        "delivery_queue": f"SELECT * FROM delivery WHERE {schema.OPEN} AND destination = 1 AND state = 0"
        " AND not_before <= 5.0 ORDER BY priority, study, id LIMIT 9",
        "delivery_leased": f"SELECT id FROM delivery WHERE {schema.LEASED} AND leased_until < 5.0",
        "delivery_stuck": f"SELECT count(*) FROM delivery WHERE {schema.STUCK} AND state = 3",
        "instance_by_series": "SELECT id FROM instance WHERE series = 1 AND uid_hash IN (1, 2, 3)",
        "instance_unrouted": f"SELECT count(*) FROM instance WHERE {schema.UNROUTED}",
        "progress_due": f"SELECT * FROM progress WHERE {schema.DUE} AND changed_at <= 5 ORDER BY changed_at",
        "delivery_by_study": "SELECT * FROM delivery WHERE study = 1 AND instance IN (x'00', x'01')",
        "outbox_queue": f"SELECT * FROM outbox WHERE {schema.OPEN} AND hook = 'h' AND not_before <= 5.0",
    }
    try:
        for index, query in queries.items():
            with database.read() as connection:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()
            told = " ".join(row[3] for row in plan)
            assert f"INDEX {index}" in told, told
            if index == "delivery_queue":
                assert "TEMP B-TREE" not in told, "rows must come in the index's order"
    finally:
        database.close()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are not shown here")
@pytest.mark.parametrize("way", ["read", "write"])
def test_who_still_reads_or_writes_when_it_is_closed_leaves_nothing_open(tmp_path: Path, way: str) -> None:
    """The threads of a node that has no time to drain end behind its index."""

    def is_open() -> bool:
        names = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        return any(name.startswith(str(tmp_path)) for name in names)

    database = Database.open("sqlite", tmp_path, "process-crash")
    with database.read():
        assert is_open()
        database.close()
    assert not is_open()
    with getattr(database, way)() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert not is_open()
    assert database.version() is None
    assert not is_open()
