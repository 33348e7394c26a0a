"""The ledger says what the receiver said: every status, silence, and lines that are cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from mapdr.testing.generator import study
from peers.node import Node, delivered, destination, everything_to
from peers.part10 import MemoryObject, in_memory
from peers.rawsender import send_all
from peers.rawsink import Answer, RawSink, Received

ALWAYS = {
    0x0000: "delivered",
    0x0107: "delivered",
    0x0111: "delivered",
    0xB000: "delivered",
    0xB006: "delivered",
    0xB007: "delivered",
    0x0122: "parked",
    0x0124: "parked",
    0xA900: "parked",
    0xC000: "parked",
}
"""A receiver's constant answer, and how the delivery ends."""

FIRST_TIME = {
    "out of resources": Answer(0xA700),
    "processing failure": Answer(0x0110),
    "no answer": Answer(None),
    "an abort": Answer(hang_up="abort"),
    "a cut line": Answer(hang_up="reset"),
}
"""Answers to the first attempt only; the next one succeeds."""


def images(number: int) -> list[MemoryObject]:
    return [in_memory(image) for image in study("MR", seed=number, images=number, size=(16, 16))]


def by_uid(node: Node) -> dict[str, dict[str, object]]:
    rows = node.json("deliveries", "--limit", "1000", "--identify")["deliveries"]
    return {row["sop_instance_uid"]: row for row in rows}


def test_every_status_ends_as_the_table_says(make_node: Callable[..., Node]) -> None:
    items = images(len(ALWAYS))
    script = {item.sop_instance_uid: status for item, status in zip(items, ALWAYS, strict=True)}
    with RawSink(lambda request: Answer(script[request.sop_instance_uid], comment="as scripted")) as sink:
        node = make_node(
            egress={"pacs": destination(sink.port, retry={"first": "100 ms", "factor": 1.0, "tries": 2})},
            rules=[everything_to("pacs")],
        ).start()
        assert set(send_all(node.port, items).values()) == {0}
        status = node.when_settled(len(items))
        rows = by_uid(node)
    assert {uid: rows[uid]["state"] for uid in script} == {
        uid: ALWAYS[status] for uid, status in script.items()
    }
    assert {uid: rows[uid]["status"] for uid in script} == script
    good = list(ALWAYS.values()).count("delivered")
    assert delivered(status, "pacs") == good
    assert status["parked"] == len(ALWAYS) - good
    for uid, row in rows.items():
        if row["state"] == "parked":
            assert row["reason"], uid
            assert "as scripted" in str(row["comment"]), uid


def test_a_receiver_whose_database_is_down_for_a_while_parks_nothing(make_node: Callable[..., Node]) -> None:
    items = images(20)
    down = True
    with RawSink(lambda request: Answer(0x0110 if down else 0)) as sink:
        retry = {"first": "100 ms", "factor": 1.0, "tries": 2}
        node = make_node(
            egress={"pacs": destination(sink.port, retry=retry)}, rules=[everything_to("pacs")]
        ).start()
        assert set(send_all(node.port, items).values()) == {0}
        status = node.when(lambda now: now["destinations"][0]["state"] == "down", what="the pause")
        assert "processing failure" in status["destinations"][0]["comment"]
        assert any("pacs is down" in line["text"] for line in status["attention"])
        assert status["parked"] == 0
        down = False
        status = node.when_settled(len(items))
    assert delivered(status, "pacs") == len(items)


def test_what_the_receiver_did_not_confirm_is_sent_again(make_node: Callable[..., Node]) -> None:
    items = images(len(FIRST_TIME))
    script = {item.sop_instance_uid: answer for item, answer in zip(items, FIRST_TIME.values(), strict=True)}
    seen: Counter[str] = Counter()

    def answer(request: Received) -> Answer:
        seen[request.sop_instance_uid] += 1
        return script[request.sop_instance_uid] if seen[request.sop_instance_uid] == 1 else Answer()

    with RawSink(answer) as sink:
        node = make_node(
            egress={
                "pacs": destination(
                    sink.port, dimse_timeout="1 s", retry={"first": "100 ms", "factor": 1.0, "tries": 3}
                )
            },
            rules=[everything_to("pacs")],
        ).start()
        assert set(send_all(node.port, items).values()) == {0}
        status = node.when_settled(len(items))
    assert delivered(status, "pacs") == len(items)
    assert status["parked"] == 0
    assert set(seen) == set(script)
    assert all(number >= 2 for number in seen.values())


