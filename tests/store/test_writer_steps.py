"""The writer step by step, without its thread: what is in hand, what is tried again, what refuses whom."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from mapdr.kernel.errors import Refused
from mapdr.store import writer as writer_module
from mapdr.store.index.fault import IndexFault
from mapdr.store.queue.ingest import Entered
from mapdr.store.writer import Writer

LOCKED = OperationalError("SECRET", {}, Exception("database is locked"))


def arrival(number: int, uid: str = "") -> Any:
    return SimpleNamespace(id=f"{number:032x}", sop_instance_uid=uid or f"1.2.{number}")


def ids(arrivals: Any) -> list[int]:
    return [int(each.id, 16) for each in arrivals]


class Runs:
    """What runs have stored, and whether they are open."""

    def __init__(self) -> None:
        self.waiting = self.backlog = 0
        self.in_use = False
        self.stored: list[Any] = []
        self.calls: list[str] = []
        self.room = True

    def open(self) -> None:
        self.calls.append("open")

    def close(self) -> None:
        self.calls.append("close")

    def admit(self) -> bool:
        return self.room

    def drain(self) -> list[Any]:
        stored, self.stored = self.stored, []
        return [(SimpleNamespace(arrival=lambda each: each), each) for each in stored]


class World:
    """A writer that is open and has no thread; its pauses are noted, and after the last it stops."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[list[int]] = []
        self.errors: list[Exception] = []
        self.poison: set[int] = set()
        self.absorbed: tuple[int, ...] = ()
        self.discarded: list[int] = []
        self.in_use: set[int] = set()
        self.heard: list[tuple[frozenset[str], int]] = []
        self.faults: list[str] = []
        self.pauses: list[float] = []
        self.go_on = True
        self.runs = Runs()
        ingest: Any = SimpleNamespace(enter=self._enter)
        monkeypatch.setattr(writer_module, "LINGER_SECONDS", 0.0)
        self.writer = Writer(
            ingest,
            self._discard,
            self.runs,  # type: ignore[arg-type]
            ready=self._ready,
            on_commit=lambda names: self.heard.append((names, self.writer.waiting)),
        )
        self.writer._open = True
        monkeypatch.setattr(self.writer, "_pause", self._pause)

    def _pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return self.go_on

    def _ready(self) -> None:
        if self.faults:
            raise IndexFault(self.faults.pop(0))

    def _enter(self, batch: Any, routes: Any) -> Entered:
        if self.errors:
            raise self.errors.pop(0)
        if self.poison.intersection(ids(batch)):
            raise ValueError("SECRET")
        self.batches.append(ids(batch))
        absorbed = tuple(each.id for each in batch if int(each.id, 16) in self.absorbed)
        return Entered(frozenset({"pacs"} if len(batch) > len(absorbed) else ()), absorbed)

    def _discard(self, id_: str) -> None:
        if int(id_, 16) in self.in_use:
            raise PermissionError(13, "in use")
        self.discarded.append(int(id_, 16))

    def enter(self, count: int) -> bool:
        self.writer._busy = [arrival(number) for number in range(1, count + 1)]
        return self.writer._enter()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_batch_is_what_waits_up_to_a_repeat_or_its_size(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "BATCH", 3)
    writer = world.writer
    writer._waiting.extend([arrival(1), arrival(2), arrival(3, "1.2.1")])
    world.runs.stored = [arrival(number) for number in (4, 5, 6)]
    taken = []
    while writer.waiting or world.runs.stored:
        assert writer._next_batch()
        taken.append(ids(writer._busy))
        assert world.runs.backlog == len(writer._waiting) + len(writer._busy)
        writer._busy.clear()
    assert taken == [[1, 2], [3, 4, 5], [6]]
    writer._open = False
    assert not writer._next_batch(), "nothing waits, and the node stops"
    writer._waiting.append(arrival(7))
    assert writer._next_batch(), "what waits is written at the end"


