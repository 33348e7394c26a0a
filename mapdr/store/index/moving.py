"""What is seen to before an index is brought to another schema, and what is said of one that is too new.

    index.db.schema-4.20261127-183300    the index as it was before this program moved it on from schema 4

The newest COPIES of them stay. Nothing is moved under a node that works with the earlier schema.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import mapdr
from mapdr.kernel.durable import sync_folder
from mapdr.kernel.errors import ConfigurationError
from mapdr.store.index import schema
from mapdr.store.index.copying import copy_index
from mapdr.store.spool.claim import nodes_at_work

COPIES = 2
"""How many copies are kept: two updates can be gone back."""
_PART = ".part"
_SPARE = 64 * 1000**2
"""Bytes that stay free beside a copy and what the migration itself writes, once more the index at most."""


def refuse_under_a_node(folder: Path, version: str) -> None:
    """Raise ConfigurationError while a process of an earlier program works on this data folder."""
    for node in nodes_at_work(folder):
        raise ConfigurationError(
            f'node "{node}" runs with an earlier MAPDR (its index has schema {version}; MAPDR '
            f"{mapdr.__version__} works with {schema.VERSION}): nothing was changed. Stop it and start "
            "it with this version, or use the version that it runs with"
        )


def keep_copy(index: Path, version: str) -> Path:
    """Copy the index, which is of the schema `version`, before it is moved on; the older copies go.

    Raises ConfigurationError if the disk has no room for it, IndexFault, OSError: then nothing was changed.
    """
    for left in index.parent.glob(f"{index.name}.schema-*{_PART}"):  # of a process that was ended
        left.unlink()
    size = sum(each.stat().st_size for each in (index, index.with_name(f"{index.name}-wal")) if each.exists())
    free = shutil.disk_usage(index.parent).free
    if free < 2 * size + _SPARE:
        raise ConfigurationError(
            f"the index has to be brought from schema {version} to {schema.VERSION}, and a copy of it kept: "
            f"{(2 * size + _SPARE) / 1e6:,.0f} MB are needed in {index.parent}, {free / 1e6:,.0f} MB are "
            "free. Nothing was changed: make room and start again"
        )
    target = index.with_name(f"{index.name}.schema-{version}.{time.strftime('%Y%m%d-%H%M%S')}")
    part = target.with_name(target.name + _PART)
    copy_index(index, part)
    os.replace(part, target)
    sync_folder(index.parent)
    for old in copies(index)[COPIES:]:
        old.unlink()
    return target


def copies(index: Path) -> list[Path]:
    """The copies that were kept, newest first."""
    found = (each for each in index.parent.glob(f"{index.name}.schema-*") if each.suffix != _PART)
    return sorted(found, key=lambda each: each.name.rpartition(".")[2], reverse=True)


def refuse_other(version: str, made_by: str, index: Path | None) -> None:
    """Raise ConfigurationError unless an index of the schema `version` is this program's.

    `made_by`: the MAPDR that brought it there, empty if it has not said so; `index`: the file, None for a
    database.
    """
    if version == str(schema.VERSION):
        return
    if not version.isdigit() or int(version) < schema.VERSION:
        raise ConfigurationError(
            f"the index has the schema {version!r}, which no MAPDR has written: is it one?"
        )
    by = f"MAPDR {made_by}" if made_by else "a later MAPDR"
    text = (
        f"the index has schema {version} and was made by {by}; this is MAPDR {mapdr.__version__}, which "
        f"knows schemas up to {schema.VERSION}. Nothing was changed. Use that version again. To go back to "
        "this one, restore the backup that was made before the update (mapdr restore)"
    )
    kept = [each for each in copies(index) if f".schema-{schema.VERSION}." in each.name] if index else []
    if kept:
        text += (
            f"; or, with the node stopped, move index.db, index.db-wal and index.db-shm aside and rename "
            f"{kept[0].name} to index.db: what came since is taken from the spool and delivered once more"
        )
    raise ConfigurationError(text)
