from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from mapdr.store.spool.ids import Ids, id_floor, id_milliseconds, is_id


@given(st.lists(st.integers(0, 1 << 42), min_size=1, max_size=60))
def test_ids_increase_whatever_the_clock_does(milliseconds: list[int]) -> None:
    times = iter(milliseconds)
    ids = Ids(clock=lambda: next(times) / 1000)
    made = [ids.next() for _ in milliseconds]
    assert made == sorted(set(made))
    assert all(is_id(id_) and len(id_) == 32 for id_ in made)


def test_an_id_has_the_layout_of_uuid_version_7() -> None:
    id_ = Ids(clock=lambda: 1_700_000_000.123).next()
    assert id_[12] == "7"
    assert id_[16] in "89ab"
    assert id_milliseconds(id_) == 1_700_000_000_123


def test_ids_go_on_after_the_floor() -> None:
    floor = Ids(clock=lambda: 2e9).next()
    assert Ids(floor=floor, clock=lambda: 1e9).next() > floor


def test_a_counter_that_is_used_up_moves_to_the_next_millisecond() -> None:
    floor = "0000000003e8" + "7fff" + "bfff" + "f" * 12
    assert is_id(floor)
    following = Ids(floor=floor, clock=lambda: 1.0).next()
    assert following > floor
    assert id_milliseconds(following) == 1001


def test_the_floor_of_a_moment_is_not_greater_than_its_ids() -> None:
    id_ = Ids(clock=lambda: 1_700_000_000.5).next()
    assert id_floor(1_700_000_000.5) <= id_ < id_floor(1_700_000_000.501)


def test_what_is_not_an_id() -> None:
    for text in ("", "x" * 32, "0" * 31, "0" * 32, "A" * 32, "../../../../../../../etc/passwd.."):
        assert not is_id(text)


def test_threads_get_different_ids() -> None:
    ids, made = Ids(clock=lambda: 5.0), []
    threads = [threading.Thread(target=lambda: made.extend(ids.next() for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2000
