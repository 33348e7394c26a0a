"""System calls that fail: what was answered and what is kept stay in agreement, whatever fails.

A node runs with a library before its own that lets calls fail (`shim.c`). Images are pushed while they do, in
runs and in the ordinary way; then it is looked at, killed, started again, and looked at once more:

- every image that was answered Success is delivered, byte for byte, and in the index
- no image that was refused is delivered, now or after the start, and none of its bytes stay unseen
- an image that got no answer is either of the two
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence

import pytest

from faults.faults import SHORT, Fault, Faults
from mapdr import _fast
from mapdr.testing.generator import study
from mapdr.testing.wait import until
from peers.node import Node, arrivals, destination, everything_to
from peers.part10 import MemoryObject, in_memory
from peers.rawsender import RawSender
from peers.rawsink import RawSink

OUT_OF_RESOURCES = 0xA700
FAULTS: dict[str, tuple[Fault, ...]] = {
    "no descriptor for a file": (Fault("open", errno.EMFILE, ".part"),),
    "no descriptor for any file": (Fault("open", errno.EMFILE, ".dcm"), Fault("open", errno.EMFILE, ".part")),
    "no room": (Fault("write", errno.ENOSPC),),
    "no room now and then": (Fault("write", errno.ENOSPC, every=3),),
    "short writes": (Fault("write", SHORT),),
    "short writes, then no room": (Fault("write", errno.ENOSPC, every=3), Fault("write", SHORT)),
    "interrupted writes": (Fault("write", errno.EINTR, every=2),),
    "writes that fail": (Fault("write", errno.EIO, every=2),),
    "flushes that fail": (Fault("fsync", errno.EIO),),
    "every other flush fails": (Fault("fsync", errno.EIO, every=2),),
    "every third flush fails": (Fault("fsync", errno.EIO, every=3),),
    "interrupted flushes": (Fault("fsync", errno.EINTR, every=2),),
    "a flush fails, and the file cannot be removed": (
        Fault("fsync", errno.EIO),
        Fault("unlink", errno.EACCES, "."),
    ),
    "now and then, and the file cannot be removed": (
        Fault("fsync", errno.EIO, every=3),
        Fault("unlink", errno.EIO, "."),
    ),
    "closing fails": (Fault("close", errno.EIO, ".dcm", every=2),),
    "receiving fails": (Fault("recv", errno.ECONNRESET, every=5),),
    "receiving is interrupted": (Fault("recv", errno.EINTR, every=2),),
    "little is received at a time": (Fault("recv", SHORT, every=2),),
    "sending fails": (Fault("send", errno.EPIPE, every=3),),
    "sending is interrupted": (Fault("send", errno.EINTR, every=2),),
    "sending would block": (Fault("send", errno.EAGAIN, every=2),),
    "little is sent at a time": (Fault("send", SHORT),),
    "no room for the index": (Fault("write", errno.ENOSPC, "index.db"),),
    "the index cannot be flushed": (Fault("fsync", errno.EIO, "index.db"),),
}
ONLY: dict[str, dict[str, tuple[Fault, ...]]] = {
    "runs": {"no descriptor for a run": (Fault("open", errno.EMFILE, ".dcm", every=2),)},
    "ordinary": {"renaming fails": (Fault("rename", errno.EIO, every=2),)},
}
"""A run gives no file two names."""


def is_flush(fault: Fault) -> bool:
    """Whether a flush of the spool fails, after which no other is trusted (docs/decisions/0090)."""
    return fault.call == "fsync" and fault.error == errno.EIO and fault.path == "/spool/"


class Pushed:
    """What became of the images that were pushed, by their identity."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.kept: list[MemoryObject] = []
        self.refused: list[MemoryObject] = []
        self.unknown: list[MemoryObject] = []

    def push(self, items: Sequence[MemoryObject]) -> None:
        """Push each once, over as many associations as it takes; refused is only what is answered so."""
        left = list(items)
        for _ in range(200):
            if not left:
                return
            try:
                self._association(left)
            except OSError:
                continue
        raise AssertionError("no association lasts")

    def taken(self, item: MemoryObject) -> bool:
        """Push one; whether it was answered Success: an index that failed refuses for a while."""
        self.push([item])
        return item in self.kept

    def _association(self, left: list[MemoryObject]) -> None:
        contexts = sorted({(item.sop_class_uid, item.transfer_syntax_uid) for item in left})
        sender = RawSender(self._node.port, contexts)
        try:
            while left:
                item = left.pop(0)
                self.unknown.append(item)
                status = sender.store(item)
                assert status in (0, OUT_OF_RESOURCES), f"answered 0x{status:04X}"
                self.unknown.remove(item)
                (self.refused if status else self.kept).append(item)
            sender.release()
        finally:
            sender.close()


