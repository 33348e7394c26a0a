"""Making files safe: what "durable" means here, on POSIX and on Windows.

power-loss      the file has its final name, its bytes are flushed to the device, then the folder that holds
                the name is (on Windows FlushFileBuffers, then a write-through move).
process-crash   the operating system has the bytes and the name; a power cut may lose the last seconds.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path
from typing import Literal

from mapdr.kernel.errors import Refused
from mapdr.kernel.status import OUT_OF_RESOURCES

Durability = Literal["power-loss", "process-crash"]

_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}
"""What a file system answers that has no second names for a file (FAT, some network shares)."""
_renaming = threading.Lock()

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else [])}


class FlushFailed(OSError):
    """A flush failed, and not for want of room: the system may have thrown away what it held for the device,
    and answer the next flush as if all were well (docs/decisions/0090)."""


if sys.platform == "darwin":  # pragma: no cover
    import fcntl

    def flush_to_medium(descriptor: int) -> None:
        """Flush an open file or folder. fsync stops at the device's cache there (fsync(2) of macOS), which
        only F_FULLFSYNC empties; a file system that does not know it (network shares) gets the plain one.
        Raises OSError."""
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
            os.fsync(descriptor)

else:

    def flush_to_medium(descriptor: int) -> None:
        """Flush an open file or folder: FlushFileBuffers on Windows. Raises OSError."""
        os.fsync(descriptor)


def flush(descriptor: int) -> None:
    """Flush an open file or folder to the device. Raises OSError: FlushFailed if no flush is to be trusted
    now.
    """
    try:
        flush_to_medium(descriptor)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        raise FlushFailed(error.errno, error.strerror) from error


def refusal(error: OSError) -> Refused:
    """What a receiver answers when the spool cannot take an object: out of resources, try again later."""
    if error.errno in _NO_ROOM:
        return Refused(OUT_OF_RESOURCES, "the disk is full")
    return Refused(OUT_OF_RESOURCES, f"the spool cannot be written: {os.strerror(error.errno or 0)}")


if sys.platform == "win32":  # pragma: no cover  tried by packaging/windows/verify.sh
    import ctypes

    _MOVEFILE_WRITE_THROUGH = 0x8

    def publish(file: int, source: str, target: str, durability: Durability) -> None:
        """Give an open file its final name, flush it where `durability` asks for it, and close it.

        Windows renames no open file: here the flush comes first, and the rename is flushed as it is made.
        Raises OSError; the file is closed all the same.
        """
        try:
            if durability == "power-loss":
                flush(file)
        finally:
            os.close(file)
        if not ctypes.windll.kernel32.MoveFileExW(source, target, _MOVEFILE_WRITE_THROUGH):
            raise ctypes.WinError()

    def publish_new(file: int, source: str, target: str, durability: Durability) -> None:
        """As `publish`, which never replaces a file here. Raises FileExistsError where there is one."""
        publish(file, source, target, durability)

    def sync_folder(path: Path) -> None:
        """Nothing to do: the write-through move has flushed the name."""

else:

    def publish(file: int, source: str, target: str, durability: Durability) -> None:
        """Give an open file its final name, flush it where `durability` asks for it, and close it.

        The folder must be synced afterwards. The name comes before the flush, so that one commit of a
        journalling file system holds both: half the flushes of the other order (docs/decisions/0010).
        Raises OSError; the file is closed all the same.
        """
        try:
            os.rename(source, target)
            if durability == "power-loss":
                flush(file)
        finally:
            os.close(file)

    def publish_new(file: int, source: str, target: str, durability: Durability) -> None:
        """As `publish`, flushed before it has its name, and where there is a file already it stays.

        Raises FileExistsError then, and OSError; `source` is left for the caller to remove.
        """
        try:
            if durability == "power-loss":
                flush(file)
        finally:
            os.close(file)
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with _renaming:
                if os.path.lexists(target):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
                os.rename(source, target)
        else:
            os.unlink(source)

    def sync_folder(path: Path) -> None:
        """Flush the names that a folder holds. Raises OSError."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            flush(descriptor)
        finally:
            os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush a file that another process has written. Raises OSError."""
    file = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))  # Windows flushes only what could be written
    try:
        flush(file)
    finally:
        os.close(file)


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
