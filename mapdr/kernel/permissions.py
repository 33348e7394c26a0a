"""Who may read what a node writes: the index, the log and the spool hold patients, so nobody else's account.

The data folder is made for its owner alone, the files in it without rights for others. What is there already
keeps its mode: who runs a backup under another account has opened it on purpose. On Windows a folder has the
rights of the one that holds it.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o640
FOLDER_MODE = 0o700


def make_private(folder: Path) -> None:
    """Make the data folder unless it is there; folders above it get the usual rights. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


_CROWD = ("*S-1-1-0", "*S-1-5-11", "*S-1-5-32-545")
"""Everyone, authenticated users, users: whom Windows lets read new folders as a rule."""


def make_secret(folder: Path) -> None:
    """Make a folder within the data folder for what only the node and its operators may read: on Windows too,
    where what is in it is taken from the large groups. Raises OSError."""
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        return
    if os.name == "nt":
        icacls = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "icacls.exe"
        command = [str(icacls), str(folder), "/inheritance:d", "/remove:g", *_CROWD, "/q"]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  a program of the system
        if done.returncode:
            folder.rmdir()
            what = f"its rights cannot be restricted (icacls ended with {done.returncode})"
            raise PermissionError(errno.EACCES, what, str(folder))
    give_to_owner(folder)


def give_to_owner(path: Path, like: Path | None = None) -> None:
    """Give what the superuser made to who owns `like`, else its folder: the node runs as that user.
    Raises OSError."""
    if sys.platform != "win32" and os.geteuid() == 0:
        owner = (like or path.parent).stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def same_rights(path: Path, fresh: Path) -> None:
    """Who may read the file may read its successor. On Windows a file has the rights of its folder.
    Raises OSError."""
    if sys.platform == "win32":
        return
    there = path.stat()
    fresh.chmod(there.st_mode & 0o7777)
    if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):  # only the superuser gives files away
            os.chown(fresh, there.st_uid, there.st_gid)


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
