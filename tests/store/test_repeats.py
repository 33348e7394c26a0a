from __future__ import annotations

import pytest

from mapdr.store import Selection, Settlement, Store
from store.conftest import Opener
from store.world import To, push


def deliver(store: Store, state: str = "delivered", destination: str = "pacs") -> int:
    rows = store.ledger.lease(destination, 1000, 60, "node")
    store.ledger.settle([Settlement(row.id, state, reason="x") for row in rows])
    return len(rows)


def received(store: Store) -> dict[str, int]:
    assert store.writer.flush()
    numbers: dict[str, int] = store.counts.today()["received"]["CT"]
    return numbers


def states(store: Store) -> list[str]:
    return sorted(row.state for row in store.ledger.select(Selection()))


def test_a_repeat_is_absorbed_while_its_row_is_open(store: Store) -> None:
    first = push(store, "1.2.3.1")
    again = push(store, "1.2.3.1")
    assert received(store) == {"images": 1, "studies": 1, "repeats": 1, "versions": 0}
    assert states(store) == ["pending"]
    assert store.spool.path(first).exists()
    assert not store.spool.path(again).exists()
    rows = store.ledger.lease("pacs", 10, 60, "node")
    push(store, "1.2.3.1")
    assert received(store)["repeats"] == 2
    assert [row.instance.id for row in rows] == [first]
    assert states(store) == ["leased"]


def test_a_repeat_of_what_was_delivered_is_delivered_again(store: Store) -> None:
    push(store, "1.2.3.1")
    assert store.writer.flush()
    assert deliver(store) == 1
    again = push(store, "1.2.3.1")
    assert received(store)["repeats"] == 1
    rows = store.ledger.lease("pacs", 10, 60, "node")
    assert [row.instance.id for row in rows] == [again]
    assert store.spool.path(again).exists()


@pytest.mark.parametrize(("state", "expected"), [("delivered", 0), ("parked", 1)])
def test_repeats_may_be_absorbed_for_good(opener: Opener, state: str, expected: int) -> None:
    store = opener(repeats="absorb")
    push(store, "1.2.3.1")
    assert store.writer.flush()
    deliver(store, state)
    push(store, "1.2.3.1")
    assert received(store)["repeats"] == 1
    assert deliver(store) == expected, "what was never delivered is not absorbed"


def test_a_repeat_goes_where_it_is_settled_and_waits_where_it_is_not(opener: Opener) -> None:
    store = opener(router=To("a", "b"))
    push(store, "1.2.3.1")
    assert store.writer.flush()
    deliver(store, destination="a")
    push(store, "1.2.3.1")
    assert store.writer.flush()
    assert len(store.ledger.lease("a", 10, 60, "node")) == 1
    assert len(store.ledger.lease("b", 10, 60, "node")) == 1


def test_a_repeat_under_another_recipe_is_another_promise(store: Store) -> None:
    push(store, "1.2.3.1")
    store.use("rev2", To("pacs", recipe="r9"), {"r9": {"steps": [1]}})
    push(store, "1.2.3.1")
    assert store.writer.flush()
    assert sorted(row.recipe for row in store.ledger.lease("pacs", 9, 60, "n")) == ["r0", "r9"]


def test_other_bytes_under_the_same_uid_are_a_version(store: Store) -> None:
    one = push(store, "1.2.3.1", name="A")
    two = push(store, "1.2.3.1", name="B")
    assert received(store) == {"images": 1, "studies": 1, "repeats": 0, "versions": 1}
    assert [row.instance.id for row in store.ledger.lease("pacs", 9, 60, "n")] == [one, two]
    push(store, "1.2.3.1", name="B")
    assert received(store)["repeats"] == 1


def test_the_same_uid_in_another_series_is_another_image(store: Store) -> None:
    push(store, "1.2.3.1", series="1.1")
    push(store, "1.2.3.1", series="1.2")
    assert received(store) == {"images": 2, "studies": 1, "repeats": 0, "versions": 0}
    assert len(store.ledger.lease("pacs", 9, 60, "n")) == 2


def test_a_repeat_of_an_unrouted_image_is_absorbed_while_it_is_kept(opener: Opener) -> None:
    store = opener(router=To())
    push(store, "1.2.3.1")
    again = push(store, "1.2.3.1")
    assert received(store)["repeats"] == 1
    assert store.counts.unrouted() == 1
    assert not store.spool.path(again).exists()
    store.use("rev2", To("pacs"), {})
    push(store, "1.2.3.1")
    assert store.writer.flush()
    assert deliver(store) == 1
