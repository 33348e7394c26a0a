"""Payloads are worked out once for all destinations that share a recipe, and kept within bounds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from deliver.fakes import FakeChain, FakeLedger, make_instance
from mapdr.deliver.prepare import Preparer
from mapdr.deliver.syntaxes import FORGET_AFTER, REMEMBERED, Syntaxes
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance, Need, Payload
from mapdr.store.ledger import Delivery


class Encoder(FakeChain):
    """A slow chain whose payload lies in memory."""

    def __init__(self, size: int = 1000) -> None:
        super().__init__(quick=False)
        self.size = size
        self.go = threading.Event()

    def prepare(self, instance: Instance, memory: Any, syntax_override: str = "") -> Payload:
        assert self.go.wait(10)
        relayed = super().prepare(instance, memory, syntax_override)
        return Payload("1.2", relayed.sop_instance_uid, "1.2.3", (bytes(self.size),), self.size)


def delivery(number: int, destination: str) -> Delivery:
    return Delivery(number, make_instance(number), destination, 0, 0, "r", "", 0, 0.0)


def test_two_destinations_that_ask_together_share_the_work() -> None:
    chain = Encoder()
    with ThreadPoolExecutor(4) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool)
        futures = [preparer.request(delivery(1, name), "") for name in ("a", "b", "c")]
        chain.go.set()
        payloads = [future.result(10) for future in futures]
    assert payloads[0] is payloads[1] is payloads[2]
    assert len(chain.prepared) == 1


def test_one_that_asks_later_gets_what_is_kept_and_another_syntax_is_another_payload() -> None:
    chain = Encoder()
    chain.go.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool)
        first = preparer.request(delivery(1, "a"), "").result(10)
        pool.submit(int).result(10)
        assert preparer.at_once(delivery(1, "b"), "")
        assert preparer.prepare(delivery(1, "b"), "") is first
        assert not preparer.at_once(delivery(1, "b"), "1.2.840.10008.1.2")
        assert not preparer.at_once(delivery(2, "b"), "")


def test_what_is_kept_is_bounded_in_bytes() -> None:
    chain = Encoder(size=1000)
    chain.go.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, keep=4000)
        for number in range(10):
            preparer.request(delivery(number, "a"), "").result(10)
        pool.submit(int).result(10)
        kept = [number for number in range(10) if preparer.at_once(delivery(number, "b"), "")]
    assert kept == [6, 7, 8, 9]


def test_a_payload_that_is_large_is_not_kept() -> None:
    chain = Encoder(size=2000)
    chain.go.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, keep=4000)
        preparer.request(delivery(1, "a"), "").result(10)
        pool.submit(int).result(10)
        assert not preparer.at_once(delivery(1, "b"), "")


def test_a_failure_is_told_to_all_and_forgotten() -> None:
    chain = FakeChain(quick=False)

    def fail(instance: Instance) -> None:
        raise Permanent("the codec refuses", reason="codec")

    chain.fail = fail
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool)
        with pytest.raises(Permanent):
            preparer.request(delivery(1, "a"), "").result(10)
        pool.submit(int).result(10)
        chain.fail = lambda instance: None
        assert preparer.request(delivery(1, "a"), "").result(10).length == 1000


def test_a_recipe_that_cannot_be_built_here_says_so() -> None:
    def build(steps: Any) -> FakeChain:
        raise Permanent("reroute the images", reason="recipe")

    with ThreadPoolExecutor(1) as pool, pytest.raises(Permanent, match="reroute"):
        Preparer(FakeLedger(), build, pool).at_once(delivery(1, "a"), "")


def test_needs_are_remembered_the_latest_first_and_not_without_end() -> None:
    syntaxes = Syntaxes(())
    for number in range(REMEMBERED + 10):
        syntaxes.needed(Need(f"1.{number}", "1.2.840.10008.1.2"))
    recent = syntaxes.recent()
    assert len(recent) == REMEMBERED
    assert recent[0].sop_class_uid == f"1.{REMEMBERED + 9}"


def test_a_refusal_is_forgotten_after_a_while() -> None:
    now = [0.0]
    syntaxes = Syntaxes(("1.2.840.10008.1.2",), clock=lambda: now[0])
    need = Need("1.2", "1.2.840.10008.1.2.4.90")

    class Accepts:
        def accepts(self, other: Need) -> bool:
            return other.transfer_syntax_uid == "1.2.840.10008.1.2"

    assert syntaxes.instead(need) == ""
    assert syntaxes.refused(Accepts(), need) == "1.2.840.10008.1.2"  # type: ignore[arg-type]
    assert syntaxes.instead(need) == "1.2.840.10008.1.2"
    now[0] = FORGET_AFTER + 1
    assert syntaxes.instead(need) == ""
