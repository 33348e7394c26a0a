from __future__ import annotations

import time

import pytest

from mapdr.kernel.item import Header, Routing, Source
from mapdr.store import Selection, Settlement, Store
from mapdr.store.headers import MODALITY
from store.conftest import Opener
from store.world import To, push


@pytest.fixture
def mixed(opener: Opener) -> Store:
    """Six images: CT and MR by turns, in three studies, for two destinations."""
    store = opener(router=To("a", "b"))
    for number in range(6):
        push(store, f"1.{number}", study=f"9.{number % 3}", modality="CT" if number % 2 else "MR")
    assert store.writer.flush()
    return store


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (Selection(), 12),
        (Selection(destination="a"), 6),
        (Selection(destination="nobody"), 0),
        (Selection(modality="CT"), 6),
        (Selection(modality="XX"), 0),
        (Selection(study_instance_uid="9.1"), 4),
        (Selection(study_instance_uid="9.1", destination="b", modality="CT"), 1),
        (Selection(sop_instance_uid="1.3"), 2),
        (Selection(study_date_from="20261123", study_date_to="20261123"), 12),
        (Selection(study_date_from="20261124"), 0),
        (Selection(study_date_to="20261122"), 0),
        (Selection(state="pending"), 12),
        (Selection(state="held"), 0),
        (Selection(state="unrouted"), 0),
        (Selection(since=0.0, until=5e9), 12),
        (Selection(since=5e9), 0),
        (Selection(until=1e9), 0),
        (Selection(limit=5), 5),
        (Selection(deliveries=(1, 2, 99)), 2),
    ],
)
def test_selections(mixed: Store, chosen: Selection, count: int) -> None:
    rows = mixed.ledger.select(chosen)
    assert len(rows) == count
    assert [row.id for row in rows] == sorted((row.id for row in rows), reverse=True)


def test_an_unknown_state_is_told() -> None:
    with pytest.raises(ValueError, match="pending, leased, held, parked, delivered, unrouted"):
        Selection(state="done")


def test_parked_rows_are_listed_with_their_reason_and_tried_again(mixed: Store) -> None:
    rows = mixed.ledger.lease("a", 9, 60, "n")
    mixed.ledger.settle(
        [
            Settlement(r.id, "parked", reason="refused", comment="cannot understand", status=0xC000)
            for r in rows[:4]
        ]
        + [Settlement(r.id, "delivered", status=0) for r in rows[4:]]
    )
    listed = mixed.ledger.select(Selection(state="parked", reason="refused"))
    assert len(listed) == 4
    assert (listed[0].comment, listed[0].last and listed[0].last.status) == ("cannot understand", 0xC000)
    assert mixed.counts.parked() == 4
    assert mixed.ledger.retry(Selection(state="parked", limit=1)) == 1
    assert mixed.ledger.retry(Selection(destination="a")) == 4, "three parked, and the one that is pending"
    assert mixed.ledger.retry(Selection(state="delivered")) == 0
    assert mixed.counts.parked() == 0
    again = mixed.ledger.select(Selection(destination="a", state="pending"))
    assert {(row.reason, row.comment) for row in again} == {("", "")}


def by_modality(header: Header, source: Source) -> Routing:
    return Routing((("ct", "r1"),) if header.text(MODALITY) == "CT" else ())


def test_images_are_promised_anew(mixed: Store) -> None:
    wanted = frozenset({MODALITY})
    done = mixed.ledger.reroute(Selection(), by_modality, wanted)
    assert (done.images, done.deliveries, done.unrouted, done.missing) == (6, 3, 3, 0)
    rows = mixed.ledger.lease("ct", 9, 60, "n")
    assert {(row.batch, row.lane, row.instance.modality) for row in rows} == {(1, 1, "CT")}
    assert mixed.ledger.reroute(Selection(), by_modality, wanted).deliveries == 0, "still open"
    mixed.ledger.settle([Settlement(row.id, "delivered") for row in rows])
    assert mixed.ledger.reroute(Selection(modality="CT"), by_modality, wanted).deliveries == 3
    assert {row.batch for row in mixed.ledger.lease("ct", 9, 60, "n")} == {2}


def test_a_reroute_may_be_for_some_destinations_only(mixed: Store) -> None:
    route = To("x", "y").route
    assert (
        mixed.ledger.reroute(Selection(study_instance_uid="9.0"), route, frozenset(), only=["y"]).deliveries
        == 2
    )
    assert [queue.destination for queue in mixed.counts.queues()] == ["a", "b", "y"]


def test_images_are_chosen_by_their_deliveries(mixed: Store) -> None:
    rows = mixed.ledger.lease("a", 2, 60, "n")
    mixed.ledger.settle([Settlement(row.id, "parked", reason="x") for row in rows])
    done = mixed.ledger.reroute(Selection(destination="a", state="parked"), To("c").route, frozenset())
    assert (done.images, done.deliveries) == (2, 2)


def test_unrouted_images_find_their_way(opener: Opener) -> None:
    store = opener(router=To())
    push(store, "1.1")
    push(store, "1.2")
    assert store.writer.flush()
    done = store.ledger.reroute(Selection(state="unrouted"), To("pacs").route, frozenset())
    assert (done.images, done.deliveries) == (2, 2)
    assert store.counts.unrouted() == 0
    assert {row.batch for row in store.ledger.lease("pacs", 9, 60, "n")} == {0}


def test_what_was_purged_is_told_as_missing(store: Store) -> None:
    push(store, "1.1")
    lost = push(store, "1.2")
    assert store.writer.flush()
    rows = store.ledger.lease("pacs", 9, 60, "n")
    store.ledger.settle([Settlement(row.id, "delivered") for row in rows if row.instance.id != lost])
    assert store.retention.purge(time.time() + 100, 1).images == 1
    store.spool.path(lost).unlink()
    done = store.ledger.reroute(Selection(), To("c").route, frozenset())
    assert (done.images, done.deliveries, done.missing) == (0, 0, 2)


def test_rows_of_a_purged_image_are_not_promised(store: Store) -> None:
    push(store, "1.1")
    assert store.writer.flush()

    def route_while_purging(header: Header, source: Source) -> Routing:
        store.ledger.settle(
            [Settlement(row.id, "delivered") for row in store.ledger.lease("pacs", 9, 60, "n")]
        )
        assert store.retention.purge(time.time() + 100, 1).images == 1
        return Routing((("c", "r0"),))

    assert store.ledger.reroute(Selection(), route_while_purging, frozenset()).deliveries == 0
