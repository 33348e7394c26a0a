"""A filling disk: its steps, what is refused at each, and what goes before its time."""

from __future__ import annotations

import shutil
import threading
import time
from collections import namedtuple
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.kernel.errors import Refused
from mapdr.kernel.item import Priority
from mapdr.store import Purged, Selection, Settlement, Store
from mapdr.store.spool import room
from mapdr.store.spool.room import DiskFigures, DiskStep, Room, next_step, step_of
from store.conftest import Opener
from store.world import To, push

MIN, LOW = 1000, 2000
usage = namedtuple("usage", "total used free")


@dataclass
class Disk:
    """What the system says of the disk."""

    free: int = 10_000

    def __call__(self, path: object) -> usage:
        return usage(100_000, 0, self.free)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(shutil, "disk_usage", found)
    monkeypatch.setattr(room, "MEASURED_FOR", -1.0)
    return found


@pytest.mark.parametrize(
    ("free", "step"),
    [
        (2000, DiskStep.ENOUGH),
        (1999, DiskStep.LOW),
        (1750, DiskStep.LOW),
        (1749, DiskStep.PURGING),
        (1499, DiskStep.NO_BULK),
        (1249, DiskStep.STAT_ONLY),
        (1000, DiskStep.STAT_ONLY),
        (999, DiskStep.FULL),
        (0, DiskStep.FULL),
    ],
)
def test_the_thresholds(free: int, step: DiskStep) -> None:
    assert step_of(free, MIN, LOW) is step


@pytest.mark.parametrize(
    ("before", "low", "free"),
    [
        (DiskStep.LOW, LOW, 2125),
        (DiskStep.NO_BULK, LOW, 1625),
        (DiskStep.FULL, LOW, 1125),
        (DiskStep.FULL, MIN, 1031),
    ],
)
def test_a_step_is_left_when_half_a_step_more_is_free(before: DiskStep, low: int, free: int) -> None:
    """Of a thirty-second part of the reserve where there are no steps."""
    assert next_step(before, free - 1, MIN, low) is before
    assert next_step(before, free, MIN, low) < before


def test_without_steps_there_is_enough_or_it_is_full() -> None:
    for low in (0, MIN):
        assert [step_of(free, MIN, low) for free in (MIN, MIN - 1)] == [DiskStep.ENOUGH, DiskStep.FULL]


def test_the_disk_is_asked_twice_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, now = Disk(1900), [50.0]
    monkeypatch.setattr(shutil, "disk_usage", found)
    monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: now[0]))
    looked = Room(tmp_path, MIN, LOW)
    assert looked.figures.share == 0.0
    assert looked.look() is DiskStep.LOW
    found.free = 1400
    now[0] += 0.5
    assert looked.look() is DiskStep.LOW
    assert looked.look(afresh=True) is DiskStep.NO_BULK
    assert looked.figures == DiskFigures(DiskStep.NO_BULK, 1400, 100_000)
    found.free = 1200
    now[0] += 0.5
    assert looked.look() is DiskStep.NO_BULK
    now[0] += 0.001
    assert looked.look() is DiskStep.STAT_ONLY


def test_who_waits_for_a_slow_disk_does_not_ask_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, asked, goes_on = Disk(1900), threading.Semaphore(0), threading.Event()
    waiting = threading.Semaphore(0)

    class Turn:
        """A lock that says when somebody wants it."""

        def __init__(self) -> None:
            self._lock = threading.Lock()

        def __enter__(self) -> None:
            waiting.release()
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    def slow(path: object) -> usage:
        asked.release()
        assert goes_on.wait(10)
        return disk(path)

    looked = Room(tmp_path, MIN, LOW)
    looked._lock = Turn()  # type: ignore[assignment]
    monkeypatch.setattr(shutil, "disk_usage", slow)
    monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: 50.0))
    with ThreadPoolExecutor(3) as threads:
        steps = [threads.submit(looked.look) for _ in range(3)]
        for _ in steps:
            assert waiting.acquire(timeout=10)
        goes_on.set()
        assert [each.result(10) for each in steps] == [DiskStep.LOW] * 3
    assert asked.acquire(blocking=False)
    assert not asked.acquire(blocking=False)


