"""System calls of the journal that fail: no Success for what is not safe, and what was answered so is there.

As in `test_faults.py`, over a node with `[node] journal`. After a call that says that the disk has failed
nothing is taken until a restart; what was refused in that moment may come back then, for its record may be
whole.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import count

import pytest

from faults.faults import SHORT, Fault, Faults
from faults.test_faults import Pushed, some
from mapdr import _fast
from mapdr.testing.generator import study
from mapdr.testing.wait import until
from peers.node import Node, destination, everything_to
from peers.part10 import MemoryObject, in_memory
from peers.rawsink import RawSink

HARMLESS: dict[str, Fault] = {
    "short writes of records": Fault("write", SHORT, ".segment"),
    "interrupted writes of records": Fault("write", errno.EINTR, ".segment", every=2),
    "interrupted flushes of records": Fault("fsync", errno.EINTR, ".segment", every=2),
}
"""All are taken."""
FATAL: dict[str, Fault] = {
    "flushes of records": Fault("fsync", errno.EIO, ".segment"),
    "every third flush of records": Fault("fsync", errno.EIO, ".segment", every=3),
    "no room for records": Fault("write", errno.ENOSPC, ".segment"),
    "every other write of records": Fault("write", errno.EIO, ".segment", every=2),
    "writes of the checkpoint": Fault("write", errno.EIO, "/checkpoint"),
    "flushes of the checkpoint": Fault("fsync", errno.EIO, "/checkpoint"),
    "flushes behind the journal": Fault("fsync", errno.EIO, "/journal", most=1),
    "flushes of files behind the journal": Fault("fsync", errno.EIO, ".dcm"),
}
"""Nothing is taken until a restart."""
ORDINARY = ("short writes of records", "flushes of records", "every other write of records")
"""Those that are tried on the ordinary way as well; the others are of the keeper, or of the same call."""


def look(node: Node, sink: RawSink, pushed: Pushed) -> None:
    """What was answered Success is delivered; what was not may be, after a restart."""
    kept = {item.identity for item in pushed.kept}
    until(lambda: kept <= set(sink.identities()), 60, "every image that was answered Success")
    status = node.when_settled(len(kept))
    assert status["parked"] == 0
    known = (*pushed.kept, *pushed.unknown, *pushed.refused)
    assert set(sink.identities()) <= {item.identity for item in known}, "delivered, and not as sent"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", ["runs", "ordinary"])
def test_success_and_the_journal_agree(make_node: Callable[..., Node], faults: Faults, way: str) -> None:
    if way == "runs" and not _fast.RunReceiver.possible:
        pytest.skip("no runs here")
    env = {**faults.env, **({"MAPDR_NO_EXTENSIONS": "1"} if way == "ordinary" else {})}
    seeds = count(1)

    def fresh() -> MemoryObject:
        (image,) = study("US", seed=next(seeds), images=1, size=(16, 16))
        return in_memory(image)

    with RawSink() as sink:
        node = make_node(
            egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")], node={"journal": True}
        ).start(env)
        pushed = Pushed(node)
        for name in (*HARMLESS, *FATAL) if way == "runs" else ORDINARY:
            fault = HARMLESS.get(name) or FATAL[name]
            assert pushed.taken(fresh()), f"before {name}"
            before = len(pushed.refused)
            with faults.injected(fault, port=node.port):
                pushed.push(some(next(seeds)))
                if name in FATAL:
                    until(lambda: not pushed.taken(fresh()), 20, f"an image that is refused: {name}")
            assert node.running, f"{name} ended the node"
            print(f"{name}: {len(pushed.refused) - before} refused")
            if name in HARMLESS:
                assert len(pushed.refused) == before, name
                continue
            assert not any(pushed.taken(fresh()) for _ in range(3)), f"taken after {name}"
            until(lambda: "nothing is taken until a restart" in str(node.json("status")), 10, f"told: {name}")
            node.kill()
            node.start(env)
        look(node, sink, pushed)
        assert not list(node.data.rglob("*.part"))
        assert "Traceback" not in node.output()
        assert node.stop() == 0
