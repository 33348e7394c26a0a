"""The search for a level, against size functions that behave and some that do not."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.kernel.codec import Dial
from mapdr.transform.encode.search import (
    FIRST,
    MOST_ENCODES,
    MOST_WHOLE_ENCODES,
    TOLERANCE,
    Hints,
    find_level,
    find_quality,
    find_whole,
)

from .toy import DB, NEAR


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


# How soon it ends


def by_law(level: float) -> int:
    """1,000 at a level of 50, e times as many for each 1 / 0.07 more."""
    return int(1000 * math.exp(0.07 * (level - 50)))


@pytest.mark.parametrize("start", [40.0, 49.0, 50.0, 51.0, 60.0])
def test_where_a_size_follows_its_slope_the_second_encode_meets_the_goal(start: float) -> None:
    found = find_level(by_law, 1000, start, 100)
    assert found.exact
    assert (found.level, found.encodes) == (pytest.approx(50, abs=0.1), 1 if start == 50 else 2)
    assert found.size == by_law(found.level)


def test_the_first_step_is_bounded_and_those_after_it_grow() -> None:
    levels: list[float] = []

    def size_at(level: float) -> int:
        levels.append(level)
        return 1 if level < 90 else 10**6

    find_level(size_at, 1000, 10, 120)
    assert levels[1] == 10 + FIRST
    assert levels[2] > levels[1] + FIRST
    levels.clear()
    # Where the size hardly answers, each step is twice as wide as the one before.
    find_level(lambda level: levels.append(level) or 930, 1000, 10, 120)
    steps = [after - before for before, after in itertools.pairwise(levels)]
    assert steps[1:5] == pytest.approx([6, 12, 24, 48])
    assert (levels[-1], len(levels)) == (120, 7)


def test_an_edge_at_the_end_of_the_range_is_seen_at_once() -> None:
    assert find_level(lambda level: 5000, 1000, 2, 120).encodes == 1
    found = find_level(lambda level: 500, 1000, 120, 120)
    assert (found.saturated, found.exact, found.level, found.size, found.encodes) == (
        True,
        False,
        120,
        500,
        1,
    )
    assert find_level(by_law, 1000, 20, 100, least=50).level == 50


@pytest.mark.parametrize(("size", "exact"), [(954, True), (953, False), (1051, True), (1052, False)])
def test_the_tolerance_is_that_of_the_ratio(size: int, exact: bool) -> None:
    assert find_level(lambda level: size, 1000, 50, 50, least=50).exact == exact


def test_what_comes_nearest_is_told_where_nothing_meets_the_goal() -> None:
    found = find_level(lambda level: 900 if level < 61.7 else 1200, 1000, 60, 120)
    assert (found.size, found.exact, found.saturated) == (900, False, False)
    assert found.level < 61.7


# A dial of whole numbers

SMALL = Dial(-9, -1, "NEAR below zero", 0.1, -4, whole=True)


@given(
    st.lists(st.integers(1, 2000), min_size=9, max_size=9).map(sorted),
    st.integers(-9, -1),
    st.integers(1, 2500),
)
def test_the_greatest_level_that_fits_is_found_on_any_dial(sizes: list[int], start: int, goal: int) -> None:
    asked: list[float] = []

    def size_at(level: float) -> int:
        asked.append(level)
        return sizes[int(level) + 9]

    found = find_whole(size_at, goal, start, SMALL)
    assert len(asked) == len(set(asked)) == found.encodes
    if sizes[0] > goal * (1 + TOLERANCE):
        assert (found.exact, found.level) == (False, -9)
        return
    assert found.exact
    assert found.size == sizes[int(found.level) + 9] <= goal * (1 + TOLERANCE)
    is_met = abs(goal / found.size - 1) <= TOLERANCE
    assert found.saturated == (found.level == -1 and found.size < goal * (1 - TOLERANCE))
    assert is_met or found.level == -1 or sizes[int(found.level) + 10] > goal * (1 + TOLERANCE)


def test_a_whole_dial_is_left_as_soon_as_its_neighbours_are_known() -> None:
    def size_at(level: float) -> int:
        return round(1000 * math.exp(0.1 * (level + 50)))

    for goal, most in ((1000, 2), (1020, 2), (900, 4)):
        found = find_whole(size_at, goal, -30, NEAR)
        assert (found.exact, found.saturated) == (True, False)
        assert found.encodes <= most
    assert find_whole(size_at, 1000, -50.4, NEAR).encodes == 1
    # One that takes all the encodes there are tells the greatest that did fit.
    creeping = find_whole(lambda level: 10**9 if level > -120 else 1 + (level == -120), 1000, -255, NEAR)
    assert (creeping.level, creeping.exact) == (-120, True)
    assert creeping.encodes <= MOST_WHOLE_ENCODES


# A quality


@pytest.mark.parametrize(("start", "encodes"), [(70.2, 1), (60.0, 2), (80.0, 2), (69.0, 2)])
def test_where_quality_follows_its_slope_the_second_encode_meets_it(start: float, encodes: int) -> None:
    asked: list[float] = []
    level = find_quality(lambda at: asked.append(at) or at - 70, start, DB, 0.3)
    assert level is not None
    assert 70 <= level <= 70.3
    assert len(asked) <= encodes + (abs(start - 70) < 3 and encodes > 1)


@given(
    st.lists(st.integers(-30, 30), min_size=9, max_size=9).map(sorted),
    st.integers(-9, -1),
    st.sampled_from([0.3, 2.0]),
)
def test_the_lowest_level_that_is_good_enough_is_found(margins: list[int], start: int, excess: float) -> None:
    asked: list[float] = []

    def margin_at(level: float) -> float:
        asked.append(level)
        return margins[int(level) + 9]

    level = find_quality(margin_at, start, SMALL, excess)
    assert all(each == int(each) and -9 <= each <= -1 for each in asked)
    assert len(asked) == len(set(asked))
    if margins[8] < 0:
        assert level is None
        return
    assert level is not None
    margin = margins[int(level) + 9]
    assert margin >= 0
    assert margin <= excess or level == -9 or margins[int(level) + 8] < 0


def test_a_step_of_quality_is_found_to_a_fifth_of_a_db() -> None:
    asked: list[float] = []
    level = find_quality(lambda at: asked.append(at) or (40.0 if at >= 71.3 else -40.0), 60, DB, 0.3)
    assert level is not None
    assert 71.3 <= level <= 71.5
    # The bracket of a dial with half the slope is twice as wide.
    coarse = Dial(2.0, 120.0, "dB", 0.035, 60.0)
    level = find_quality(lambda at: 40.0 if at >= 71.3 else -40.0, 60, coarse, 0.3)
    assert level is not None
    assert 71.3 <= level <= 71.7


def test_a_quality_that_only_the_highest_level_has_is_found() -> None:
    assert find_quality(lambda at: 0.0 if at >= 120 else -1.0, 60, DB, 0.3) == 120


def test_where_the_encodes_run_out_what_is_good_enough_is_sent() -> None:
    """A cliff at the end of a dial of 255 levels: the lowest one is not found, but one that is good."""
    asked: list[float] = []

    def margin_at(level: float) -> float:
        asked.append(level)
        return (level + 245) * 0.01 if level >= -245 else -100

    level = find_quality(margin_at, -1, NEAR, 0.3)
    assert level is not None
    assert -245 <= level < -128
    assert len(asked) == MOST_ENCODES


def test_less_than_a_db_too_much_is_good_enough() -> None:
    assert find_quality(lambda at: 0.5, DB.highest, DB, 0.2) == DB.lowest
    level = find_quality(lambda at: 0.5 if at >= 100 else -1.0, DB.highest, DB, 0.2)
    assert level == pytest.approx(100, abs=0.2)
    assert level >= 100


def test_the_last_hints_stay() -> None:
    hints = Hints(keep=2)
    for key, number in (("a", 1.0), ("b", 2.0), ("a", 3.0), ("c", 4.0)):
        hints.learn(key, number)
    assert [hints.get(key) for key in "abc"] == [3.0, None, 4.0]


def test_a_quality_out_of_reach_is_known_at_the_highest_level() -> None:
    asked: list[float] = []
    assert find_quality(lambda at: asked.append(at) or -1.0, -2, SMALL, 0.3) is None
    assert asked.count(-1) == 1
