from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mapdr.store import Purged, Selection, Settlement, Store
from mapdr.store.retention import Retention, _Walk
from mapdr.store.spool.files import Spool
from store.conftest import Opener
from store.world import To, push


def deliver(store: Store, state: str = "delivered", destination: str = "pacs") -> None:
    rows = store.ledger.lease(destination, 1000, 60, "node")
    store.ledger.settle([Settlement(row.id, state, reason="x") for row in rows])


def test_what_was_delivered_long_ago_goes_and_its_counts_stay(store: Store) -> None:
    ids = [push(store, f"1.{n}") for n in range(5)]
    assert store.writer.flush()
    deliver(store)
    counts = store.counts.today()
    now = time.time()
    assert store.retention.purge(now, 3600) == Purged()
    done = store.retention.purge(now + 3700, 3600)
    assert done.images == 5
    assert done.bytes > 0
    assert not any(store.spool.path(id_).exists() for id_ in ids)
    assert store.counts.today() == counts
    assert len(store.listing.select(Selection(state="delivered"))) == 5
    assert store.retention.purge(now + 3700, 3600) == Purged()


def test_the_time_of_the_last_delivery_counts_and_not_that_of_the_receipt(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opener(router=To("near", "far"))
    id_ = push(store, "1.1")
    assert store.writer.flush()
    now = time.time()
    for destination, later in (("near", 100), ("far", 5000)):
        with monkeypatch.context() as patch:
            patch.setattr("mapdr.store.queue.settle.time.time", lambda later=later: now + later)
            deliver(store, destination=destination)
    assert store.retention.purge(now + 5000 + 3500, 3600) == Purged()
    assert store.spool.path(id_).exists()
    assert store.retention.purge(now + 5000 + 3700, 3600).images == 1


@pytest.mark.parametrize("state", ["pending", "parked", "leased", "held"])
def test_what_is_owed_to_anybody_stays(opener: Opener, state: str) -> None:
    store = opener(router=To("pacs", "archive"))
    id_ = push(store, "1.1")
    assert store.writer.flush()
    deliver(store, destination="archive")
    if state == "leased":
        store.ledger.lease("pacs", 1, 10, "node")
    elif state == "held":
        store.actions.hold(Selection(destination="pacs"))
    else:
        deliver(store, state)
    assert store.retention.purge(time.time() + 1e6, 1) == Purged()
    assert store.spool.path(id_).exists()


@pytest.mark.parametrize("end", ["dismissed", "superseded"])
def test_what_nobody_waits_for_any_more_goes(opener: Opener, end: str) -> None:
    store = opener(router=To("pacs"))
    id_ = push(store, "1.1")
    assert store.writer.flush()
    deliver(store, "parked")
    if end == "dismissed":
        store.actions.dismiss(Selection(state="parked"))
    else:
        store.rerouting.reroute(Selection(state="parked"), To("pacs").route, frozenset())
        assert store.retention.purge(time.time() + 1e6, 1) == Purged()
        deliver(store)
    assert store.retention.purge(time.time(), 3600) == Purged()
    assert store.retention.purge(time.time() + 3700, 3600).images == 1
    assert not store.spool.path(id_).exists()


def test_unrouted_images_stay(opener: Opener) -> None:
    store = opener(router=To())
    push(store, "1.1")
    assert store.writer.flush()
    assert store.counts.unrouted() == 1
    assert store.retention.purge(time.time() + 1e6, 1) == Purged()
    assert store.retention.purge(time.time() + 2e6, 1) == Purged()
    assert store.counts.unrouted() == 1
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE instance SET purged_at = 1.0")
    assert store.retention.purge(time.time() + 1e6, 1).images == 1
    assert store.counts.unrouted() == 0


def test_the_row_is_committed_before_the_file_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = push(store, "1.1")
    assert store.writer.flush()
    deliver(store)

    def crash(id_: str) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(store.spool, "discard", crash)
    with pytest.raises(KeyboardInterrupt):
        store.retention.purge(time.time() + 100, 1)
    monkeypatch.undo()
    with store.database.read() as connection:
        assert connection.exec_driver_sql("SELECT purged_at FROM instance").scalar_one() is not None
    assert store.spool.path(id_).exists()
    assert store.retention.purge(time.time() + 100, 1).images == 1
    assert not store.spool.path(id_).exists()


def test_a_repeat_after_the_purge_is_delivered_again(store: Store) -> None:
    push(store, "1.1")
    assert store.writer.flush()
    deliver(store)
    store.retention.purge(time.time() + 100, 1)
    push(store, "1.1")
    assert store.writer.flush()
    assert len(store.ledger.lease("pacs", 9, 9, "n")) == 1


def test_a_file_that_cannot_be_removed_is_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    id_ = push(store, "1.1")
    assert store.writer.flush()
    deliver(store)

    def denied(id_: str) -> bool:
        raise PermissionError(13, "denied", "/secret/path")

    monkeypatch.setattr(store.spool, "discard", denied)
    assert store.retention.purge(time.time() + 100, 1) == Purged()
    monkeypatch.undo()
    assert "secret" not in caplog.text
    assert store.retention.purge(time.time() + 100, 1).images == 1
    assert not store.spool.path(id_).exists()


class Hours:
    """A spool whose files lie in three hours of its own; what was removed of it, in order."""

    def __init__(self, store: Store, hours: dict[str, list[str]]) -> None:
        self.spool, self.by_hour = store.spool, hours
        self.removed: list[str] = []

    def hours(self) -> list[str]:
        return sorted(self.by_hour)

    def files(self, hour: str) -> list[str]:
        return list(self.by_hour[hour])

    def discard(self, id_: str) -> bool:
        self.removed.append(id_)
        return self.spool.discard(id_)

    def remove_hour(self, hour: str) -> None:
        self.removed.append(hour)


class Ticks:
    """A clock that goes on a second with each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


HOURS = ["2026112301", "2026112302", "2026112303"]


@pytest.fixture
def three(store: Store) -> tuple[Retention, Hours, list[str]]:
    """Three delivered images, each in another hour."""
    ids = [push(store, f"1.{n}") for n in range(3)]
    assert store.writer.flush()
    deliver(store)
    spool = Hours(store, {hour: [id_] for hour, id_ in zip(HOURS, ids, strict=True)})
    return Retention(store.database, cast(Spool, spool)), spool, ids


def test_hours_are_purged_up_to_that_of_the_retention(
    three: tuple[Retention, Hours, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    retention, spool, ids = three
    now = time.time() + 100
    named = {now - 1: HOURS[1], now + 86_400: HOURS[2]}
    monkeypatch.setattr("mapdr.store.retention.hour_of_time", lambda moment: named[moment])
    assert retention.purge(now, 1).images == 2
    assert spool.removed == [ids[0], HOURS[0], ids[1], HOURS[1]]


def test_room_is_made_hour_by_hour_and_goes_on_where_its_time_was_over(
    three: tuple[Retention, Hours, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    retention, spool, ids = three
    monkeypatch.setattr("mapdr.store.retention.time", Ticks())
    monkeypatch.setattr("mapdr.store.retention.hour_of", lambda id_: HOURS[ids.index(id_)])
    now = time.time() + 100
    done = retention.make_room(now, lambda: False, 0.5)  # something is done, however long the looking takes
    assert (done.images, done.more) == (1, True)
    assert spool.removed == [ids[0], HOURS[0]]
    spool.removed.clear()
    done = retention.make_room(now, lambda: len(spool.removed) > 1, 9)
    assert (done.images, done.more) == (1, False)
    assert spool.removed == [HOURS[0], ids[1], HOURS[1]]
    spool.removed.clear()
    done = retention.make_room(now, lambda: False, 9)
    assert (done.images, done.more) == (1, False), "the last of them"
    assert [each for each in spool.removed if each in HOURS] == HOURS
    spool.removed.clear()
    retention.make_room(now, lambda: False, 9)
    assert [each for each in spool.removed if each in HOURS] == HOURS


def test_hours_that_lie_ahead_are_gone_on_with_where_the_time_was_over(
    three: tuple[Retention, Hours, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due comes first, and not again before the walk ahead has ended."""
    retention, spool, ids = three
    now = time.time() + 100
    named = {now - 1: HOURS[0], now + 86_400: HOURS[0]}
    monkeypatch.setattr("mapdr.store.retention.hour_of_time", lambda moment: named[moment])
    monkeypatch.setattr("mapdr.store.retention.hour_of", lambda id_: HOURS[ids.index(id_)])
    monkeypatch.setattr("mapdr.store.retention.time", Ticks())
    done = retention.purge(now, 1, 0.5)
    assert (done.images, done.more) == (2, True)
    assert spool.removed == [ids[0], HOURS[0], ids[1], HOURS[1]]
    spool.removed.clear()
    done = retention.purge(now, 1, 99)
    assert (done.images, done.more) == (1, False)
    assert [each for each in spool.removed if each in HOURS] == HOURS[1:]
    spool.removed.clear()
    retention.purge(now, 1, 99)
    assert [each for each in spool.removed if each in HOURS] == HOURS[:1]


def test_what_was_purged_is_said_to_the_byte_and_to_the_moment(store: Store) -> None:
    ids = [push(store, f"1.{n}", pixels=2 * n + 2) for n in range(3)]
    assert store.writer.flush()
    deliver(store)
    size = sum(store.instances.get(id_).size for id_ in ids)
    (last,) = {row.settled_at for row in store.listing.select(Selection())}
    assert last is not None
    assert store.retention.purge(last + 3600 - 0.01, 3600) == Purged()
    assert store.retention.purge(last + 3600, 3600) == Purged(3, size)
    with store.database.read() as connection:
        times = connection.exec_driver_sql("SELECT DISTINCT purged_at FROM instance").scalars().all()
    assert times == [last + 3600]


def test_deaths_in_hand_are_forgotten_with_their_image(store: Store) -> None:
    for uid in ("1.1", "1.2"):
        push(store, uid)
    assert store.writer.flush()
    with store.database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO death (instance, recipe, syntax, deaths) SELECT id, 1, 0, 2 FROM instance"
        )
    rows = store.ledger.lease("pacs", 1, 60, "node")
    store.ledger.settle([Settlement(row.id, "delivered") for row in rows])
    assert store.retention.purge(time.time() + 100, 1).images == 1
    with store.database.read() as connection:
        left = connection.exec_driver_sql("SELECT instance FROM death").scalars().all()
    assert len(left) == 1
    assert bytes(left[0]).hex() != rows[0].instance.id


