from __future__ import annotations

import time

import pytest

from mapdr.store import OutboxEntry, Selection, Settlement, Store, StudyEvent
from mapdr.store.spool.headers import ACCESSION_NUMBER
from mapdr.store.study_events import SeriesPart
from mapdr.testing.wait import until
from store.conftest import Opener
from store.world import To, push

QUIET = 30.0
PATIENT_NAME = (0x00100010,)


def settle(store: Store, state: str = "delivered", *, limit: int = 100, destination: str = "pacs") -> None:
    rows = store.ledger.lease(destination, limit, 60, "n")
    store.ledger.settle([Settlement(row.id, state, reason="refused") for row in rows])


def due(store: Store, later: float = QUIET + 1) -> list[StudyEvent]:
    return store.study_events.due_events(time.time() + later, QUIET)


def kinds(events: list[StudyEvent]) -> list[tuple[str, str, int, int]]:
    return sorted((event.kind, event.destination, event.images, event.update) for event in events)


def test_a_quiet_study_is_told_once(store: Store) -> None:
    for number in range(3):
        push(store, f"1.{number}", series=f"9.{number % 2}")
    assert store.writer.flush()
    assert due(store, later=0) == [], "it is not quiet yet"
    (event,) = due(store)
    assert (event.kind, event.images, event.series, event.update) == ("study.received", 3, 2, 0)
    assert (event.study_instance_uid, event.study_date, event.modalities) == ("1.2.3", "20261123", ("CT",))
    assert event.tags[ACCESSION_NUMBER] == "ACC1"
    assert due(store) == []


def test_a_study_is_delivered_when_its_last_image_is(store: Store) -> None:
    for number in range(3):
        push(store, f"1.{number}")
    assert store.writer.flush()
    due(store)
    settle(store, limit=2)
    assert due(store) == [], "one is open"
    settle(store)
    (event,) = due(store)
    assert (event.kind, event.destination) == ("study.delivered", "pacs")
    assert (event.images, event.delivered, event.parked) == (3, 3, 0)


def test_the_series_of_an_event_are_told_one_by_one(store: Store) -> None:
    push(store, "1.1", series="9.1")
    push(store, "1.2", series="9.2", modality="SR")
    push(store, "1.3", series="9.1")
    assert store.writer.flush()
    (event,) = due(store)
    both = (SeriesPart("9.1", "CT", 2, 0), SeriesPart("9.2", "SR", 1, 0))
    assert event.by_series == both
    settle(store, limit=1)
    settle(store, "parked")
    (event,) = due(store)
    assert event.by_series == (SeriesPart("9.1", "CT", 2, 1), SeriesPart("9.2", "SR", 1, 1))


def test_late_images_are_an_update(store: Store) -> None:
    push(store, "1.1")
    assert store.writer.flush()
    settle(store)
    assert kinds(due(store)) == [("study.delivered", "pacs", 1, 0), ("study.received", "", 1, 0)]
    push(store, "1.2")
    assert store.writer.flush()
    assert kinds(due(store)) == [("study.received", "", 2, 1)]
    settle(store)
    assert kinds(due(store)) == [("study.delivered", "pacs", 2, 1)]


def test_a_study_whose_rest_is_dismissed_is_complete(store: Store) -> None:
    for number in range(3):
        push(store, f"1.{number}")
    assert store.writer.flush()
    settle(store, limit=2)
    settle(store, "parked")
    assert ("study.parked", "pacs", 3, 0) in kinds(due(store))
    store.actions.dismiss(Selection(state="parked"))
    (event,) = due(store)
    assert (event.kind, event.images, event.delivered, event.parked) == ("study.delivered", 2, 2, 0)


def test_of_a_study_that_is_dismissed_as_a_whole_nothing_is_told(store: Store) -> None:
    push(store, "1.1")
    assert store.writer.flush()
    settle(store, "parked")
    store.actions.dismiss(Selection(state="parked"))
    assert [event.kind for event in due(store)] == ["study.received"]


def test_the_promise_that_replaced_another_speaks_for_its_image(store: Store) -> None:
    for number in range(2):
        push(store, f"1.{number}")
    assert store.writer.flush()
    settle(store, "parked")
    due(store)
    store.rerouting.reroute(Selection(state="parked"), To("pacs", recipe="r1").route, frozenset())
    assert due(store) == []
    settle(store)
    (event,) = due(store)
    assert (event.kind, event.delivered, event.parked) == ("study.delivered", 2, 0)


def test_a_parked_image_is_told_and_then_delivered(store: Store) -> None:
    for number in range(2):
        push(store, f"1.{number}")
    assert store.writer.flush()
    settle(store, limit=1)
    settle(store, "parked")
    (event,) = [event for event in due(store) if event.destination]
    assert (event.kind, event.delivered, event.parked, event.reason) == ("study.parked", 1, 1, "refused")
    store.actions.retry(Selection(state="parked"))
    assert due(store) == []
    settle(store)
    (event,) = due(store)
    assert (event.kind, event.delivered, event.parked, event.update) == ("study.delivered", 2, 0, 1)


