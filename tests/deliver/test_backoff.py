"""The waits by value, and what holds for every policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.deliver.backoff import Backoff
from mapdr.net.retry import Retry


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [
        (-1, 0.0),
        (0, 0.0),
        (1, 10.0),
        (2, 20.0),
        (3, 40.0),
        (9, 2560.0),
        (10, 3600.0),
        (11, 3600.0),
        (10**9, 3600.0),
    ],
)
def test_the_default_doubles_from_ten_seconds_to_an_hour(attempt: int, seconds: float) -> None:
    assert Backoff().delay(attempt, chance=lambda: 0.0) == seconds


def test_one_that_begins_below_a_second_grows_as_any_other() -> None:
    backoff = Backoff(first=0.1, factor=2.0, cap=10.0, jitter=0.0)
    assert [backoff.delay(attempt) for attempt in range(1, 10)] == [
        *(0.1 * 2**exponent for exponent in range(7)),
        10.0,
        10.0,
    ]


def test_jitter_only_shortens() -> None:
    assert Backoff(first=10, jitter=0.2).delay(1, chance=lambda: 0.5) == pytest.approx(9.0)
    assert Backoff(first=10, jitter=0.2).delay(10, chance=lambda: 0.0) <= 3600.0


def test_waits_differ_so_that_nodes_do_not_call_together() -> None:
    assert len({Backoff().delay(3) for _ in range(20)}) > 10


@given(
    first=st.just(0.0) | st.floats(1e-6, 1e6),
    factor=st.floats(1, 1e3),
    cap=st.floats(0, 1e7),
    attempt=st.integers(1, 10**12),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_within_its_bounds(
    first: float, factor: float, cap: float, attempt: int, chance: float
) -> None:
    backoff = Backoff(first, factor, cap)
    wait = backoff.delay(attempt, chance=lambda: chance)
    assert 0.0 <= wait <= cap
    assert wait >= min(first, cap) * 0.8 * (1 - 1e-9)


def test_it_follows_the_policy_of_the_destination() -> None:
    assert Backoff.of(Retry(first=1, factor=3, cap=5)) == Backoff(1, 3, 5)
