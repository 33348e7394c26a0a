"""Images that no rule takes: told of for a week, then purged; and nothing that was not told of."""

from __future__ import annotations

import time

import pytest

from mapdr.store import Purged, Selection, Store
from mapdr.store.unrouted import Expiring
from store.conftest import Opener
from store.world import To, push

DAY = 86400.0
KEEP = 30 * DAY


@pytest.fixture
def unrouted(opener: Opener) -> Store:
    """Three images that no rule takes, and one that is owed."""
    store = opener(router=To())
    for number in range(3):
        push(store, f"1.{number}")
    store.use("rev2", To("pacs"), {"r0": {"steps": []}})
    push(store, "1.9")
    assert store.writer.flush()
    return store


def days(store: Store, first: float, last: float, keep: float = KEEP) -> list[tuple[float, int]]:
    """The node's rounds, four a day, from one day after the receipt to another: when how many images went."""
    came, gone, day = time.time(), [], first
    while day <= last:
        now = came + day * DAY
        if store.unrouted.look(now, keep).tell:
            store.unrouted.told(now, keep)
        purged = store.unrouted.purge(now, keep)
        if purged.images:
            gone.append((day, purged.images))
        day += 0.25
    return gone


def test_they_are_told_of_a_week_before_and_go_in_time(unrouted: Store) -> None:
    now = time.time()
    assert unrouted.unrouted.look(now + 22 * DAY, KEEP).images == 0
    soon = unrouted.unrouted.look(now + 23.5 * DAY, KEEP)
    assert (soon.images, soon.tell) == (3, True)
    assert abs(soon.first_at - (now + KEEP)) < 60
    assert unrouted.unrouted.expiring == soon
    ((day, images),) = days(unrouted, 0, 40)
    assert images == 3
    assert 30 <= day <= 31.25
    assert unrouted.counts.unrouted() == 0
    assert unrouted.counts.pending() == 1, "what a rule takes stays"
    assert len(list(unrouted.spool.folder.rglob("*.dcm"))) == 1
    assert unrouted.unrouted.look(now + 50 * DAY, KEEP).images == 0


def test_a_node_that_did_not_run_for_months_tells_before_it_purges(unrouted: Store) -> None:
    ((day, images),) = days(unrouted, 100, 120)
    assert images == 3
    assert 107 <= day <= 108.25


def test_a_shorter_time_is_told_before_it_holds(unrouted: Store) -> None:
    assert not days(unrouted, 0, 20)
    ((day, _),) = days(unrouted, 20.25, 40, keep=10 * DAY)
    assert 27.25 <= day <= 28.5


def test_what_was_told_before_for_ever_is_told_again(unrouted: Store) -> None:
    assert not days(unrouted, 0, 29)
    unrouted.unrouted.forget()
    assert unrouted.unrouted.expiring == Expiring()
    ((day, _),) = days(unrouted, 40, 60)
    assert 47 <= day <= 48.25


def test_a_time_that_is_shorter_than_the_notice(unrouted: Store) -> None:
    ((day, images),) = days(unrouted, 0, 5, keep=DAY)
    assert images == 3
    assert 1 <= day <= 2.5


def test_a_clock_that_was_set_back_purges_nothing(unrouted: Store) -> None:
    assert not days(unrouted, 10, 29)
    assert unrouted.unrouted.purge(time.time(), KEEP) == Purged()


def test_a_purge_that_takes_too_long_is_gone_on_with(
    unrouted: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.store.unrouted._AT_ONCE", 1)
    now = time.time() + KEEP
    unrouted.unrouted.told(now, KEEP)
    rounds = [unrouted.unrouted.purge(now + 8 * DAY, KEEP, seconds) for seconds in (-1, 10, 10)]
    assert [(each.images, each.more) for each in rounds] == [(1, True), (2, False), (0, False)]


def test_what_was_routed_meanwhile_stays(unrouted: Store) -> None:
    assert not days(unrouted, 0, 29)
    done = unrouted.rerouting.reroute(Selection(state="unrouted"), To("pacs").route, frozenset())
    assert done.deliveries == 3
    assert not days(unrouted, 29.25, 40)
    assert unrouted.counts.pending() == 4


def test_the_row_is_committed_before_the_file_goes_and_the_next_start_removes_it(
    opener: Opener, unrouted: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not days(unrouted, 0, 29)

    def crash(id_: str) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(unrouted.spool, "discard", crash)
    with pytest.raises(KeyboardInterrupt):
        days(unrouted, 29.25, 40)
    monkeypatch.undo()
    unrouted.close()
    again = opener(start=False)
    found = again.recover(lambda revision: None)
    assert (found.leftovers, found.indexed) == (3, 0)


def test_another_nodes_images_stay(opener: Opener, unrouted: Store) -> None:
    other = opener(node="other", router=To())
    push(other, "7.1")
    assert other.writer.flush()
    assert sum(images for _, images in days(unrouted, 0, 40)) == 3
    assert other.counts.unrouted() == 1


def test_an_image_that_comes_again_after_its_purge_is_kept_again(unrouted: Store) -> None:
    days(unrouted, 0, 40)
    unrouted.use("rev3", To(), {})
    push(unrouted, "1.0")
    assert unrouted.writer.flush()
    assert unrouted.counts.unrouted() == 1
