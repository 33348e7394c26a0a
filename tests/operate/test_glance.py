"""The state of the tray, and what is told once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mapdr.operate.access import Access
from mapdr.operate.glance import Glance, News, glance
from mapdr.operate.model import Attention, NodeState
from mapdr.operate.view import node_state
from paper.nodes import NodeFolder


@pytest.fixture
def calm(opened: Access, used: NodeFolder) -> NodeState:
    """A node that runs, with nothing stuck."""
    used.beat()
    state = node_state(opened)
    return replace(
        state,
        node=replace(state.node, state="running"),
        attention=[],
        parked=0,
        unrouted=0,
        destinations=[replace(one, state="idle", queue=0, held=0) for one in state.destinations],
    )


def test_the_standing_in_a_word(calm: NodeState) -> None:
    bad = Attention("down", "bad", "pacs is down")
    held = [replace(one, state="held", queue=2) for one in calm.destinations]
    assert glance(calm).standing == "receiving"
    assert glance(replace(calm, destinations=held)).standing == "waiting"
    assert glance(replace(calm, unrouted=1)).standing == "waiting"
    assert glance(replace(calm, node=replace(calm.node, state="stopped"))).standing == "stopped"
    assert glance(replace(calm, parked=1)).standing == "stuck"
    assert glance(replace(calm, attention=[bad, Attention("held", "warn", "")])).bad == [bad]
    assert glance(replace(calm, attention=[bad])).standing == "stuck"


def test_counts_and_destinations(calm: NodeState) -> None:
    seen = glance(calm)
    assert seen.counts.startswith("received 7; delivered 2")
    assert [name for name, _ in seen.destinations] == ["telepacs", "archive"]


def test_news_are_told_once_whatever_their_words_count() -> None:
    def seen(*texts: str) -> Glance:
        return Glance("stuck", "", (), [Attention("down", "bad", text) for text in texts])

    news = News()
    assert [one.text for one in news.of(seen("a is down, 1 times"))] == ["a is down, 1 times"]
    assert not news.of(seen("a is down, 2 times"))
    assert len(news.of(seen("a is down, 3 times", "b is down"))) == 2
    assert not news.of(seen("b is down"))
    assert not news.of(seen())
    assert news.of(seen("a is down, 1 times")), "it began anew"
