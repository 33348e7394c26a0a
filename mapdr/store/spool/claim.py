"""Who may touch a node's folder: any number of processes that put images in, or one that puts it in order.

Recovery removes unfinished objects and indexes what it does not find; done under a process that is just
receiving (`mapdr send`, or a second `mapdr run` by mistake), it would take that one's objects away. The
system gives the lock back when its process dies.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mapdr.kernel.errors import ConfigurationError

_PAUSE_SECONDS = 0.1

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    _SLOTS = 64  # there are no shared locks in this interface: each process that shares locks another byte

    def _lock(file: int, *, alone: bool) -> bool:
        for slot in range(_SLOTS):
            os.lseek(file, 0 if alone else slot, os.SEEK_SET)
            try:
                msvcrt.locking(file, msvcrt.LK_NBLCK, _SLOTS if alone else 1)
            except OSError:
                if alone:
                    return False
            else:
                return True
        return False

else:
    import fcntl

    def _lock(file: int, *, alone: bool) -> bool:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def running_file(data: Path, node: str) -> Path:
    """What a node claims as long as it runs, in its folder of the spool."""
    return data / "spool" / node / "running"


def claimed(path: Path) -> bool | None:
    """Whether a process of this machine holds a claim of this file; None if that cannot be found out,
    or if it never was claimed."""
    try:
        file = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    try:
        return not _lock(file, alone=True)
    except OSError:
        return None
    finally:
        os.close(file)


class Claim:
    """A lock file in the node's folder."""

    def __init__(self, path: Path, node: str) -> None:
        self._path = path
        self._node = node
        self._file: int | None = None

    def share(self, seconds: float) -> None:
        """Claim to put images in, until `release`; waits up to `seconds` for one that puts in order.

        Raises ConfigurationError if that does not end. Does nothing if it is claimed already.
        """
        if self._file is None:
            self._file = self._take(seconds, alone=False)

    def release(self) -> None:
        """End the claim. Safe twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @contextmanager
    def alone(self, seconds: float) -> Iterator[None]:
        """Claim to put the folder in order; waits up to `seconds` for those who put images in.

        Raises ConfigurationError if they do not end.
        """
        file = self._take(seconds, alone=True)
        try:
            yield
        finally:
            os.close(file)

    def _take(self, seconds: float, *, alone: bool) -> int:
        deadline = time.monotonic() + seconds
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o640)
        while not _lock(file, alone=alone):
            if time.monotonic() > deadline:
                os.close(file)
                raise ConfigurationError(
                    f'another process works as node "{self._node}" on this data folder: stop it first, '
                    "or give this node another name"
                )
            time.sleep(_PAUSE_SECONDS)
        return file
