from __future__ import annotations

import pytest

from mapdr.store import OutboxEntry, Store
from mapdr.store.messages import HookQueue, OutboxSettlement
from store.conftest import Opener


def entry(key: str, hook: str = "ris") -> OutboxEntry:
    return OutboxEntry(key, hook, "study.delivered", {"images": 3, "name": "Ü"})


def test_a_key_is_put_once_ever(store: Store) -> None:
    store.outbox.add([entry("a"), entry("b"), entry("a")], now=10.0)
    (first, second) = store.outbox.lease("ris", 9, 60, now=11.0)
    store.outbox.settle([OutboxSettlement(first.id, "delivered", status=200)], now=12.0)
    store.outbox.add([entry("a"), entry("b")], now=13.0)
    assert [message.key for message in store.outbox.list()] == ["b", "a"]
    assert (first.key, second.key) == ("a", "b")
    assert first.payload == {"images": 3, "name": "Ü"}


def test_what_has_ended_is_removed_in_time_and_nothing_else(store: Store) -> None:
    store.outbox.add([entry(key) for key in ("taken", "late", "parked", "pending")], now=1.0)
    ids = {message.key: message.id for message in store.outbox.lease("ris", 9, 60, now=2.0)}
    for key, state, at in (
        ("taken", "delivered", 5.0),
        ("late", "delivered", 50.0),
        ("parked", "parked", 5.0),
    ):
        store.outbox.settle([OutboxSettlement(ids[key], state)], now=at)
    assert store.outbox.forget(before=49.0) == 1
    assert {message.key for message in store.outbox.list()} == {"late", "parked", "pending"}
    assert store.outbox.forget(before=49.0) == 0


def test_hooks_do_not_wait_for_each_other(store: Store) -> None:
    store.outbox.add([entry("a", "slow"), entry("b", "quick")], now=1.0)
    assert [m.key for m in store.outbox.lease("slow", 9, 60, now=2.0)] == ["a"]
    assert store.outbox.lease("slow", 9, 60, now=2.0) == []
    assert [m.key for m in store.outbox.lease("quick", 9, 60, now=2.0)] == ["b"]


def test_a_lease_that_ran_out_is_due_again(opener: Opener) -> None:
    opener().outbox.add([entry("a")], now=1.0)
    again = opener(start=False).outbox
    assert len(again.lease("ris", 9, 60, now=2.0)) == 1
    assert again.lease("ris", 9, 60, now=61.0) == []
    assert len(again.lease("ris", 9, 60, now=63.0)) == 1


def test_what_a_killed_node_had_on_its_way_is_due_when_it_starts_again(opener: Opener) -> None:
    killed = opener()
    killed.outbox.add([entry("a"), entry("b")], now=1.0)
    (first, _) = killed.outbox.lease("ris", 2, 300, now=2.0)
    killed.outbox.settle([OutboxSettlement(first.id, "delivered", status=200)], now=3.0)
    killed.close()
    again = opener(start=False)
    again.recover(lambda revision: None)
    assert [message.key for message in again.outbox.lease("ris", 9, 60, now=4.0)] == ["b"]


def test_a_message_waits_then_is_parked_and_tried_by_hand(store: Store) -> None:
    store.outbox.add([entry("a")], now=1.0)
    (message,) = store.outbox.lease("ris", 9, 60, now=1.0)
    store.outbox.settle([OutboxSettlement(message.id, "pending", 100.0, 503, "busy")], now=2.0)
    assert store.outbox.next_due("ris") == 100.0
    assert store.outbox.lease("ris", 9, 60, now=99.0) == []
    (message,) = store.outbox.lease("ris", 9, 60, now=100.0)
    assert (message.attempts, message.status, message.comment) == (1, 503, "busy")
    store.outbox.settle([OutboxSettlement(message.id, "parked", 0, 410, "gone")], now=101.0)
    assert store.outbox.next_due("ris") is None
    (parked,) = (message for message in store.outbox.list("ris") if message.state == "parked")
    assert (parked.attempts, parked.settled_at) == (2, 101.0)
    assert store.outbox.retry() == 1
    assert store.outbox.retry() == 1, "pending it is due now, and stays the only one"
    assert [m.attempts for m in store.outbox.lease("ris", 9, 60, now=102.0)] == [0]


def of_study(key: str, study: int | None, hook: str = "ris") -> OutboxEntry:
    return OutboxEntry(key, hook, "study.delivered", {}, study)


def test_messages_of_a_study_go_one_after_the_other_and_those_of_others_pass(store: Store) -> None:
    entries = [of_study("a", 7), of_study("b", 7), of_study("c", 8), of_study("d", None), of_study("e", None)]
    store.outbox.add([*entries, of_study("f", 7, "other")], now=1.0)
    first, *others = store.outbox.lease("ris", 9, 60, now=1.0)
    assert [each.key for each in (first, *others)] == ["a", "c", "d", "e"]
    assert [each.key for each in store.outbox.lease("other", 9, 60, now=1.0)] == ["f"], "a hook of its own"
    assert store.outbox.lease("ris", 9, 60, now=2.0) == [], "the first is on its way"
    store.outbox.settle([OutboxSettlement(each.id, "delivered") for each in others], now=2.0)
    store.outbox.settle([OutboxSettlement(first.id, "pending", 100.0, 400, "no")], now=2.0)
    assert store.outbox.lease("ris", 9, 60, now=3.0) == [], "the first waits for its next try"
    (first,) = store.outbox.lease("ris", 9, 60, now=100.0)
    store.outbox.settle([OutboxSettlement(first.id, "delivered")], now=101.0)
    assert [each.key for each in store.outbox.lease("ris", 9, 60, now=101.0)] == ["b"]


def test_a_message_that_was_given_up_is_not_waited_for(store: Store) -> None:
    store.outbox.add([of_study("a", 7), of_study("b", 7)], now=1.0)
    (first,) = store.outbox.lease("ris", 9, 60, now=1.0)
    store.outbox.settle([OutboxSettlement(first.id, "parked", 0, 410, "gone")], now=2.0)
    assert [each.key for each in store.outbox.lease("ris", 9, 60, now=3.0)] == ["b"]


def test_what_was_delivered_stays_delivered(store: Store) -> None:
    store.outbox.add([entry("a")], now=1.0)
    (message,) = store.outbox.lease("ris", 9, 60, now=1.0)
    store.outbox.settle([OutboxSettlement(message.id, "delivered", status=200)], now=2.0)
    store.outbox.settle([OutboxSettlement(message.id, "pending")], now=3.0)
    assert [m.state for m in store.outbox.list()] == ["delivered"]
    with pytest.raises(ValueError, match="settled"):
        store.outbox.settle([OutboxSettlement(message.id, "leased")], now=3.0)


def test_a_hook_in_trouble_is_seen_and_its_waiting_messages_can_be_hurried(store: Store) -> None:
    store.outbox.add([entry("a"), entry("b"), entry("c")], now=1.0)
    first, second = store.outbox.lease("ris", 2, 60, now=1.0)
    failed = OutboxSettlement(first.id, "pending", 100.0, 500, "answered 500")
    store.outbox.settle([failed, OutboxSettlement(second.id, "parked", 0, 410, "gone")], now=2.0)
    assert store.outbox.queues() == [HookQueue("ris", 2, 1, "answered 500", 100.0)]
    assert store.outbox.retry() == 3
    assert store.outbox.queues() == [HookQueue("ris", 3, 0, "", None)]
    assert store.outbox.not_before(first.id) == 0.0
