"""Copies of an SQLite index, and what is told of one without opening it as a store.

A copy is made by SQLite's online backup, in one step: one moment's state, while the node reads and writes.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mapdr.kernel.durable import sync_file, sync_folder
from mapdr.kernel.permissions import touch_private
from mapdr.store.index.fault import IndexFault

BUSY_SECONDS = 30.0
"""Seconds for which another program's lock is waited for."""


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What an index holds: the version of its schema, images whose file is kept, deliveries that are still to
    be made."""

    schema: str
    images: int
    owed: int


def copy_index(index: Path, target: Path) -> None:
    """Copy the index `index` to the new file `target`, flushed. Raises IndexFault, OSError; then `target` is
    gone."""
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    touch_private(target)
    try:
        with (
            closing(
                sqlite3.connect(f"{index.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
            ) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        sync_file(target)
        sync_folder(target.parent)
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        # SQLite's messages name tables and columns, never a value.
        raise IndexFault(f"the index {index} cannot be copied to {target.parent} ({error})") from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def facts_of_copy(copy: Path) -> IndexFacts:
    """What a copy holds, which nobody writes to. Raises IndexFault for what is no index, or a damaged one."""
    try:
        with closing(_looked_at(copy)) as connection:
            (whole,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if whole != "ok":
                raise IndexFault(f"the index {copy} is damaged")
            (schema,) = connection.execute("SELECT value FROM fact WHERE name = 'schema'").fetchone() or ("",)
            (images,) = connection.execute("SELECT count(*) FROM instance WHERE purged_at IS NULL").fetchone()
            (owed,) = connection.execute("SELECT count(*) FROM delivery WHERE state < 2").fetchone()
    except sqlite3.Error as error:
        raise IndexFault(f"the index {copy} cannot be read ({error})") from error
    return IndexFacts(schema, images, owed)


def files_of_copy(copy: Path) -> Iterator[tuple[str, str]]:
    """(node, id) of each image whose file a copy says is kept. Raises IndexFault."""
    query = (
        "SELECT word.text, instance.id FROM instance JOIN word ON word.id = instance.node"
        " WHERE instance.purged_at IS NULL"
    )
    try:
        with closing(_looked_at(copy)) as connection:
            for node, id_ in connection.execute(query):
                yield node, bytes(id_).hex()
    except sqlite3.Error as error:
        raise IndexFault(f"the index {copy} cannot be read ({error})") from error


def _looked_at(copy: Path) -> sqlite3.Connection:
    """A connection that makes nothing beside the file, on a medium that cannot be written to as well."""
    return sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
