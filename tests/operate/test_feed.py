"""Events are told once and in order; a node that goes away and comes back is told of and followed on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.operate.feed import HELD, EventFeed
from mapdr.store import Store
from mapdr.store.spool.claim import Claim, running_file
from paper.nodes import NodeFolder


@pytest.fixture
def node(used: NodeFolder) -> Iterator[Store]:
    """The store of a node that runs."""
    store = used.store()
    claim = Claim(running_file(store.data, store.node), store.node)
    claim.alone(1)
    yield store
    claim.release()
    store.close()


def beat(store: Store, *events: dict[str, Any], state: str = "running") -> None:
    store.commands.beat({"state": state, "events": list(events)})


def event(number: int, kind: str = "images.parked", **facts: Any) -> dict[str, Any]:
    return {"at": 1_800_000_000.0 + number, "kind": kind, "destination": "a", "images": number, **facts}


def kinds(feed: EventFeed) -> list[str]:
    return [one.kind for one in feed.look()]


@pytest.fixture
def opened(used: NodeFolder) -> Iterator[Access]:
    found = Access.of(used.config)
    yield found
    found.close()


def test_each_event_is_told_once_from_now_on(node: Store, opened: Access) -> None:
    beat(node, event(1))
    feed = EventFeed(opened)
    assert feed.look() == []
    beat(node, event(1), event(2))
    (one,) = feed.look()
    assert (one.kind, one.level, one.facts["images"]) == ("images.parked", "bad", 2)
    assert one.text == "2 images were parked for a: unknown"
    beat(node, event(1), event(2))
    assert feed.look() == []
    beat(node, event(1), event(3, times=2), event(4, "destination.back"))
    assert kinds(feed) == ["images.parked", "destination.back"], "one that came again is told with its times"


def test_a_clock_that_was_set_back_hides_no_event(node: Store, opened: Access) -> None:
    feed = EventFeed(opened)
    beat(node, event(5))
    feed.look()
    beat(node, event(5), event(2))
    assert kinds(feed) == ["images.parked"]


def test_a_node_that_goes_away_and_comes_back_is_followed(node: Store, opened: Access) -> None:
    beat(node, event(1))
    feed = EventFeed(opened)
    feed.look()
    beat(node, event(1), event(2, "node.draining"), state="stopped")
    (away, last) = feed.look()
    assert (away.kind, away.level, away.facts) == ("node.away", "bad", {"reason": "it is stopped"})
    assert last.kind == "node.draining"
    assert feed.look() == [], "it is told once"
    node.commands._started_at += 1
    beat(node, event(3, "node.started"))
    assert kinds(feed) == ["node.here", "node.started"]


def test_an_index_that_is_gone_is_told_and_followed_on(node: Store, opened: Access) -> None:
    beat(node)
    feed = EventFeed(opened)
    feed.look()
    index = node.data / "index.db"
    index.rename(node.data / "away.db")
    opened.close()
    assert kinds(feed) == ["node.away"]
    (node.data / "away.db").rename(index)
    beat(node, event(1))
    assert kinds(feed) == ["node.here", "images.parked"]


def test_more_than_could_be_followed_is_said(node: Store, opened: Access) -> None:
    beat(node, *(event(number) for number in range(HELD)))
    feed = EventFeed(opened)
    feed.look()
    beat(node, *(event(number) for number in range(HELD, 2 * HELD)))
    told = kinds(feed)
    assert told[0] == "events.missed"
    assert len(told) == HELD + 1


def test_kinds_narrow_it(node: Store, opened: Access) -> None:
    beat(node)
    feeds = [EventFeed(opened, one) for one in (["node.*"], ["images.parked"], ["destination.back"])]
    for feed in feeds:
        feed.look()
    beat(node, event(1), event(2, "node.reloaded"))
    assert [kinds(feed) for feed in feeds] == [["node.reloaded"], ["images.parked"], []]
    with pytest.raises(RequestError, match=r'did you mean "images\.parked"'):
        EventFeed(opened, ["images.park"])
