"""`mapdr top` in a real terminal (tmux), beside a node that stops and starts again."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mapdr.testing import generator
from mapdr.testing.wait import until
from paper import nodes
from paper.nodes import NodeFolder
from peers.node import Node, destination, everything_to
from peers.processes import program
from peers.rawsender import RawSender
from peers.rawsink import Answer, RawSink

pytestmark = [pytest.mark.peer("tmux"), pytest.mark.timeout(300)]

WAIT = 60.0
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "TERM": "screen-256color",
    "COLUMNS": "80",  # somebody has exported how large another terminal was
    "LINES": "24",
}


class Terminal:
    """A command in a tmux of its own; what its screen shows is asked for again and again."""

    def __init__(self, folder: Path, words: list[str], columns: int, lines: int) -> None:
        self._socket = f"mapdr-{uuid.uuid4().hex[:8]}"
        self._program = str(program("tmux"))
        self.left = folder / f"{self._socket}.left"
        command = f"{shlex.join([sys.executable, '-m', 'mapdr_cli', *words])}; echo $? > {self.left}"
        self._tmux("new-session", "-d", "-x", str(columns), "-y", str(lines), f"{command}; sleep 600")
        self.resize(columns, lines)  # once said so, tmux keeps it, whoever looks in
        self.pid = int(self._tmux("list-panes", "-F", "#{pane_pid}"))

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            [self._program, "-L", self._socket, "-f", os.devnull, *words],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
            env={**os.environ, **_ENVIRONMENT},
        )
        return done.stdout

    @property
    def screen(self) -> str:
        """What it shows now."""
        return self._tmux("capture-pane", "-p")

    def sees(self, *texts: str) -> str:
        """The screen, once it shows all of this."""
        shown = ""

        def there() -> bool:
            nonlocal shown
            shown = self.screen
            return all(text in shown for text in texts)

        try:
            until(there, WAIT, f"a screen with {texts}")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{shown}") from None
        return shown

    def press(self, *keys: str) -> None:
        """Keys by tmux's names."""
        self._tmux("send-keys", *keys)

    def moves_to(self, row: str, other: str) -> None:
        """Have the cursor on one of two rows, whichever is the upper one."""

        def there() -> bool:
            shown = self.screen
            if f"▸{row}" not in shown and f"▸{other}" in shown:
                below = shown.find(f"\n {row}") > shown.index(f"▸{other}")
                self.press("Down" if below else "Up")
            return f"▸{row}" in shown

        until(there, WAIT, f"the cursor on {row}")

    def type(self, text: str) -> None:
        """Characters."""
        self._tmux("send-keys", "-l", text)

    def resize(self, columns: int, lines: int) -> None:
        """Another size of the window."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def command(self) -> psutil.Process:
        """The command's own process, below the shell."""
        return next(
            one for one in psutil.Process(self.pid).children(recursive=True) if "mapdr_cli" in one.cmdline()
        )

    def close(self) -> None:
        """End its tmux, and with it all that runs there."""
        self._tmux("kill-server")


@contextmanager
def terminal(folder: Path, *words: str, columns: int = 80, lines: int = 24) -> Iterator[Terminal]:
    shown = Terminal(folder, list(words), columns, lines)
    try:
        yield shown
    finally:
        shown.close()


@contextmanager
def _refusing(folder: Path) -> Iterator[Node]:
    """A node that runs and has got 6 images, which one destination takes, and another refuses for good."""
    with RawSink() as taking, RawSink(lambda request: Answer(0xA900)) as refusing:
        egress = {
            "archive": destination(taking.port),
            "telepacs": destination(refusing.port, retry={"tries": 1, "first": "100 ms"}),
        }
        node = Node(folder, egress=egress, rules=[everything_to("archive", "telepacs")]).start()
        try:
            _push(node, "CT", 6)
            until(lambda: node.json("status")["parked"] == 6, WAIT, "parked images")
            yield node
        finally:
            node.stop()


def _push(node: Node, modality: str, images: int) -> None:
    made = list(generator.study(modality, images=images, size=(16, 16)))
    with RawSender(node.port, [(made[0].sop_class_uid, generator.EXPLICIT)], timeout=20) as sender:
        for image in made:
            uids = image.sop_class_uid, image.sop_instance_uid
            assert sender.store_bytes(*uids, image.transfer_syntax_uid, image.dataset) == 0


