"""A node starts downstream first, ends upstream first, and tells how it is."""

from __future__ import annotations

import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mapdr.kernel.errors import ConfigurationError
from mapdr.node import assembly
from mapdr.node.assembly import Node
from mapdr.store import Store
from mapdr.store.spool.claim import Claim, claimed, running_file
from node import stages
from node.conftest import Start
from node.stages import MARK, happened

FLOW = '[receive.a]\ntype = "small"\n[egress.b]\ntype = "small"\n'


def _beat(path: Path) -> dict[str, Any]:
    store = Store.open(path.parent / "data", "north", durability="process-crash")
    try:
        (beat,) = store.commands.heartbeats()
        return dict(beat.counters)
    finally:
        store.close()


def test_from_start_to_stop(start: Start, path: Path) -> None:
    node = start(FLOW)
    running = running_file(path.parent / "data", "north")
    assert node.state == "running"
    assert claimed(running)
    assert [each for each in happened if each[1] != "build"] == [("b", "start"), ("a", "start")]
    told = node.counters()
    assert told["state"] == "running"
    assert told["destinations"]["b"]["state"] == "closed"
    assert [event["kind"] for event in told["events"]] == ["node.started"]
    assert _beat(path)["state"] == "running", "its first sign of life comes with its start"
    happened.clear()
    node.stop(time.monotonic() + 5)
    node.stop(time.monotonic())
    assert happened == [("a", "stop"), ("b", "stop")]
    assert _beat(path)["state"] == "stopped"
    assert not claimed(running)
    with pytest.raises(ConfigurationError):
        _ = node.store


def test_what_a_killed_node_had_made_of_images_is_removed_at_the_next_start(start: Start, path: Path) -> None:
    folder = path.parent / "data" / "prepared" / "north"
    folder.mkdir(parents=True)
    (folder / "image-abc.part").write_bytes(b"x")
    other = folder.with_name("south")
    other.mkdir()
    (other / "image-abc.part").write_bytes(b"x")
    node = start(FLOW)
    assert [each.relative_to(folder.parent).as_posix() for each in folder.parent.rglob("image-*")] == [
        "south/image-abc.part"
    ]
    node.stop(time.monotonic() + 5)


def test_a_receiver_that_cannot_start_leaves_nothing_running(start: Start, path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=r"[Aa]ddress|socket"):
            start(f'[receive.r]\ntype = "dicom"\nhost = "127.0.0.1"\nport = {port}\n{FLOW}')
    assert happened.count(("b", "start")) == happened.count(("b", "stop")) == 1
    assert not claimed(running_file(path.parent / "data", "north"))


def test_a_part_that_fails_to_stop_keeps_no_other_from_stopping(
    start: Start, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = start(FLOW.replace('type = "small"', 'type = "small"\nfail = "stop"'))
    node.stop(time.monotonic() + 5)
    assert ("b", "stop") in happened
    assert node.state == "stopped"
    assert _beat(path)["state"] == "stopped"
    assert MARK not in caplog.text


def test_a_sign_of_life_that_cannot_be_written_neither_starts_nor_ends_a_node(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Any, counters: Any) -> None:
        raise ValueError(MARK)

    monkeypatch.setattr("mapdr.store.index.commands.Commands.beat", fail)
    node = stages.build(path, FLOW)
    with caplog.at_level(logging.ERROR):
        node.start()
        try:
            assert node.state == "running"
        finally:
            node.stop(time.monotonic() + 5)
    assert node.state == "stopped"
    assert "the sign of life cannot be written" in caplog.text
    assert MARK not in caplog.text


def test_a_configuration_with_problems_is_no_node(path: Path) -> None:
    with pytest.raises(AssertionError):
        stages.build(path, '[egress.b]\ntype = "smal"\n')


def test_who_asks_whether_it_runs_does_not_keep_it_from_starting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = running_file(path.parent / "data", "north")
    asking = threading.Event()

    def ask(self: Node, counters: Any = None) -> None:
        """Hold the claim as `claimed` does, a little longer, from just before the node takes it."""
        if not asking.is_set():
            held = Claim(running, "north").exclusive(0.0)
            held.__enter__()
            asking.set()
            threading.Timer(0.3, held.__exit__, (None, None, None)).start()

    monkeypatch.setattr(Node, "_beat", ask)
    node = stages.build(path, FLOW)
    try:
        node.start()
        assert node.state == "running"
        assert claimed(running)
    finally:
        node.stop(time.monotonic() + 5)


def test_a_second_node_on_the_same_data_leaves_the_first_ones_sign_of_life_alone(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.store.CLAIM_SECONDS", 0.0)
    first = start(FLOW)
    (before,) = first.store.commands.heartbeats()
    second = stages.build(path, FLOW)
    with pytest.raises(ConfigurationError, match="another process works as node"):
        second.start()
    (after,) = first.store.commands.heartbeats()
    assert (after.process, after.started_at) == (before.process, before.started_at)
    assert after.counters["state"] == "running"


def test_a_claim_that_cannot_be_had_leaves_nothing_running(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "CLAIM_SECONDS", 0.0)
    node = stages.build(path, FLOW)
    happened.clear()
    running = running_file(path.parent / "data", "north")
    running.parent.mkdir(parents=True)
    with (
        Claim(running, "north").exclusive(0.0),
        pytest.raises(ConfigurationError, match="another process works as node"),
    ):
        node.start()
    assert node.state == "stopped"
    assert happened.count(("b", "start")) == happened.count(("b", "stop")) == 1