def test_new_thresholds_hold_for_who_was_about_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Room(tmp_path, MIN, LOW)
    monkeypatch.setattr(shutil, "disk_usage", Disk(3000))
    turn = looked._lock

    class Late:
        """A lock for which a look waits while the thresholds change."""

        def __enter__(self) -> None:
            looked._lock = turn
            looked.keep(5000, 6000)
            turn.acquire()

        def __exit__(self, *_: object) -> None:
            turn.release()

    looked._lock = Late()  # type: ignore[assignment]
    assert looked.look() is DiskStep.FULL
    assert looked.look() is DiskStep.FULL


sizes = st.integers(0, 4000)


@given(st.lists(sizes, min_size=1, max_size=60))
def test_the_step_is_never_lower_than_the_free_space_asks_for(course: list[int]) -> None:
    step = DiskStep.ENOUGH
    for free in course:
        before, step = step, next_step(step, free, MIN, LOW)
        asked = step_of(free, MIN, LOW)
        assert step >= asked
        assert step == asked or step <= before, "up only as far as the free space asks for"


@given(st.sampled_from(list(DiskStep)), st.integers(0, 3900), st.data())
def test_within_the_band_nothing_flaps(before: DiskStep, lowest: int, data: st.DataObject) -> None:
    band = (LOW - MIN) // 8
    course = data.draw(st.lists(st.integers(lowest, lowest + band), min_size=2, max_size=60))
    steps = [before]
    for free in course:
        steps.append(next_step(steps[-1], free, MIN, LOW))
    ups = sum(later > earlier for earlier, later in pairwise(steps[1:]))
    downs = sum(later < earlier for earlier, later in pairwise(steps[1:]))
    assert not (ups and downs), "once up or once down, and never to and fro"
    assert ups + downs <= 1


@given(st.integers(1, 1 << 50), st.integers(0, 1 << 50), st.sampled_from(list(DiskStep)))
def test_with_much_free_all_is_taken_again_and_with_nothing_none(
    least: int, more: int, before: DiskStep
) -> None:
    low = least + more
    assert next_step(before, 2 * low + least, least, low) is DiskStep.ENOUGH
    assert next_step(before, 0, least, low) is DiskStep.FULL


def test_without_a_reserve_nothing_is_asked(tmp_path: Path) -> None:
    assert Room(tmp_path / "not there", 0, 0).look() is DiskStep.ENOUGH


def test_new_thresholds_forget_the_step_and_the_same_do_not(tmp_path: Path, disk: Disk) -> None:
    looked = Room(tmp_path, MIN, LOW)
    disk.free = 1400
    assert looked.look() is DiskStep.NO_BULK
    disk.free = 1550
    looked.keep(MIN, LOW)
    assert looked.look() is DiskStep.NO_BULK, "half a step is not free yet"
    looked.keep(MIN, LOW + 4)
    assert looked.look() is DiskStep.PURGING
    assert looked.figures.share == 0.0155


ALL, STAT = {Priority.STAT, Priority.ROUTINE, Priority.BULK}, {Priority.STAT}


@pytest.mark.parametrize(
    ("free", "taken"),
    [
        (10_000, ALL),
        (1900, ALL),
        (1600, ALL),
        (1400, {Priority.STAT, Priority.ROUTINE}),
        (1100, STAT),
        (900, set()),
    ],
)
def test_what_is_refused_at_each_step(opener: Opener, disk: Disk, free: int, taken: set[Priority]) -> None:
    store = opener(min_free=MIN, low_free=LOW, start=False)
    store.start()
    disk.free = free
    for number, priority in enumerate(Priority):
        store.use(f"rev{number}", To("pacs", priority=priority), {"r0": {"steps": []}})
        before = {path.name for path in store.spool.folder.rglob("*")}
        if priority in taken:
            push(store, f"1.{number}")
            continue
        with pytest.raises(Refused) as caught:
            push(store, f"1.{number}")
        assert caught.value.status == 0xA700
        left = {path.name for path in store.spool.folder.rglob("*")} - before
        assert not [name for name in left if not name.isdigit()], "nothing is left of what was refused"
    assert store.writer.flush()
    assert len(store.listing.select(Selection())) == len(taken)