def test_one_at_fault_is_found_by_halves_and_the_parts_grow_again(world: World) -> None:
    world.poison = {5}
    assert world.enter(16)
    assert world.batches == [[1, 2, 3, 4], [6, 7], [8, 9, 10, 11], [12, 13, 14, 15, 16]]
    assert (world.writer.set_aside, world.writer.written, world.writer.failing) == (1, 15, "")
    assert world.writer.waiting == 0
    assert world.pauses == []


@pytest.mark.parametrize("bad", [1, 2])
def test_of_two_the_one_at_fault_is_set_aside(world: World, bad: int) -> None:
    world.poison = {bad}
    assert world.enter(2)
    assert world.batches == [[3 - bad]]
    assert [int(each, 16) for each in world.writer._aside._arrivals] == [bad]


def test_an_index_at_fault_is_tried_again_whole_until_the_node_stops(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.errors = [LOCKED, LOCKED]
    world.faults = ["its file is gone"]
    assert world.enter(4)
    assert world.batches == [[1, 2, 3, 4]]
    assert world.pauses == [1.0] * 3
    assert world.runs.calls == ["close"] * 3 + ["open"]
    assert world.writer.failing == ""
    assert "the index cannot be written: its file is gone" in caplog.text
    assert "the index can be written again" in caplog.text
    assert "SECRET" not in caplog.text
    world.go_on = False
    world.errors = [LOCKED]
    assert not world.enter(4)
    assert world.writer.failing == "database is locked"
    assert ids(world.writer._busy) == [1, 2, 3, 4], "they stay in hand"
    assert world.writer.waiting == 4


def test_ten_refusals_in_a_row_refuse_all_until_one_is_entered(world: World) -> None:
    world.poison = set(range(1, 100))
    assert world.enter(9)
    assert (world.writer.set_aside, world.writer.failing, world.runs.calls) == (9, "", [])
    world.writer._busy = [arrival(10)]
    assert world.writer._enter()
    assert world.writer.failing.startswith("no image can be entered")
    assert world.runs.calls == ["close"]
    with pytest.raises(Refused, match="no image can be entered"):
        world.writer.submit(arrival(11))
    for number in (1, 2, 3):  # those that are tried again say nothing new
        world.writer._busy = [arrival(number)]
        assert world.writer._enter()
    assert (world.writer.set_aside, world.writer._in_a_row) == (10, 10)
    world.poison = set()
    world.writer._busy = [arrival(1)]
    assert world.writer._enter()
    assert (world.writer.failing, world.writer.set_aside, world.writer._in_a_row) == ("", 9, 0)
    assert world.runs.calls[-1] == "open"


def test_what_follows_a_batch_is_done_before_it_counts_as_written(world: World) -> None:
    world.absorbed, world.in_use = (1, 2, 3), {2}
    flushed: list[bool] = []
    world.writer._on_commit = lambda names: flushed.append(world.writer.flush(0.0))
    assert world.enter(4)
    assert world.discarded == [1, 3], "a file that is in use keeps no other"
    assert flushed == [False]
    assert world.writer.flush(0.0)
    world.absorbed = (1, 2, 3, 4)
    assert world.enter(4)
    assert len(flushed) == 1, "repeats are no work for anybody"


def test_who_looks_at_the_index_ends_only_what_he_may(world: World) -> None:
    writer = world.writer
    world.faults = ["its file is gone"]
    writer.check()
    assert writer.failing == "its file is gone"
    writer._busy = [arrival(1)]
    writer.check()
    assert writer.failing, "what is in hand shows it"
    writer._busy.clear()
    writer._waiting.append(arrival(1))
    writer.check()
    assert writer.failing
    writer._waiting.clear()
    writer._in_a_row = 10
    writer.check()
    assert writer.failing, "only an image shows whether any can be entered"
    writer._in_a_row = 9
    writer.check()
    assert writer.failing == ""
    world.runs.calls.clear()
    writer.check()
    assert world.runs.calls == []
    writer._open = False
    world.faults = ["gone"]
    writer.check()
    writer.check()
    assert "open" not in world.runs.calls, "who stops takes no more"


def test_who_is_not_let_in_is_told_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = world.writer
    monkeypatch.setattr(writer_module, "PATIENCE", 0.0)
    world.runs.room = False
    with pytest.raises(Refused, match="too far behind"):
        writer.submit(arrival(1))
    world.runs.room = True
    world.runs.stored = [arrival(7)]
    writer.submit(arrival(1))
    assert ids(writer._waiting) == [7, 1], "in the order of their answers"
    assert world.runs.backlog == 2
    writer._fails("it is locked")
    with pytest.raises(Refused, match="cannot be written: it is locked"):
        writer.submit(arrival(2))
    writer._recovers()
    writer._open = False
    with pytest.raises(Refused, match="stopping") as caught:
        writer.submit(arrival(3))
    assert caught.value.status == 0xA700
    assert ids(writer._waiting) == [7, 1]


def test_rules_of_the_last_revisions_are_kept(world: World) -> None:
    routes: Any = [lambda header, source, number=number: number for number in range(10)]
    for number in range(9):
        world.writer.use(f"rev{number}", routes[number])
    world.writer.use("rev2", routes[9])
    assert list(world.writer._routes) == [f"rev{number}" for number in (1, 3, 4, 5, 6, 7, 8, 2)]
    assert world.writer._routes["rev2"] is routes[9]


@pytest.mark.parametrize(("left", "linger"), [(0.01, 0.09), (0.0, 0.0)])
def test_the_linger_is_that_of_its_pace_until_its_pause_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch, left: float, linger: float
) -> None:
    """The first image after a pause waits for no other."""
    writer = world.writer
    waits: list[float | None] = []
    monkeypatch.setattr(writer._state, "wait_for", lambda until, seconds: waits.append(seconds))
    told: list[int] = []
    pace = SimpleNamespace(pause=0.09, left=left, ended=told.append)
    monkeypatch.setattr(writer, "_pace", pace)
    writer._waiting.extend([arrival(1), arrival(2)])
    assert writer._next_batch()
    assert waits == [linger]
    assert writer._enter()
    assert told == [2]


