"""A face that cannot read says so and goes on: it ends neither itself nor the node."""

from __future__ import annotations

import io
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mapdr.kernel.watch import Watch
from mapdr.node import process
from mapdr.operate import journal
from mapdr.operate.access import Access
from mapdr.operate.configuration import examine
from mapdr.operate.journal import Journal
from mapdr.operate.model import NodeState
from mapdr.operate.view import NodeView
from mapdr.store.index.commands import Heartbeat
from mapdr.store.spool.claim import Claim, running_file
from mapdr.testing.wait import until
from mapdr_cli.commands import run
from mapdr_cli.render.live import draw
from mapdr_cli.render.terminal import THEME
from paper.nodes import NodeFolder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The index as another program holds it that lets nobody in."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield


def _index(folder: NodeFolder) -> Path:
    return folder.config.parent / "data" / "index.db"


def _spoil(path: Path) -> None:
    """Write over the pages of the index, as a failing disk does."""
    for other in path.parent.glob("index.db-*"):
        other.unlink()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * (path.stat().st_size - 100))


@contextmanager
def _view(folder: NodeFolder, **more: Any) -> Iterator[tuple[NodeView, Access]]:
    plan = examine(folder.config).plan
    assert plan is not None
    opened = Access(plan, busy=0.05)
    try:
        yield NodeView(opened, **more), opened
    finally:
        opened.close()


def _texts(state: NodeState, kind: str) -> list[str]:
    return [item.text for item in state.attention if item.kind == kind]


def test_looking_needs_no_lock_that_a_writer_holds(used: NodeFolder) -> None:
    with closing(sqlite3.connect(_index(used), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with _view(used) as (looking, _):
            assert looking.gather().parked == 1


def test_a_view_shows_why_it_cannot_read_and_what_it_knew(used: NodeFolder) -> None:
    with _view(used) as (looking, opened):
        assert looking.look().parked == 1
        opened.close()
        with locked(_index(used)):
            state = looking.look()
            shown, cause = _texts(state, "index")
            assert "counts are those of" in shown
            assert "another program has locked it" in cause
            assert state.parked == 1
            assert state.node.state == "unknown"
            out = Console(width=80, file=io.StringIO(), theme=THEME)
            out.print(draw(out, state, height=40))
        assert not _texts(looking.look(), "index")


@pytest.mark.parametrize("name", ["locked", "damaged"])
def test_a_view_that_could_never_read_says_so(used: NodeFolder, name: str) -> None:
    beat = Heartbeat("clinic-north", time.time(), time.time(), 1, {"state": "running"})
    with _view(used, beat=lambda: beat) as (looking, _):
        if name == "locked":
            with locked(_index(used)):
                state = looking.look()
        else:
            _spoil(_index(used))
            state = looking.look()
        shown, cause = _texts(state, "index")
        assert "no counts are known" in shown
        assert {"locked": "locked", "damaged": "it is damaged"}[name] in cause
        assert state.node.state == "running"


@pytest.mark.parametrize(
    ("name", "said"), [("locked", "another program has locked it"), ("damaged", "damaged")]
)
def test_status_says_in_words_what_is_wrong_with_the_index(
    used: NodeFolder, name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr_cli.commands.status.LOOKING", 0.05)
    if name == "locked":
        with locked(_index(used)):
            result = used.mapdr("status")
    else:
        _spoil(_index(used))
        result = used.mapdr("status")
    assert result.exit_code == 1
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output


class _Node:
    """As much of a node as the view needs."""

    def __init__(self, folder: NodeFolder) -> None:
        plan = examine(folder.config).plan
        assert plan is not None
        self.plan, self.watch = plan, Watch()
        self.asked_to_end = threading.Event()
        self.changes = 0

    def sign(self) -> Heartbeat:
        return Heartbeat("clinic-north", time.time(), time.time(), 1, {"state": "running"})


@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.parametrize("trouble", [ValueError("QXNAMEQX"), OSError(5, "Input/output error")])
def test_whatever_a_view_raises_the_node_goes_on(
    used: NodeFolder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    drawn: bool,
    trouble: Exception,
) -> None:
    looks = 0

    def look(self: NodeView) -> NodeState:
        nonlocal looks
        looks += 1
        raise trouble

    monkeypatch.setattr(NodeView, "look", look)
    for name in ("AGAIN", "LOOK"):
        monkeypatch.setattr(run, name, 0.01)
    monkeypatch.setattr(journal, "COUNTS", 0.01)
    monkeypatch.setattr(process, "TICK", 0.01)
    monkeypatch.setattr(
        run, "console", lambda: Console(file=io.StringIO(), force_terminal=True, width=80, theme=THEME)
    )
    node: Any = _Node(used)
    ended = node.asked_to_end
    runs = process.Process(node, used.config)
    view = threading.Thread(target=run._watch, args=(node, runs, Journal(), drawn))
    view.start()
    try:
        until(lambda: looks >= 3, 10, "three looks")
        assert view.is_alive()
    finally:
        ended.set()
        view.join()
    assert "QXNAMEQX" not in caplog.text
    assert caplog.text


def test_a_node_that_is_there_and_silent_is_told_from_one_that_is_gone(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.operate.access.ANSWER", 0.2)
    store = used.store()
    try:
        store.commands._started_at = 0.0
        store.commands.beat({"state": "running"})
        with store.database.write() as connection:
            connection.exec_driver_sql("UPDATE heartbeat SET at = at - 600")
    finally:
        store.close()
    claim = Claim(running_file(used.config.parent / "data", "clinic-north"), "clinic-north")
    assert "is it running?" in used.mapdr("status").output, "a node that never claimed anything may be there"
    claim.shared(0)
    claim.release()
    gone = used.mapdr("status").output
    assert "stopped" in gone
    assert "the node ended without a word" in " ".join(gone.split())
    claim.shared(0)
    try:
        there = used.mapdr("status").output
        assert "silent" in there
        assert "the node is there, but gives no sign of life" in " ".join(there.split())
    finally:
        claim.release()


def test_an_index_that_was_removed_under_the_node_is_named(used: NodeFolder) -> None:
    claim = Claim(running_file(used.config.parent / "data", "clinic-north"), "clinic-north")
    claim.shared(0)
    try:
        for path in _index(used).parent.glob("index.db*"):
            path.unlink()
        told = " ".join(used.mapdr("status").output.split())
        assert "index.db was removed or replaced under it" in told
        examined = used.mapdr("doctor")
        assert examined.exit_code == 1
        assert "index.db was removed or replaced" in " ".join(examined.output.split())
        used.store().close()  # as any other program does that opens the index
        assert "index.db was removed or replaced" in " ".join(used.mapdr("status").output.split())
    finally:
        claim.release()
