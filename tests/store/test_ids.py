from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.store.spool.ids import Ids, hour_of, hour_of_time, id_floor, id_milliseconds, id_text, is_id

RAND_B = (1 << 62) - 1


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


def test_the_floor_of_a_moment_is_the_smallest_id_that_it_can_have() -> None:
    assert id_floor(1.5) == "0000000005dc" + "7000" + "8" + "0" * 15
    assert id_floor(-1.0) == "0" * 12 + "7000" + "8" + "0" * 15


def test_an_id_lies_in_the_hour_of_its_time() -> None:
    for at, hour in ((0.0, "1970010100"), (3599.999, "1970010100"), (1_795_000_000.0, "2026111811")):
        assert hour_of(id_floor(at)) == hour_of_time(at) == hour


@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 42), st.none() | st.integers(1, (1 << 40) - 1)), min_size=1, max_size=40
    )
)
def test_ids_of_a_block_follow_each_other_and_are_greater_than_all_before(
    calls: list[tuple[int, int | None]],
) -> None:
    times = iter([milliseconds for milliseconds, _ in calls] * 100)
    ids = Ids(clock=lambda: next(times) / 1000)
    last = ""
    for _, count in calls:
        first = ids.next() if count is None else id_text(ids.block(count))
        end = id_text(int(first, 16) + (count or 1) - 1)
        assert last < first <= end
        assert is_id(first)
        assert is_id(end)
        last = end


@pytest.mark.parametrize("count", [1, 5, 6, 7, 1000])
@pytest.mark.parametrize("rand_a", [0x000, 0xFFF])
def test_a_block_does_not_run_over_the_end_of_its_numbers(count: int, rand_a: int) -> None:
    """There two bits follow that say what kind of id it is, and then the version."""
    floor = f"0000000003e87{rand_a:03x}{2 << 62 | (RAND_B - 6):016x}"
    ids = Ids(floor=floor, clock=lambda: 1.0)
    ids._bits = lambda bits: 0
    first = ids.block(count)
    assert floor < id_text(first)
    assert all(is_id(id_text(first + number)) for number in range(count))
    assert ids.next() == id_text(first + count) or not is_id(id_text(first + count))


def test_what_is_not_an_id() -> None:
    for short in ("1" * 12, "1" * 31, "1" * 33):
        with pytest.raises(ValueError, match="32"):
            id_milliseconds(short)
        with pytest.raises(ValueError, match="32"):
            Ids(floor=short)
    for text in ("", "x" * 32, "0" * 31, "0" * 32, "A" * 32, "../../../../../../../etc/passwd.."):
        assert not is_id(text)


def test_ids_that_are_used_up_leave_room_in_the_next_millisecond() -> None:
    ids = Ids(floor="0000000003e8" + "7fff" + "bfff" + "f" * 12, clock=lambda: 1.0)
    ids._bits = lambda bits: (1 << bits) - 1
    assert all(map(is_id, (ids.next() for _ in range(3))))


def test_processes_that_begin_in_one_millisecond_make_different_ids() -> None:
    assert len({Ids(clock=lambda: 5.0).next() for _ in range(50)}) == 50


def test_threads_get_different_ids() -> None:
    ids, made = Ids(clock=lambda: 5.0), []
    threads = [threading.Thread(target=lambda: made.extend(ids.next() for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2000
