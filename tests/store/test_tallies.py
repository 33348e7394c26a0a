"""What is counted, row by row: counters, figures and queues, of numbers that a test gives."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime

import pytest

from mapdr.store import Selection, Settlement, Store
from mapdr.store.index import counters
from mapdr.store.index.counters import (
    RECEIVED,
    CounterKey,
    Counters,
    FailureKey,
    Failures,
    Increment,
    day_of,
    hour_of,
)
from mapdr.store.index.counts import Queue
from mapdr.store.index.figures import DayTally, FailureTally, HourTally, Tally, Where
from store.conftest import Opener
from store.entered import NOON, facts, image, to
from store.world import SOURCE

HOUR = 2026112309
DAY = 20261123


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener(start=False)


def add(
    store: Store, *counts: tuple[CounterKey, Increment], failures: dict[FailureKey, Failures] | None = None
) -> None:
    """As a batch does."""
    with store.database.write() as connection:
        counted = store.counters.add(connection, dict(counts), failures)
    store.counters.remember(counted)


def tallies(store: Store, first: int = 0, last: int = 99999999) -> dict[Where, tuple[int, ...]]:
    found = store.figures.tallies(first, last)
    return {
        one.where: (
            one.images,
            one.studies,
            one.repeats,
            one.versions,
            one.bytes_received,
            one.bytes_sent,
        )
        for one in found
    }


def test_a_count_is_kept_of_each_origin_and_of_all_together(store: Store) -> None:
    """A study counts once for each, and once for both of its modalities together."""
    ct1, ws, ct, mr, pacs = (store.strings.number(name) for name in ("CT1", "WS", "CT", "MR", "pacs"))
    add(
        store,
        (CounterKey(HOUR, RECEIVED, ct1, ct, 7), Increment(2, 1, 0, 3, 100, 0)),
        (CounterKey(HOUR, RECEIVED, ws, mr, 7), Increment(1, 0, 1, 2, 50, 0)),
        (CounterKey(HOUR, RECEIVED, ws, mr, 8), Increment(0, 1, 0, 1, 5, 0)),  # repeats alone make no study
        (CounterKey(HOUR, pacs, ct1, ct, 7), Increment(1, 0, 0, 1, 60, 40, {3: 1})),
    )
    add(store, (CounterKey(HOUR + 1, RECEIVED, ws, ct, 7), Increment(1, 0, 0, 1, 9, 0)))
    assert tallies(store) == {
        Where(None, "CT1", "CT"): (2, 1, 1, 0, 100, 0),
        Where(None, "CT1", None): (0, 1, 0, 0, 0, 0),
        Where(None, "WS", "MR"): (1, 1, 1, 1, 55, 0),
        Where(None, "WS", "CT"): (1, 1, 0, 0, 9, 0),
        Where(None, "WS", None): (0, 1, 0, 0, 0, 0),
        Where(None, None, "CT"): (3, 1, 1, 0, 109, 0),
        Where(None, None, "MR"): (1, 1, 1, 1, 55, 0),
        Where(None, None, None): (0, 1, 0, 0, 0, 0),
        Where("pacs", "CT1", "CT"): (1, 1, 0, 0, 60, 40),
        Where("pacs", "CT1", None): (0, 1, 0, 0, 0, 0),
        Where("pacs", None, "CT"): (1, 1, 0, 0, 60, 40),
        Where("pacs", None, None): (0, 1, 0, 0, 0, 0),
    }
    assert store.figures.days(0, 99999999) == [
        DayTally(DAY, None, 4, 1, 164, 0),
        DayTally(DAY, "pacs", 1, 1, 60, 40),
    ]
    assert store.figures.hours(0, 99999999) == [
        HourTally(9, None, 3),
        HourTally(9, "pacs", 1),
        HourTally(10, None, 1),
    ]
    assert facts(store, "SELECT count(*) FROM hourly") == [(3,)]
    assert store.figures.delays(0, 99999999) == {Where("pacs", "CT1", "CT"): {3: 1}}
    assert {store.strings.text(k): sum(v) for k, v in store.counters.sources.told().items()} == {
        "CT1": 3,
        "WS": 4,
    }
    assert {store.strings.text(k): sum(v) for k, v in store.counters.destinations.told().items()} == {
        "pacs": 1
    }


def test_an_image_of_nobody_is_counted_once(store: Store) -> None:
    """Its origin is that of all together."""
    add(store, (CounterKey(HOUR, RECEIVED, 0, 0, 7), Increment(1, 0, 0, 1, 9)))
    assert tallies(store) == {
        Where(None, None, ""): (1, 1, 0, 0, 9, 0),
        Where(None, None, None): (0, 1, 0, 0, 0, 0),
    }


def test_a_study_is_counted_on_the_day_of_its_first_image_whoever_counts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in memory of studies is bounded, ends with the process, and is not there in another one."""
    ct1, ct = store.strings.number("CT1"), store.strings.number("CT")
    monkeypatch.setattr(counters, "_LARGEST_CACHE", 8)
    other = Counters(store.database)
    for number, counter in enumerate((store.counters, other, store.counters, other)):
        for study in range(6):
            key = CounterKey(HOUR + 100 * number, RECEIVED, ct1, ct, study)
            with store.database.write() as connection:
                counted = counter.add(connection, {key: Increment(1, moved=1)})
            counter.remember(counted)
            assert len(counter._known) <= 8 + 4
    assert [(one.day, one.images, one.studies) for one in store.figures.days(0, 99999999)] == [
        (DAY, 6, 6),
        *((DAY + number, 6, 0) for number in (1, 2, 3)),
    ]