def test_an_unrouted_image_is_routine_and_one_for_several_goes_by_the_most_urgent(
    opener: Opener, disk: Disk
) -> None:
    store = opener(min_free=MIN, low_free=LOW)
    disk.free = 1400
    both = To("pacs", "archive", priority=Priority.BULK)
    both.priorities = {"pacs": Priority.BULK}
    store.use("rev2", both, {"r0": {"steps": []}})
    push(store, "1.1")
    store.use("rev3", To(), {})
    push(store, "1.2")
    disk.free = 1100
    with pytest.raises(Refused, match="only stat images are taken"):
        push(store, "1.3")


def test_rules_that_fail_make_an_image_routine(opener: Opener, disk: Disk) -> None:
    class Broken(To):
        def route(self, *_: object) -> None:  # type: ignore[override]
            raise ValueError("a value")

    store = opener(min_free=MIN, low_free=LOW)
    store.use("rev2", Broken("pacs"), {})
    disk.free = 1400
    push(store, "1.1")
    disk.free = 1100
    with pytest.raises(Refused, match="only stat images are taken"):
        push(store, "1.2")


def deliver(store: Store, *, parked: int = 0) -> None:
    rows = store.ledger.lease("pacs", 1000, 60, "node")
    ends = [Settlement(row.id, "parked" if n < parked else "delivered") for n, row in enumerate(rows)]
    store.ledger.settle(ends)


def test_what_was_delivered_goes_before_its_time_the_oldest_first_and_nothing_owed(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opener()
    owed = push(store, "1.0")
    assert store.writer.flush()
    deliver(store, parked=1)
    ids = [push(store, f"1.{n}") for n in range(1, 7)]
    assert store.writer.flush()
    deliver(store)
    late = push(store, "1.9")
    assert store.writer.flush()
    monkeypatch.setattr(store.retention._early, "_size", 1)
    there = lambda: [id_ for id_ in ids if store.spool.path(id_).exists()]  # noqa: E731
    done = store.retention.make_room(time.time(), lambda: len(there()) <= 4, 10)
    assert (done.images, done.more) == (2, False)
    assert there() == ids[2:]
    done = store.retention.make_room(time.time(), lambda: False, 10)
    assert (done.images, done.more) == (4, False)
    assert store.spool.path(owed).exists()
    assert store.spool.path(late).exists()
    assert store.retention.make_room(time.time(), lambda: False, 10) == Purged()
    assert store.counts.today()["delivered"]["pacs"]["CT"]["images"] == 6


def test_what_a_person_dismissed_and_nobody_has_does_not_go_early(store: Store) -> None:
    id_ = push(store, "1.0")
    assert store.writer.flush()
    deliver(store, parked=1)
    store.actions.dismiss(Selection(state="parked"))
    assert store.retention.make_room(time.time(), lambda: False, 10) == Purged()
    assert store.spool.path(id_).exists()


@pytest.mark.parametrize("early", [True, False])
def test_a_round_that_takes_too_long_goes_on_where_it_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    ids = [push(store, f"1.{n}") for n in range(4)]
    assert store.writer.flush()
    deliver(store, parked=1)
    clock = [0.0]
    monkeypatch.setattr("mapdr.store.retention.time", SimpleNamespace(monotonic=lambda: clock[0]))
    walk = store.retention._early if early else store.retention._due
    monkeypatch.setattr(walk, "_size", 1)
    looked: list[str] = []
    choose = store.retention._choose

    def slow(some: Sequence[str], *facts: Any) -> dict[str, int]:
        clock[0] += 1.0
        looked.extend(some)
        return choose(some, *facts)

    monkeypatch.setattr(store.retention, "_choose", slow)

    def goes_on(seconds: float) -> Purged:
        now = time.time() + 100
        if early:
            return store.retention.make_room(now, lambda: False, seconds)
        return store.retention.purge(now, 1, seconds)

    assert goes_on(-1) == Purged(more=True)
    assert looked == ids[:1], "the first that is found is looked at in any case, and the parked one stays"
    first = goes_on(0.5)
    assert (first.images, first.more, looked) == (1, True, ids[:2])
    rest = goes_on(10)
    assert (rest.images, rest.more, looked) == (2, False, ids)
    assert goes_on(10) == Purged()
    assert looked == [*ids, ids[0]], "it begins anew"
