"""A clock that is set back or forward: what waits, waits as long as it would have."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from mapdr.store import Selection, Settlement, Store
from mapdr.store.clock import Clock
from mapdr.store.index import schema
from mapdr.store.messages import OutboxEntry, OutboxSettlement
from store.conftest import Opener
from store.world import SOURCE, push

HOUR = 3600.0
REAL = time.time


class Wall:
    """The wall clock of everything in the store, as far as it was set away from the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        monkeypatch.setattr(time, "time", self.now)

    def now(self) -> float:
        return REAL() + self.ahead


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


@pytest.fixture
def clocked(wall: Wall, opener: Opener) -> Store:
    store = opener()
    store._clock = Clock(store.database, wall=wall.now)
    store.spool._ids._clock = wall.now
    return store


def waits(store: Store, seconds: float) -> None:
    """An image that was tried and is tried again in so many seconds."""
    push(store, "1.1")
    assert store.writer.flush()
    (row,) = store.ledger.lease("pacs", 1, 60, "n")
    now = time.time()
    store.ledger.settle([Settlement(row.id, "pending", not_before=now + seconds, started_at=now - 10)])


def due_in(store: Store) -> float:
    due = store.ledger.next_due("pacs")
    assert due is not None
    return due - time.time()


def delivered(store: Store) -> str:
    """An image comes, and is delivered; its id."""
    push(store, "1.1")
    assert store.writer.flush()
    (row,) = store.ledger.lease("pacs", 9, 60, "n")
    store.ledger.settle([Settlement(row.id, "delivered")])
    return row.instance.id


@pytest.mark.parametrize("ahead", [-HOUR, -30.0, 200.0, HOUR])
def test_the_next_try_comes_when_it_would_have_come(clocked: Store, wall: Wall, ahead: float) -> None:
    waits(clocked, 100.0)
    wall.ahead = ahead
    assert clocked.look_at_the_clock() == pytest.approx(ahead, abs=1)
    assert due_in(clocked) == pytest.approx(100.0, abs=2)
    assert clocked.look_at_the_clock() == 0.0
    wall.ahead = 0.0
    clocked.look_at_the_clock()
    assert due_in(clocked) == pytest.approx(100.0, abs=2)


def test_what_was_tried_after_the_clock_was_set_forward_is_left(clocked: Store, wall: Wall) -> None:
    push(clocked, "1.1")
    assert clocked.writer.flush()
    wall.ahead = HOUR
    (row,) = clocked.ledger.lease("pacs", 1, 60, "n")
    clocked.ledger.settle([Settlement(row.id, "pending", not_before=time.time() + 10)])
    clocked.look_at_the_clock()
    assert due_in(clocked) == pytest.approx(10.0, abs=2)


@pytest.mark.parametrize("ahead", [-9 * HOUR, -20.0, 9 * HOUR])
def test_a_source_is_silent_for_as_long_as_it_was(clocked: Store, wall: Wall, ahead: float) -> None:
    wall.ahead = -3 * HOUR
    push(clocked, "1.1", source=replace(SOURCE, calling_ae="CT2"))
    assert clocked.writer.flush()
    wall.ahead = 0.0
    push(clocked, "1.2")
    assert clocked.writer.flush()

    def silent() -> dict[str, float]:
        return {source.calling_ae: time.time() - at for source, at in clocked.arrivals.all()}

    before = silent()
    assert before == pytest.approx({"CT1": 0.0, "CT2": 3 * HOUR}, abs=2)
    wall.ahead = ahead
    assert clocked.look_at_the_clock() == pytest.approx(ahead, abs=1)
    assert silent() == pytest.approx(before, abs=3)


