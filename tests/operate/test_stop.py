"""Ending a node from another process: asked once, waited for, never an order that the next start finds."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mapdr.kernel.errors import MapdrError
from mapdr.operate import stop as stopping
from mapdr.operate.access import Access
from mapdr.operate.stop import stop
from mapdr.store.spool.claim import Claim, node_file, running_file
from mapdr.testing.wait import until
from paper.nodes import NodeFolder

NODE = "clinic-north"


@contextmanager
def claim(used: NodeFolder) -> Iterator[Claim]:
    """What a node holds as long as it runs."""
    held = Claim(running_file(used.config.parent / "data", NODE), NODE)
    held.shared(1.0)
    try:
        yield held
    finally:
        held.release()


def test_a_node_that_does_not_run_needs_no_end(opened: Access) -> None:
    assert not stop(opened)
    assert not opened.index().commands.take()


def test_the_node_is_asked_and_waited_for(opened: Access, used: NodeFolder) -> None:
    used.beat(drain=5.0)
    ran: list[bool] = []
    with claim(used) as held:
        waiting = threading.Thread(target=lambda: ran.append(stop(opened)))
        waiting.start()
        store, orders = used.store(), []
        try:
            until(lambda: orders.extend(store.commands.take()) or orders, 10, "the order")
            assert [(one.name, one.arguments) for one in orders] == [("drain", {"process": os.getpid()})]
            store.commands.done(orders[0].id, {"ok": True, "problems": []})
            assert waiting.is_alive(), "the node holds its claim: it has not ended"
        finally:
            store.close()
            held.release()
            waiting.join(10)
    assert ran == [True]


def test_a_node_that_drains_is_only_waited_for(
    opened: Access, used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "SPARE", 0.0)
    used.beat(drain=0.0, state="draining")
    with claim(used), pytest.raises(MapdrError, match="has not ended within 0 seconds"):
        stop(opened)
    assert not opened.index().commands.take()


def test_a_request_that_is_not_taken_is_withdrawn(
    opened: Access, used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "TAKEN", 0.0)
    used.beat()
    with claim(used), pytest.raises(MapdrError, match="did not take the request"):
        stop(opened)
    assert not opened.index().commands.take()


def test_a_node_that_ends_before_it_is_asked_leaves_no_order(
    opened: Access, used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    used.beat()
    running = opened.running()
    monkeypatch.setattr(opened, "running", lambda: running)
    with claim(used):
        pass
    assert opened.alive is False
    assert stop(opened)
    assert not opened.index().commands.take()


def test_a_silent_node_is_said_to_run(
    opened: Access, used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.operate.access.ANSWER", 0.2)
    used.beat()
    with opened.index().database.write() as connection:
        connection.exec_driver_sql("UPDATE heartbeat SET at = at - 600")
    with claim(used), pytest.raises(MapdrError, match="no sign of life for 15 seconds"):
        stop(opened)
    assert not opened.index().commands.take()


@pytest.mark.parametrize("way", ["its last word", "another process"])
def test_of_a_node_elsewhere_its_own_words_count(
    opened: Access, used: NodeFolder, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("mapdr.operate.access.claimed", lambda path: None)
    used.beat()
    ran: list[bool] = []
    waiting = threading.Thread(target=lambda: ran.append(stop(opened)))
    waiting.start()
    store = used.store()
    try:
        until(store.commands.take, 10, "the order")
        if way == "another process":
            monkeypatch.setattr("mapdr.store.index.commands.os.getpid", lambda: 1)
            store.commands.beat({"state": "running"})
        else:
            store.commands.beat({"state": "stopped"})
    finally:
        store.close()
        waiting.join(10)
    assert ran == [True]


def test_a_node_that_is_starting_is_waited_for(
    opened: Access, used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = Claim(node_file(used.config.parent / "data", NODE), NODE)
    starting.alone(1.0)
    try:
        with monkeypatch.context() as short:
            short.setattr(stopping, "TAKEN", 0.0)
            with pytest.raises(MapdrError, match="the node is starting"):
                stop(opened)
        ran: list[bool] = []
        waiting = threading.Thread(target=lambda: ran.append(stop(opened)))
        waiting.start()
        assert waiting.is_alive()
        used.beat()
        with claim(used):
            store = used.store()
            until(store.commands.take, 10, "the order")
            store.close()
        waiting.join(10)
    finally:
        starting.release()
    assert ran == [True]
