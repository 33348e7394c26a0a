"""What is wrong with a node's index, in words: the file, the cause and a cure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.plan import Plan

REBUILD = (
    "it is damaged. Images in the spool are safe: stop the node, move index.db aside (keep it) and start the "
    "node again, which makes a new index from the spool; what was delivered before may be sent again"
)
"""What `mapdr.store.recover` does for an index that is lost."""

CURES = (
    ("not a database", REBUILD),
    ("malformed", REBUILD),
    ("unable to open", "look at the rights of the file and its folder"),
    ("readonly", "this user may not write to the file or its folder"),
    ("locked", "another process has held it for too long; try again"),
    ("full", "the disk is full; make room"),
    ("disk i/o", "the disk or its connection fails; look at the system's log"),
)
"""A piece of SQLite's own words, and what to do."""


class IndexTrouble(MapdrError):
    """The index cannot be used."""


@contextmanager
def index_named(plan: Plan) -> Iterator[None]:
    """Raise IndexTrouble in place of the database's own errors."""
    try:
        yield
    except DBAPIError as error:
        raise IndexTrouble(trouble(error, plan)) from error


def trouble(error: DBAPIError, plan: Plan) -> str:
    """The index, the cause in the database's words, and a cure if one is known."""
    if plan.node.database != "sqlite":
        return f"the database cannot be used ({type(error.orig).__name__}); is it running, and may we log in?"
    # SQLite's messages name tables and columns, never a value.
    cause = str(error.orig)
    cure = next((cure for words, cure in CURES if words in cause.lower()), "look at the file and its disk")
    return f"the index {plan.node.data / 'index.db'} cannot be used ({cause}): {cure}"
