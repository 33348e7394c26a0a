"""Whether a receiver that has an image's SOP Instance UID already (0x0111) was given other bytes under it."""

from __future__ import annotations

import pytest

from mapdr.store import Settlement, Store
from mapdr.store.queue.ledger import LeasedDelivery
from mapdr.store.queue.repeats import _AT_ONCE, _portions
from store.conftest import Opener
from store.world import To, push

UID = "1.2.3.1"


def arrive(store: Store, name: str, destination: str = "pacs", **facts: str) -> LeasedDelivery:
    """An image under the UID comes, with other bytes for each name; its delivery, leased."""
    id_ = push(store, UID, name=name, **facts)
    assert store.writer.flush()
    (row,) = (row for row in store.ledger.lease(destination, 9, 60, "node") if row.instance.id == id_)
    return row


def deliver(store: Store, row: LeasedDelivery, state: str = "delivered") -> None:
    store.ledger.settle([Settlement(row.id, state)])


def test_an_image_that_stands_alone_differs_from_nothing(store: Store) -> None:
    row = arrive(store, "A")
    assert not store.ledger.differs(row)
    deliver(store, row)
    assert not store.ledger.differs(row)


def test_what_was_delivered_last_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("mapdr.store.queue.settle.time.time", lambda: now[0])
    for name in ("A", "B"):
        deliver(store, arrive(store, name))
        now[0] += 10
    again_b, again_a = arrive(store, "B"), arrive(store, "A")
    assert not store.ledger.differs(again_b)
    assert store.ledger.differs(again_a)
    now[0] -= 100
    deliver(store, again_b)
    assert store.ledger.differs(again_a), "B again, by a clock that was set back"
    now[0] += 500
    other = arrive(store, "A", series="1.9")
    assert not store.ledger.differs(other), "in another series it is another image"
    deliver(store, other)
    assert store.ledger.differs(again_a)


def test_what_is_on_its_way_may_have_been_given_but_what_was_delivered_was(store: Store) -> None:
    first = arrive(store, "A")
    second = arrive(store, "B")
    assert store.ledger.differs(second), "the first is on its way"
    assert store.ledger.differs(first)
    deliver(store, second)
    again = arrive(store, "B")
    assert not store.ledger.differs(again), "though the first is still on its way"
    assert store.ledger.differs(first)


@pytest.mark.parametrize("state", ["pending", "parked"])
def test_what_was_not_delivered_was_not_given(store: Store, state: str) -> None:
    first = arrive(store, "A")
    deliver(store, first, state)
    push(store, UID, name="B")
    assert store.writer.flush()
    rows = store.ledger.lease("pacs", 9, 60, "node")
    second = next(row for row in rows if row.id != first.id)
    if state == "pending":
        store.ledger.give_back([first.id])
    assert not store.ledger.differs(second)


def test_each_destination_has_its_own_and_another_recipe_makes_other_bytes(opener: Opener) -> None:
    store = opener(router=To("pacs", "archive"))
    deliver(store, arrive(store, "A", "archive"))
    for before in store.ledger.lease("pacs", 9, 60, "node"):
        deliver(store, before, "parked")
    row = arrive(store, "B")
    assert not store.ledger.differs(row), "the archive was given A, the PACS nothing"
    deliver(store, row)
    store.use("rev2", To("pacs", recipe="r9"), {"r9": {"steps": [1]}})
    assert store.ledger.differs(arrive(store, "B"))


@pytest.mark.parametrize("count", [1, 8, 9, _AT_ONCE, _AT_ONCE + 1, 3 * _AT_ONCE])
def test_every_hash_is_asked_for_in_statements_of_few_lengths(count: int) -> None:
    keys = {(series, 1000 * series + number) for series in (1, 2) for number in range(count)}
    found = list(_portions(keys))
    assert {(series, each) for series, some in found for each in some} == keys
    assert all(len(some) <= 8 or len(some) in (16, 32, 64, 128, _AT_ONCE) for _, some in found)
    assert len(found) == 2 * -(-count // _AT_ONCE)


def test_many_repeats_in_one_batch_are_all_known(store: Store) -> None:
    for _ in range(2):
        for number in range(12):
            push(store, f"1.2.{number}")
        assert store.writer.flush()
    counts = store.counts.today()["received"]["CT"]
    assert (counts["images"], counts["repeats"]) == (12, 12)