def test_every_view_by_keys_beside_a_node_that_stops_and_starts_again(tmp_path: Path) -> None:
    with (
        _refusing(tmp_path / "node") as node,
        terminal(tmp_path, "top", "--config", str(node.config)) as shown,
    ):
        shown.sees("● running", "6 images parked for telepacs", "4 shows them", "received")
        shown.press("2")
        shown.sees("▸ destinations", "telepacs")
        shown.press("5")
        shown.sees("▸ log", "parked for telepacs")
        shown.press("?")
        shown.sees("the same for all that studies or parked have chosen")
        shown.press("Escape", "3")
        shown.sees("newest first", "✗ telepacs 0/6 6 parked", "✓ archive 6/6")
        shown.press("Enter")
        shown.sees("✓ 6 delivered", "✗ 6 parked")
        shown.press("Down", "Down", "Enter")
        shown.sees("received", '"everything"', "0xA900", "✗ parked", "✓ delivered")
        shown.press("Escape", "Escape", "/")
        shown.sees("choose /")
        shown.type("modality=MR")
        shown.press("Enter")
        shown.sees("chosen: modality=MR", "no study is chosen")
        # What is parked is retried, after a question that says how many; it is refused again.
        shown.press("4")
        shown.sees("✗ refused", "the receiver says no to the image itself")
        shown.press("r")
        shown.sees("Try 6 deliveries (telepacs 6) again now? yes  no")
        shown.press("n")
        shown.sees("nothing was done")
        shown.press("r")
        shown.sees("Try 6 deliveries (telepacs 6) again now?")
        shown.press("y")
        shown.sees("6 deliveries (telepacs 6) will be tried again")
        until(lambda: node.json("status")["parked"] == 6, WAIT, "that they are refused again")
        # A destination is held, and what comes waits there.
        shown.press("2")
        shown.sees("▸ destinations")
        shown.moves_to("telepacs", "archive")
        shown.press("h")
        shown.sees("Put destination telepacs on hold")
        shown.press("y")
        shown.sees("■ held")
        _push(node, "MR", 2)
        shown.sees("■ held        2")
        shown.press("l")
        shown.sees("Release destination telepacs (2 images waiting there)?")
        shown.press("y")
        shown.sees("destination telepacs released")
        # Every size.
        shown.resize(200, 50)
        shown.press("1")
        shown.sees("why it waits", "RAWSENDER")
        shown.resize(30, 8)
        shown.sees("mapdr top needs more room")
        shown.resize(80, 24)
        shown.sees("enter open  / find  h hold")
        # The node goes away, and comes back.
        node.stop()
        shown.sees("■ stopped")
        node.start()
        shown.sees("● running")
        shown.press("x")
        shown.press("Escape", "q")
        until(lambda: shown.left.exists() and shown.left.read_text(), WAIT, "its end")
        assert shown.left.read_text().strip() == "0"


def test_it_takes_little_of_a_core(tmp_path: Path) -> None:
    with (
        _refusing(tmp_path / "node") as node,
        terminal(tmp_path, "top", "--config", str(node.config), columns=200, lines=50) as shown,
    ):
        shown.sees("● running", "why it waits")
        shown.press("3")
        shown.sees("newest first")
        process = shown.command()
        before, began = sum(process.cpu_times()[:2]), _clock(shown)
        until(lambda: _clock(shown) - began >= 5, WAIT, "five seconds")
        spent = sum(process.cpu_times()[:2]) - before
        assert spent / (_clock(shown) - began) < 0.04, "twice what is promised: the machine may be busy"


def _clock(shown: Terminal) -> int:
    """The time of day that the first line says, in seconds."""
    hours, minutes, seconds = shown.screen.splitlines()[0].split()[-1].split(":")
    return (int(hours) * 60 + int(minutes)) * 60 + int(seconds)


def test_the_screen_of_a_node_that_runs_here_is_the_same_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", egress={}, rules=[])
    with terminal(tmp_path, "run", "--config", str(node.config)) as shown:
        shown.sees("● running", "no destination is configured")
        shown.press("5")
        shown.sees("▸ log")
        shown.press("q")
        shown.sees("the node runs here: Ctrl-C drains and ends it")
        shown.press("C-c")
        until(lambda: shown.left.exists() and shown.left.read_text(), WAIT, "its end")
        assert shown.left.read_text().strip() == "0"
        assert "today: received 0" in shown.screen


def test_an_index_that_is_not_there_yet_is_waited_for(tmp_path: Path, node_folder: NodeFolder) -> None:
    with terminal(tmp_path, "top", "--config", str(node_folder.config)) as shown:
        shown.sees("■ stopped")
        shown.press("3")
        shown.sees("there is no index")
        node_folder.receive(generator.study("CT", images=3, size=(16, 16)))
        shown.sees("○ archive 0/3")


@pytest.fixture
def node_folder(tmp_path: Path) -> NodeFolder:
    return nodes.new(tmp_path)
