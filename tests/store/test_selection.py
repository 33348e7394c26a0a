"""Which images and deliveries a selection chooses, condition by condition."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from mapdr.kernel.item import Routing
from mapdr.store import Selection, Settlement, Store
from mapdr.store.spool.ids import id_floor
from store.conftest import Opener
from store.entered import NOON, image, to
from store.world import SOURCE

PROVED = replace(SOURCE, calling_ae="", credential="certificate:CT3")
FOLDER = replace(SOURCE, receiver="inbox", calling_ae="")
IDS = [id_floor(NOON + number) for number in range(7)]
"""Those of images that came a second after each other."""


@pytest.fixture
def store(opener: Opener) -> Store:
    """Images 1.2.0 to 1.2.6; the first four go to "a", the next two to "b", the last nowhere."""
    store = opener(start=False)
    pushed = [
        image(0, study="8", date="20260101"),
        image(1, study="8", date="20260101", series=2, modality="MR"),
        image(2, study="7", date="20260202", patient="P2", source=PROVED),
        image(3, study="7", date="20260202", patient="P2", source=FOLDER),
        image(4, study="6", date="", accession="ACC2"),
        image(5, study="5", date="20260303", patient="P2"),
    ]
    placed = [each._replace(id=id_) for each, id_ in zip(pushed, IDS, strict=False)]
    store.ingest.enter(placed[:4], to("a"))
    store.ingest.enter(placed[4:], to("b"))
    store.ingest.enter([image(6, study="4")._replace(id=IDS[6])], {"r": lambda *_: Routing()})
    return store


def chosen(store: Store, wanted: Selection) -> str:
    """The last digits of the UIDs of the images that are chosen, the newest first."""
    return "".join(row.sop_instance_uid[-1] for row in store.overview.images(wanted))


def of_deliveries(store: Store, wanted: Selection) -> str:
    return "".join(row.sop_instance_uid[-1] for row in store.listing.select(wanted))


OF_IMAGES = (
    (Selection(), "6543210"),
    (Selection(limit=2), "65"),
    (Selection(study_date_from="20260202"), "6532"),
    (Selection(study_date_to="20260202"), "3210"),
    (Selection(study_date_from="20260202", study_date_to="20260202"), "32"),
    (Selection(study_date_to="99999999"), "653210"),  # a study without a date is none of a period
    (Selection(study_date_from="00000000"), "653210"),
    (Selection(modality="MR"), "1"),
    (Selection(study_instance_uid="7"), "32"),
    (Selection(sop_instance_uid="1.2.4"), "4"),
    (Selection(patient_id="P2"), "532"),
    (Selection(accession_number="ACC2"), "4"),
    (Selection(patient_id="P2", accession_number="ACC2"), ""),
    (Selection(since=NOON + 4), "654"),
    (Selection(until=NOON + 2), "10"),
    (Selection(since=NOON + 1, until=NOON + 3), "21"),
    (Selection(peer=SOURCE.calling_ae), "65410"),
    (Selection(peer="certificate:CT3"), "2"),
    (Selection(peer="inbox"), "3"),
    (Selection(peer=SOURCE.receiver), ""),  # who has a title is not known by the receiver's name
    (Selection(instances=[IDS[0], IDS[5]]), "50"),
    (Selection(instances=[IDS[0], "0" * 32]), "0"),
    (Selection(listed=["8.2", "6", "1.2.5", "nobody"]), "541"),
    (Selection(listed=["ACC2", "8"], listed_as="accession_number"), "4"),
    (Selection(listed=["8.1", "8"], listed_as="series_instance_uid"), "0"),
    (Selection(listed=["8"], limit=1), "1"),
)
"""Selections by what images are, and the last digits of those that they choose, the newest first."""


def test_conditions_of_images(store: Store) -> None:
    for wanted, expected in OF_IMAGES:
        assert chosen(store, wanted) == expected, wanted
        all_promised = replace(wanted, limit=None)
        assert of_deliveries(store, all_promised) == chosen(store, all_promised).replace("6", ""), wanted
        assert not wanted.of_deliveries, wanted
        assert wanted.of_everything == (wanted == Selection()), wanted


def test_conditions_of_deliveries(store: Store) -> None:
    numbers = {row.sop_instance_uid[-1]: row.id for row in store.listing.select(Selection())}
    store.ledger.settle(
        [
            Settlement(numbers["0"], "parked", reason="refused"),
            Settlement(numbers["1"], "delivered"),
            Settlement(numbers["4"], "parked", reason="cut"),
        ]
    )
    assert store.actions.hold(Selection(sop_instance_uid="1.2.2")) == 1
    store.ledger.lease("b", 1, 60, "node")
    with store.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE delivery SET state = 5 WHERE id = {numbers['3']}")
    expected = {
        Selection(destination="a"): "210",
        Selection(destination="b"): "54",
        Selection(destination="nobody"): "",
        Selection(reason="refused"): "0",
        Selection(reason="refused", destination="b"): "",
        Selection(state="parked"): "40",
        Selection(state="parked", destination="b"): "4",
        Selection(state="delivered"): "1",
        Selection(state="held"): "2",
        Selection(state="leased"): "5",
        Selection(state="pending"): "",
        Selection(state="superseded"): "3",
        Selection(deliveries=(numbers["3"], numbers["0"])): "30",
        Selection(deliveries=(numbers["3"],), state="parked"): "",
        Selection(state="parked", modality="MR"): "",
        Selection(state="parked", limit=1): "4",
    }
    for wanted, found in expected.items():
        assert of_deliveries(store, wanted) == found, wanted
        assert chosen(store, wanted) == found, wanted
        assert wanted.of_deliveries
        assert not wanted.of_everything


def test_what_no_rule_took_has_no_deliveries(store: Store) -> None:
    wanted = Selection(state="unrouted")
    assert (chosen(store, wanted), of_deliveries(store, wanted)) == ("6", "")
    assert not wanted.of_deliveries
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE instance SET purged_at = 5.0")
    assert chosen(store, wanted) == "", "its file is gone"


def test_any_condition_makes_a_selection_one_of_something() -> None:
    """To act on everything is asked for by name: a condition that is forgotten would do it unasked."""
    values = {
        "limit": 1,
        "since": 0.0,
        "until": 0.0,
        "deliveries": (1,),
        "instances": (IDS[0],),
        "listed": ("x",),
    }
    for each in fields(Selection):
        if each.name != "listed_as":
            value = values.get(each.name, "parked" if each.name == "state" else "x")
            assert not Selection(**{each.name: value}).of_everything, each.name
    assert Selection(listed=[], listed_as="accession_number").of_everything
    assert Selection(deliveries=(), instances=()).of_everything


def test_values_that_choose_nothing_are_told_in_their_order(store: Store) -> None:
    values = ["zzz", "8.2", "6", "aaa", "6", "a\0aa"]
    for wanted, expected in (
        (Selection(listed=values), ["zzz", "aaa"]),
        (Selection(listed=values, listed_as="study_instance_uid"), ["zzz", "8.2", "aaa"]),
        (Selection(listed=values, state="parked"), ["zzz", "8.2", "6", "aaa"]),
    ):
        assert store.rerouting.unknown(wanted) == expected


@pytest.mark.parametrize("wrong", [{"state": "done"}, {"listed_as": "name", "listed": ("x",)}])
def test_what_is_no_condition_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="one of"):
        Selection(**wrong)  # type: ignore[arg-type]


def test_text_of_a_condition_is_taken_as_the_index_keeps_it(store: Store) -> None:
    for wanted in (
        Selection(study_instance_uid="7\0"),
        Selection(patient_id="P2\0", study_instance_uid="7"),
        Selection(accession_number="ACC1\0", study_instance_uid="7"),
    ):
        assert chosen(store, wanted) == "32"
    assert chosen(store, Selection(sop_instance_uid="1.2.2\0")) == "2"
    assert chosen(store, Selection(peer="certificate:CT3\0")) == "2"
