"""A node that the program starts as a process of its own, if none runs; and ends, if it has started it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from mapdr.kernel.errors import ConfigurationError, MapdrError
from mapdr.operate import service
from mapdr.operate.access import access
from mapdr.operate.stop import stop

START = 120.0
"""Seconds for a node to run; recovery of a large spool may take that."""
PAUSE = 0.1
LONGEST = 2000
"""Characters that are said of what kept it from starting."""

_APART = getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""On Windows: without a console, and not ended with that of this program; a session of its own elsewhere."""


def program() -> Sequence[str]:
    """The command `mapdr`. Of a frozen program it is the executable beside this one, which has no console."""
    if not getattr(sys, "frozen", False):
        return service.program()
    this = Path(sys.executable)
    beside = this.with_name(f"mapdr{this.suffix}")
    if not beside.is_file() or beside.samefile(this):
        raise MapdrError(f"{beside} is missing: install MAPDR again")
    return (str(beside),)


class OwnNode:
    """The node that this program has started, if it has."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._ended = False
        self._signalled = False
        self._lock = threading.Lock()  # none is started twice, nor after the end

    @property
    def runs(self) -> bool:
        """Whether it has started one that has not ended."""
        return self._child is not None and self._child.poll() is None

    def ensure(self, config: Path) -> None:
        """Return once a node runs by this configuration: one that is there, or one that is started now.

        Raises WrongConfiguration, and MapdrError if it does not start, with what it said.
        """
        with access(config) as opened:
            if opened.alive or opened.running() is not None:
                return
            begins = opened.begins
        with self._lock:
            if not self._ended and not begins and not self.runs:
                self._start(config)
        deadline = time.monotonic() + START
        while not self._runs(config):
            if self._child is not None and self._child.poll() is not None:
                raise MapdrError(f"the node did not start: {self._last_words()}")
            if self._ended:
                raise MapdrError("MAPDR ends")
            if time.monotonic() > deadline:
                raise MapdrError(
                    f"the node starts, and does not run yet after {START:.0f} seconds; try again"
                )
            time.sleep(PAUSE)

    def end(self, config: Path) -> None:
        """Have the node drain and end, if this program has started it. Raises MapdrError or OSError."""
        with self._lock:
            self._ended = True
        deadline = time.monotonic() + START
        error: Exception
        while self.runs:
            try:
                with access(config) as opened:
                    stop(opened)
                error = MapdrError("the node was asked to end, and its process has not ended; see its log")
            except (MapdrError, OSError) as not_yet:
                error = not_yet
            if isinstance(error, ConfigurationError):
                self._signal()
            if time.monotonic() > deadline:
                raise error
            time.sleep(PAUSE)  # one that begins is no node yet, and is asked again
        self._child = None
        self._forget()

    def _signal(self) -> None:
        """Ask a node to end whose place is not known, for somebody has broken its configuration.

        On Windows it goes on: a signal would not let it drain.
        """
        if self._child is not None and not self._signalled and sys.platform != "win32":
            self._signalled = True  # a second signal would not wait for the drain
            self._child.terminate()

    def _start(self, config: Path) -> None:
        self._forget()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the node
        command = [*program(), "run", "--plain", "--log-file", "--config", str(config)]
        self._child = subprocess.Popen(  # noqa: S603  this very program
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=_APART,
        )

    def _runs(self, config: Path) -> bool:
        with access(config) as opened:
            beat = opened.running()
            return beat is not None and beat.counters.get("state") == "running"

    def _last_words(self) -> str:
        assert self._said is not None
        self._said.seek(0)
        return self._said.read().decode("utf-8", "replace").strip()[-LONGEST:] or "it said nothing"

    def _forget(self) -> None:
        if self._said is not None:
            self._said.close()
            self._said = None
