"""What only a terminal shows: the key that ends `mapdr top`, the end of a demo whose terminal is closed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mapdr.operate.access import access
from mapdr.store.spool.claim import claimed, running_file
from mapdr.testing.wait import until
from paper.nodes import NodeFolder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals of POSIX")


CHILD = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "mapdr_cli", *sys.argv[1:]])
"""


class Terminal:
    """A command on a terminal of its own of 80 columns; what it writes is read as it comes."""

    def __init__(self, words: list[str]) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
            start_new_session=True,
        )
        os.close(slave)
        self.shown = b""
        self._closed = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._closed:
            if not select.select([self.master], [], [], 0.05)[0]:
                continue
            try:
                some = os.read(self.master, 65536)
            except OSError:  # the other end is closed
                return
            self.shown += some

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def close(self) -> None:
        """As who closes the window: the kernel tells the command by SIGHUP."""
        if not self._closed:
            self._closed = True
            self._reader.join(10)  # else it might read from whatever has this number next
            os.close(self.master)


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    shown = Terminal(list(words))
    try:
        yield shown
    finally:
        shown.close()
        if shown.process.poll() is None:
            shown.process.kill()
        shown.process.wait()


def test_q_ends_the_watching_and_leaves_the_terminal_as_it_was(used: NodeFolder) -> None:
    import termios

    with terminal("top", "--config", str(used.config), "--seconds", "60") as shown:
        until(lambda: b"destination" in shown.shown, 60, "the dashboard")
        shown.type("z")
        shown.type("q")
        assert shown.process.wait(20) == 0
        assert termios.tcgetattr(shown.master)[3] & termios.ICANON


@pytest.mark.timeout(180)
def test_a_demo_whose_terminal_is_closed_ends_with_its_node(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    running = running_file(kept / "data", "demo")
    with terminal("demo", "--seconds", "600", "--keep", str(kept)) as shown:
        until(lambda: b"Starting a node" in shown.shown, 60, "a word about the start")
        until(lambda: running.exists() and claimed(running), 60, "the demo's node")
        until(lambda: b"destination" in shown.shown, 60, "the dashboard")
        with access(kept / "mapdr.toml") as opened:
            beat = opened.last_beat()
        shown.close()
        assert shown.process.wait(60) != 0
    left = claimed(running)
    if left and beat is not None:
        os.kill(beat.process, signal.SIGKILL)
    assert not left
    assert "stopped" in (kept / "node.log").read_text(encoding="utf-8")
