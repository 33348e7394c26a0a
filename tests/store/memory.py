"""An index in memory: its tables and their conditions, without a file, threads or a store around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, create_engine, insert
from sqlalchemy.pool import StaticPool

from mapdr.store.index import schema
from mapdr.store.index.database import Database


class Memory(Database):
    """What parts of the store that only read and write rows are given. For one thread."""

    def __init__(self) -> None:
        self._engine = create_engine("sqlite://", poolclass=StaticPool)
        self._dialect = self._engine.dialect
        schema.metadata.create_all(self._engine)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction."""
        with self._engine.begin() as connection:
            yield connection

    read = write

    def put(self, table: Table, **values: Any) -> None:
        """Insert a row; what it must have and is not said is nothing of its kind."""
        row = {
            column.name: column.type.python_type()
            for column in table.columns
            if not column.nullable and column.server_default is None and not column.primary_key
        }
        with self.write() as connection:
            connection.execute(insert(table).values({**row, **values}))

    def close(self) -> None:
        """Forget it."""
        self._engine.dispose()
