"""Who may touch a node's folder, and which process is the node.

    spool/<node>/claim     any number of processes that add images share it, or one that recovers has it alone
    spool/<node>/node      the node has it alone, from before its recovery to its end
    spool/<node>/running   the node has it while it runs, for people who ask (docs/decisions/0029)

Recovery removes unfinished objects and indexes what the index lacks; while another process receives
(`mapdr send`) it would remove that one's objects. What a node has leased and has in hand, recovery takes for
that of a process that is gone: a second `mapdr run` by mistake must be stopped before it. A claim is a lock
of the operating system on a file in that folder, so it ends with its process, however that ends.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mapdr.kernel.errors import ConfigurationError, MapdrError

_CLAIMS = ("node", "running", "claim")
_PAUSE_SECONDS = 0.1

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    _SLOTS = 64  # there are no shared locks in this interface: each process that shares locks another byte

    def _lock(file: int, *, exclusive: bool) -> bool:
        for slot in range(_SLOTS):
            os.lseek(file, 0 if exclusive else slot, os.SEEK_SET)
            try:
                msvcrt.locking(file, msvcrt.LK_NBLCK, _SLOTS if exclusive else 1)
            except OSError:
                if exclusive:
                    return False
            else:
                return True
        return False

else:
    import fcntl

    def _lock(file: int, *, exclusive: bool) -> bool:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def running_file(data: Path, node: str) -> Path:
    """What a node claims as long as it runs, in its folder of the spool."""
    return data / "spool" / node / "running"


def node_file(data: Path, node: str) -> Path:
    """What a node claims from before its recovery to its end."""
    return data / "spool" / node / "node"


def nodes_at_work(data: Path) -> list[str]:
    """The nodes on whose folders in the spool a process works, whichever of the claims it has.

    Raises MapdrError if that cannot be found out.
    """
    try:
        nodes = sorted(each for each in (data / "spool").iterdir() if each.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MapdrError(f"the spool in {data} cannot be read ({error.strerror})") from error
    return [node.name for node in nodes if any(claimed(node / name) for name in _CLAIMS)]


def claimed(path: Path) -> bool | None:
    """Whether a process of this machine holds a claim of this file; None if that cannot be found out,
    or if it never was claimed."""
    try:
        file = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    try:
        return not _lock(file, exclusive=True)
    except OSError:
        return None
    finally:
        os.close(file)


class Claim:
    """A lock on the file `path`, for messages of the node `node`."""

    def __init__(self, path: Path, node: str) -> None:
        self._path = path
        self._node = node
        self._file: int | None = None

    def shared(self, seconds: float) -> None:
        """Claim the folder to add images, until `release`; waits up to `seconds` for an exclusive claim.

        Raises ConfigurationError if that does not end. Does nothing if it is claimed already.
        """
        if self._file is None:
            self._file = self._take(seconds, exclusive=False)

    def alone(self, seconds: float) -> None:
        """Claim it for this process alone, until `release`; waits up to `seconds` for all other claims.

        Raises ConfigurationError if they do not end. Does nothing if it is claimed already.
        """
        if self._file is None:
            self._file = self._take(seconds, exclusive=True)

    def release(self) -> None:
        """End the claim. Safe twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @contextmanager
    def exclusive(self, seconds: float) -> Iterator[None]:
        """Claim the folder to recover it; waits up to `seconds` for all other claims.

        Raises ConfigurationError if they do not end.
        """
        file = self._take(seconds, exclusive=True)
        try:
            yield
        finally:
            os.close(file)

    def _take(self, seconds: float, *, exclusive: bool) -> int:
        deadline = time.monotonic() + seconds
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o640)
        try:
            while not _lock(file, exclusive=exclusive):
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f'another process works as node "{self._node}" on this data folder: stop it first, '
                        "or give this node another name"
                    )
                time.sleep(_PAUSE_SECONDS)
        except BaseException:
            os.close(file)
            raise
        return file
