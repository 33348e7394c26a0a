"""Studies, images and parked deliveries as people look at them, of images that were entered without files."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from mapdr.kernel.item import Routing
from mapdr.store import Selection, Settlement, Store
from mapdr.store.index import overview
from mapdr.store.index.database import portions
from mapdr.store.index.overview import ImageRow, ParkedRow, Standing
from mapdr.store.spool.headers import ACCESSION_NUMBER, PATIENT_ID
from store.conftest import Opener
from store.entered import NOON, image, to
from store.world import CT, EXPLICIT, SOURCE

WORKSTATION = replace(SOURCE, calling_ae="WS")


@pytest.fixture
def store(opener: Opener) -> Store:
    """Five images of three studies at NOON + 1 to 5 s: "7" and "8" begin before "9" and "8" end."""
    store = opener(start=False)
    pushed = [
        image(1, study="8", received_at=NOON + 1, size=100),
        image(2, study="7", received_at=NOON + 2, modality="MR", date="20260101", size=30),
        image(3, study="9", received_at=NOON + 3, patient="P2", accession="ACC2"),
        image(4, study="8", received_at=NOON + 4, modality="SR", series=2, source=WORKSTATION),
        image(5, study="8", received_at=NOON + 5),
    ]
    store.ingest.enter(pushed, to("a", "b"))
    return store


def settle(store: Store, uid: str, destination: str, state: str, reason: str = "") -> None:
    (row,) = [
        row
        for row in store.listing.select(Selection(sop_instance_uid=uid, destination=destination))
        if row.state == "pending"
    ]
    store.ledger.settle([Settlement(row.id, state, reason=reason)])


def uids(store: Store, chosen: Selection, order: overview.Order = "newest") -> list[str]:
    return [row.study_instance_uid for row in store.overview.studies(chosen, order)]


def test_a_study_is_told_with_all_its_images(store: Store) -> None:
    with_unrouted = image(6, study="8", received_at=NOON + 6, size=3)
    store.ingest.enter([with_unrouted], {"r": lambda header, source: Routing()})
    settle(store, "1.2.1", "a", "delivered")
    settle(store, "1.2.5", "a", "parked", "refused")
    (row,) = store.overview.studies(Selection(sop_instance_uid="1.2.1"))
    assert (row.study_instance_uid, row.study_date, row.first_at, row.last_at) == (
        *("8", "20261123"),
        *(NOON + 1, NOON + 6),
    )
    assert row.tags == {PATIENT_ID: "P1", ACCESSION_NUMBER: "ACC1"}
    assert (row.modalities, row.images, row.series) == ({"CT": 3, "SR": 1}, 4, 2)
    assert (row.bytes, row.unrouted) == (123, 1)
    assert row.destinations == {
        "a": [Standing("pending", "", 1), Standing("parked", "refused", 1), Standing("delivered", "", 1)],
        "b": [Standing("pending", "", 3)],
    }


def test_studies_come_in_the_order_that_is_asked_for(store: Store) -> None:
    settle(store, "1.2.2", "b", "parked", "refused")
    for chosen in (Selection(), Selection(modality="CT"), Selection(peer="CT1"), Selection(state="pending")):
        seven = [] if chosen.modality else ["7"]
        assert uids(store, chosen) == ["8", "9", *seven]
        assert uids(store, chosen, "oldest") == ["8", *seven, "9"]
        assert uids(store, chosen, "stuck") == [*seven, "8", "9"]
        for limit in range(1, 4):  # the first of them, whichever way they are looked for
            limited = replace(chosen, limit=limit)
            assert uids(store, limited, "oldest") == uids(store, chosen, "oldest")[:limit]


def test_where_much_is_chosen_studies_are_looked_through_in_portions(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until so many are found as are asked for, and no further; none is read whole that is not told."""
    asked: list[tuple[str, int]] = []

    def executed(connection: object, cursor: object, text: str, parameters: Any, *_: object) -> None:
        asked.append((text, len(parameters)))

    monkeypatch.setattr(overview, "_LOOKED_AT", 1)
    event.listen(store.database._reader, "before_cursor_execute", executed)
    try:
        assert uids(store, Selection(peer="WS", limit=1)) == ["8"]
    finally:
        event.remove(store.database._reader, "before_cursor_execute", executed)
    looked = [text for text, _ in asked if text.startswith("SELECT DISTINCT study.id")]
    whole = [(text, count) for text, count in asked if "study.tags" in text]
    assert len(looked) == 1, "one study was looked through"
    assert [count for _, count in whole] == [1], "and one is told"
    assert uids(store, Selection(destination="b", limit=2)) == ["8", "9"]
    assert uids(store, Selection(peer="WS", limit=9)) == ["8"]
    assert uids(store, Selection(modality="MR", limit=1), "oldest") == ["7"]
    assert uids(store, Selection(peer="nobody", limit=9)) == []


