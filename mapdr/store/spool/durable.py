"""What the spool adds to `mapdr.kernel.durable`: folders with safe names, and the answer to who pushes."""

from __future__ import annotations

import os
from pathlib import Path

from mapdr.kernel.durable import NO_ROOM, Durability, sync_folder
from mapdr.kernel.errors import Refused
from mapdr.kernel.status import OUT_OF_RESOURCES


def refusal(error: OSError) -> Refused:
    """What a receiver answers when the spool cannot take an object: out of resources, try again later."""
    if error.errno in NO_ROOM:
        return Refused(OUT_OF_RESOURCES, "the disk is full")
    return Refused(OUT_OF_RESOURCES, f"the spool cannot be written: {os.strerror(error.errno or 0)}")


def make_folder(path: Path, durability: Durability, *, within: Path) -> None:
    """Make a folder and its parents, safe at `durability`, not for others to read. Raises OSError.

    Below `within` names are flushed of folders that are there, too: a thread that makes one may not have come
    to that, and a process may have been killed before (docs/decisions/0090).
    """
    there = path.is_dir()
    if there and within not in path.parents:
        return
    make_folder(path.parent, durability, within=within)
    if not there:
        path.mkdir(mode=0o750, exist_ok=True)
    if durability == "power-loss":
        sync_folder(path.parent)
