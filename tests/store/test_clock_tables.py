"""What a clock that was set moves in each table, to the second, and when it counts as set."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, Table, create_engine, insert, select

from mapdr.store import clock
from mapdr.store.clock import Clock
from mapdr.store.index import schema

NOW, HOUR, DAY = 1_800_000_000.0, 3600.0, 86400.0


@pytest.fixture
def connection() -> Iterator[Connection]:
    """An index without its rows, in memory."""
    engine = create_engine("sqlite://")
    schema.metadata.create_all(engine, tables=[schema.progress, schema.last_arrival])
    with engine.begin() as opened:
        yield opened
    engine.dispose()


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
