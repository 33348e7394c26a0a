"""The log says what goes wrong and comes right, once, and sums up what comes in numbers."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from mapdr.kernel.watch import Watch
from mapdr.operate.brief import state_line
from mapdr.operate.journal import COUNTS, SUM_UP, Journal, recovery
from mapdr.operate.model import Attention
from mapdr.store.recover import Recovered
from paper.states import busy


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> _Lines:
    caplog.set_level(logging.DEBUG, "mapdr.run")
    return _Lines(caplog)


class _Lines:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def take(self) -> list[tuple[str, str]]:
        lines = [(record.levelname, record.getMessage()) for record in self._caplog.records]
        self._caplog.clear()
        return lines


def test_a_destination_that_goes_and_comes_back_is_two_lines(told: _Lines) -> None:
    watch = Watch()
    watch.observe(Journal())
    watch.emit("destination.waits", destination="pacs", reason="unreachable", comment="connection refused")
    watch.emit("destination.waits", destination="pacs", reason="receiver-busy", status=0xA700)
    watch.emit("destination.back", destination="pacs", seconds=200.0)
    watch.emit("study.received", study=7, images=3)
    assert told.take() == [
        ("ERROR", "pacs is down: connection refused"),
        ("ERROR", "pacs is down: it answered: out of resources (0xA700)"),
        ("INFO", "pacs takes images again after 3 min"),
    ]


def test_parked_images_are_said_at_once_and_then_summed_up(told: _Lines) -> None:
    clock = Clock()
    journal, watch = Journal(clock=clock), Watch()
    watch.observe(journal)
    for _ in range(3):
        watch.emit("images.parked", destination="pacs", reason="refused", status=0xA900, images=2)
    watch.emit("images.parked", destination="pacs", reason="value-too-long", status=None, images=1)
    mismatch = "refused, the data set does not match its SOP class (0xA900)"
    assert told.take() == [
        ("ERROR", f"2 images were parked for pacs: {mismatch}"),
        ("ERROR", "1 image was parked for pacs: value-too-long"),
    ]
    journal.flush()
    assert told.take() == []
    clock.now += SUM_UP
    journal.flush()
    assert told.take() == [("ERROR", f"4 images were parked for pacs: {mismatch}")]
    watch.emit("images.parked", destination="pacs", reason="refused", status=0xA900, images=5)
    assert told.take() == []
    journal.flush(at_once=True)
    assert told.take() == [("ERROR", f"5 images were parked for pacs: {mismatch}")]


def test_what_goes_without_its_compression_is_a_line_a_minute(told: _Lines) -> None:
    clock = Clock()
    journal, watch = Journal(clock=clock), Watch()
    watch.observe(journal)
    why = "sent to tele without the compression of the rule: it refuses that transfer syntax"
    for _ in range(24):
        watch.emit("images.uncompressed", destination="tele", images=1)
        journal.flush()
        clock.now += 2
    assert told.take() == [("WARNING", f"1 image was {why}")]
    clock.now += 12
    journal.flush()
    assert told.take() == [("WARNING", f"23 images were {why}")]


def test_what_needs_attention_is_said_when_it_begins_and_when_it_ends(told: _Lines) -> None:
    journal = Journal()
    item = Attention("unrouted", "warn", "1 image unrouted: no rule takes it")
    down = Attention("down", "bad", "pacs is down")
    journal.attention([item, down])
    journal.attention([replace(item, text="9 images unrouted: no rule takes them")])
    journal.attention([])
    assert told.take() == [
        ("WARNING", "1 image unrouted: no rule takes it"),
        ("INFO", "no longer so: 9 images unrouted: no rule takes them"),
    ]


def test_what_the_start_put_in_order_is_told_in_words() -> None:
    assert recovery(Recovered()) == []
    assert recovery(Recovered(parts=1, indexed=2, leases=3)) == [
        "put in order at start: 1 unfinished object was removed",
        "put in order at start: 2 images of the spool came into the index",
        "put in order at start: 3 deliveries were under way",
    ]


def test_counts_are_told_once_a_minute_if_they_have_changed(told: _Lines) -> None:
    clock = Clock()
    journal, state = Journal(clock=clock), replace(busy(), attention=())
    assert journal.told(state) is state
    assert told.take() == []
    clock.now += COUNTS
    journal.told(state)
    journal.told(state)
    assert told.take() == [("INFO", state_line(state))]
    clock.now += COUNTS
    journal.told(state)
    assert told.take() == []
    clock.now += COUNTS
    more = replace(state, pending=state.pending + 1)
    journal.told(more)
    assert told.take() == [("INFO", state_line(more))]
