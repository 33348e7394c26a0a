"""A node and the command line write to one index at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from mapdr.store import Selection, Settlement
from mapdr.testing.wait import until
from store.conftest import Opener
from store.world import push

ROOT = Path(__file__).resolve().parent.parent


def test_node_and_command_line_write_at_once(opener: Opener) -> None:
    store = opener()
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("processes_child.py")), str(store.data), "40"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    stop = threading.Event()
    sent: list[int] = []

    def deliver() -> None:
        while not stop.is_set():
            rows = store.ledger.lease("pacs", 20, 60, "node")
            states = ["parked" if row.attempts == 0 and row.id % 5 == 0 else "delivered" for row in rows]
            store.ledger.settle([Settlement(row.id, state) for row, state in zip(rows, states, strict=True)])
            sent.extend(row.id for row, state in zip(rows, states, strict=True) if state == "delivered")
            stop.wait(0.002)

    worker = threading.Thread(target=deliver)
    worker.start()
    try:
        for number in range(300):
            push(store, f"1.{number}")
        output, errors = child.communicate(timeout=60)
        assert output.splitlines()[-1] == "end", errors
        assert store.writer.flush()
        store.actions.release(Selection(state="held"))

        def done() -> bool:
            return store.counts.pending() == 0

        until(done, 30, "the end of the queue")
    finally:
        stop.set()
        worker.join()
        child.kill()
        child.wait()
    rows = store.listing.select(Selection())
    assert len(rows) == 300
    assert len(set(sent)) == len(sent) == sum(row.state == "delivered" for row in rows)
    assert len(store.commands.take()) == 40
    assert store.counts.today()["received"]["CT"]["images"] == 300