def some(seed: int) -> list[MemoryObject]:
    """Images that fit into a run, and one that does not."""
    small = study("CT", seed=seed, images=7, size=(16, 16))
    return [in_memory(image) for image in (*small, *study("MR", seed=seed, images=1, size=(800, 800)))]


def look(node: Node, sink: RawSink, pushed: Pushed) -> None:
    """What was answered and what is kept agree."""
    kept = {item.identity for item in pushed.kept}
    # Images without an answer may arrive, too: a number of arrivals does not say that these are all there.
    until(lambda: kept <= set(sink.identities()), 60, "every image that was answered Success")
    status = node.when_settled(len(kept))
    assert status["parked"] == 0
    came = set(sink.identities())
    assert not {item.identity for item in pushed.refused} & came, "refused, and delivered"
    assert came <= {item.identity for item in (*pushed.kept, *pushed.unknown)}, "delivered, and not as sent"
    assert arrivals(status) == len(came)
    rows = node.json("deliveries", "--limit", "100000")["deliveries"]
    assert {row["sop_instance_uid"] for row in rows} == {identity[1] for identity in came}
    files = [path for path in node.data.rglob("*.dcm") if path.stat().st_size]
    assert len(files) == len(came), "files that no row knows of"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", ["runs", "ordinary"])
def test_success_and_files_agree(make_node: Callable[..., Node], faults: Faults, way: str) -> None:
    if way == "runs" and not _fast.RunReceiver.possible:
        pytest.skip("no runs here")
    env = {**faults.env, **({"MAPDR_NO_EXTENSIONS": "1"} if way == "ordinary" else {})}
    with RawSink() as sink:
        node = make_node(egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")]).start(env)
        pushed = Pushed(node)
        for seed, (name, each) in enumerate({**FAULTS, **ONLY[way]}.items()):
            fresh = (in_memory(image) for image in study("US", seed=seed, images=100, size=(16, 16)))
            until(lambda fresh=fresh: pushed.taken(next(fresh)), 20, "an image that is taken")
            before = len(pushed.refused)
            with faults.injected(*each, port=node.port):
                pushed.push(some(seed))
            assert node.running, f"{name} ended the node"
            if any(map(is_flush, each)):
                assert len(pushed.refused) > before
                assert not any(pushed.taken(next(fresh)) for _ in range(5)), "taken after a flush that failed"
                assert "a flush to the disk failed" in node.output()
                node.kill()
                node.start(env)
            print(f"{name}: {len(pushed.refused) - before} refused")
        assert len(pushed.refused) > 50
        assert len(pushed.kept) > 50
        look(node, sink, pushed)
        assert not list(node.data.rglob("*.part"))
        node.kill()
        node.start()
        look(node, sink, pushed)
        assert "Traceback" not in node.output()
        assert node.stop() == 0


def test_a_node_whose_disk_failed_to_flush_says_so(make_node: Callable[..., Node], faults: Faults) -> None:
    with RawSink() as sink:
        node = make_node(egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")]).start(
            faults.env
        )
        pushed = Pushed(node)
        with faults.injected(Fault("fsync", errno.EIO, most=1), port=node.port):
            pushed.push(some(1)[:3])
        assert len(pushed.refused) == 3, "only the first flush has failed"
        until(lambda: "a flush to the disk failed" in str(node.json("status")), 10, "that status says so")
        node.kill()
        node.start(faults.env)
        pushed.push(some(2))
        assert len(pushed.refused) == 3
        look(node, sink, pushed)


def test_what_cannot_be_removed_is_told_and_no_image(make_node: Callable[..., Node], faults: Faults) -> None:
    with RawSink() as sink:
        node = make_node(egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")]).start(
            faults.env
        )
        pushed = Pushed(node)
        pushed.push(some(2)[:1])  # now the hour's folder is there: what is flushed is an image
        there = set(node.data.rglob("*.dcm"))
        stuck = (Fault("fsync", errno.EIO), Fault("unlink", errno.EACCES, ".dcm"))
        with faults.injected(*stuck, port=node.port):
            pushed.push(some(1)[:3])
        assert len(pushed.refused) == 3
        left = [path for path in node.data.rglob("*.dcm") if path not in there]
        assert left
        assert all(path.stat().st_size == 0 for path in left), "a refused image is still in its file"
        told = set(re.findall(r"([0-9a-f]{32}): could not be removed", node.output()))
        assert {path.stem for path in left} <= told, "a file that nobody was told of"
        node.kill()
        node.start()
        until(node.echoes, 10, "an answer")
        look(node, sink, pushed)
