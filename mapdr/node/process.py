"""A node as the work of one process: its log, signals, the interpreter's settings, and an end in order.

The end is asked for by SIGINT or SIGTERM (on Windows SIGBREAK too: Ctrl-Break, a console that is closed), by
the order `drain` of another process (`node.upkeep`), or by whoever runs the node in this process and sets
`Node.asked_to_end`: a service or a window, without a console. Then the node drains. A second signal ends the
process at once. SIGHUP, where there is one, reads the configuration again.
"""

from __future__ import annotations

import gc
import logging
import logging.handlers
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from types import FrameType

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.permissions import private_opener
from mapdr.kernel.privacy import in_words
from mapdr.kernel.signals import handled
from mapdr.node.assembly import DRAIN, Node
from mapdr.node.heap import keep_freed
from mapdr.node.reload import taken
from mapdr.node.systemd import Systemd
from mapdr.store.index.fault import index_named

log = logging.getLogger("mapdr.node")

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
LOG_BYTES, LOG_FILES = 10 * 1000**2, 5
SWITCH = 0.0005
"""Seconds that a thread may keep the interpreter while others wait for it: so long a receiver waits for it
behind the index's writer. Measured with one sender of small images: a tenth more images than with the default
of 5 ms."""
YOUNG = 20_000
"""Objects that are made before the cycle collector looks at them: a batch of rows makes thousands, none in a
cycle. With the default of 700 the collector took a sixth of the node's time at 12,000 images a second."""
TICK = 0.5 if sys.platform == "win32" else 1.0
"""Seconds: how long a wait may be; Windows sees a signal only when it is over."""
ENDING = ("SIGINT", "SIGTERM", "SIGBREAK")
"""The signals that ask for the end, where the system has them."""


class Process:
    """One node and what this process does for it, from its start to the end of its drain."""

    def __init__(self, node: Node, config: Path, *, drain: float = DRAIN) -> None:
        """`config` is the file that a reload reads, `drain` how many seconds what runs has to finish."""
        self.ended = node.asked_to_end
        self._node = node
        self._config = config.absolute()
        node.drain = drain
        self._signalled = False
        self._systemd = Systemd(node.watch)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The node runs within the block, and is drained at its end, whatever ends it.

        Raises MapdrError with the ports if one of them is taken or may not be used, and as `Node.start`.
        """
        handlers = dict.fromkeys(ENDING, self._end) | {"SIGHUP": self._reload}
        with handled(handlers), _tuned():
            try:
                self._start()
                self._systemd.ready()
                yield
            finally:
                self.drain()
                self._systemd.ended()

    def drain(self) -> None:
        """End the node as it should: what runs has its seconds to finish. Safe twice."""
        self._systemd.stopping(self._node.drain)
        self._node.stop(time.monotonic() + self._node.drain)

    def wait(self, work: Callable[[], object]) -> None:
        """Call `work` every TICK seconds until the end is asked for. What it raises is only logged."""
        trouble = Trouble(log)
        while not self.ended.wait(TICK):
            try:
                work()
                trouble.over("the state can be told again")
            except Exception as error:  # noqa: BLE001  a fault of a face does not end the node
                trouble.tell(f"the state cannot be told: {in_words(error)}")

    def _start(self) -> None:
        node = self._node.plan.node
        try:
            with index_named(node.database_url(), node.data):
                self._node.start()
        except OSError as error:
            claims = [claim for planned in self._node.plan.receivers.values() for claim in planned.claims]
            if what := taken(error, claims):
                raise MapdrError(what) from error
            raise
        gc.freeze()  # what is there now stays to the end: the collector need not look at it again and again

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._signalled:
            raise KeyboardInterrupt
        self._signalled = True
        self.ended.set()

    def _reload(self, number: int, frame: FrameType | None) -> None:
        """Read the configuration again, beside what runs: a reload takes as long as a drain."""
        try:
            GuardedThread(self._reload_now, "reload", goes_on=lambda: False, watch=self._node.watch).start()
        except RuntimeError as error:  # no thread can be had: it must not end what runs
            log.error("the configuration was not read again: %s", in_words(error))

    def _reload_now(self) -> None:
        try:
            self._node.reload(self._config)
        except Exception as error:  # noqa: BLE001  said: whoever sent the signal looks at the log
            log.error("the configuration was not read again: %s", in_words(error))


def log_to(file: Path, *, verbose: bool, drawn: bool = False) -> None:
    """Send the log to standard output; to `file` where that is `drawn` on, or where there is none.

    A service of Windows and a program with windows have no standard output.
    """
    handler: logging.Handler
    if drawn or sys.stdout is None:
        handler = LogFile(file, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    else:
        handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mapdr").setLevel(logging.DEBUG if verbose else logging.INFO)


class LogFile(logging.handlers.RotatingFileHandler):
    """A log that is not for others to read, nor is the file that follows a full one."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=private_opener)


@contextmanager
def _tuned() -> Iterator[None]:
    """The interpreter as a node wants it (`SWITCH`, `YOUNG`), and the memory below it (`node.heap`)."""
    keep_freed()
    switch, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(YOUNG)
    try:
        yield
    finally:
        sys.setswitchinterval(switch)
        gc.set_threshold(*thresholds)
        gc.unfreeze()