def test_runs_of_a_new_association_are_looked_at_soon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LINGER_SECONDS", 0.04)
    monkeypatch.setattr(writer_module, "FIRST_LOOKS", 3)
    world.runs.in_use = True
    assert world.writer._patience() == 0.04
    world.writer.wake()
    assert [world.writer._patience() for _ in range(4)] == [0.01, 0.01, 0.01, 0.04]
    world.runs.in_use = False
    world.writer.wake()
    assert world.writer._patience() is None


def test_how_long_it_waits_is_up_to_who_may_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LINGER_SECONDS", 0.04)
    assert world.writer._patience() is None
    world.writer._aside.add(arrival(1))
    assert world.writer._patience() == 60.0
    world.runs.in_use = True
    assert world.writer._patience() == 0.04
    world.runs.waiting = 3
    world.writer._waiting.append(arrival(2))
    world.writer._busy.append(arrival(3))
    assert (world.writer.waiting, world.writer.set_aside) == (5, 1)


def test_who_stops_goes_on_trying_until_his_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, now = world.writer, 100.0
    waits: list[float] = []
    monkeypatch.setattr(writer_module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(writer._state, "wait_for", lambda until, seconds: waits.append(seconds))
    monkeypatch.setattr(writer._state, "wait", waits.append)
    assert Writer._pause(writer, 5.0)
    assert waits == [5.0]
    writer._open = False
    goes_on = []
    for deadline, seconds in ((103.0, 5.0), (103.0, 1.0), (100.0, 5.0), (99.0, 5.0)):
        writer._deadline = deadline
        goes_on.append(Writer._pause(writer, seconds))
    assert waits[1:] == [3.0, 1.0, 0.0, 0.0]
    assert goes_on == [True, True, False, False]