@pytest.mark.parametrize(
    ("result", "source", "reason", "words"), [(1, 1, 7, "called AE title"), (2, 3, 2, "limit")]
)
def test_a_rejected_association_is_shown_in_words(
    make_node: Callable[..., Node], result: int, source: int, reason: int, words: str
) -> None:
    with RawSink(reject=bytes((0, result, source, reason))) as sink:
        node = make_node(egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")]).start()
        (item,) = images(1)
        assert send_all(node.port, [item]) == {item: 0}
        node.when(
            lambda status: words in status["destinations"][0]["comment"], what="the reason of the rejection"
        )
        status = node.status()
    assert status["pending"] + status["parked"] == 1


def test_a_stalled_destination_delays_no_other(make_node: Callable[..., Node]) -> None:
    items = images(30)
    with RawSink(lambda request: Answer(None)) as stalled, RawSink() as healthy:
        node = make_node(
            egress={"stalled": destination(stalled.port), "healthy": destination(healthy.port)},
            rules=[everything_to("stalled", "healthy")],
        ).start()
        assert set(send_all(node.port, items).values()) == {0}
        status = node.when(lambda now: delivered(now, "healthy") == len(items), 20, "the healthy destination")
        assert delivered(status, "stalled") == 0
        assert status["pending"] == len(items)
        assert set(healthy.identities()) == {item.identity for item in items}


def test_an_image_that_is_always_too_much_does_not_hold_up_the_others(make_node: Callable[..., Node]) -> None:
    # Orthanc answers "out of resources" to an image without a patient id, now and for ever.
    hopeless = [
        in_memory(next(study("MR", seed=900 + number, images=1, size=(16, 16)))) for number in range(6)
    ]
    never = {item.sop_instance_uid for item in hopeless}
    items = [*hopeless, *images(60)]
    with RawSink(lambda request: Answer(0xA700 if request.sop_instance_uid in never else 0)) as sink:
        node = make_node(egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")]).start()
        assert set(send_all(node.port, items).values()) == {0}
        good = len(items) - len(never)
        status = node.when(lambda now: delivered(now, "pacs") == good, 30, "the other images")
    assert status["pending"] + status["parked"] == len(never)


def test_a_dead_destination_gets_everything_when_it_is_back(
    make_node: Callable[..., Node], free_port: int
) -> None:
    items = images(10)
    node = make_node(egress={"pacs": destination(free_port)}, rules=[everything_to("pacs")]).start()
    assert set(send_all(node.port, items).values()) == {0}
    status = node.when(lambda now: now["pending"] == len(items))
    assert status["today"]["delivered"].get("pacs", {}) == {}
    with RawSink(port=free_port) as sink:
        status = node.when_settled(len(items))
        assert Counter(sink.identities()) == Counter(item.identity for item in items)
    assert delivered(status, "pacs") == len(items)


def test_the_receiver_decides_among_the_methods_of_a_rule(make_node: Callable[..., Node]) -> None:
    items = [in_memory(image) for image in study("MR", seed=6, images=3, size=(128, 128))]
    native, lossy = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.91"

    def choose(abstract: str, syntaxes: Sequence[str]) -> str | None:
        return next((each for each in syntaxes if each in (native, lossy)), None)

    with RawSink(choose=choose) as sink:
        compress = {"to": ["htj2k", "jpeg2000"], "max_error": 40}
        rule = {**everything_to("pacs"), "compress": compress}
        node = make_node(egress={"pacs": destination(sink.port)}, rules=[rule]).start()
        assert set(send_all(node.port, items).values()) == {0}
        node.when_settled(len(items))
        rows = by_uid(node)
    assert {item.transfer_syntax_uid for item in sink.received} == {lossy}
    assert {(row["state"], row["reason"]) for row in rows.values()} == {("delivered", "")}


def test_a_compression_that_the_receiver_refuses_is_shown(make_node: Callable[..., Node]) -> None:
    items = [in_memory(image) for image in study("MR", seed=5, images=3, size=(128, 128))]
    native = "1.2.840.10008.1.2.1"
    with RawSink(choose=lambda abstract, syntaxes: native if native in syntaxes else None) as sink:
        rule = {**everything_to("pacs"), "compress": {"to": "jpeg2000", "ratio": 10}}
        node = make_node(egress={"pacs": destination(sink.port)}, rules=[rule]).start()
        assert set(send_all(node.port, items).values()) == {0}
        node.when_settled(len(items))
        # The node counts what it has settled, and tells it with a sign of life.
        status = node.when(lambda now: now["destinations"][0]["uncompressed"] == len(items))
        rows = by_uid(node)
    assert {item.transfer_syntax_uid for item in sink.received} == {native}
    assert {(row["state"], row["reason"]) for row in rows.values()} == {("delivered", "compression-refused")}
    assert "uncompressed" in {line["kind"] for line in status["attention"]}
