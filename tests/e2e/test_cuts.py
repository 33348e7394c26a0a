"""The promise over a bad network: a proxy between MAPDR and its peers cuts, stalls, splits and swallows.

What must be true is asked of the sender's own record and of what the receivers have got, never of the ledger
alone: nothing that was acknowledged is lost, and nothing is shown as delivered that its receiver has not got.
"""

from __future__ import annotations

import io
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import pydicom
import pytest
from pydicom.dataset import Dataset

from e2e.oracle import Truth, ledger
from mapdr.testing.generator import study
from mapdr.testing.proxy import Fate, Plan, Proxy, Way, What, clean, seeded
from mapdr.testing.wait import until
from peers import part10
from peers.node import Node, arrivals, delivered, destination, everything_to
from peers.part10 import Identity, MemoryObject, in_memory
from peers.processes import free_port, listens
from peers.pushers import Pusher, StorePusher, StowPusher
from peers.rawsink import RawSink, Received
from peers.stow import StowSink, stow_destination

CLINIC = "Clinic North"
SHORT = "1 s"
"""How long MAPDR waits for a peer that stalls; a test cannot wait for a minute each time."""

TROUBLED = 15
"""So many connections through a proxy meet something; then the network is good."""

UPTO = 40_000
"""At most so many bytes pass before: a few small images, or a part of a large one."""


def made(seed: int, images: int) -> list[MemoryObject]:
    """A study of small images, and one that is too large for a run."""
    small = study("CT", seed=seed, images=images - 1, size=(64, 64))
    large = study("MR", seed=seed + 1, images=1, size=(800, 800))
    return [in_memory(image) for image in (*small, *large)]


def identities(items: Sequence[MemoryObject]) -> set[Identity]:
    return {item.identity for item in items}


def spooled(node: Node) -> set[Identity]:
    """What is in the spool, read without MAPDR."""
    return {part10.received(path).identity for path in node.data.rglob("*.dcm")}


def opened(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data), force=True)


def assert_edited(items: Sequence[MemoryObject], received: Sequence[Received]) -> None:
    """Every image came with its InstitutionName set and nothing else changed; repeats are the same bytes."""
    digests: dict[str, set[str]] = {}
    by_uid = {request.sop_instance_uid: request for request in received}
    for request in received:
        digests.setdefault(request.sop_instance_uid, set()).add(request.digest)
    assert by_uid.keys() == {item.sop_instance_uid for item in items}
    assert {len(each) for each in digests.values()} == {1}
    for item in items:
        expected, found = opened(item.data), opened(by_uid[item.sop_instance_uid].data)
        expected.InstitutionName = CLINIC
        assert expected == found, item.sop_instance_uid


def settled(node: Node, images: int) -> bool:
    """Whether so many came, and nothing is owed."""
    status = node.status()
    return arrivals(status) >= images and status["pending"] == 0


# --- from the senders ------------------------------------------------------------------------------------


