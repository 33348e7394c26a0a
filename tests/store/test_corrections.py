"""What is kept of corrected values: with which promises, for whom to see, and that it ends with the image."""

from __future__ import annotations

import time

import pytest

from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Header, Routing, Source
from mapdr.store import Selection, Store
from mapdr.store.index import corrections
from mapdr.store.index.corrections import write_over
from mapdr.store.index.database import portions
from mapdr.store.queue.rerouted import Corrections, Rerouted
from mapdr.store.spool.headers import ACCESSION_NUMBER, PATIENT_ID
from store.entered import facts
from store.world import To, push

NEW = Corrections("mona", {ACCESSION_NUMBER: "A9"})
RECIPE = {"steps": ["sets A9"]}
NOTHING: frozenset[tuple[int, ...]] = frozenset()


def correct(
    store: Store, chosen: Selection, values: Corrections | None = NEW, *, write: bool = True
) -> Rerouted:
    """Promise images anew, with their values corrected by the recipe "r9"."""
    store.recipes.add({"r9": RECIPE})
    route = To("pacs", recipe="r9").route
    keys = store.rerouting.choose(chosen)
    done = Rerouted()
    for step, _ in store.rerouting.steps(keys, chosen, route, NOTHING, write=write, corrections=values):
        done += step
    return done


@pytest.fixture
def pushed(store: Store) -> list[str]:
    """Two images of the study 9.1 and one of 9.2, by their ids in the spool."""
    ids = [push(store, f"1.{number}", study="9.1" if number < 2 else "9.2") for number in range(3)]
    assert store.writer.flush()
    return ids


def test_a_correction_is_kept_with_its_promise_and_told_the_newest_first(
    store: Store, pushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("mapdr.store.queue.reroute.time.time", lambda: now[0])
    assert correct(store, Selection(study_instance_uid="9.1")).deliveries == 2
    now[0] = 2000.0
    both = Corrections("max", {ACCESSION_NUMBER: "A9", PATIENT_ID: "P7"})
    correct(store, Selection(study_instance_uid="9.2"), both)
    first, second, third = store.corrections.select(Selection())
    assert (first.operator, first.at, first.instance, first.batch) == ("max", 2000.0, pushed[2], 1)
    assert (first.study_instance_uid, first.sop_instance_uid) == ("9.2", "1.2")
    assert list(first.changes) == [(ACCESSION_NUMBER, "ACC1", "A9"), (PATIENT_ID, "P0", "P7")]
    assert [(each.instance, each.operator, each.at) for each in (second, third)] == [
        (pushed[0], "mona", 1000.0),
        (pushed[1], "mona", 1000.0),
    ]
    assert store.corrections.select(Selection(sop_instance_uid="1.1")) == [third]
    assert store.corrections.select(Selection(study_instance_uid="9.3")) == []


def test_where_nothing_is_promised_nothing_was_corrected(store: Store, pushed: list[str]) -> None:
    correct(store, Selection(sop_instance_uid="1.0"))
    assert len(store.corrections.select(Selection())) == 1
    again = correct(store, Selection(sop_instance_uid="1.0"))
    assert (again.deliveries, again.uncorrected) == (0, 0), "the same promise stands"
    assert len(store.corrections.select(Selection())) == 1
    assert correct(store, Selection(sop_instance_uid="1.1"), write=False).deliveries == 1
    assert len(store.corrections.select(Selection())) == 1, "who only asks what would be writes nothing"
    correct(store, Selection(sop_instance_uid="1.1"), None)
    assert len(store.corrections.select(Selection())) == 1, "a plain re-route corrects nothing"


def test_images_that_were_corrected_and_are_promised_without_it_are_counted(
    store: Store, pushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their receiver would have the wrong values again."""
    monkeypatch.setattr(corrections, "portions", lambda items: portions(items, 1))
    correct(store, Selection(study_instance_uid="9.1"))
    plain = To("pacs", "other").route
    for write in (False, True):
        done = store.rerouting.reroute(Selection(), plain, NOTHING, write=write)
        assert (done.deliveries, done.uncorrected) == (5, 2)
    assert store.rerouting.reroute(Selection(), plain, NOTHING).uncorrected == 0, "all are standing"
    assert correct(store, Selection()).uncorrected == 0, "they are corrected again"


def test_the_old_value_is_read_in_the_character_set_that_is_assumed(store: Store) -> None:
    push(store, "1.1", patient="Жанна")
    assert store.writer.flush()
    assumed = (AssumedSet("ISO_IR 192"),)

    def route(header: Header, source: Source) -> Routing:
        return Routing((("other", "r9"),), assumed=assumed)

    values = Corrections("mona", {PATIENT_ID: "P7"})
    keys = store.rerouting.choose(Selection())
    assert list(store.rerouting.steps(keys, Selection(), route, NOTHING, corrections=values))
    (told,) = store.corrections.select(Selection())
    assert list(told.changes) == [(PATIENT_ID, "Жанна", "P7")]


def test_an_erased_image_leaves_no_value_in_its_corrections_nor_in_its_recipe(
    store: Store, pushed: list[str]
) -> None:
    correct(store, Selection())
    store.recipes.add({"r0": {"steps": []}})
    keys = [bytes.fromhex(id_) for id_ in pushed]
    studies = dict(facts(store, "SELECT uid, id FROM study"))

    def erase(study: str, *images: bytes) -> None:
        with store.database.write() as connection:
            write_over(connection, {studies[study]}, set(images))
        store.recipes._bodies.clear()  # as a process that begins now

    def kept() -> dict[str, int]:
        return {each.sop_instance_uid: len(each.changes) for each in store.corrections.select(Selection())}

    erase("9.2", keys[0])
    assert kept() == {"1.0": 1, "1.1": 1, "1.2": 1}, "the image is none of that study"
    erase("9.1", *keys[:2])
    assert kept() == {"1.0": 0, "1.1": 0, "1.2": 1}
    assert store.recipes.recipe("r9") == RECIPE, "another image is still corrected by it"
    erase("9.2", keys[2])
    assert kept() == {"1.0": 0, "1.1": 0, "1.2": 0}
    with pytest.raises(Permanent):
        store.recipes.recipe("r9")
    assert store.recipes.recipe("r0") == {"steps": []}, "by which they were promised before is no correction"
    assert all(
        each.operator == "mona" and each.at <= time.time() for each in store.corrections.select(Selection())
    )
