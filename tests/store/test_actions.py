from __future__ import annotations

import time
from dataclasses import replace

import pytest

from mapdr.store import Selection, Settlement, Store
from store.conftest import Opener
from store.world import SOURCE, To, push


@pytest.fixture
def mixed(opener: Opener) -> Store:
    """Six images: CT and MR by turns, in three studies, for two destinations."""
    store = opener(router=To("a", "b"))
    for number in range(6):
        push(
            store,
            f"1.{number}",
            study=f"9.{number % 3}",
            modality="CT" if number % 2 else "MR",
            patient=f"P{number % 3}",
            source=SOURCE if number else replace(SOURCE, calling_ae="MR2"),
        )
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
        (Selection(peer="CT1"), 10),
        (Selection(peer="MR2"), 2),
        (Selection(peer="CT"), 0),
        (Selection(patient_id="P0"), 4),
        (Selection(patient_id="p0"), 0),
        (Selection(patient_id="P%"), 0),
        (Selection(accession_number="ACC1", patient_id="P1"), 4),
        (Selection(accession_number="ACC2"), 0),
        (Selection(limit=5), 5),
        (Selection(deliveries=(1, 2, 99)), 2),
    ],
)
def test_selections(mixed: Store, chosen: Selection, count: int) -> None:
    rows = mixed.listing.select(chosen)
    assert len(rows) == count
    assert [row.id for row in rows] == sorted((row.id for row in rows), reverse=True)


def test_an_unknown_state_is_told() -> None:
    with pytest.raises(
        ValueError, match="pending, leased, held, parked, delivered, superseded, dismissed, unrouted"
    ):
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
    listed = mixed.listing.select(Selection(state="parked", reason="refused"))
    assert len(listed) == 4
    assert (listed[0].comment, listed[0].last and listed[0].last.status) == ("cannot understand", 0xC000)
    assert mixed.counts.parked() == 4
    assert mixed.actions.retry(Selection(state="parked", limit=1)) == 1
    assert mixed.actions.retry(Selection(destination="a")) == 4, "three parked, and the one that is pending"
    assert mixed.actions.retry(Selection(state="delivered")) == 0
    assert mixed.counts.parked() == 0
    again = mixed.listing.select(Selection(destination="a", state="pending"))
    assert {(row.reason, row.comment) for row in again} == {("", "")}


def park(store: Store, destination: str, limit: int, reason: str = "empty-value") -> None:
    rows = store.ledger.lease(destination, limit, 60, "n")
    store.ledger.settle([Settlement(row.id, "parked", reason=reason) for row in rows])


def test_what_is_dismissed_is_neither_parked_nor_sent_and_stays_on_record(mixed: Store) -> None:
    park(mixed, "a", 4)
    park(mixed, "b", 2, "refused")
    assert mixed.listing.parked_recipes(Selection()) == {"r0": 6}
    assert mixed.actions.dismiss(Selection(destination="a")) == 4
    assert mixed.actions.dismiss(Selection(destination="a")) == 0, "pending rows are not dismissed"
    assert mixed.counts.parked() == 2
    assert mixed.counts.pending() == 6
    assert mixed.listing.parked_recipes(Selection()) == {"r0": 2}
    rows = mixed.listing.select(Selection(state="dismissed"))
    assert {(row.reason, row.comment) for row in rows} == {
        ("dismissed by the operator", "it was parked: empty-value")
    }
    assert all(row.settled_at is not None and row.settled_at <= time.time() for row in rows)
    assert {row.last.reason for row in rows if row.last} == {"empty-value"}
    assert mixed.actions.retry(Selection(destination="a")) == 2, "only those that are pending"
    assert mixed.counts.today()["delivered"] == {}


def test_only_the_receivers_success_changes_a_dismissed_row(mixed: Store) -> None:
    park(mixed, "a", 2)
    mixed.actions.dismiss(Selection())
    one, two = mixed.listing.select(Selection(state="dismissed"))
    mixed.ledger.settle([Settlement(one.id, "pending"), Settlement(two.id, "delivered", status=0)])
    states = {row.id: row.state for row in mixed.listing.select(Selection(deliveries=(one.id, two.id)))}
    assert states == {one.id: "dismissed", two.id: "delivered"}
