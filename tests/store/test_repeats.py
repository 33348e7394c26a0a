from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

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
    return sorted(row.state for row in store.listing.select(Selection()))


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


def test_a_repeat_is_sent_as_what_was_sent_before(opener: Opener) -> None:
    store = opener()
    first = push(store, "1.2.3.1", name="A")
    assert store.writer.flush()
    assert store.recipes.memory(first, "r0", "").recall() is None
    store.recipes.memory(first, "r0", "").keep({"level": 58.8})
    deliver(store)
    again, version = push(store, "1.2.3.1", name="A"), push(store, "1.2.3.1", name="B")
    other = push(store, "1.2.3.2", name="A")
    assert store.writer.flush()
    assert store.recipes.memory(again, "r0", "").recall() == {"level": 58.8}
    assert store.recipes.memory(again, "r1", "").recall() is None
    assert store.recipes.memory(version, "r0", "").recall() is None
    assert store.recipes.memory(other, "r0", "").recall() is None


def test_what_was_kept_of_other_images_of_a_series_is_told(opener: Opener) -> None:
    store = opener()
    first, second, third = (push(store, f"1.2.3.{number}") for number in (1, 2, 3))
    elsewhere = push(store, "1.2.4.1", series="1.2.4")
    assert store.writer.flush()
    for number, id_ in enumerate((first, second, elsewhere)):
        store.recipes.memory(id_, "r0", "").keep({"number": number})
    store.recipes.memory(second, "r1", "").keep({"number": 9})
    store.recipes.memory(second, "r0", "1.2.840.10008.1.2.4.90").keep({"number": 8})
    told = {id_: store.recipes.memory(id_, "r0", "").of_series() for id_ in (first, third, elsewhere)}
    assert told == {first: [{"number": 1}], third: [{"number": 1}, {"number": 0}], elsewhere: []}


def delivered_counts(store: Store) -> dict[str, int]:
    numbers: dict[str, int] = store.counts.today()["delivered"]["pacs"]["CT"]
    return numbers


@pytest.mark.parametrize("together", [True, False])
def test_a_version_is_no_repeat_where_it_is_delivered_either(store: Store, together: bool) -> None:
    for name in ("A", "B"):
        push(store, "1.2.3.1", name=name)
        assert store.writer.flush()
        if not together:
            assert deliver(store) == 1
    if together:
        assert deliver(store) == 2
    assert delivered_counts(store) == {"images": 1, "studies": 1, "repeats": 0, "versions": 1}
    for name in ("A", "B"):
        push(store, "1.2.3.1", name=name)
    assert store.writer.flush()
    assert deliver(store) == 2
    assert delivered_counts(store) == {"images": 1, "studies": 1, "repeats": 2, "versions": 1}
    assert received(store) == {"images": 1, "studies": 1, "repeats": 2, "versions": 1}


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


def spoil(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["damaged", "missing"])
@pytest.mark.parametrize("state", ["pending", "held", "parked"])
def test_a_fresh_copy_heals_what_is_owed_from_a_damaged_file(opener: Opener, how: str, state: str) -> None:
    store = opener(router=To("a", "b"))
    first = push(store, "1.2.3.1")
    assert store.writer.flush()
    deliver(store, "delivered", "b")
    if state == "held":
        store.actions.hold(Selection(destination="a"))
    elif state == "parked":
        rows = store.ledger.lease("a", 9, 60, "n")
        store.ledger.settle([Settlement(row.id, "parked", reason=how) for row in rows])
    spoil(store.spool.path(first), how)
    again = push(store, "1.2.3.1")
    assert received(store) == {"images": 1, "studies": 1, "repeats": 1, "versions": 0}
    assert not store.spool.path(first).exists(), "the good copy stands in its place"
    if state == "held":
        assert store.ledger.lease("a", 9, 60, "n") == []
        store.actions.release(Selection(destination="a"))
    rows = store.ledger.lease("a", 9, 60, "n")
    assert [(row.instance.id, row.attempts) for row in rows] == [(again, 0)], "owed once, from the good copy"
    assert rows[0].instance.proof is not None
    assert rows[0].instance.proof.holds()
    assert [row.instance.id for row in store.ledger.lease("b", 9, 60, "n")] == [again], "as every repeat"
    assert store.counts.parked() == 0


