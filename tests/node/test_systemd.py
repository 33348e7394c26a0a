"""What systemd is told of a node that it runs, by a socket as systemd has it."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.kernel.watch import Watch
from mapdr.node.process import Process
from mapdr.node.systemd import Systemd
from mapdr.testing.wait import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="systemd is of Linux")


class Manager:
    """The end of systemd."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(10)

    def next(self) -> str:
        return self.socket.recv(4096).decode()


@pytest.fixture(params=["file", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("only Linux has sockets without a file")
    name = str(tmp_path / "n")
    address = name if request.param == "file" else f"\0{name}"
    found = Manager(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
    yield found
    found.socket.close()


def _node() -> Any:
    plan = SimpleNamespace(
        node=SimpleNamespace(database_url=lambda: "sqlite", data=Path("data")), receivers={}
    )
    return SimpleNamespace(
        plan=plan,
        watch=Watch(),
        asked_to_end=threading.Event(),
        start=lambda: None,
        stop=lambda deadline: None,
    )


def test_a_node_says_that_it_is_ready_that_it_lives_and_how_long_it_may_drain(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with Process(_node(), Path("mapdr.toml"), drain=7.0).running():
        assert manager.next() == "READY=1"
        assert [manager.next() for _ in range(3)] == ["WATCHDOG=1"] * 3
    told = ""
    while told in ("", "WATCHDOG=1"):
        told = manager.next()
    assert told == "STOPPING=1\nEXTEND_TIMEOUT_USEC=67000000"
    until(lambda: not [t for t in threading.enumerate() if t.name == "systemd"], 10, "the end of the feeding")


def test_the_watchdog_of_another_process_is_not_fed(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    systemd = Systemd(Watch())
    systemd.ready()
    assert manager.next() == "READY=1"
    assert not [thread for thread in threading.enumerate() if thread.name == "systemd"]


def test_a_manager_that_is_gone_ends_no_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    with Process(_node(), Path("mapdr.toml")).running():
        pass
    assert "systemd cannot be told READY=1: No such file or directory" in caplog.text


def test_without_systemd_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    with Process(_node(), Path("mapdr.toml")).running():
        assert not [thread for thread in threading.enumerate() if thread.name == "systemd"]
    assert not caplog.text