def test_a_walk_goes_on_behind_the_last_image_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours before it, whose folders have files left, are passed over; at its end it begins anew."""
    by_hour = {hour: [f"{hour}{number}" for number in range(3)] for hour in HOURS}
    emptied: list[str] = []
    spool: Any = SimpleNamespace(
        hours=lambda: HOURS, files=lambda hour: by_hour[hour], remove_hour=emptied.append
    )
    monkeypatch.setattr("mapdr.store.retention.hour_of", lambda id_: id_[:-1])
    clock = [0.0]
    monkeypatch.setattr("mapdr.store.retention.time", SimpleNamespace(monotonic=lambda: clock[0]))
    walk = _Walk(spool, 2)

    def portions(most: int, newest: str = "") -> list[str]:
        seen: list[str] = []
        for number, ids in enumerate(walk.portions(1.0, lambda hour: not newest or hour <= newest), 1):
            seen += ids
            if number == most:
                clock[0] += 2.0
        return seen

    every = [id_ for hour in HOURS for id_ in by_hour[hour]]
    assert portions(1) == every[:2]
    assert (walk.more, emptied) == (True, [])
    assert portions(2) == every[2:5]
    assert (walk.more, emptied) == (True, HOURS[:1])
    assert portions(9) == every[5:]
    assert (walk.more, emptied) == (False, HOURS)
    assert portions(9, HOURS[1]) == every[:6]
    assert not walk.more
    assert portions(1) == every[:2]
    walk.begin_anew()
    assert portions(1) == every[:2]
