"""A node in a process: what asks for its end, what a second signal does, where its log goes."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.watch import Watch
from mapdr.node import process
from mapdr.node.assembly import Node
from mapdr.node.process import LogFile, Process, log_to
from mapdr.store import Store
from mapdr.testing.wait import until
from node import stages

MARK = "QXNAMEQX"
FLOW = '[receive.a]\ntype = "small"\n[egress.b]\ntype = "small"\n'


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """The handlers that were set, by signal; none really is."""
    found: dict[int, Any] = {}

    def handle(number: int, handler: Any) -> str:
        found[number] = handler
        return "before"

    monkeypatch.setattr(signal, "signal", handle)
    return found


def _fake(**more: Any) -> Any:
    """A node that only counts what is done to it."""
    done: list[str] = []
    ended, watch = threading.Event(), Watch()
    plan = SimpleNamespace(
        node=SimpleNamespace(database_url=lambda: "sqlite", data=Path("data")), receivers={}
    )
    return SimpleNamespace(
        **{
            "done": done,
            "plan": plan,
            "watch": watch,
            "asked_to_end": ended,
            "start": lambda: done.append("start"),
            "stop": lambda deadline: done.append("stop"),
        }
        | more
    )


def test_the_first_signal_asks_for_the_end_and_the_second_ends_at_once(handlers: dict[int, Any]) -> None:
    node = _fake()
    works = Process(node, Path("mapdr.toml"))
    with works.running():
        assert node.done == ["start"]
        assert signal.SIGINT in handlers
        assert signal.SIGTERM in handlers
        handlers[signal.SIGTERM](signal.SIGTERM, None)
        works.wait(lambda: pytest.fail("nothing more is done once the end is asked for"))
        with pytest.raises(KeyboardInterrupt):
            handlers[signal.SIGINT](signal.SIGINT, None)
    assert node.done == ["start", "stop"]
    assert set(handlers.values()) == {"before"}, "every handler is as it was"


def test_a_signal_during_a_drain_that_was_ordered_is_the_first(handlers: dict[int, Any]) -> None:
    node = _fake()
    with Process(node, Path("mapdr.toml")).running():
        node.asked_to_end.set()
        handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert node.done == ["start", "stop"]


def test_the_interpreter_is_as_it_was_afterwards(handlers: dict[int, Any]) -> None:
    before = sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count()
    with Process(_fake(), Path("mapdr.toml")).running():
        assert gc.get_threshold()[0] == process.YOUNG
        assert sys.getswitchinterval() == pytest.approx(process.SWITCH)
        assert gc.get_freeze_count()
    assert (sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count()) == before


def test_whatever_ends_the_block_the_node_is_drained(handlers: dict[int, Any]) -> None:
    node = _fake()
    with pytest.raises(KeyError), Process(node, Path("mapdr.toml"), drain=7.0).running():
        raise KeyError
    assert node.done == ["start", "stop"]


def test_work_that_raises_is_said_once_and_done_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "TICK", 0.001)
    node, calls = _fake(), 0

    def work() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            node.asked_to_end.set()
        raise ValueError(MARK)

    with caplog.at_level(logging.ERROR):
        Process(node, Path("mapdr.toml")).wait(work)
    assert calls == 5
    assert caplog.text.count("the state cannot be told") == 1
    assert MARK not in caplog.text


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal here")
def test_a_reload_by_signal_keeps_no_process_and_ends_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    handlers: dict[int, Any],
) -> None:
    daemons: list[bool] = []
    paths: list[Path] = []

    def reload(path: Path) -> None:
        daemons.append(threading.current_thread().daemon)
        paths.append(path)
        if len(paths) > 1:
            raise ValueError(MARK)

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Process(_fake(reload=reload), tmp_path / "mapdr.toml").running():
        begin = handlers[signal.SIGHUP]
        begin(signal.SIGHUP, None)
        until(lambda: daemons == [True], 10, "a reload in a thread that keeps no process")
        assert paths == [tmp_path / "mapdr.toml"]
        begin(signal.SIGHUP, None)
        until(lambda: "the configuration was not read again: internal error" in caplog.text, 10, "its end")
        caplog.clear()
        monkeypatch.setattr(threading.Thread, "start", none_left)
        begin(signal.SIGHUP, None)
        assert "the configuration was not read again" in caplog.text
    assert MARK not in caplog.text


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Node]:
    """A real node, not started."""
    stages.happened.clear()
    node = stages.build(tmp_path / "mapdr.toml", FLOW)
    yield node
    node.stop(time.monotonic() + 5)


def test_an_order_of_another_process_drains_a_node_without_console_and_main_thread(
    elsewhere: Node, tmp_path: Path
) -> None:
    """As a service runs it: in a thread of its own, where no signal can be had."""
    node = elsewhere
    works = Process(node, tmp_path / "mapdr.toml", drain=5)
    looks: list[int] = []

    def run() -> None:
        with works.running():
            works.wait(lambda: looks.append(1))

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: node.state == "running" and bool(looks), 10, "the running node")
    store = node.store
    order = store.commands.give("drain", {"process": os.getpid()}, node="north")
    thread.join(20)
    assert not thread.is_alive()
    assert node.state == "stopped"
    assert [verb for _, verb in stages.happened if verb == "stop"] == ["stop", "stop"]
    again = Store.open(tmp_path / "data", "north", durability="process-crash")
    try:
        assert again.commands.get(order).result == {"ok": True, "problems": []}
    finally:
        again.close()


def test_a_port_that_is_taken_is_named(tmp_path: Path, handlers: dict[int, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = f'[receive.r]\ntype = "dicom"\nhost = "127.0.0.1"\nport = {port}\n{FLOW}'
        node = stages.build(tmp_path / "mapdr.toml", text)
        with (
            pytest.raises(MapdrError, match=f"tcp:{port}; another program may have the port"),
            Process(node, tmp_path / "mapdr.toml").running(),
        ):
            pytest.fail("it runs")
    assert node.state == "stopped"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    found = logging.getLogger()
    before, level, own = found.handlers[:], found.level, logging.getLogger("mapdr").level
    yield found
    found.handlers[:] = before
    found.setLevel(level)
    logging.getLogger("mapdr").setLevel(own)


@pytest.mark.parametrize(("drawn", "output"), [(True, True), (False, False), (False, True)])
def test_the_log_goes_where_somebody_can_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: logging.Logger, drawn: bool, output: bool
) -> None:
    if not output:
        monkeypatch.setattr(sys, "stdout", None)
    log_to(tmp_path / "mapdr.log", verbose=False, drawn=drawn)
    (handler,) = root.handlers
    assert isinstance(handler, LogFile) == (drawn or not output)
    logging.getLogger("mapdr.node").info("a line")
    handler.close()
    if drawn or not output:
        assert "a line" in (tmp_path / "mapdr.log").read_text()
