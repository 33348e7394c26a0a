"""The promise under fire: the node is killed again and again, and no acknowledged image is lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mapdr.testing.generator import study
from mapdr.testing.wait import until
from peers.node import Node, destination, everything_to
from peers.part10 import MemoryObject, in_memory
from peers.rawsender import RawSender
from peers.rawsink import Answer, RawSink


class Pusher:
    """A modality that sends every image until it is acknowledged, over as many lines as it takes."""

    def __init__(self, node: Node, items: list[MemoryObject]) -> None:
        self._node, self._items = node, items
        self._stop = threading.Event()
        self.acknowledged: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.refused: list[int] = []
        self._thread = threading.Thread(target=self._push, name="pusher")

    @contextmanager
    def pushing(self) -> Iterator[Pusher]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(30)

    @property
    def done(self) -> bool:
        return len(self.acknowledged) == len(self._items)

    def _push(self) -> None:
        while not self.done and not self._stop.wait(0.02):
            try:
                self._one_association()
            except OSError:
                continue  # the node was killed: what it did not acknowledge is sent again

    def _one_association(self) -> None:
        first = self._items[0]
        with RawSender(self._node.port, [(first.sop_class_uid, first.transfer_syntax_uid)]) as sender:
            for item in self._items:
                if item.sop_instance_uid in self.acknowledged or self._stop.is_set():
                    continue
                self.sent[item.sop_instance_uid] += 1
                status = sender.store(item)
                if status == 0:
                    self.acknowledged[item.sop_instance_uid] += 1
                else:
                    self.refused.append(status)


def killed_again_and_again(
    make_node: Callable[..., Node], *, images: int, rows: int, kills: int, pause: float
) -> None:
    items = [in_memory(image) for image in study("CT", images=images, size=(rows, 512))]
    thresholds = [1 + (images - 2) * number // kills for number in range(kills)]
    with RawSink(lambda request: Answer(after=pause), keep_data=False) as sink:
        node = make_node(egress={"slow": destination(sink.port)}, rules=[everything_to("slow")]).start()
        with Pusher(node, items).pushing() as pusher:
            for threshold in thresholds:
                until(lambda wanted=threshold: sink.count() >= wanted, 60, f"{threshold} delivered images")
                node.kill()
                node.start()
            until(lambda: pusher.done, 60, "an acknowledgement of every image")
        status = node.when_settled(images, 120)
        arrived = sink.identities()
    assert not pusher.refused
    assert set(arrived) == {item.identity for item in items}
    counted = {"CT": {"images": images, "studies": 1}}
    assert status["today"]["received"] == counted
    assert status["today"]["delivered"] == {"slow": counted}
    assert status["parked"] == 0
    assert_repeats_are_shown(node, arrived, {item.sop_instance_uid for item in items})


def assert_repeats_are_shown(node: Node, arrived: list[tuple[str, str, str, str]], uids: set[str]) -> None:
    """An image that the receiver got more than once has more than one attempt on record."""
    times = Counter(identity[1] for identity in arrived)
    repeated = {uid for uid, number in times.items() if number > 1}
    rows = node.json("deliveries", "--limit", "100000")["deliveries"]
    attempts: Counter[str] = Counter()
    for row in rows:
        attempts[row["sop_instance_uid"]] += row["tries"]
    assert set(attempts) == uids
    assert not {uid for uid in repeated if attempts[uid] < 2}


@pytest.mark.timeout(180)
def test_a_few_kills(make_node: Callable[..., Node]) -> None:
    killed_again_and_again(make_node, images=40, rows=128, kills=4, pause=0.03)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_twenty_kills_over_three_hundred_images(make_node: Callable[..., Node]) -> None:
    killed_again_and_again(make_node, images=300, rows=512, kills=20, pause=0.05)
