from __future__ import annotations

import time

import pytest

from mapdr.store import Purged, Selection, Settlement, Store
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
