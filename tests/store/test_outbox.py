from __future__ import annotations

from typing import Any

import pytest

from mapdr.store import OutboxEntry, Selection, Store
from mapdr.store.messages import HookQueue, MessageSelection, OutboxSettlement
from store.conftest import Opener
from store.world import push


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
    due = [store.outbox.not_before(id_) for id_ in (first.id, second.id, 999)]
    assert due == [100.0, 0.0, None]
    assert store.outbox.retry() == 3
    assert store.outbox.queues() == [HookQueue("ris", 3, 0, "", None)]
    assert store.outbox.not_before(first.id) == 0.0


def test_what_waits_and_what_was_given_up_is_counted_by_hook(store: Store) -> None:
    store.outbox.add([entry("a", "leased"), entry("b", "parked"), entry("c", "pending")], now=1.0)
    store.outbox.lease("leased", 9, 60, now=1.0)
    (message,) = store.outbox.lease("parked", 9, 60, now=1.0)
    store.outbox.settle([OutboxSettlement(message.id, "parked")], now=2.0)
    counted = {queue.hook: (queue.waiting, queue.parked) for queue in store.outbox.queues()}
    assert counted == {"leased": (1, 0), "parked": (0, 1), "pending": (1, 0)}


def sent(store: Store, key: str, state: str, at: float, **facts: Any) -> None:
    """The message of this key, leased and settled at this time."""
    hook = next(message.hook for message in store.outbox.list() if message.key == key)
    (message,) = (one for one in store.outbox.lease(hook, 99, 0.0, now=at) if one.key == key)
    store.outbox.settle([OutboxSettlement(message.id, state, **facts)], now=at)


@pytest.fixture
def mixed(store: Store) -> Store:
    """Messages of two hooks in every state that one may have."""
    push(store, "1.1", study="1.2.77")
    assert store.writer.flush()
    (study,) = (row.number for row in store.overview.studies(Selection(study_instance_uid="1.2.77")))
    store.outbox.add([entry("taken"), entry("parked")], now=10.0)
    store.outbox.add([OutboxEntry("pending", "ris", "study.received", {"images": 1}, study)], now=10.0)
    store.outbox.add([entry("other", "webhook"), of_study("erased", 99)], now=20.0)
    alarm = OutboxEntry("alarm", "ris", "disk.low", {"free": 1}, -5, {"free": 1})
    store.outbox.add([alarm], now=30.0)
    sent(store, "taken", "delivered", 40.0, status=200)
    sent(store, "parked", "parked", 50.0, status=410, comment="gone")
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE outbox SET payload = '{}', state = 6 WHERE key = 'erased'")
    store.outbox.release()
    (leased,) = store.outbox.lease("webhook", 9, 1000, now=60.0)
    assert leased.key == "other"
    return store


ALL = ["alarm", "erased", "other", "parked", "pending", "taken"]


@pytest.mark.parametrize(
    ("chosen", "keys"),
    [
        (MessageSelection(), ALL),
        (MessageSelection(hooks=("webhook",)), ["other"]),
        (MessageSelection(hooks=("webhook", "ris")), ALL),
        (MessageSelection(state="pending"), ["alarm", "pending"]),
        (MessageSelection(state="parked"), ["parked"]),
        (MessageSelection(state="leased"), ["other"]),
        (MessageSelection(state="delivered"), ["taken"]),
        (MessageSelection(state="dismissed"), ["erased"]),
        (MessageSelection(event="disk.low"), ["alarm"]),
        (MessageSelection(study=99), ["erased"]),
        (MessageSelection(study_instance_uid="1.2.77"), ["pending"]),
        (MessageSelection(study_instance_uid="1.2.78"), []),
        (MessageSelection(since=20.0), ["alarm", "erased", "other"]),
        (MessageSelection(until=20.0), ["parked", "pending", "taken"]),
        (MessageSelection(since=10.0, until=30.0, event="disk.low"), []),
        (MessageSelection(limit=2), ["alarm", "erased"]),
    ],
)
def test_messages_are_chosen_by_every_condition(
    mixed: Store, chosen: MessageSelection, keys: list[str]
) -> None:
    assert sorted(message.key for message in mixed.outbox.choose(chosen)) == keys
    ids = tuple(message.id for message in mixed.outbox.choose(chosen))
    if ids:
        again = mixed.outbox.choose(MessageSelection(ids=ids))
        assert [message.id for message in again] == sorted(ids, reverse=True)


