"""Making files safe: what "durable" means here, on POSIX and on Windows.

power-loss      the file has its final name, its bytes are flushed to the device, then the folder that holds
                the name is (on Windows FlushFileBuffers, then a write-through move).
process-crash   the operating system has the bytes and the name; a power cut may lose the last seconds.

Nothing else of MAPDR flushes a file, but for the compiled runs and the journal's segments, and SQLite.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Protocol

from mapdr.kernel.permissions import FILE_MODE, give_to_owner

Durability = Literal["power-loss", "process-crash"]

_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}
"""What a file system answers that has no second names for a file (FAT, some network shares)."""
_renaming = threading.Lock()
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

NO_ROOM = {errno.ENOSPC, errno.EFBIG, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else [])}
"""What a system answers for want of room."""


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
        if error.errno in NO_ROOM:
            raise
        raise FlushFailed(error.errno, error.strerror) from error


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


class OpenFile(Protocol):
    """A file as `open` gives it, for writing."""

    def flush(self) -> object:
        """Hand to the system what it holds back."""

    def fileno(self) -> int:
        """The system's number of it."""


def flush_file(file: OpenFile) -> None:
    """Flush what was written to an open file, with what Python holds back of it. Raises OSError."""
    file.flush()
    flush(file.fileno())


@contextmanager
def fresh_name(path: Path) -> Iterator[Path]:
    """A name beside `path`, which nobody has, for what is to take its place when it is whole.

    What has that name still at the end of the block is removed.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        yield fresh
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def write_durably(path: Path, content: bytes, mode: int = FILE_MODE, *, owned: bool = False) -> None:
    """Write a whole file under its final name, replacing what is there: flushed, renamed, folder flushed.

    `owned`: it is given to who owns the folder, if the superuser writes it. Raises OSError.
    """
    with fresh_name(path) as fresh:
        _write(fresh, content, mode)
        if owned:
            give_to_owner(fresh)
        os.replace(fresh, path)
    sync_folder(path.parent)


def write_first(path: Path, content: bytes, mode: int = FILE_MODE) -> None:
    """Write a whole file under its final name, flushed, unless there is one: of two programs at once, the
    first one's stays. Raises OSError."""
    with fresh_name(path) as fresh:
        file = os.open(fresh, _NEW, mode)
        try:
            _put(file, content)
        except BaseException:
            os.close(file)
            raise
        with suppress(FileExistsError):
            publish_new(file, str(fresh), str(path), "power-loss")
    sync_folder(path.parent)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a new file, flushed."""
    file = os.open(path, _NEW, mode)
    try:
        _put(file, content)
        flush(file)
    finally:
        os.close(file)


def _put(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]
