"""How the index is connected to: what SQLite and PostgreSQL are told for each connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from mapdr.kernel.durable import Durability

_WRITER_CACHE_KIB = 48 * 1024
_READER_CACHE_KIB = 8 * 1024
_CHECKPOINT_PAGES = 4000  # 16 MB of log, so that a page that changes often is copied back seldom
_LOG_LIMIT = 64 << 20


def sqlite(url: str, durability: Durability, busy: float, *, writer: bool) -> Engine:
    """Connections to a SQLite file: one for the writer, whose transactions take the write lock at once, or a
    pool for readers. `busy`: seconds for which SQLite waits while another process holds a lock."""
    engine = create_engine(
        url,
        poolclass=StaticPool if writer else QueuePool,
        connect_args={"timeout": busy, "check_same_thread": False},
        **({} if writer else {"pool_size": 4, "max_overflow": 12}),
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late; ours is below
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power-loss' else 'NORMAL'}")
        cursor.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB if writer else _READER_CACHE_KIB}")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        cursor.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
        cursor.execute("PRAGMA temp_store = MEMORY")
        if writer:  # what is written over or deleted leaves no bytes behind in the file
            cursor.execute("PRAGMA secure_delete = ON")
        cursor.close()

    def begin(dbapi_connection: Any) -> None:
        dbapi_connection.cursor().execute("BEGIN IMMEDIATE" if writer else "BEGIN")

    # Not by an event: an engine that has one of these looks for others around each statement, which takes
    # 40 % of the time that the library adds to a short transaction.
    engine.dialect.do_begin = begin  # type: ignore[method-assign]
    return engine


def postgresql(url: str, durability: Durability) -> Engine:
    """Connections to a PostgreSQL server, for writing and reading."""
    engine = create_engine(url, pool_pre_ping=True, paramstyle="format")

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET synchronous_commit = {'on' if durability == 'power-loss' else 'off'}")
        cursor.close()
        connection.commit()

    return engine


def remove_leftovers(path: Path) -> None:
    """Unlink write-ahead log and shared memory of an index that is gone.

    Without it they mean nothing, and a new one cannot be made beside them while a program that looked at the
    old index, such as `mapdr top`, still holds them: SQLite calls that a disk I/O error.
    """
    if not path.exists():
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
