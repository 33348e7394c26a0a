"""One process per node and data folder: a lock that the operating system gives back when the process dies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mapdr.kernel.errors import ConfigurationError

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Claim:
    """The lock on `<data>/<node>.lock`. Raises ConfigurationError when another process holds it."""

    def __init__(self, data: Path, node: str) -> None:
        self._descriptor = os.open(data / f"{node}.lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            _lock(self._descriptor)
        except OSError:
            os.close(self._descriptor)
            self._descriptor = -1
            raise ConfigurationError(
                f'node "{node}" is already running on {data}; stop it first, or give this one another name'
            ) from None

    def release(self) -> None:
        """Give the lock back. Safe twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