def test_what_was_rolled_back_was_not_counted(store: Store) -> None:
    key = CounterKey(HOUR, RECEIVED, store.strings.number("CT1"), store.strings.number("CT"), 7)
    with store.database.write() as connection:
        store.counters.add(connection, {key: Increment(1, moved=1)})
        connection.rollback()
    assert store.counters.sources.told() == {}
    add(store, (key, Increment(1, moved=1)))
    assert tallies(store)[Where(None, None, None)] == (0, 1, 0, 0, 0, 0)


def test_failures_and_delays_are_added_up_over_days_and_by_reason(store: Store) -> None:
    ct1, ct, pacs = (store.strings.number(name) for name in ("CT1", "CT", "pacs"))
    for day, attempts in ((DAY, 2), (DAY, 3), (DAY + 1, 10)):
        busy = FailureKey(day, pacs, ct1, ct, "busy")
        add(
            store,
            (CounterKey(day * 100, pacs, ct1, ct, 7), Increment(1, delays={5: attempts, 6: 1})),
            failures={busy: Failures(attempts, 1), busy._replace(reason="cut", origin=0): Failures(1, 0)},
        )
    where = Where("pacs", "CT1", "CT")
    assert store.figures.failures(DAY, DAY) == [
        FailureTally(Where("pacs", None, "CT"), "cut", 2, 0),
        FailureTally(where, "busy", 5, 2),
    ]
    assert Counter({one.reason: one.attempts for one in store.figures.failures(DAY, DAY + 1)}) == {
        "busy": 15,
        "cut": 3,
    }
    assert store.figures.failures(DAY + 2, DAY + 9) == []
    assert store.figures.delays(DAY + 1, DAY + 1) == {where: {5: 10, 6: 1}}
    assert store.figures.delays(DAY - 1, DAY) == {where: {5: 5, 6: 2}}


def test_bounds_of_days_are_both_included(store: Store) -> None:
    ct1, ct = store.strings.number("CT1"), store.strings.number("CT")
    for day in (DAY, DAY + 1, DAY + 2):
        add(
            store, (CounterKey(day * 100, RECEIVED, ct1, ct, day), Increment(day - DAY + 1, bytes_received=1))
        )
    where = Where(None, "CT1", "CT")
    assert store.figures.tallies(DAY + 1, DAY + 1)[0].where.destination is None
    assert tallies(store, DAY, DAY + 1)[where][:2] == (3, 2)
    assert tallies(store, DAY + 1, DAY + 2)[where][:2] == (5, 2)
    assert [one.images for one in store.figures.days(DAY + 1, DAY + 2)] == [2, 3]
    assert [one.images for one in store.figures.hours(DAY, DAY)] == [1]
    assert isinstance(store.figures.tallies(DAY, DAY)[0], Tally)