@pytest.mark.parametrize(
    ("chosen", "broad"),
    [
        (Selection(), False),
        (Selection(modality="CT"), True),
        (Selection(peer="CT1"), True),
        (Selection(destination="a"), True),
        (Selection(state="delivered"), True),
        (Selection(state="parked"), False),
        (Selection(state="unrouted"), False),
        (Selection(modality="CT", patient_id="P1"), False),
        (Selection(modality="CT", accession_number="P1"), False),
        (Selection(modality="CT", study_instance_uid="8"), False),
        (Selection(modality="CT", since=5.0), False),
        (Selection(modality="CT", deliveries=(1,)), False),
    ],
)
def test_what_is_broad_is_led_to_by_no_index(chosen: Selection, broad: bool) -> None:
    assert overview._is_broad(chosen) == broad


@pytest.mark.parametrize("limit", [None, 9])
def test_a_study_of_which_nothing_is_promised_is_chosen_by_its_images(
    store: Store, limit: int | None
) -> None:
    store.ingest.enter([image(6, study="5", modality="US")], {"r": lambda header, source: Routing()})
    assert uids(store, Selection(modality="US", limit=limit)) == ["5"]
    assert uids(store, Selection(modality="US", destination="a", limit=limit)) == []


def test_a_parked_version_is_told_beside_the_one_that_was_delivered(store: Store) -> None:
    """Whichever came first: an image that somebody must look at is never hidden by what went well."""
    for content, state in ((1, "parked"), (2, "delivered"), (3, "parked")):
        version = image(3, study="9", content=content)._replace(id=f"{content + 90:032x}")
        store.ingest.enter([version], to("pacs"))
        settle_newest(store, "pacs", state)
        (row,) = store.overview.studies(Selection(study_instance_uid="9"))
        told = [(one.state, one.images, one.again) for one in row.destinations["pacs"]]
        assert (
            told
            == {
                1: [("parked", 1, False)],
                2: [("delivered", 1, False), ("parked", 1, True)],
                3: [("parked", 1, False)],  # what the receiver has is not what it is owed
            }[content]
        )


def test_what_was_dismissed_is_told_where_nothing_was_delivered(store: Store) -> None:
    settle(store, "1.2.3", "a", "parked", "refused")
    assert store.actions.dismiss(Selection()) == 1
    (row,) = store.overview.studies(Selection(study_instance_uid="9"))
    assert row.destinations["a"] == [Standing("dismissed", "", 1, again=False)]


def settle_newest(store: Store, destination: str, state: str) -> None:
    (row,) = store.listing.select(Selection(destination=destination, state="pending"))
    store.ledger.settle([Settlement(row.id, state)])


def test_a_study_whose_images_were_erased_is_none(store: Store) -> None:
    with store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM series WHERE uid LIKE '9.%'")
    assert uids(store, Selection()) == ["8", "7"]


def test_the_newest_studies_of_a_beginning_are_named(store: Store) -> None:
    assert store.overview.newest_studies("", 2) == ["8", "9"]
    assert store.overview.newest_studies("7", 9) == ["7"]
    assert store.overview.newest_studies("%", 9) == []


def test_an_image_is_told_with_its_newest_promises(store: Store) -> None:
    settle(store, "1.2.4", "a", "delivered")
    unrouted = image(6, study="9", received_at=NOON + 6)
    store.ingest.enter([unrouted], {"r": lambda header, source: Routing()})
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE instance SET purged_at = 9.0 WHERE sop_instance_uid = '1.2.3'")
    rows = {row.sop_instance_uid: row for row in store.overview.images(Selection())}
    assert list(rows) == [f"1.2.{number}" for number in range(6, 0, -1)]
    assert rows["1.2.2"].destinations == {"a": "pending", "b": "pending"}
    assert rows["1.2.4"] == ImageRow(
        instance=image(4).id,
        study_instance_uid="8",
        series_instance_uid="8.2",
        sop_instance_uid="1.2.4",
        sop_class_uid=CT,
        transfer_syntax_uid=EXPLICIT,
        modality="SR",
        source=WORKSTATION,
        bytes=10,
        received_at=NOON + 4,
        kind="first",
        revision="r",
        unrouted=False,
        purged_at=None,
        destinations={"a": "delivered", "b": "pending"},
    )
    assert (rows["1.2.6"].unrouted, rows["1.2.6"].destinations) == (True, {})
    assert (rows["1.2.3"].unrouted, rows["1.2.3"].purged_at) == (False, 9.0)
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE instance SET purged_at = 9.0 WHERE sop_instance_uid = '1.2.6'")
    (gone,) = store.overview.images(Selection(sop_instance_uid="1.2.6"))
    assert not gone.unrouted, "what is purged can be promised to nobody"