def test_what_is_parked_for_another_reason_stays_parked_and_can_be_sent_from_the_good_copy(
    store: Store,
) -> None:
    first = push(store, "1.2.3.1")
    assert store.writer.flush()
    deliver(store, "parked")
    spoil(store.spool.path(first), "damaged")
    again = push(store, "1.2.3.1")
    assert store.writer.flush()
    assert states(store) == ["parked", "pending"], "a repeat of what is parked is a new promise, as ever"
    assert store.actions.retry(Selection(state="parked")) == 1
    assert {row.instance.id for row in store.ledger.lease("pacs", 9, 60, "n")} == {again}


def test_a_repeat_of_what_is_being_sent_from_a_damaged_file_is_promised(store: Store) -> None:
    first = push(store, "1.2.3.1")
    assert store.writer.flush()
    (leased,) = store.ledger.lease("pacs", 9, 60, "n")
    spoil(store.spool.path(first), "damaged")
    again = push(store, "1.2.3.1")
    assert store.writer.flush()
    assert [row.instance.id for row in store.ledger.lease("pacs", 9, 60, "n")] == [again]
    store.ledger.settle([Settlement(leased.id, "parked", reason="damaged")])
    push(store, "1.2.3.1")
    assert store.writer.flush()
    assert store.counts.parked() == 0


def test_a_row_that_was_parked_for_its_file_goes_on_when_the_file_is_whole_again(store: Store) -> None:
    first = push(store, "1.2.3.1")
    assert store.writer.flush()
    rows = store.ledger.lease("pacs", 9, 60, "n")
    store.ledger.settle([Settlement(row.id, "parked", reason="missing") for row in rows])
    again = push(store, "1.2.3.1")
    assert store.writer.flush()
    assert [row.instance.id for row in store.ledger.lease("pacs", 9, 60, "n")] == [first]
    assert not store.spool.path(again).exists()


def test_only_files_are_read_that_still_owe_or_that_the_repeat_would_be_absorbed_for(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opener(router=To("a", "b"))
    intact, read = store.instances.intact, []

    def reads(keys: Collection[bytes]) -> dict[bytes, bool]:
        read.extend(key.hex() for key in keys)
        return intact(keys)

    monkeypatch.setattr(store.ingest, "_intact", reads)
    first = push(store, "1.2.3.1")
    assert store.writer.flush()
    assert read == []
    push(store, "1.2.3.1")
    assert store.writer.flush()
    assert read == [first], "what it is absorbed for"
    deliver(store, destination="a")
    second = push(store, "1.2.3.1")
    assert store.writer.flush()
    assert read == [first, first], "it is owed to b"
    deliver(store, destination="a")
    deliver(store, destination="b")
    push(store, "1.2.3.1")
    assert store.writer.flush()
    assert read == [first, first], "all have had it"
    assert store.spool.path(second).exists()


def test_a_file_that_is_being_sent_is_not_taken_away_though_it_is_damaged(store: Store) -> None:
    first = push(store, "1.2.3.1")
    assert store.writer.flush()
    (leased,) = store.ledger.lease("pacs", 9, 60, "node")
    spoil(store.spool.path(first), "damaged")
    again = push(store, "1.2.3.1")
    assert store.writer.flush()
    assert store.spool.path(first).exists(), "its sender finds it damaged, and says so"
    store.ledger.settle([Settlement(leased.id, "parked", reason="damaged")])
    (row,) = store.ledger.lease("pacs", 9, 60, "node")
    assert row.instance.id == again


def test_an_unrouted_image_whose_file_is_damaged_is_replaced(opener: Opener) -> None:
    store = opener(router=To())
    first = push(store, "1.2.3.1")
    assert store.writer.flush()
    spoil(store.spool.path(first), "damaged")
    again = push(store, "1.2.3.1")
    assert store.writer.flush()
    assert (store.spool.path(first).exists(), store.spool.path(again).exists()) == (False, True)
    assert store.counts.unrouted() == 1


def test_several_repeats_in_one_batch_are_each_compared_with_their_own_file(opener: Opener) -> None:
    store = opener()
    ids = [push(store, f"1.2.3.{n}") for n in range(6)]
    assert store.writer.flush()
    for id_ in ids[::2]:
        spoil(store.spool.path(id_), "damaged")
    fresh = [push(store, f"1.2.3.{n}") for n in range(6)]
    assert store.writer.flush()
    wanted = [new if n % 2 == 0 else old for n, (old, new) in enumerate(zip(ids, fresh, strict=True))]
    rows = store.ledger.lease("pacs", 99, 60, "n")
    assert sorted(row.instance.id for row in rows) == sorted(wanted)
    assert sorted(path.stem for path in store.spool.folder.rglob("*.dcm")) == sorted(wanted)