@pytest.mark.parametrize("ahead", [-HOUR, -20.0, HOUR])
def test_a_study_is_quiet_when_it_would_have_been(clocked: Store, wall: Wall, ahead: float) -> None:
    push(clocked, "1.1")
    assert clocked.writer.flush()
    wall.ahead = ahead
    clocked.look_at_the_clock()

    def leased(later: float) -> int:
        wall.ahead = ahead + later
        return len(clocked.ledger.lease("pacs", 9, 60, "n", quiet_seconds=60.0))

    assert leased(50.0) == 0
    assert clocked.study_events.due_events(time.time(), 60.0) == []
    assert leased(65.0) == 1
    assert len(clocked.study_events.due_events(time.time(), 60.0)) == 1


def test_images_that_come_after_the_clock_was_set_back_count_for_the_quiet(
    clocked: Store, wall: Wall
) -> None:
    push(clocked, "1.1")
    assert clocked.writer.flush()
    wall.ahead = -HOUR
    clocked.look_at_the_clock()
    wall.ahead = -HOUR + 50
    push(clocked, "1.2")
    assert clocked.writer.flush()
    wall.ahead = -HOUR + 70
    assert clocked.ledger.lease("pacs", 9, 60, "n", quiet_seconds=60.0) == []
    wall.ahead = -HOUR + 115
    assert len(clocked.ledger.lease("pacs", 9, 60, "n", quiet_seconds=60.0)) == 2


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_leases_neither_run_out_nor_last_for_hours(clocked: Store, wall: Wall, ahead: float) -> None:
    push(clocked, "1.1")
    assert clocked.writer.flush()
    clocked.ledger.lease("pacs", 1, 60, "n")
    wall.ahead = ahead
    clocked.look_at_the_clock()
    assert clocked.ledger.release_expired(time.time()) == 0
    assert clocked.ledger.release_expired(time.time() + 301) == 1


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_messages_of_webhooks_wait_as_long(clocked: Store, wall: Wall, ahead: float) -> None:
    clocked.outbox.add([OutboxEntry("k", "ris", "study.received", {})], time.time())
    (message,) = clocked.outbox.lease("ris", 1, 60, time.time())
    clocked.outbox.settle([OutboxSettlement(message.id, "pending", time.time() + 100)], time.time())
    wall.ahead = ahead
    clocked.look_at_the_clock()
    due = clocked.outbox.next_due("ris")
    assert due is not None
    assert due - time.time() == pytest.approx(100, abs=2)


def test_two_processes_move_what_waits_once(clocked: Store, wall: Wall) -> None:
    other = Clock(clocked.database, wall=wall.now)
    waits(clocked, 100.0)
    wall.ahead = -HOUR
    assert clocked.look_at_the_clock()
    assert other.look()
    assert due_in(clocked) == pytest.approx(100.0, abs=2)


def test_a_small_step_is_none(clocked: Store, wall: Wall) -> None:
    wall.ahead = 1.0
    assert clocked.look_at_the_clock() == 0.0


def test_a_clock_that_was_set_back_while_the_node_was_down(wall: Wall, opener: Opener) -> None:
    store = opener()
    waits(store, 100.0)
    store.commands.beat({})
    store.close()
    wall.ahead = -HOUR
    again = opener(start=False)
    again._clock = Clock(again.database, wall=wall.now)
    again.start()
    assert due_in(again) == pytest.approx(100.0, abs=3)


def test_no_study_s_last_image_lies_in_the_future(clocked: Store, wall: Wall) -> None:
    push(clocked, "1.1")
    assert clocked.writer.flush()
    wall.ahead = -HOUR
    clocked.look_at_the_clock()
    with clocked.database.read() as connection:
        (last,) = connection.execute(select(schema.study.c.last_at)).scalars()
    assert last <= time.time() + 1


