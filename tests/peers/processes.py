"""Programs from Debian's packages as peers: started on loopback, ended by their own process id."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from mapdr.testing.wait import until

LOOPBACK = "127.0.0.1"
_started: set[str] = set()


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if event == "subprocess.Popen":
        command = arguments[1]
        words = command if isinstance(command, (list, tuple)) else str(command).split()
        _started.add(Path(os.fsdecode(words[0])).name)


sys.addaudithook(_listen)


def take_started() -> set[str]:
    """The names of the programs that were started since this was last asked."""
    names = set(_started)
    _started.clear()
    return names


PORTS = range(20_000, 32_000)
"""Below those that systems give to connections (Linux from 32768): one of them could take a port meanwhile,
even the connection that asks whether a program listens yet."""
SHARES = 6
_given: deque[int] = deque(maxlen=500)


def free_port() -> int:
    """A port that nobody listens on now; given back before use, so only for programs that cannot take 0.

    Tests that run beside these have ports of their own (pytest-xdist numbers their processes), and none is
    given twice within 500: it may be taken late, or never, by a test to which nobody shall answer.
    """
    beside = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = random.choice(PORTS[beside % SHARES :: SHARES])
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((LOOPBACK, port))
            _given.append(port)
            return port


def page_ports() -> range:
    """Ports for the pages of nodes that a test's process configures: a first configuration takes the lowest
    that is free of a few, and what another process configures at that moment would take it, too."""
    beside = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return range(8484 + 5 * (beside % 3), 8489 + 5 * (beside % 3))


def program(name: str) -> str | None:
    """The path of a peer's program, or None; Debian keeps some in folders for administrators.

    With MAPDR_NO_PEERS in the environment none is found, as on a machine that has none.
    """
    if os.environ.get("MAPDR_NO_PEERS"):
        return None
    return shutil.which(
        name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    )


def listens(port: int) -> bool:
    """Whether something accepts connections on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


class Process:
    """A child process with its output in a file."""

    def __init__(self, command: Sequence[str | Path], log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def wait_for_port(self, port: int, seconds: float = 15) -> None:
        """Until the process listens. Raises AssertionError with its output if it ends before."""

        def ready() -> bool:
            assert self.running, (
                f"{self.popen.args} ended with {self.popen.returncode}: {self.output()[-2000:]}"
            )
            return listens(port)

        until(ready, seconds, f"a listener of {self.popen.args}")

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self, seconds: float = 10) -> int:
        """SIGTERM, and SIGKILL if that takes too long; the exit status."""
        if self.running:
            self.popen.terminate()
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.popen.returncode

    def kill(self) -> None:
        """SIGKILL, and until it is gone."""
        if self.running:
            self.popen.kill()
        self.popen.wait(10)


def run(
    command: Sequence[str | Path], *, seconds: float = 120, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A program that ends by itself; its output as text, whatever its exit status."""
    return subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        env={**os.environ, **(env or {})},
        check=False,
    )
