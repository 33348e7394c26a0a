"""What is wrong with an index that cannot be used, in words: the file, the cause and a cure."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy.exc import DatabaseError, DBAPIError, InternalError, OperationalError

from mapdr.kernel.errors import MapdrError

REBUILD = (
    "it is damaged. Images in the spool are safe: stop the node, move index.db aside (keep it) and start the "
    "node again, which makes a new index from the spool; what was delivered before may be sent again"
)
"""`mapdr.store.recover` makes an index that is lost again."""

CURES = (
    ("not a database", REBUILD),
    ("malformed", REBUILD),
    ("unable to open", "look at the rights of the file and its folder"),
    ("readonly", "this user may not write to the file or its folder"),
    ("locked", "another program has locked it; try again when it has ended"),
    ("full", "the disk is full; make room"),
    ("disk i/o", "the disk or its connection fails; look at the system's log"),
)
"""A piece of SQLite's own words, and what to do."""


class IndexFault(MapdrError):
    """The index cannot be used."""


def fault_of_the_index(error: Exception) -> str:
    """Why nothing can be written, in words; empty where what was to be written, or we, may be at fault."""
    if isinstance(error, IndexFault):
        return str(error)
    if isinstance(error, OperationalError | InternalError) or type(error) is DatabaseError:
        # The driver's own words ("database or disk is full") hold no values; SQLAlchemy's would.
        return str(error.orig)
    return ""


@contextmanager
def index_named(database: str, folder: Path) -> Iterator[None]:
    """Raise IndexFault in place of the database's own errors; the arguments are those of `Store.open`."""
    try:
        yield
    except DBAPIError as error:
        raise IndexFault(_description(error, database, folder)) from error


def _description(error: DBAPIError, database: str, folder: Path) -> str:
    """The index, the cause in the database's words, and a cure if one is known."""
    if database != "sqlite":
        return f"the database cannot be used ({type(error.orig).__name__}); is it running, and may we log in?"
    # SQLite's messages name tables and columns, never a value.
    cause = str(error.orig)
    cure = next((cure for words, cure in CURES if words in cause.lower()), "look at the file and its disk")
    return f"the index {folder / 'index.db'} cannot be used ({cause}): {cure}"


def write_fault(index: Path) -> str:
    """Why the SQLite file `index` cannot be written now, in SQLite's own words; empty if it can.

    The write lock is taken within a second and given back; nothing is written or made.
    """
    try:
        uri = f"{index.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        return str(error)
    return ""
