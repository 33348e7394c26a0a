"""Deliveries as people look at them: rows, attempts, and what is counted of them by destination."""

from __future__ import annotations

from collections import Counter

import pytest

from mapdr.kernel.item import Priority
from mapdr.store import Selection, Settlement, Store
from mapdr.store.index.database import portions
from mapdr.store.queue import listing
from mapdr.store.queue.listing import Attempt
from mapdr.store.spool.headers import ACCESSION_NUMBER, PATIENT_ID
from store.conftest import Opener
from store.entered import NOON, facts, image, to
from store.world import CT, EXPLICIT

MR = "1.2.840.10008.5.1.4.1.1.4"
J2K = "1.2.840.10008.1.2.4.90"


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener(start=False)


def test_a_row_tells_what_was_promised_and_how_it_stands(store: Store) -> None:
    store.ingest.enter([image(1, modality="")], to("pacs", recipe="r7", priorities={"pacs": Priority.STAT}))
    (row,) = store.listing.select(Selection())
    ((changed_at,),) = facts(store, "SELECT changed_at FROM progress WHERE destination = 0")
    assert row == listing.DeliveryRow(
        id=row.id,
        instance=image(1).id,
        study_instance_uid="9",
        study_date="20261123",
        sop_instance_uid="1.2.1",
        modality="",
        destination="pacs",
        batch=0,
        priority="stat",
        recipe="r7",
        state="pending",
        reason="",
        comment="",
        attempts=0,
        not_before=0.0,
        received_at=NOON,
        settled_at=None,
        last=None,
        tags={PATIENT_ID: "P1", ACCESSION_NUMBER: "ACC1"},
        study_received_at=changed_at,
    )
    with store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM progress")
    (row,) = store.listing.select(Selection())
    assert row.study_received_at == 0.0


def test_every_attempt_is_told_oldest_first_and_a_row_has_the_last(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "portions", lambda items: portions(items, 1))
    store.ingest.enter([image(1), image(2)], to("pacs"))
    first, second = sorted(row.id for row in store.listing.select(Selection()))
    ends = [
        Settlement(
            first,
            "pending",
            5.0,
            "retry",
            0xA700,
            "full",
            "receiver-busy",
            10.0,
            3,
            7,
            J2K,
            "2.25.9",
            "lossy",
        ),
        Settlement(first, "delivered", verdict="delivered", status=0, started_at=20.0, credential="proved"),
    ]
    store.ledger.settle(ends)
    told = store.listing.attempts([first])[first]
    assert told == [
        Attempt(1, 10.0, 3, "retry", 0xA700, "DIMSE", "full", "receiver-busy", 7, J2K, "2.25.9", "lossy", ""),
        Attempt(2, 20.0, 0, "delivered", 0, "DIMSE", "", "", 0, "", "1.2.1", "", "proved"),
    ]
    assert store.listing.attempts([second])[second] == []
    assert {row.id: row.last for row in store.listing.select(Selection())} == {first: told[1], second: None}


def test_the_kinds_of_a_destinations_newest_images_are_those_that_were_last_sent(store: Store) -> None:
    pushed = [image(1), image(2, sop_class_uid=MR), image(3), image(4)]
    store.ingest.enter(pushed, to("pacs"))
    store.ingest.enter([image(5, sop_class_uid=MR)], to("other"))
    rows = {row.sop_instance_uid: row.id for row in store.listing.select(Selection(destination="pacs"))}
    store.ledger.settle(
        [
            Settlement(rows["1.2.3"], "pending", transfer_syntax_uid=EXPLICIT),
            Settlement(rows["1.2.4"], "pending"),  # it came to nothing before a syntax was chosen
            Settlement(rows["1.2.1"], "delivered", transfer_syntax_uid=J2K),
        ]
    )
    store.ledger.settle([Settlement(rows["1.2.3"], "delivered", transfer_syntax_uid=J2K)])
    sent, waits = (CT, J2K), (MR, EXPLICIT)
    assert store.listing.kinds("pacs", 9) == Counter({sent: 2, waits: 1, (CT, EXPLICIT): 1})
    assert store.listing.kinds("pacs", 2) == Counter({sent: 1, (CT, EXPLICIT): 1}), "of the newest two"
    assert store.listing.kinds("nobody", 9) == Counter()
    assert store.strings.find("nobody") is None, "who looks makes nothing"


def test_what_is_parked_is_counted_by_what_was_promised(store: Store) -> None:
    store.ingest.enter([image(1), image(2)], to("pacs", recipe="r1"))
    store.ingest.enter([image(3)], to("pacs", "other", recipe="r2"))
    rows = store.listing.select(Selection())
    store.ledger.settle([Settlement(row.id, "parked") for row in rows if row.sop_instance_uid != "1.2.2"])
    assert store.actions.hold(Selection()) == 1
    assert store.listing.parked_recipes(Selection()) == Counter(r1=1, r2=2)
    assert store.listing.parked_recipes(Selection(destination="other")) == Counter(r2=1)
    assert store.listing.retriable(Selection()) == Counter(pacs=2, other=1)