def test_what_is_on_hold_is_not_complete(store: Store) -> None:
    push(store, "1.1")
    assert store.writer.flush()
    store.actions.hold(Selection())
    assert kinds(due(store)) == [("study.received", "", 1, 0)]
    store.actions.release(Selection())
    settle(store)
    assert kinds(due(store)) == [("study.delivered", "pacs", 1, 0)]


def test_each_destination_is_told_for_itself(opener: Opener) -> None:
    store = opener(router=To("a", "b"))
    push(store, "1.1")
    assert store.writer.flush()
    settle(store, destination="a")
    assert [event.destination for event in due(store)] == ["", "a"]
    settle(store, destination="b")
    assert [event.destination for event in due(store)] == ["b"]


def test_a_study_is_not_told_of_as_delivered_while_its_images_still_come(opener: Opener) -> None:
    store = opener(repeats="absorb")
    push(store, "1.1")
    assert store.writer.flush()
    settle(store)
    delivered_at = time.time()
    until(lambda: time.time() > delivered_at, what="a tick of the clock")
    push(store, "1.1")  # pushed again after a fault: owed to nobody, and the rest of the study follows
    assert store.writer.flush()
    assert store.ledger.lease("pacs", 9, 60, "n") == []
    assert store.study_events.due_events(delivered_at + QUIET, QUIET) == []
    push(store, "1.2")
    assert store.writer.flush()
    settle(store)
    assert [(event.kind, event.images, event.update) for event in due(store)] == [
        ("study.received", 2, 0),
        ("study.delivered", 2, 0),
    ]


def test_a_repeat_counts_once_for_the_study(store: Store) -> None:
    push(store, "1.1")
    assert store.writer.flush()
    settle(store)
    due(store)
    push(store, "1.1")
    assert store.writer.flush()
    settle(store)
    assert {event.images for event in due(store)} == {1}


def test_a_study_that_cannot_be_told_of_keeps_no_other_back(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(store, "1.1", study="9.1")
    push(store, "1.2", study="9.2")
    assert store.writer.flush()

    def fails(event: StudyEvent) -> list[OutboxEntry]:
        if event.study_instance_uid == "9.1":
            raise OverflowError("SECRET")
        return []

    later = time.time() + 100
    assert [event.study_instance_uid for event in store.study_events.due_events(later, QUIET, fails)] == [
        "9.2"
    ]
    assert "OverflowError" in caplog.text
    assert "SECRET" not in caplog.text
    assert store.study_events.due_events(later, QUIET, fails) == [], "it is not looked at without a pause"
    monkeypatch.setattr("mapdr.store.study_events._AT_ONCE", 1)
    push(store, "1.3", study="9.3")
    assert store.writer.flush()
    told = [event for _ in range(2) for event in store.study_events.due_events(later, QUIET, fails)]
    assert [event.study_instance_uid for event in told] == ["9.3"], "however many cannot be told of"
    after = time.monotonic() + QUIET + 1
    monkeypatch.setattr("mapdr.store.study_events.time.monotonic", lambda: after)
    told = store.study_events.due_events(later, QUIET)
    assert [event.study_instance_uid for event in told] == ["9.1"]


def test_a_study_that_cannot_be_told_of_is_quiet_for_its_destinations(store: Store) -> None:
    push(store, "1.1")
    assert store.writer.flush()
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE progress SET changed_at = changed_at - 100")

    def fails(event: StudyEvent) -> list[OutboxEntry]:
        raise OverflowError

    assert store.study_events.due_events(time.time(), QUIET, fails) == []
    assert len(store.ledger.lease("pacs", 9, 60, "node", quiet_seconds=QUIET)) == 1


def test_event_and_outbox_are_one_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    push(store, "1.1")
    assert store.writer.flush()

    def fails(*facts: object) -> None:
        raise RuntimeError

    later = time.time() + 100
    monkeypatch.setattr(store.outbox, "put", fails)
    with pytest.raises(RuntimeError):
        store.study_events.due_events(later, QUIET)
    monkeypatch.undo()
    told = store.study_events.due_events(
        later, QUIET, lambda event: [OutboxEntry(event.key, "ris", event.kind, {"images": event.images})]
    )
    assert len(told) == 1, "an event that could not be written is told again"
    (message,) = store.outbox.list()
    assert (message.hook, message.kind, message.payload) == ("ris", "study.received", {"images": 1})


def test_the_tags_that_webhooks_want_are_kept(opener: Opener) -> None:
    store = opener()
    store.use("rev2", To("pacs"), {}, study_tags=frozenset({PATIENT_NAME}))
    push(store, "1.1", name="NAME^A")
    assert store.writer.flush()
    (event,) = due(store)
    assert event.tags[PATIENT_NAME] == "NAME^A"
    assert store.studies.tags(event.study) == event.tags
    with pytest.raises(KeyError):
        store.studies.tags(999)


def test_tags_that_the_first_image_lacked_come_with_a_later_series(opener: Opener) -> None:
    store = opener()
    store.use("rev2", To("pacs"), {}, study_tags=frozenset({PATIENT_NAME}))
    push(store, "1.1", name="", series="9.1")
    assert store.writer.flush()
    push(store, "1.2", name="NAME^A", series="9.2")
    push(store, "1.3", name="NAME^B", series="9.3")
    assert store.writer.flush()
    (event,) = due(store)
    assert event.tags[PATIENT_NAME] == "NAME^A"
