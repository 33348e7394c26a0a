"""Who may read what a node writes: the index, the log and the spool hold patients, so nobody else's account.

The data folder is made for its owner alone, the files in it without rights for others. What is there already
keeps its mode: who runs a backup under another account has opened it on purpose. On Windows a folder has the
rights of the one that holds it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o640
FOLDER_MODE = 0o700


def make_private(folder: Path) -> None:
    """Make the data folder unless it is there; folders above it get the usual rights. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def private_opener(path: str, flags: int) -> int:
    """An `opener` for `open`: a file that is made by it is nobody else's."""
    return os.open(path, flags, FILE_MODE)


def touch_private(path: Path) -> None:
    """Make an empty file unless it is there. Raises OSError.

    One that is there is not even opened: closing any descriptor of a file gives back all the locks that this
    process holds on it (POSIX), and SQLite's go with them while another connection of the process is at work.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    with suppress(FileExistsError):
        os.close(os.open(path, flags, FILE_MODE))
