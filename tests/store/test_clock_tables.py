"""What a clock that was set moves in each table, to the second, and when it counts as set."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, Table, insert, select

from mapdr.store import clock
from mapdr.store.clock import Clock
from mapdr.store.index import schema
from mapdr.store.index.schema import State
from store.memory import Memory

NOW, HOUR, DAY = 1_800_000_000.0, 3600.0, 86400.0


@pytest.fixture
def index() -> Iterator[Memory]:
    made = Memory()
    yield made
    made.close()


@pytest.fixture
def connection(index: Memory) -> Iterator[Connection]:
    """An index without its rows, in memory."""
    with index.write() as opened:
        yield opened


def moved(connection: Connection, table: Table, column: str, offsets: list[float], jump: float) -> set[float]:
    """Which of some moments (seconds from now) are moved when the clock was set by `jump`; by as much."""
    filled = {each.name: 0 for each in table.columns if each.default is None and not each.nullable}
    key = "study" if table is schema.progress else "source"
    for number, offset in enumerate(offsets, 1):
        connection.execute(insert(table).values({**filled, key: number, column: NOW + offset}))
    (clock._quiet if table is schema.progress else clock._sources)(connection, NOW, jump)
    rows = connection.execute(select(table.c[key], table.c[column])).all()
    shifted = {offsets[number - 1]: at - NOW - offsets[number - 1] for number, at in rows}
    assert {by for by in shifted.values() if by} <= {jump}
    return {offset for offset, by in shifted.items() if by}


def test_the_quiet_of_the_last_day_is_moved_back(connection: Connection) -> None:
    """`changed_at` of what came after the clock was set, a second ago, is of the new clock."""
    asked = [3000.0, -1.0, -3.0, HOUR - DAY + 1, HOUR - DAY - 1]
    found = moved(connection, schema.progress, "changed_at", asked, -HOUR)
    assert found == {3000.0, -3.0, HOUR - DAY + 1}


def test_the_quiet_of_the_last_day_is_moved_forward(connection: Connection) -> None:
    asked = [-1.0, 3.0 - HOUR, 1.0 - HOUR, -HOUR - DAY + 1, -HOUR - DAY - 1]
    found = moved(connection, schema.progress, "changed_at", asked, HOUR)
    assert found == {1.0 - HOUR, -HOUR - DAY + 1}


def test_sources_are_moved_back(connection: Connection) -> None:
    asked = [3000.0, 0.5, -1.0, -3.0, -9 * DAY]
    found = moved(connection, schema.last_arrival, "at", asked, -HOUR)
    assert found == {3000.0, 0.5, -3.0, -9 * DAY}


def test_sources_are_moved_forward(connection: Connection) -> None:
    asked = [-1.0, 3.0 - HOUR, 1.0 - HOUR, -9 * DAY]
    found = moved(connection, schema.last_arrival, "at", asked, HOUR)
    assert found == {1.0 - HOUR, -9 * DAY}


class Waits:
    """Deliveries and messages in every state with every moment, and what becomes of them."""

    COLUMNS = ("not_before", "leased_until")

    def __init__(self, index: Memory, offsets: list[float]) -> None:
        self.index, self.rows = index, [(state, offset) for state in State for offset in offsets]
        for number, (state, offset) in enumerate(self.rows, 1):
            facts = {"state": int(state), **dict.fromkeys(self.COLUMNS, NOW + offset)}
            index.put(schema.delivery, id=number, **facts)
            index.put(schema.outbox, id=number, key=str(number), **facts)

    def moved(self, table: Table, column: str) -> dict[tuple[State, float], float]:
        """By state and moment (seconds from now), where it is now if it was moved."""
        with self.index.read() as connection:
            found = connection.execute(select(table.c.id, table.c[column])).all()
        now = {self.rows[id_ - 1]: at - NOW for id_, at in found}
        return {(state, offset): at for (state, offset), at in now.items() if at != offset}


WAITING = (State.PENDING, State.LEASED, State.HELD, State.PARKED)


def test_what_lies_ahead_is_moved_back_and_leases_are_capped(index: Memory) -> None:
    waits = Waits(index, [-5.0, 0.0, 5.0, 300.0, 301.0, 5000.0])
    for number, offset in enumerate((-5.0, 5000.0), 1):
        index.put(schema.study, id=number, uid=str(number), last_at=NOW + offset)
    with index.write() as connection:
        clock._back(connection, NOW, -HOUR)
    ahead = {(state, at): at - HOUR for state in WAITING for at in (5.0, 300.0, 301.0, 5000.0)}
    capped = dict.fromkeys([(State.LEASED, 301.0), (State.LEASED, 5000.0)], 300.0)
    for table in (schema.delivery, schema.outbox):
        assert waits.moved(table, "not_before") == ahead
        assert waits.moved(table, "leased_until") == capped
    with index.read() as connection:
        last = connection.execute(select(schema.study.c.last_at).order_by(schema.study.c.id)).scalars().all()
    assert last == [NOW - 5.0, NOW]


def test_what_was_jumped_over_is_moved_forward(index: Memory) -> None:
    """Of tries of images all that lie ahead, but of those that were made since."""
    waits = Waits(index, [-HOUR - 1, -HOUR, 1 - HOUR, -5.0, 0.0, 5.0])
    tried = waits.rows.index((State.PENDING, -5.0)) + 1
    before = waits.rows.index((State.PENDING, 5.0)) + 1
    index.put(schema.attempt, delivery=tried, number=1, started_at=NOW - 2.0)
    index.put(schema.attempt, delivery=before, number=1, started_at=NOW - 2.1)
    with index.write() as connection:
        clock._forward(connection, NOW, HOUR)
    ahead = {(state, at): at + HOUR for state in WAITING for at in (1 - HOUR, -5.0, 0.0, 5.0)}
    del ahead[State.PENDING, -5.0]
    over = {(state, at): at + HOUR for state in WAITING for at in (-HOUR, 1 - HOUR, -5.0, 0.0)}
    assert waits.moved(schema.delivery, "not_before") == ahead
    assert waits.moved(schema.outbox, "not_before") == over
    leased = {(State.LEASED, at): at + HOUR for at in (-HOUR, 1 - HOUR, -5.0, 0.0)}
    for table in (schema.delivery, schema.outbox):
        assert waits.moved(table, "leased_until") == leased


def test_one_change_of_the_clock_moves_once_for_all_processes(
    index: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[float] = []
    also: list[tuple[str, float]] = []
    for name in ("_back", "_forward"):
        monkeypatch.setattr(clock, name, lambda connection, now, jump: moved.append(jump))
    for name in ("_quiet", "_sources"):
        monkeypatch.setattr(clock, name, lambda connection, now, jump, name=name: also.append((name, jump)))
    at = [500.0]
    looks = Clock(index, wall=lambda: NOW, steady=lambda: at[0])
    for later, jump in (
        (0.0, -60.0),
        (0.0, -60.0),
        (29.0, -61.0),
        (0.0, -63.0),
        (29.9, -63.0),
        (31.0, -63.0),
        (0.0, 60.0),
    ):
        at[0] += later
        looks.move(jump)
    assert moved == [-60.0, -63.0, -63.0, 60.0]
    at[0] = 3.0  # the system was started anew: its clock, too
    looks.move(60.0)
    assert moved[4:] == [60.0]
    assert also == [(name, jump) for jump in moved for name in ("_quiet", "_sources")]


def test_when_it_was_set_back_is_known_of_a_day_and_more(index: Memory) -> None:
    def told() -> float | None:
        with index.read() as connection:
            return clock.set_back_at(connection)

    at = [NOW]
    looks = Clock(index, wall=lambda: at[0], steady=lambda: 500.0)
    looks.move(10.0 - DAY)
    assert told() is None
    looks.move(-DAY)
    assert told() == NOW
    at[0] += 100.0
    for jump in (DAY, -HOUR):
        looks.move(jump)
        assert told() == NOW
    looks.move(-9 * DAY)
    assert told() == NOW + 100.0


class Moves:
    """A clock of which only what it moves is looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.steady = NOW, 50.0
        self.by: list[float] = []
        monkeypatch.setattr(Clock, "move", lambda _, jump: self.by.append(jump))
        database: Any = SimpleNamespace(upsert=lambda *_, **__: None)
        self.clock = Clock(database, wall=lambda: self.wall, steady=lambda: self.steady)