def test_what_could_not_be_moved_is_moved_later(
    clocked: Store, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits(clocked, 100.0)
    wall.ahead = -HOUR

    def locked(*facts: Any) -> Any:
        raise OSError("locked")

    with monkeypatch.context() as patch:
        patch.setattr(clocked.database, "write", locked)
        with pytest.raises(OSError, match="locked"):
            clocked.look_at_the_clock()
    assert clocked.look_at_the_clock()
    assert due_in(clocked) == pytest.approx(100.0, abs=2)


@pytest.mark.parametrize("year", [-365 * 24 * HOUR, 365 * 24 * HOUR])
def test_what_was_delivered_by_a_wrong_clock_is_purged_in_time(
    clocked: Store, wall: Wall, year: float
) -> None:
    """Of one that was ahead, the hours of its images and their deliveries lie ahead for a year."""
    wall.ahead = year
    clocked.look_at_the_clock()
    id_ = delivered(clocked)
    wall.ahead = 0.0
    clocked.look_at_the_clock()
    push(clocked, "1.2")
    assert clocked.writer.flush()
    now = time.time()
    if year > 0:
        assert clocked.retention.purge(now + HOUR - 60, HOUR).images == 0
        clocked.retention._ahead_due = time.monotonic()  # a day later
    assert clocked.retention.purge(now + HOUR + 60, HOUR).images == 1
    (left,) = clocked.spool.folder.rglob("*.dcm")
    assert left.stem != id_


def test_hours_that_lie_ahead_are_looked_through_once_a_day(
    clocked: Store, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that comes lies there for as long as the clock was ahead."""
    wall.ahead = 365 * 24 * HOUR
    push(clocked, "1.1")
    assert clocked.writer.flush()
    wall.ahead = 0.0
    looked: list[str] = []
    files = clocked.spool.files
    monkeypatch.setattr(clocked.spool, "files", lambda hour: looked.append(hour) or files(hour))
    at = [100.0]
    monkeypatch.setattr("mapdr.store.retention.time", SimpleNamespace(monotonic=lambda: at[0]))
    for later, times in ((0.0, 1), (60.0, 1), (86_300.0, 1), (86_401.0, 2), (86_460.0, 2)):
        at[0] = 100.0 + later
        clocked.retention.purge(time.time(), HOUR)
        assert len(looked) == times


def test_room_is_made_of_what_was_delivered_by_a_clock_that_was_ahead(clocked: Store, wall: Wall) -> None:
    wall.ahead = 365 * 24 * HOUR
    clocked.look_at_the_clock()
    delivered(clocked)
    wall.ahead = 0.0
    clocked.look_at_the_clock()
    assert clocked.retention.make_room(time.time(), lambda: False, 9.0).images == 1


def test_the_order_of_images_does_not_depend_on_the_clock(clocked: Store, wall: Wall) -> None:
    first = push(clocked, "1.1")
    wall.ahead = -HOUR
    second = push(clocked, "1.2")
    wall.ahead = HOUR
    third = push(clocked, "1.3")
    assert clocked.writer.flush()
    assert first < second < third
    rows = clocked.ledger.lease("pacs", 9, 60, "n")
    assert [row.instance.id for row in rows] == [first, second, third]
    assert len(clocked.listing.select(Selection())) == 3


@pytest.mark.parametrize("ahead", [1.0, 90.0])
def test_what_has_just_been_delivered_is_kept_though_a_clock_was_set_back_long_ago(
    clocked: Store, wall: Wall, ahead: float
) -> None:
    """It ended after the round of the purge began, or before a clock was put right by little."""
    wall.ahead = 365 * 24 * HOUR
    clocked.look_at_the_clock()
    push(clocked, "1.1")
    assert clocked.writer.flush()
    wall.ahead = 0.0
    clocked.look_at_the_clock()
    push(clocked, "1.5")
    assert clocked.writer.flush()
    later = time.time() + 30 * 24 * HOUR
    wall.ahead = 30 * 24 * HOUR + ahead
    rows = clocked.ledger.lease("pacs", 9, 60, "node")
    assert rows
    clocked.ledger.settle([Settlement(row.id, "delivered") for row in rows])
    assert clocked.retention.purge(later, 7 * 24 * HOUR).images == 0