def test_a_newer_promise_stands_for_the_one_before_it(store: Store) -> None:
    """Of two rows for one destination the later one is told, whatever became of the first."""
    settle(store, "1.2.1", "a", "delivered")
    with store.database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO delivery (instance, study, destination, batch, priority, recipe, state, not_before)"
            " SELECT instance, study, destination, 1, 1, recipe, 2, 0 FROM delivery WHERE state = 4"
        )
    (row,) = store.overview.images(Selection(sop_instance_uid="1.2.1"))
    assert row.destinations["a"] == "held"


def test_what_is_parked_is_told_by_reason_the_most_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("mapdr.store.queue.settle.time.time", lambda: now[0])
    for uid, destination, reason in (
        *(("1.2.1", "a", "refused"), ("1.2.2", "a", "refused"), ("1.2.3", "a", "")),
        *(("1.2.3", "b", "refused"), ("1.2.4", "b", "cut")),
    ):
        settle(store, uid, destination, "parked", reason)
        now[0] += 10
    settle(store, "1.2.5", "a", "delivered")
    assert store.overview.parked(Selection()) == [
        ParkedRow("refused", "a", 2, 100.0, 110.0),
        ParkedRow("cut", "b", 1, 140.0, 140.0),
        ParkedRow("refused", "b", 1, 130.0, 130.0),
        ParkedRow("unknown", "a", 1, 120.0, 120.0),
    ]
    assert store.overview.parked(Selection(destination="b", modality="SR")) == [
        ParkedRow("cut", "b", 1, 140.0, 140.0)
    ]
    assert store.overview.parked_reasons() == {
        "a": {"refused": 2, "unknown": 1},
        "b": {"refused": 1, "cut": 1},
    }
    assert store.actions.hold(Selection(sop_instance_uid="1.2.5")) == 1
    assert sum(sum(each.values()) for each in store.overview.parked_reasons().values()) == 5
    assert store.overview.by_destination(Selection(state="parked")) == Counter(a=3, b=2)
    assert store.overview.by_destination(Selection(study_instance_uid="8")) == Counter(a=3, b=3)


def test_what_sources_sent_since_midnight_is_counted_by_image(store: Store) -> None:
    again = image(5, study="8", content=7, received_at=NOON + 7)._replace(id=f"{99:032x}")
    store.ingest.enter([again], to("a"))
    assert store.overview.received_since(NOON + 3) == {SOURCE: 2, WORKSTATION: 1}
    assert store.overview.received_since(NOON + 5) == {SOURCE: 1}
    assert store.overview.received_since(NOON + 8) == {}
    assert store.overview.received_since(0.0) == {SOURCE: 4, WORKSTATION: 1}


def test_who_sent_a_study_is_told_in_the_order_of_arrival(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "portions", lambda items: portions(items, 1))
    numbers = {row.study_instance_uid: row.number for row in store.overview.studies(Selection())}
    assert store.overview.sources([numbers["8"], numbers["9"]]) == {
        numbers["8"]: [SOURCE, WORKSTATION],
        numbers["9"]: [SOURCE],
    }
    first = image(0, study="9", source=WORKSTATION)
    store.ingest.enter([first], to())
    assert store.overview.sources([numbers["9"]]) == {numbers["9"]: [WORKSTATION, SOURCE]}
    assert store.overview.sources([]) == {}


def test_many_studies_are_told_in_portions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = store.overview.studies(Selection())
    monkeypatch.setattr(overview, "portions", lambda items: portions(items, 2))
    assert store.overview.studies(Selection()) == whole
    assert [sum(one.images for one in row.destinations["b"]) for row in whole] == [3, 1, 1]