def test_what_goes_on_with_the_other_clock_was_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    moves = Moves(monkeypatch)
    for both, ahead, by in ((100.0, 0.0, 0.0), (0.0, 1.9, 0.0), (5.0, 2.0, 3.9), (9.0, -60.0, -60.0)):
        moves.wall += both + ahead
        moves.steady += both
        assert moves.clock.look() == pytest.approx(by)
        assert moves.clock.look() == 0.0
    assert moves.by == pytest.approx([3.9, -60.0])


@pytest.mark.parametrize(
    ("last", "by"),
    [(None, 0.0), (NOW, 0.0), (NOW - HOUR, 0.0), (NOW + 1.9, 0.0), (NOW + 2.0, -2.0), (NOW + 99, -99.0)],
)
def test_a_sign_of_life_that_lies_ahead_says_that_the_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch, last: float | None, by: float
) -> None:
    moves = Moves(monkeypatch)
    assert moves.clock.begin(last) == by
    assert moves.by == ([by] if by else [])


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_the_clock_that_nobody_sets_counts_sleep_where_there_is_such_a_one(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    if platform == "linux" and not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("of Linux")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(time, "clock_gettime", lambda which: (which, "asleep too"), raising=False)
    monkeypatch.setattr(time, "monotonic", lambda: "awake")
    told: Any = clock.steady()
    assert told == ((time.CLOCK_BOOTTIME, "asleep too") if platform == "linux" else "awake")
