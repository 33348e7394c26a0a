"""When the last image of each source came, and since when a node takes images."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from sqlalchemy import delete

from mapdr.kernel.item import Source
from mapdr.store import Store
from mapdr.store.index import schema
from store.conftest import Opener
from store.world import SOURCE, push

OTHER = Source("web", "", "", "10.9.9.9", "dicomweb", "token:ct2")
REAL = time.time


def test_each_source_is_known_by_its_last_image(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.arrivals.all() == []
    began = REAL()
    for uid, source, at in (("1.1", SOURCE, 0.0), ("1.2", OTHER, 50.0), ("1.3", SOURCE, 90.0)):
        monkeypatch.setattr(time, "time", lambda at=at: began + at)
        push(store, uid, source=source)
    assert store.writer.flush()
    known = dict(store.arrivals.all())
    assert known == pytest.approx({SOURCE: began + 90, OTHER: began + 50}, abs=2)
    # One that was begun earlier and is entered later takes nothing back; a repeat is a sign of life.
    monkeypatch.setattr(time, "time", lambda: began + 30)
    push(store, "1.4", source=OTHER)
    monkeypatch.setattr(time, "time", lambda: began + 120)
    push(store, "1.3")
    assert store.writer.flush()
    assert dict(store.arrivals.all()) == pytest.approx({SOURCE: began + 120, OTHER: began + 50}, abs=2)


def test_it_is_known_after_a_restart_and_without_its_images(opener: Opener) -> None:
    first = opener()
    push(first, "1.1", source=replace(SOURCE, calling_ae="CT9"))
    assert first.writer.flush()
    (known,) = first.arrivals.all()
    with first.database.write() as connection:
        connection.execute(delete(schema.instance))
    first.close()
    assert opener().arrivals.all() == [known]


def test_nodes_that_share_an_index_share_what_came(opener: Opener) -> None:
    here, there = opener(), opener(node="other")
    push(there, "1.1")
    assert there.writer.flush()
    assert [source for source, _ in here.arrivals.all()] == [SOURCE]


@pytest.mark.parametrize(
    ("last_sign", "resumed"),
    [(None, 0.0), (1_000_000.0, 0.0), (999_701.0, 0.0), (999_700.0, 1_000_000.0), (1.0, 1_000_000.0)],
)
def test_a_break_is_kept_and_a_restart_is_none(
    opener: Opener, last_sign: float | None, resumed: float
) -> None:
    store = opener()
    store.arrivals.resume(last_sign, 1_000_000.0)
    assert store.arrivals.resumed_at() == resumed
    store.arrivals.resume(1_000_050.0, 1_000_060.0)  # and is not forgotten by one
    assert store.arrivals.resumed_at() == resumed
    assert opener(node="other", start=False).arrivals.resumed_at() == 0.0


def test_a_start_after_a_long_time_is_noticed(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opener()
    first.commands.beat({})
    first.close()
    monkeypatch.setattr(time, "time", lambda: REAL() + 7200)
    assert opener().arrivals.resumed_at() == pytest.approx(REAL() + 7200, abs=60)


@pytest.mark.parametrize(
    ("state", "after", "is_break"), [("stopped", 400, True), ("running", 400, False), ("running", 700, True)]
)
def test_a_node_that_had_nothing_to_say_may_have_lived_after_its_last_sign(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, state: str, after: float, is_break: bool
) -> None:
    """One that is killed at night, and started again at once, has had no break."""
    first = opener()
    first.commands.beat({"state": state, "rests": first.rests})
    first.close()
    monkeypatch.setattr(time, "time", lambda: REAL() + after)
    assert (opener().arrivals.resumed_at() > 0) is is_break