def pushed_through(make_node: Callable[..., Node], seed: object, *, images: int, troubled: int) -> None:
    """Two modalities by C-STORE and one by STOW-RS push through bad networks."""
    began = time.monotonic()
    studies = [made(10 * number, images // 3) for number in (1, 2, 3)]
    items = [item for each in studies for item in each]
    web = free_port()
    times = {"pdu_timeout": SHORT, "acse_timeout": SHORT, "idle_timeout": SHORT}
    web_table = {"type": "dicomweb", "port": web, "idle_timeout": SHORT, "request_timeout": SHORT}
    with RawSink() as archive, StowSink() as cloud, ExitStack() as stack:
        node = make_node(
            egress={"archive": destination(archive.port), "cloud": stow_destination(cloud.url)},
            rules=[everything_to("archive", "cloud")],
            receive=times,
            receivers={"web": web_table},
        ).start()
        until(lambda: listens(web), 15, "the web receiver")
        proxies = [
            stack.enter_context(Proxy(port, bad(f"{seed}/{number}", troubled)))
            for number, port in enumerate((node.port, node.port, web))
        ]
        pushers: list[Pusher] = [
            StorePusher(proxies[0].port, studies[0], timeout=1),
            StorePusher(proxies[1].port, studies[1], timeout=1),
            StowPusher(proxies[2].port, studies[2], timeout=1),
        ]
        truth = Truth(node, {"archive": archive, "cloud": cloud})
        for pusher in pushers:
            stack.enter_context(pusher.pushing())
        truth.until(lambda: all(pusher.done for pusher in pushers), 60 + 3 * troubled, "all answers")
        status = node.when_all_settled(len(items), 60)
        truth.look()
    for pusher in pushers[:2]:
        assert not pusher.refused  # a network that is bad is no reason to refuse an image
    assert identities(items) == spooled(node)
    for name, sink in (("archive", archive), ("cloud", cloud)):
        assert {request.identity for request in sink.received} == identities(items), name
        assert delivered(status, name) == len(items)
    assert (status["parked"], status["unrouted"], status["versions"]["received"]) == (0, 0, 0)
    assert_nothing_is_left(node)
    assert any(proxy.met for proxy in proxies), "every network was good"  # one line may be lucky
    print(
        f"seed {seed}: {len(items)} images pushed {sum(each.sent.total() for each in pushers)} times; "
        f"{told(*proxies)}; {truth.looks} looks; {time.monotonic() - began:.0f} s"
    )


# --- to the receivers ------------------------------------------------------------------------------------

RULES = [
    everything_to("archive", "healthy"),
    {
        **everything_to("cloud", tags=[{"set": "InstitutionName", "to": CLINIC}]),
        "name": "everything over HTTP",
    },
]


class Receivers:
    """An archive and a STOW-RS server behind proxies, and an archive with a good line."""

    def __init__(self, to_archive: Plan, to_cloud: Plan) -> None:
        self._stack = ExitStack()
        with self._stack:
            self.archive = self._stack.enter_context(RawSink())
            self.healthy = self._stack.enter_context(RawSink())
            self.cloud = self._stack.enter_context(StowSink())
            self.to_archive = self._stack.enter_context(Proxy(self.archive.port, to_archive))
            self.to_cloud = self._stack.enter_context(Proxy(self.cloud.port, to_cloud))
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Receivers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def sinks(self) -> dict[str, RawSink | StowSink]:
        return {"archive": self.archive, "cloud": self.cloud, "healthy": self.healthy}

    def node(self, make_node: Callable[..., Node]) -> Node:
        """A node that sends to all three, and is soon tired of waiting."""
        times = {"acse_timeout": SHORT, "dimse_timeout": SHORT, "pdu_timeout": SHORT}
        url = f"http://127.0.0.1:{self.to_cloud.port}/dicom-web"
        return make_node(
            egress={
                "archive": destination(self.to_archive.port, **times),
                "cloud": stow_destination(url, requests=2, images_per_request=4, timeout=SHORT),
                "healthy": destination(self.healthy.port),
            },
            rules=RULES,
        ).start()

    def assert_all_arrived(self, node: Node, items: Sequence[MemoryObject]) -> None:
        """Every image is everywhere, byte for byte as its rule says, and no cut has used up a try."""
        for sink in (self.archive, self.healthy):
            assert set(sink.identities()) == identities(items)
        assert_edited(items, self.cloud.received)
        status, rows = node.status(), ledger(node)
        assert (status["pending"], status["parked"]) == (0, 0)
        assert {row["state"] for row in rows} == {"delivered"}
        burnt = [row for row in ledger(node, "--attempts") if row["attempts"] != 1]
        made = [(row["destination"], each["comment"]) for row in burnt for each in row["attempts_made"]]
        assert not burnt, f"a cut has used up a try: {made}"
        assert all(delivered(status, name) == len(items) for name in self.sinks)
        assert_nothing_is_left(node)


def sent_through(make_node: Callable[..., Node], seed: object, *, images: int, troubled: int) -> None:
    """To receivers behind bad networks."""
    began = time.monotonic()
    items = made(1, images)
    plans = bad(f"{seed}/archive", troubled), bad(f"{seed}/cloud", troubled)
    with Receivers(*plans) as receivers:
        node = receivers.node(make_node)
        truth = Truth(node, receivers.sinks)
        pusher = StorePusher(node.port, items)
        with pusher.pushing():
            truth.until(lambda: pusher.done, 60, "an answer for every image")
        truth.until(lambda: settled(node, len(items)), 60 + 3 * troubled, "the end of all deliveries")
        receivers.assert_all_arrived(node, items)
        proxies = receivers.to_archive, receivers.to_cloud
        received = {name: len(sink.received) for name, sink in receivers.sinks.items()}
        assert received["healthy"] == len(items)
        # A few long connections may be all that one destination needs, and none of them be cut.
        assert any(proxy.met for proxy in proxies), "both networks were good"
    print(
        f"seed {seed}: {len(items)} images received {received}; {told(*proxies)}; "
        f"{truth.looks} looks; {time.monotonic() - began:.0f} s"
    )


def bad(seed: object, troubled: int) -> Plan:
    """A network on which each of the first connections meets something."""
    return seeded(
        seed, troubled=troubled, upto=UPTO, whats=[each for each in What if each is not What.NOTHING]
    )


def told(*proxies: Proxy) -> dict[str, int]:
    """What all connections have met."""
    met = sum((proxy.met for proxy in proxies), Counter[What]())
    return {what.value: times for what, times in met.items()}


def assert_nothing_is_left(node: Node) -> None:
    """No file that belongs to no image, no trouble in the log."""
    assert not list(node.data.rglob("*.part"))
    assert "Traceback" not in node.output()


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_acknowledged_is_lost_on_the_way_in(make_node: Callable[..., Node], seed: int) -> None:
    pushed_through(make_node, seed, images=60, troubled=TROUBLED)


@pytest.mark.parametrize(
    ("seed", "images", "troubled"),
    [(1, 60, TROUBLED), pytest.param(3990592702, 120, 60, id="dead over the last two images")],
)
def test_nothing_is_shown_as_delivered_that_did_not_arrive(
    make_node: Callable[..., Node], seed: int, images: int, troubled: int
) -> None:
    sent_through(make_node, seed, images=images, troubled=troubled)


def test_dead_lines_hold_up_no_other_destination_and_use_up_no_tries(make_node: Callable[..., Node]) -> None:
    items = made(1, 60)
    swallow = Fate(What.SWALLOW, Way.UP, 20_000)
    with Receivers(lambda number: Fate(What.DEAF), lambda number: swallow) as receivers:
        node = receivers.node(make_node)
        truth = Truth(node, receivers.sinks)
        pusher = StorePusher(node.port, items)
        with pusher.pushing():
            # While the archive cannot be reached, and no answer of the server arrives.
            truth.until(lambda: len(receivers.healthy.received) == len(items), 30, "the healthy archive's")
        assert not receivers.archive.received
        truth.until(lambda: receivers.to_archive.met.total() > 1, 30, "another call to the archive")
        truth.look()
        receivers.to_archive.plan = receivers.to_cloud.plan = clean
        receivers.to_archive.cut()
        truth.until(lambda: settled(node, len(items)), 60, "the end of all deliveries")
        receivers.assert_all_arrived(node, items)


def test_half_a_message_that_goes_on_later_is_one_message(make_node: Callable[..., Node]) -> None:
    """Held back in the middle, both ways and in pieces, for less than anybody is ready to wait."""
    items = made(1, 12)

    def plan(number: int) -> Fate:
        way = (Way.UP, Way.DOWN)[number % 2]
        return Fate(What.STALL, way, 100 + 5000 * number, seconds=0.3, piece=100)

    with Receivers(plan, plan) as receivers:
        node = receivers.node(make_node)
        with Proxy(node.port, plan) as proxy:
            pusher = StorePusher(proxy.port, items)
            with pusher.pushing():
                until(lambda: pusher.done, 60, "an answer for every image")
        node.when_all_settled(len(items))
        receivers.assert_all_arrived(node, items)
        assert proxy.met[What.STALL]


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", [pushed_through, sent_through])
def test_many_bad_networks(make_node: Callable[..., Node], way: Callable[..., None]) -> None:
    for number in range(20):
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        way(
            lambda number=number, **tables: make_node(f"node{number}", **tables),
            seed,
            images=120,
            troubled=60,
        )
