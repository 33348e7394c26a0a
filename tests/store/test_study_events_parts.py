"""When a study is told of and what is said of it, row by row, over an index in memory."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from mapdr.store import study_events
from mapdr.store.index import schema
from mapdr.store.index.schema import State
from mapdr.store.messages import OutboxEntry
from mapdr.store.outbox import Outbox
from mapdr.store.study_events import SeriesPart, StudyEvent, StudyEvents
from store.memory import Memory

NOW, QUIET = 1_800_000_000.0, 30.0
WORDS = {0: "", 1: "pacs", 2: "far", 8: "CT", 9: "SR"}
CT, SR = 8, 9


class World:
    """Studies whose rows the test puts, and what is told of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.index = Memory()
        self.now = 500.0
        monkeypatch.setattr(study_events, "time", SimpleNamespace(monotonic=lambda: self.now))
        strings: Any = SimpleNamespace(text=WORDS.__getitem__)
        self.events = StudyEvents(self.index, strings, Outbox(self.index))
        self.images = 0

    def study(self, number: int) -> None:
        """A study of two series, ten times its number and the one after it."""
        facts = {"first_at": NOW - 90, "last_at": NOW - 40, "study_date": "20261123"}
        self.index.put(schema.study, id=number, uid=f"1.{number}", tags='{"00080050": "ACC"}', **facts)
        for series in (10 * number, 10 * number + 1):
            self.index.put(schema.series, id=series, study=number, uid=f"9.{series}")

    def image(self, series: int, uid: str = "", *, modality: int = CT, **states: State | str) -> None:
        """An image and what is promised of it: a state by destination, and a `reason`."""
        self.images += 1
        id_ = self.images.to_bytes(16, "big")
        uid = uid or f"8.{self.images}"
        self.index.put(schema.instance, id=id_, series=series, sop_instance_uid=uid, modality=modality)
        reason = states.pop("reason", None)
        for name, state in states.items():
            number = {text: number for number, text in WORDS.items()}[name]
            facts = {"study": series // 10, "destination": number, "state": int(state), "reason": reason}
            self.index.put(schema.delivery, instance=id_, **facts)

    def changed(self, study: int, destination: int, ago: float = QUIET, *, announced: int = 0) -> None:
        row = {"study": study, "destination": destination, "changed_at": NOW - ago, "announced": announced}
        self.index.put(schema.progress, due=1, **row)

    def told(self, **more: Any) -> list[StudyEvent]:
        return self.events.due_events(NOW, QUIET, **more)

    def progress(self) -> dict[tuple[int, int], tuple[int, int]]:
        with self.index.read() as connection:
            rows = connection.execute(select(schema.progress))
            return {(row.study, row.destination): (row.due, row.announced) for row in rows}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(monkeypatch)
    made.study(1)
    made.study(2)
    yield made
    made.index.close()


def test_a_study_is_told_of_when_it_has_been_quiet_to_the_moment(world: World) -> None:
    world.image(10)
    world.changed(1, 0, QUIET - 0.001)
    assert world.events.waiting()
    assert world.told() == []
    world.image(20)
    world.changed(2, 0, QUIET)
    (event,) = world.told()
    assert (event.study, event.kind, event.destination, event.key) == (
        2,
        "study.received",
        "",
        "study.received:2:0:0",
    )
    assert world.progress() == {(1, 0): (1, 0), (2, 0): (0, 1)}
    assert world.told() == []
    assert world.events.waiting()
    assert world.events.due_events(NOW + 1, QUIET)[0].study == 1
    assert not world.events.waiting()


def test_what_is_said_of_a_study_is_counted_by_its_rows(world: World) -> None:
    world.image(10, pacs=State.DELIVERED)
    world.image(10, pacs=State.PARKED, far=State.PENDING, reason="refused")
    world.image(11, modality=SR, pacs=State.DELIVERED)
    world.image(11, pacs=State.SUPERSEDED)
    world.image(11, pacs=State.DISMISSED)
    world.image(20, pacs=State.PARKED)
    world.changed(1, 1, announced=3)
    (event,) = world.told()
    assert event == StudyEvent(
        key="study.parked:1:1:3",
        kind="study.parked",
        study=1,
        study_instance_uid="1.1",
        study_date="20261123",
        destination="pacs",
        tags={(0x00080050,): "ACC"},
        modalities=("CT", "SR"),
        series=2,
        images=3,
        delivered=2,
        parked=1,
        reason="refused",
        update=3,
        first_at=NOW - 90,
        last_at=NOW - 40,
        at=NOW,
        by_series=(SeriesPart("9.10", "CT", 2, 1), SeriesPart("9.11", "SR", 1, 0)),
    )
    assert world.progress() == {(1, 1): (0, 4)}


def test_the_newest_promise_of_an_image_speaks_for_it(world: World) -> None:
    world.image(10, "8.8", pacs=State.PARKED, reason="refused")
    world.image(10, "8.8", pacs=State.DELIVERED)
    world.image(11, "8.8", pacs=State.DELIVERED)
    world.changed(1, 1)
    (event,) = world.told()
    assert (event.kind, event.images, event.delivered, event.parked, event.reason) == (
        "study.delivered",
        2,
        2,
        0,
        "",
    )
    world.changed(1, 0)
    (event,) = world.told()
    assert (event.images, event.series, event.delivered) == (2, 2, 0)


@pytest.mark.parametrize("state", [State.PENDING, State.LEASED, State.HELD, State.DISMISSED])
def test_while_something_is_open_or_nothing_is_promised_nothing_is_told(world: World, state: State) -> None:
    world.image(10, pacs=State.DELIVERED if state is not State.DISMISSED else state)
    world.image(10, pacs=state)
    world.changed(1, 1, announced=2)
    assert world.told() == []
    assert world.progress() == {(1, 1): (0, 2)}, "what ends later makes it due again"


def test_nothing_is_told_of_a_study_whose_images_still_come(world: World) -> None:
    for series in (10, 20):
        world.image(series, pacs=State.DELIVERED)
    world.changed(1, 1, 90)
    world.changed(1, 0, QUIET - 1)
    world.changed(2, 1, 90)
    world.changed(2, 0, QUIET)
    told = [(event.study, event.destination) for event in world.told()]
    assert told == [(2, ""), (2, "pacs")], "what was received before what became of it"


def test_so_many_at_once_and_the_longest_quiet_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_events, "_AT_ONCE", 2)
    for destination, ago in ((1, 50.0), (2, 70.0), (0, 40.0)):
        world.image(10, **({WORDS[destination]: State.DELIVERED} if destination else {}))
        world.changed(1, destination, ago)
    assert [event.destination for event in world.told()] == ["", "far"]
    assert [event.destination for event in world.told()] == ["pacs"]


