"""A patient's images are purged while the node runs, and more of the same study come meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mapdr.testing import generator
from mapdr.testing.wait import until
from peers.node import Node, destination, everything_to
from peers.part10 import in_memory
from peers.rawsender import send_all
from peers.rawsink import RawSink


def test_a_patient_is_purged_from_a_node_that_goes_on(make_node: Callable[..., Node]) -> None:
    images = list(generator.study("CT", seed=5, images=240, size=(16, 16)))
    other = list(generator.study("CT", seed=6, images=20, size=(16, 16)))
    first, later = images[:120], images[120:]
    with RawSink() as sink:
        node = make_node(egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")]).start()
        assert set(send_all(node.port, map(in_memory, [*first, *other])).values()) == {0}
        node.when_settled(140)
        (study,) = {
            row["study_instance_uid"]
            for row in node.json("studies")["studies"]
            if row["images"] == len(first)
        }
        statuses: list[int | None] = []

        def push() -> None:
            statuses.extend(send_all(node.port, map(in_memory, later)).values())

        thread = threading.Thread(target=push)
        thread.start()
        gone = 0
        while thread.is_alive() or not gone:
            gone += node.json("purge", "--study", study, "--even-undelivered", "--yes")["images"]
        thread.join()
        assert set(statuses) == {0}
        # What was not chosen by any of the purges was kept, and reaches its destination.
        received = len(images) + len(other)  # Success comes before the index has an image
        status = node.when(
            lambda now: now["pending"] == 0 and now["today"]["received"]["CT"]["images"] == received
        )
        assert (status["parked"], status["unrouted"]) == (0, 0)
        files = {path.stem for path in node.data.rglob("*.dcm")}
        assert len(files) == len(images) + len(other) - gone
        # Images that came while a purge chose are kept beside erased rows of one study, which stay listed.
        delivered = {one.sop_instance_uid for one in sink.received}
        rows = node.json("deliveries", "--study", study, "--limit", "1000")["deliveries"]
        kept = [row for row in rows if not row["sop_instance_uid"].startswith("erased:")]
        assert len(kept) == len(images) - gone
        assert {row["sop_instance_uid"] for row in kept} <= delivered
        assert {row["state"] for row in kept} <= {"delivered"}
        # The rest of it, when it has come to rest: not a byte of the study is left, while the node runs.
        done = node.json("purge", "--study", study, "--yes")
        assert (done["images"], done["on_the_way"]) == (len(images) - gone, 0)
        assert len(list(node.data.rglob("*.dcm"))) == len(other)

        def clean() -> bool:
            node.json("purge", "--study", study, "--yes")
            mark = study.encode()
            return not any(mark in path.read_bytes() for path in node.data.rglob("index.db*"))

        until(clean, 30, "an index without the study")
        assert send_all(node.port, [in_memory(images[0])]).popitem()[1] == 0

        def found() -> list[int]:
            rows = node.json("studies")["studies"]
            return [row["images"] for row in rows if row["study_instance_uid"] == study]

        until(lambda: found() == [1], 30, "the study that came again")
        node.when(lambda now: now["pending"] == 0)
        log = node.log.read_text()
        assert ": purge" in log
        assert study not in log
