"""When unrouted images are told of and when they go, to the second, over an index in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from mapdr.store import unrouted
from mapdr.store.index import schema
from mapdr.store.retention import Purged
from mapdr.store.unrouted import Expiring, UnroutedRetention
from store.memory import Memory

DAY, NOW = 86400.0, 1_800_000_000.0
KEEP, NOTICE = 30 * DAY, 7 * DAY


class World:
    """Unrouted images of "node" (number 1) and of another, and what of the spool was removed."""

    def __init__(self) -> None:
        self.index = Memory()
        self.removed: list[str] = []
        self.gone: set[str] = set()
        self.stuck: set[str] = set()
        spool: Any = SimpleNamespace(node="node", discard=self._discard)
        strings: Any = SimpleNamespace(number=lambda text: {"node": 1}[text])
        self.retention = UnroutedRetention(self.index, strings, spool)

    def _discard(self, id_: str) -> bool:
        if id_ in self.stuck:
            raise PermissionError(13, "in use")
        self.removed.append(id_)
        return id_ not in self.gone

    def image(self, number: int, came: float, *, node: int = 1, routed: int = 0, size: int = 10) -> str:
        id_ = bytes(15) + bytes([number])
        self.index.put(schema.instance, id=id_, node=node, received_at=came, routed=routed, size=size)
        return id_.hex()

    def told(self) -> list[tuple[float, float]]:
        with self.index.read() as connection:
            text = connection.execute(select(schema.fact.c.value)).scalar()
        return [tuple(each) for each in json.loads(text)] if text else []

    def purged(self) -> dict[str, float]:
        with self.index.read() as connection:
            rows = connection.execute(select(schema.instance.c.id, schema.instance.c.purged_at))
            return {row.id.hex(): row.purged_at for row in rows if row.purged_at is not None}


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.index.close()


def test_what_goes_within_a_week_is_counted_to_the_second(world: World) -> None:
    assert world.retention.expiring == Expiring()
    assert world.retention.look(NOW, KEEP) == Expiring(0, 0.0, tell=True)
    within = NOW + NOTICE - KEEP
    world.image(1, within)
    world.image(2, within + 0.001)
    world.image(3, within - 100, node=2)
    world.image(4, within - 100, routed=1)
    assert world.retention.look(NOW, KEEP) == Expiring(1, NOW + NOTICE, tell=True)
    world.image(5, NOW - KEEP - 500)
    assert world.retention.look(NOW, KEEP) == Expiring(2, NOW, tell=True), "it is late already"
    assert world.retention.expiring.images == 2
    world.retention.forget()
    assert world.retention.expiring == Expiring()


@pytest.mark.parametrize(("keep", "pause"), [(KEEP, DAY), (2 * DAY, DAY / 2)])
def test_it_is_told_once_a_day_or_four_times_within_a_short_notice(
    world: World, keep: float, pause: float
) -> None:
    world.retention.told(NOW, keep)
    assert not world.retention.look(NOW + pause - 1, keep).tell
    assert world.retention.look(NOW + pause, keep).tell
    world.retention.told(NOW + pause, keep)
    assert not world.retention.look(NOW + 2 * pause - 1, keep).tell, "the last time counts"


def test_what_a_clock_told_that_was_a_year_ahead_is_told_again(world: World) -> None:
    """Else nobody would be told for a year, and nothing purged."""
    world.retention.told(NOW + 365 * DAY, KEEP)
    assert world.retention.look(NOW, KEEP).tell
    world.retention.told(NOW, KEEP)
    assert not world.retention.look(NOW, KEEP).tell
    assert world.told() == [(NOW, NOW + NOTICE - KEEP)]


def test_of_what_was_told_only_what_still_says_something_is_kept(world: World) -> None:
    told = [NOW, NOW + DAY, NOW + 2 * DAY, NOW + 8 * DAY, NOW + 9 * DAY]
    for at in told:
        world.retention.told(at, KEEP)
    upto = NOTICE - KEEP
    # Of those that are a week old the last; of later ones all.
    assert world.told() == [(at, at + upto) for at in told[2:]]
    world.retention.told(NOW + 8 * DAY, KEEP)
    assert world.told() == [(at, at + upto) for at in (told[2], told[3], told[3])], "the clock was set back"
    world.retention.forget()
    assert world.told() == []
    world.retention.forget()


def test_nothing_goes_before_its_time_and_nothing_that_was_not_told_of(world: World) -> None:
    first = world.image(1, NOW - 40 * DAY)
    second = world.image(2, NOW + NOTICE - KEEP)
    third = world.image(3, NOW + NOTICE - KEEP + 1)
    world.image(4, NOW - 40 * DAY, node=2)
    world.image(5, NOW - 40 * DAY, routed=1)
    assert world.retention.purge(NOW, KEEP) == Purged()
    world.retention.told(NOW, KEEP)
    assert world.retention.purge(NOW + NOTICE - 1, KEEP) == Purged()
    assert world.retention.purge(NOW + NOTICE, KEEP) == Purged(2, 20)
    assert world.removed == [first, second]
    assert world.purged() == dict.fromkeys((first, second), NOW + NOTICE)
    assert world.retention.purge(NOW + NOTICE + 2, KEEP) == Purged(), "the third was not told of"
    world.retention.told(NOW + NOTICE + 2, KEEP)
    assert world.retention.purge(NOW + 2 * NOTICE + 2, KEEP) == Purged(1, 10)
    assert world.removed == [first, second, third]


def test_a_longer_time_than_was_told_holds(world: World) -> None:
    world.image(1, NOW + NOTICE - KEEP)
    world.retention.told(NOW, KEEP)
    assert world.retention.purge(NOW + NOTICE, KEEP + 1) == Purged()
    assert world.retention.purge(NOW + NOTICE + 1, KEEP + 1).images == 1


def test_only_files_that_went_are_counted_and_the_rows_of_all_say_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unrouted, "_AT_ONCE", 2)
    ids = [world.image(number, NOW - 40 * DAY, size=number) for number in range(1, 6)]
    world.gone, world.stuck = {ids[0]}, {ids[3]}
    world.retention.told(NOW, KEEP)
    assert world.retention.purge(NOW + NOTICE, KEEP) == Purged(3, 2 + 3 + 5)
    assert set(world.purged()) == set(ids)


def test_a_purge_whose_time_is_over_has_done_something(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrouted, "_AT_ONCE", 1)
    now = [0.0]
    monkeypatch.setattr(unrouted, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for number in range(3):
        world.image(number, NOW - 40 * DAY)
    world.retention.told(NOW, KEEP)
    discard = world.retention._spool.discard

    def later(id_: str) -> bool:
        now[0] += 2.0
        return discard(id_)

    monkeypatch.setattr(world.retention._spool, "discard", later)
    assert world.retention.purge(NOW + NOTICE, KEEP, 3.0) == Purged(2, 20, more=True)
    assert world.retention.purge(NOW + NOTICE, KEEP, 9.0) == Purged(1, 10)
