"""Transactions on the index, and the SQL that differs between SQLite and PostgreSQL.

Writers of this process queue on a lock, so that the database's own waiting (busy timeout) serves only other
processes; a write transaction takes the database's write lock at its beginning (BEGIN IMMEDIATE) and so
never fails half-way because another process was faster.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    Pool,
    PoolProxiedConnection,
    Row,
    Table,
    case,
    delete,
    insert,
    inspect,
    select,
)

import mapdr
from mapdr.kernel.durable import Durability
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.permissions import touch_private
from mapdr.store.index import schema
from mapdr.store.index.engines import postgresql, remove_leftovers, sqlite
from mapdr.store.index.fault import IndexFault
from mapdr.store.index.migrations import STEPS, migrate
from mapdr.store.index.moving import keep_copy, refuse_other, refuse_under_a_node

BUSY_SECONDS = 30
MADE_BY = "made_by"
"""The fact that names the version of MAPDR that brought the index to its schema."""
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Prepared:
    """SQL with positional parameters, their names in order, and the values of those that are constant."""

    text: str
    names: tuple[str, ...]
    constants: dict[str, Any]

    def values(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of the parameters for one row, in order."""
        given = {**self.constants, **row}
        return tuple([given[name] for name in self.names])

    def execute(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run it for each row; quicker than the library's own way, which looks at each value's type."""
        values = itemgetter(*self.names) if len(self.names) > 1 else lambda row: (row[self.names[0]],)
        given = [values({**self.constants, **row}) for row in rows]
        if given:
            connection.exec_driver_sql(self.text, given)

    def execute_one(self, connection: Connection, row: Mapping[str, Any]) -> int:
        """Run it for one row; how many rows it has changed, -1 where the database does not say."""
        return connection.exec_driver_sql(self.text, self.values(row)).rowcount

    def all(self, connection: Connection, row: Mapping[str, Any]) -> Sequence[Row[Any]]:
        """All that a query gives for the values of `row`, within a transaction; to be read by position."""
        return connection.exec_driver_sql(self.text, self.values(row)).all()

    def finds(self, connection: Connection, row: Mapping[str, Any]) -> bool:
        """Whether a query gives anything for the values of `row`."""
        return connection.exec_driver_sql(self.text, self.values(row)).first() is not None


def portions(items: Sequence[Item], size: int = 500) -> Iterator[Sequence[Item]]:
    """`items` in portions: as many as one statement is given by their ids, which SQLite limits."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


class Database:
    """The index's connections. `write()` and `read()` give a connection within a transaction."""

    def __init__(
        self, url: str, durability: Durability, busy: float = BUSY_SECONDS, *, path: Path | None = None
    ) -> None:
        """`busy`: seconds that SQLite waits for a lock; `path`: the file that `url` names, if it is one."""
        self._lock = threading.Lock()
        self._closed = False
        self._reading = threading.local()
        self._watching = threading.Lock()
        self._watcher: PoolProxiedConnection | None = None
        self._path = path
        self._file: os.stat_result | None = None
        if url.startswith("sqlite"):
            self._writer = sqlite(url, durability, busy, writer=True)
            self._reader = sqlite(url, durability, busy, writer=False)
        elif url.startswith("postgresql"):
            self._writer = self._reader = postgresql(url, durability)
        else:
            raise ConfigurationError('the database is "sqlite" or begins with "postgresql+psycopg://"')
        self._dialect = self._writer.dialect

    @classmethod
    def open(
        cls, database: str, folder: Path, durability: Durability, busy: float = BUSY_SECONDS
    ) -> Database:
        """Open `database` ("sqlite": a file in `folder`; else a URL) and create what it lacks.

        `busy`: seconds for which SQLite waits while another process holds a lock. Raises
        ConfigurationError when it is of a newer or unknown schema.
        """
        path = None
        if database == "sqlite":
            path = folder / "index.db"
            remove_leftovers(path)
            # Its log and shared memory get the mode of the file itself.
            touch_private(path)
        opened = cls(f"sqlite:///{path}" if path else database, durability, busy, path=path)
        try:
            # Who only looks needs no write lock, which another program may hold for long.
            if not opened._is_made():
                opened._create()
            if path:
                opened._file = path.stat()
        except BaseException:
            opened.close()
            raise
        return opened

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction: committed at the end, rolled back when the block raises."""
        with self._lock:
            pool = self._writer.pool
            try:
                with self._writer.begin() as connection:
                    yield connection
            finally:
                self._leave(self._writer, pool)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one moment's state throughout. One within another, of the same thread, is part
        of it."""
        outer: Connection | None = getattr(self._reading, "connection", None)
        if outer is not None:
            yield outer
            return
        pool = self._reader.pool
        try:
            with self._reader.begin() as connection:
                self._reading.connection = connection
                yield connection
        finally:
            self._reading.connection = None
            self._leave(self._reader, pool)

    def _leave(self, engine: Engine, pool: Pool) -> None:
        """Keep no connection open for a thread that was still at work when the index was closed."""
        if self._closed:
            for each in {pool, engine.pool}:
                each.dispose()

    @property
    def is_file(self) -> bool:
        """Whether it is a file of this machine, and no server."""
        return self._dialect.name == "sqlite"

    def version(self) -> object:
        """What is another after each commit, by this process or any other; of a server, which does not tell,
        another each time. It takes 10 us and reads no table. Raises what the database does."""
        if not self.is_file:
            return object()
        with self._watching:
            if self._closed:
                return None  # a thread that has not ended yet; it must open nothing
            # It changes for others than the connection that writes, so this one must never write.
            return self._watching_connection().cursor().execute("PRAGMA data_version").fetchone()[0]

    def rows(self, query: Prepared, row: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """All that a query of one moment gives for the values of `row`.

        For what is asked for each image: within `read` the library's own work takes ten times as long as
        SQLite's. Raises what the database does.
        """
        values = query.values(row)
        if self.is_file:
            with self._watching:
                if not self._closed:
                    cursor = self._watching_connection().cursor()
                    found: list[tuple[Any, ...]] = cursor.execute(query.text, values).fetchall()
                    return found
        with self.read() as connection:
            return [tuple(found) for found in connection.exec_driver_sql(query.text, values)]

    def check_file(self) -> None:
        """Raise IndexFault when the file of the index is not the one that was opened: what would be written
        now is read by nobody, and gone with the last connection."""
        if self._path is None or self._file is None:
            return
        try:
            there = os.path.samestat(os.stat(self._path), self._file)
        except OSError:
            there = False
        if not there:
            raise IndexFault(f"{self._path.name} was removed or replaced: put it back, or restart the node")

    def _watching_connection(self) -> PoolProxiedConnection:
        """The connection of `version` and `rows`, on which nothing is begun; who holds `_watching` has it."""
        if self._watcher is None:
            self._watcher = self._reader.raw_connection()
        return self._watcher

    def empty_log(self) -> bool:
        """Copy SQLite's write-ahead log back and cut it off: it holds what was written over since. Whether
        that could be done now; a program that reads for long keeps it from being."""
        if self._dialect.name != "sqlite":
            return True
        with self._lock:
            connection = self._writer.raw_connection()
            try:
                busy, *_ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.close()
        return not busy

    def insertion(self, table: Table, columns: Sequence[str]) -> str:
        """The text of an INSERT with positional parameters, for many rows through `exec_driver_sql`."""
        statement = insert(table).values(dict.fromkeys(columns))
        compiled = statement.compile(dialect=self._dialect, column_keys=list(columns))
        # The compiler orders columns as the table does: give the rows in that order.
        if list(compiled.positiontup or ()) != list(columns):
            raise ValueError("columns must be given in the table's order")
        return str(compiled)

    def prepared(self, statement: Any) -> Prepared:
        """A statement with named parameters, for many rows through `Prepared.execute`."""
        compiled: Any = statement.compile(dialect=self._dialect)
        return Prepared(str(compiled), tuple(compiled.positiontup), dict(compiled.params))

    def upsert(
        self,
        table: Table,
        *,
        add: Iterable[str] = (),
        replace: Iterable[str] = (),
        greater: Iterable[str] = (),
    ) -> Any:
        """INSERT that, where the primary key exists, adds to or replaces the columns named.

        With no columns named an existing row (by any unique key) stays as it is. Columns in `greater` only
        ever grow.
        """
        # Only the dialect in use: to load PostgreSQL's costs every command 95 ms.
        dialect = import_module(f"sqlalchemy.dialects.{self._dialect.name}")
        statement = dialect.insert(table)
        key = [column.name for column in table.primary_key.columns]
        changes = {name: table.c[name] + statement.excluded[name] for name in add}
        changes |= {name: statement.excluded[name] for name in replace}
        for name in greater:
            old, new = table.c[name], statement.excluded[name]
            changes[name] = case((new > old, new), else_=old)
        if not changes:
            return statement.on_conflict_do_nothing()
        return statement.on_conflict_do_update(index_elements=key, set_=changes)

    def close(self) -> None:
        """Give all connections back. Safe twice."""
        with self._lock, self._watching:
            if not self._closed:
                self._closed = True
                if self._watcher is not None:
                    self._watcher.close()
                    self._watcher = None
                self._writer.dispose()
                self._reader.dispose()

    def _is_made(self) -> bool:
        """Whether the index is whole. Raises ConfigurationError when it is of another schema."""
        with self.read() as connection:
            if not schema.metadata.tables.keys() <= set(inspect(connection).get_table_names()):
                return False
            found = _fact(connection, "schema")
            made_by = _fact(connection, MADE_BY)
        if not found or found in STEPS:
            return False
        refuse_other(found, made_by, self._path)
        return True

    def _create(self) -> None:
        """Make what the index lacks; one of an earlier schema is moved on, and a copy of it kept. Raises as
        `_is_made`, and ConfigurationError while a node works with the earlier schema or there is no room."""
        with self.write() as connection:
            before = _fact(connection, "schema") if inspect(connection).has_table("fact") else ""
            if before in STEPS and self._path is not None:
                refuse_under_a_node(self._path.parent, before)
                keep_copy(self._path, before)  # as of now: this transaction keeps others from writing
            schema.metadata.create_all(connection)
            if not before:
                _set_fact(connection, "schema", str(schema.VERSION))
            else:
                refuse_other(migrate(connection), _fact(connection, MADE_BY), self._path)
            _set_fact(connection, MADE_BY, mapdr.__version__)


def _fact(connection: Connection, name: str) -> str:
    """What the index says of itself, empty if it does not."""
    found = connection.execute(select(schema.fact.c.value).where(schema.fact.c.name == name)).scalar()
    return "" if found is None else str(found)


def _set_fact(connection: Connection, name: str, value: str) -> None:
    connection.execute(delete(schema.fact).where(schema.fact.c.name == name))
    connection.execute(insert(schema.fact).values(name=name, value=value))
