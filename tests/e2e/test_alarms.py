"""Alarms of a real node that is killed: its webhook is told once that each begins, and once that it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mapdr.testing.generator import study
from mapdr.testing.modality import payload
from mapdr.testing.ris import Ris
from mapdr.testing.sink import Sink
from mapdr.testing.wait import until
from mapdr.wire.link import Limits
from mapdr.wire.requestor import Requestor
from peers.node import Node, destination, everything_to
from peers.processes import LOOPBACK, free_port

ON = ["destination.waits", "destination.back"]


def send(node: Node) -> None:
    """One image, which is answered Success."""
    (image,) = study("CT", images=1, size=(16, 16))
    link = Requestor.connect(
        LOOPBACK,
        node.port,
        calling_ae="CT1",
        called_ae="MAPDR",
        proposals=[(image.sop_class_uid, (image.transfer_syntax_uid,))],
        limits=Limits(),
    )
    assert link.c_store(payload(image)).status == 0
    link.release()


def is_down(status: dict[str, Any]) -> bool:
    return bool(status["destinations"][0]["state"] == "down")


def test_a_killed_node_tells_once_that_a_destination_is_down_and_once_that_it_is_back(
    make_node: Callable[..., Node],
) -> None:
    port = free_port()
    with Ris() as ris:

        def told() -> list[str]:
            return [call.json["type"] for call in ris.answered()]

        node = make_node(
            egress={"archive": destination(port)},
            rules=[everything_to("archive")],
            webhook={"ris": {"url": ris.url, "on": ON}},
        ).start()
        send(node)
        until(lambda: told() == ["destination.waits"], 30, "that it is down")
        node.when(lambda status: status["webhooks"]["pending"] == 0, 30, "that this is written")
        for _ in range(2):
            node.kill()
            node.start()
            node.when(is_down, 30, "that it is down still")
        node.kill()
        with Sink("SINK", port=port) as sink:
            node.start()
            until(lambda: "destination.back" in told(), 30, "that it is back")
            node.when(lambda status: status["webhooks"]["pending"] == 0, 30, "that this is written")
            node.stop()
            node.start()
            send(node)
            until(lambda: sink.count() >= 2, 30, "the image again")
            node.when_settled(2)
            assert node.stop() == 0
    assert told() == ON
    assert ris.answered()[1].json["data"]["seconds"] > 0