def test_a_person_has_sent_again_what_was_taken_but_not_what_is_on_its_way_or_erased(mixed: Store) -> None:
    everything = MessageSelection()
    assert mixed.outbox.repeatable(everything) == {
        ("ris", "delivered"): 1,
        ("ris", "parked"): 1,
        ("ris", "pending"): 2,
    }
    assert mixed.outbox.again(everything, now=70.0) == 4
    by_key = {message.key: message for message in mixed.outbox.choose(everything)}
    assert {key: message.state for key, message in by_key.items()} == {
        **dict.fromkeys(("alarm", "parked", "pending", "taken"), "pending"),
        "other": "leased",
        "erased": "dismissed",
    }
    taken = by_key["taken"]
    assert (taken.attempts, taken.settled_at, taken.asked_at, taken.tried_at) == (0, None, 70.0, 40.0)
    assert by_key["other"].asked_at is None
    assert mixed.outbox.again(MessageSelection(ids=(taken.id,))) == 1
    (taken,) = mixed.outbox.choose(MessageSelection(ids=(taken.id,)))
    assert taken.asked_at is not None
    assert taken.asked_at > 1e9, "the clock's"


def test_what_a_hook_has_had_is_told_with_the_last_try(mixed: Store) -> None:
    ris, webhook = mixed.outbox.totals()
    assert (ris.hook, dict(ris.states)) == (
        "ris",
        {"delivered": 1, "parked": 1, "pending": 2, "dismissed": 1},
    )
    assert ris.last is not None
    assert (ris.last.key, ris.last.status, ris.last.comment) == ("parked", 410, "gone")
    assert (webhook.hook, dict(webhook.states), webhook.last) == ("webhook", {"leased": 1}, None)


def test_what_may_be_shown_is_kept_beside_what_is_told(mixed: Store) -> None:
    shown = {message.key: message.shown for message in mixed.outbox.list()}
    assert shown == {**dict.fromkeys(ALL), "alarm": {"free": 1}}
    part = OutboxEntry("part", "ris", "study.received", {"images": 3, "patient": "P"}, 5, {"images": 3})
    mixed.outbox.add([part], now=80.0)
    (message,) = (one for one in mixed.outbox.list("ris") if one.key == "part")
    assert (message.shown, message.payload) == ({"images": 3}, part.payload)
    assert (message.study, message.kind, message.created_at) == (5, "study.received", 80.0)


def test_a_message_has_one_name_for_good_and_another_than_all_others(mixed: Store) -> None:
    names = {message.key: message.webhook_id for message in mixed.outbox.list()}
    assert len(set(names.values())) == len(names)
    mixed.outbox.again(MessageSelection())
    assert {message.key: message.webhook_id for message in mixed.outbox.list()} == names
    assert all(name.startswith("msg_") and len(name) == 36 for name in names.values())


def test_few_are_leased_at_a_time_and_a_lease_begins_now(store: Store) -> None:
    store.outbox.add([entry(str(number)) for number in range(5)], now=1.0)
    assert [one.key for one in store.outbox.lease("ris", 2, 10, now=100.0)] == ["0", "1"]
    assert [one.key for one in store.outbox.lease("ris", 9, 10, now=110.0)] == ["2", "3", "4"]
    assert [one.key for one in store.outbox.lease("ris", 9, 10, now=110.1)] == ["0", "1"]
    assert store.outbox.release() == 5
    assert [one.state for one in store.outbox.list()] == ["pending"] * 5
    assert len(store.outbox.lease("ris", 9, 10, now=110.1)) == 5, "due at once"


def test_a_hook_that_answered_nothing_is_told_as_such_until_its_message_is_taken(store: Store) -> None:
    store.outbox.add([entry("a"), entry("b")], now=1.0)
    first, second = store.outbox.lease("ris", 9, 60, now=1.0)
    store.outbox.settle(
        [OutboxSettlement(first.id, "pending", 50.0), OutboxSettlement(second.id, "pending", 70.0)], now=2.0
    )
    assert store.outbox.queues() == [HookQueue("ris", 2, 0, "no answer", 70.0)]
    (first,) = store.outbox.lease("ris", 1, 60, now=60.0)
    store.outbox.settle([OutboxSettlement(first.id, "delivered")], now=61.0)
    assert store.outbox.queues() == [HookQueue("ris", 1, 0, "no answer", 70.0)]
    (second,) = store.outbox.lease("ris", 1, 60, now=70.0)
    store.outbox.settle([OutboxSettlement(second.id, "delivered")], now=71.0)
    assert store.outbox.queues() == []
    store.outbox.settle([], now=72.0)


def test_the_oldest_are_removed_first_and_those_that_were_never_settled_by_when_they_were_made(
    mixed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.store.outbox._PORTION", 1)
    assert mixed.outbox.forget(before=19.9) == 0
    assert mixed.outbox.forget(before=40.0) == 1
    left = {message.key for message in mixed.outbox.list()}
    assert left == {"alarm", "erased", "other", "parked", "pending"}, "a portion, the oldest"
    assert mixed.outbox.forget(before=40.0) == 1
    assert mixed.outbox.forget(before=40.0) == 0
