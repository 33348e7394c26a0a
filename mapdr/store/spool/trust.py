"""Whether the disk is still believed: one answer for the spool, its runs and its journal.

After a flush that failed, but for want of room, the system may have thrown away what it held for the device,
and the next one may say that all is well (docs/decisions/0090). So nobody who waits gets his Success then,
nothing is taken, and no file counts as safe by a flush that comes later. A restart believes the disk again,
and writes or flushes anew all that it finds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from mapdr.kernel.errors import Refused
from mapdr.kernel.status import OUT_OF_RESOURCES

log = logging.getLogger("mapdr.store")


class DiskTrust:
    """The trust of one process in the disk of one spool. Thread-safe.

    `on_lost` is called, in whichever thread, each time that a fault is met; it must not wait.
    """

    def __init__(self, on_lost: Callable[[], object] = lambda: None) -> None:
        self.lost = ""
        """Why nothing is taken until the next start, in words; empty while all is well."""
        self._on_lost = on_lost
        self._lock = threading.Lock()

    def lose(self, what: str) -> None:
        """`what` has happened: believe no flush from now on. Told once, for the first that happens."""
        with self._lock:
            first = not self.lost
            if first:
                self.lost = f"{what}: nothing is taken until a restart"
        if first:
            log.error("%s; look at the disk first, its errors are in the system's log", self.lost)
        self._on_lost()

    def check(self) -> None:
        """Raise Refused(0xA700) if it is lost."""
        if self.lost:
            raise Refused(OUT_OF_RESOURCES, self.lost)