def test_of_studies_that_are_due_together_one_that_cannot_be_told_of_keeps_no_other(world: World) -> None:
    for study in (1, 2):
        world.image(10 * study)
        world.changed(study, 0, QUIET + 10 - study)

    def entries(event: StudyEvent) -> list[OutboxEntry]:
        if event.study == 1:
            raise ValueError("SECRET")
        return []

    assert [event.study for event in world.told(entries=entries)] == [2]


def test_a_study_that_cannot_be_told_of_is_tried_again_later_and_keeps_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(study_events, "_AT_ONCE", 1)
    for study in (1, 2):
        world.image(10 * study)
        world.changed(study, 0, QUIET + 10 - study)
    asked: list[int] = []

    def entries(event: StudyEvent) -> list[OutboxEntry]:
        asked.append(event.study)
        if event.study == 1 and len(asked) < 4:
            raise ValueError("SECRET")
        return [OutboxEntry(f"{event.key}:ris", "ris", event.kind, {"study": event.study}, event.study)]

    assert world.told(entries=entries) == []
    assert [event.study for event in world.told(entries=entries)] == [2]
    assert asked == [1, 2]
    assert world.told(entries=entries) == []
    world.now += QUIET
    assert world.told(entries=entries) == []
    assert asked == [1, 2, 1]
    world.now += QUIET - 0.001
    assert world.told(entries=entries) == []
    world.now += 0.001
    assert [event.study for event in world.told(entries=entries)] == [1]
    assert [message.study for message in Outbox(world.index).list()] == [1, 2]
    assert {message.created_at for message in Outbox(world.index).list()} == {NOW}
    assert world.progress() == {(1, 0): (0, 1), (2, 0): (0, 1)}
    assert "SECRET" not in caplog.text
    assert caplog.text.count("study 1 cannot be told of") == 2