def test_a_day_is_told_by_modality_and_destination(store: Store) -> None:
    ct1, ct, mr, pacs = (store.strings.number(name) for name in ("CT1", "CT", "MR", "pacs"))
    add(
        store,
        (CounterKey(HOUR, RECEIVED, ct1, ct, 7), Increment(3, 2, 1)),
        (CounterKey(HOUR, RECEIVED, ct1, mr, 8), Increment(1)),
        (CounterKey(HOUR, pacs, ct1, ct, 7), Increment(2)),
        (CounterKey(HOUR + 100, pacs, ct1, ct, 7), Increment(9)),
    )
    three = {"images": 3, "studies": 1, "repeats": 2, "versions": 1}
    one = {"images": 1, "studies": 1, "repeats": 0, "versions": 0}
    for day in (DAY, str(DAY), "2026-11-23"):
        assert store.counts.day(day) == {
            "received": {"CT": three, "MR": one},
            "delivered": {"pacs": {"CT": {**one, "images": 2}}},
        }
    assert store.counts.day(DAY + 9) == {"received": {}, "delivered": {}}


def test_queues_are_told_as_they_stand(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = [image(number, received_at=NOON + number, study=f"9.{number}") for number in range(6)]
    store.ingest.enter(pushed[:1], to("b"))
    store.ingest.enter(pushed[1:5], to("b", "a"))
    store.ingest.enter(pushed[5:], to())
    a = sorted(row.id for row in store.listing.select(Selection(destination="a")))
    b = sorted(row.id for row in store.listing.select(Selection(destination="b")))
    store.ledger.lease("a", 1, 60, "node")
    store.ledger.settle([Settlement(a[0], "delivered"), Settlement(a[1], "parked")])
    store.actions.hold(Selection(deliveries=[a[2]]))
    monkeypatch.setattr("mapdr.store.index.counts.time.time", lambda: 1000.0)
    store.ledger.settle([Settlement(a[3], "pending", not_before=1000.0)])
    store.ledger.settle([Settlement(id_, "pending", not_before=1000.0 + id_) for id_ in b])
    assert store.counts.queues() == [
        Queue("a", 1, 0, 1, 1, NOON + 4, 1000.0),
        Queue("b", 5, 0, 0, 0, NOON, 1000.0 + b[0]),
    ]
    assert (store.counts.pending(), store.counts.parked(), store.counts.unrouted()) == (7, 1, 1)
    monkeypatch.setattr("mapdr.store.queue.ledger.time.time", lambda: 9e9)
    assert len(store.ledger.lease("b", 2, 60, "node")) == 2
    store.ledger.lease("a", 1, 60, "node")
    first, second = store.counts.queues()
    assert first == Queue("a", 0, 1, 1, 1, NOON + 4, None), "what is leased is not due"
    assert (second.pending, second.leased, second.oldest) == (3, 2, NOON)
    assert (store.counts.pending(), store.counts.parked()) == (7, 1)
    status = store.counts.status()
    assert {name: status[name] for name in ("pending", "parked", "unrouted")} == {
        "pending": 7,
        "parked": 1,
        "unrouted": 1,
    }
    again = image(5, study="9.5", content=4, received_at=NOON)._replace(id=f"{77:032x}")
    store.ingest.enter([again], to())
    assert store.counts.unrouted() == 1, "an image that came twice is one"


def test_what_came_today_is_told_by_peer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.store.index.counters.time.time", lambda: NOON)
    ws = replace(SOURCE, calling_ae="WS")
    pushed = [image(1), image(2, modality="MR"), image(3, source=ws), image(4, received_at=NOON - 86_400)]
    store.ingest.enter(pushed, to("pacs"))
    assert store.counts.received_today() == {"CT1": 2, "WS": 1}
    received = store.counts.today()["received"]
    assert {name: numbers["images"] for name, numbers in received.items()} == {"CT": 2, "MR": 1}


def test_an_hour_is_that_of_the_local_day() -> None:
    for moment in (NOON, NOON + 3599.9, NOON + 13 * 3600, 0.0, 86_399.0, 1.7e9, 4e9):
        written = datetime.fromtimestamp(moment)
        assert hour_of(moment) == int(written.strftime("%Y%m%d%H"))
        assert day_of(moment) == int(written.strftime("%Y%m%d"))
