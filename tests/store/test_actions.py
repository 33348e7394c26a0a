from __future__ import annotations

import time
from dataclasses import replace

import pytest
from sqlalchemy import insert, select

from mapdr.kernel.item import Priority
from mapdr.store import Selection, Settlement, Store
from mapdr.store.index import schema
from mapdr.store.index.database import portions
from mapdr.store.queue import actions
from mapdr.store.queue.inhand import ALONE
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


def states(store: Store) -> dict[int, str]:
    return {row.id: row.state for row in store.listing.select(Selection(destination="a"))}


def deaths(store: Store) -> dict[str, int]:
    """How often the node died with each image in hand."""
    with store.database.read() as connection:
        rows = connection.execute(select(schema.death)).all()
    return {bytes(row.instance).hex(): row.deaths for row in rows}


@pytest.fixture
def every_state(mixed: Store) -> dict[str, int]:
    """For "a": a row that is pending (tried in vain, and not due), leased, held, parked and delivered each;
    its number by state."""
    ids = [row.id for row in mixed.listing.select(Selection(destination="a"))]
    rows = mixed.ledger.lease("a", 9, 60, "n")
    found = dict(zip(("pending", "parked", "delivered", "held", "leased"), ids, strict=False))
    later = time.time() + 5000
    mixed.ledger.settle(
        [
            Settlement(found["pending"], "pending", not_before=later, reason="no-answer", comment="why"),
            Settlement(found["parked"], "parked", reason="refused", comment="why"),
            Settlement(found["delivered"], "delivered", status=0),
            Settlement(found["held"], "pending"),
        ]
    )
    assert mixed.actions.hold(Selection(deliveries=[found["held"]])) == 1
    mixed.ledger.give_back([row.id for row in rows if row.id not in found.values()])
    mixed.actions.hold(Selection(deliveries=[each for each in ids if each not in found.values()]))
    with mixed.database.write() as connection:
        for id_ in (found["parked"], found["pending"], found["held"]):
            image = select(schema.delivery.c.instance).where(schema.delivery.c.id == id_)
            values = {"instance": image.scalar_subquery(), "recipe": 1, "syntax": 0, "deaths": ALONE + 2}
            connection.execute(insert(schema.death).values(values))
    return found


def test_what_is_tried_again_is_due_now_and_as_if_it_had_not_been_tried(
    mixed: Store, every_state: dict[str, int]
) -> None:
    before = states(mixed)
    died = deaths(mixed)
    ids = list(every_state.values())
    assert mixed.listing.retriable(Selection(deliveries=ids)) == {"a": 2}
    assert mixed.actions.retry(Selection(deliveries=ids)) == 2
    assert states(mixed) == {**before, every_state["parked"]: "pending"}
    for state in ("pending", "parked"):
        (row,) = mixed.listing.select(Selection(deliveries=[every_state[state]]))
        assert (row.attempts, row.not_before, row.settled_at, row.reason, row.comment) == (
            0,
            0.0,
            None,
            "",
            "",
        )
        assert row.last is not None
        assert row.last.comment == "why", "what was tried stays on record"
    (parked,) = mixed.listing.select(Selection(deliveries=[every_state["parked"]]))
    assert deaths(mixed) == {**died, parked.instance: ALONE}, "of a parked one alone, and it goes alone"


def test_a_hold_is_of_what_is_pending_and_only_a_release_ends_it(
    mixed: Store, every_state: dict[str, int]
) -> None:
    before, died = states(mixed), deaths(mixed)
    ids = list(every_state.values())
    (pending,) = mixed.listing.select(Selection(deliveries=[every_state["pending"]]))
    assert mixed.actions.hold(Selection(deliveries=ids)) == 1
    assert states(mixed) == {**before, every_state["pending"]: "held"}
    assert mixed.actions.release(Selection(deliveries=ids)) == 2
    assert states(mixed) == {**before, every_state["held"]: "pending"}
    (released,) = mixed.listing.select(Selection(deliveries=[every_state["pending"]]))
    assert released == pending, "it waits for its next try as it did"
    assert deaths(mixed) == died


def test_another_priority_changes_nothing_else(mixed: Store, every_state: dict[str, int]) -> None:
    """Above all not how often the node died with a parked image in hand."""
    ids, died = list(every_state.values()), deaths(mixed)
    owed = {each for state, each in every_state.items() if state != "delivered"}

    def priorities() -> dict[int, str]:
        return {row.id: row.priority for row in mixed.listing.select(Selection(deliveries=ids))}

    assert mixed.listing.of_other_priority(Selection(deliveries=ids), Priority.BULK) == {"a": len(owed)}
    assert mixed.actions.prioritize(Selection(deliveries=ids), Priority.BULK) == len(owed)
    assert priorities() == {id_: "bulk" if id_ in owed else "routine" for id_ in ids}
    assert deaths(mixed) == died
    assert mixed.listing.of_other_priority(Selection(deliveries=ids), Priority.BULK) == {}


def test_a_study_is_judged_anew_when_its_last_parked_image_is_dismissed(
    mixed: Store, every_state: dict[str, int]
) -> None:
    """Its event would else wait for ever."""
    with mixed.database.write() as connection:
        connection.exec_driver_sql("UPDATE progress SET due = 0")
    assert mixed.actions.dismiss(Selection(deliveries=list(every_state.values()))) == 1
    with mixed.database.read() as connection:
        due = connection.execute(select(schema.progress).where(schema.progress.c.due == 1)).all()
        row = connection.execute(
            select(schema.delivery).where(schema.delivery.c.id == every_state["parked"])
        ).one()
    assert [(each.study, each.destination) for each in due] == [(row.study, row.destination)]
    assert states(mixed)[every_state["pending"]] == "pending"


def test_many_rows_are_changed_in_portions(mixed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One statement is given so many ids alone; the count is of all, and so is the hold of deaths."""
    monkeypatch.setattr(actions, "portions", lambda items: portions(items, 2))
    park(mixed, "a", 5)
    assert mixed.actions.retry(Selection(destination="a")) == 6
    park(mixed, "a", 5)
    assert mixed.actions.dismiss(Selection(destination="a")) == 5
    assert mixed.counts.parked() == 0
