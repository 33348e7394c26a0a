"""The search for a level, against size functions that behave and some that do not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.transform.encode.search import MOST_ENCODES, TOLERANCE, Hints, find_level


@given(st.floats(0.03, 0.12), st.floats(20, 120), st.floats(2, 150))
def test_it_converges_on_what_codecs_look_like(slope: float, middle: float, start: float) -> None:
    def size_at(level: float) -> int:
        return 1 + int(100_000 * math.exp(slope * (level - middle)))

    found = find_level(size_at, 100_000, start, 200)
    assert found.exact
    assert abs(100_000 / size_at(found.level) - 1) <= TOLERANCE
    assert found.encodes <= 9


@pytest.mark.parametrize("start", [30.0, 37.2, 41.0, 60.0, 90.0])
def test_a_cliff_and_a_plateau_are_no_straight_line(start: float) -> None:
    """As noise of 8 bits is: nothing is left of it at a level, and little more than that is all of it."""

    def size_at(level: float) -> int:
        return 1300 if level < 40 else int(475_000 * (1 - math.exp(-(level - 38.5) / 8)))

    found = find_level(size_at, 104_000, start, 120)
    assert found.exact
    assert found.encodes <= 9


def test_a_neighbours_level_takes_one_encode() -> None:
    found = find_level(lambda level: 1020, 1000, 70, 120)
    assert (found.level, found.encodes, found.exact) == (70, 1, True)


def test_an_image_simpler_than_the_ratio_saturates_soon() -> None:
    found = find_level(lambda level: int(900 - 500 * math.exp(-level / 20)), 1000, 60, 122)
    assert found.saturated
    assert not found.exact
    assert found.encodes <= 6


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(10, 110))
def test_a_jump_over_the_goal_ends_the_search(below: int, above: int, edge: float) -> None:
    calls = 0

    def size_at(level: float) -> int:
        nonlocal calls
        calls += 1
        return min(below, 900) if level < edge else above + 1100

    found = find_level(size_at, 1000, 60, 120)
    assert not found.exact
    assert calls == found.encodes <= MOST_ENCODES


def test_the_lowest_level_may_still_be_too_large() -> None:
    found = find_level(lambda level: 5000, 1000, 60, 120)
    assert (found.exact, found.saturated) == (False, False)


def test_hints_are_kept_per_series_and_bounded() -> None:
    hints = Hints(keep=2)
    hints.learn("a", 0.4)
    hints.learn("a", 0.5)
    assert hints.get("a") == 0.5
    hints.learn("b", 0.1)
    hints.learn("c", 0.2)
    assert hints.get("a") is None


@pytest.mark.parametrize("start", [-5.0, 500.0])
def test_a_wild_start_is_brought_into_range(start: float) -> None:
    levels = []

    def size_at(level: float) -> int:
        levels.append(level)
        return int(1000 * math.exp(0.07 * (level - 50)))

    assert find_level(size_at, 1000, start, 100).exact
    assert all(2 <= level <= 100 for level in levels)
