"""Signs of life, orders and purging, round after round, whatever one of them meets."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from mapdr.config.problem import Problem
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.watch import Watch
from mapdr.node import upkeep
from mapdr.node.licensing import Licensing
from mapdr.node.upkeep import Upkeep
from mapdr.store import Purged
from mapdr.store.index.commands import Command
from mapdr.store.spool.room import DiskFigures, DiskStep
from mapdr.store.unrouted import Expiring
from mapdr.testing.wait import until

MARK = "QXNAMEQX"


@dataclass
class Orders:
    """The commands in memory; `troubles` are raised by the next signs of life, `unheard` by answers."""

    waiting: list[Command] = field(default_factory=list)
    answers: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    beats: list[Mapping[str, Any]] = field(default_factory=list)
    troubles: list[Exception] = field(default_factory=list)
    unheard: list[Exception] = field(default_factory=list)

    def beat(self, counters: Mapping[str, Any]) -> None:
        if self.troubles:
            raise self.troubles.pop()
        self.beats.append(counters)

    def take(self) -> list[Command]:
        taken, self.waiting = self.waiting, []
        return taken

    def done(self, id_: int, result: Mapping[str, Any]) -> None:
        if self.unheard:
            raise self.unheard.pop()
        self.answers[id_] = result


@dataclass
class Unrouted:
    """Unrouted images in memory: what goes soon, and what goes now."""

    soon: Expiring = field(default_factory=Expiring)
    now: Purged = field(default_factory=Purged)
    calls: list[str] = field(default_factory=list)

    def look(self, now: float, keep: float) -> Expiring:
        return self.soon

    def told(self, now: float, keep: float) -> None:
        self.calls.append("told")
        self.soon = Expiring(self.soon.images, self.soon.first_at)

    def forget(self) -> None:
        self.calls.append("forget")

    def purge(self, now: float, keep: float, seconds: float) -> Purged:
        purged, self.now = self.now, Purged()
        return purged


class Heard:
    """What is told of the node's alarms."""

    def __init__(self) -> None:
        self.expiring: list[tuple[int, float]] = []

    def look(self, plan: Any, counters: Any, now: float) -> None:
        """Nothing holds."""

    def tell_expiring(self, images: int, purge_at: float, now: float) -> None:
        self.expiring.append((images, purge_at))


class Kept:
    """A node that answers a reload with what it is told to."""

    def __init__(self, running: Path) -> None:
        running.touch()
        self.watch, self.orders = Watch(), Orders()
        self.asked_to_end = threading.Event()
        self.licensing = Licensing(Path("nowhere"))
        self.purged: list[tuple[float, float]] = []
        self.more_to_purge = 0
        self.reloads: list[Path] = []
        self.answer: Sequence[Problem] | Exception = ()
        purge = SimpleNamespace(purge=self._purge, make_room=self._make_room)
        ledger = SimpleNamespace(release_expired=lambda now: None)
        self.jumps: list[float] = []
        self.refusing = ""
        self.disk = DiskFigures(DiskStep.ENOUGH, 9, 10)
        self.early: list[bool] = []
        self.unrouted = Unrouted()
        self.store: Any = SimpleNamespace(
            commands=self.orders,
            retention=purge,
            ledger=ledger,
            outbox=SimpleNamespace(forget=lambda before: None),
            look_at_the_clock=lambda: self.jumps.pop() if self.jumps else 0.0,
            look_at_the_index=lambda: self.refusing,
            unrouted=self.unrouted,
            erasure=SimpleNamespace(finish=lambda: None),
            look_at_the_disk=lambda: self.disk,
            changes=lambda: self.version,
            rests=60.0,
            spool=SimpleNamespace(room=SimpleNamespace(look=lambda *, afresh: self.disk.step)),
        )
        self.plan: Any = SimpleNamespace(
            node=SimpleNamespace(retention=3600.0, unrouted_retention=30 * 86400.0)
        )
        self.alarms: Any = Heard()
        self.version, self.looks = 0, 0
        self.running_file = running
        self.said = "running"

    def _purge(self, now: float, keep: float, seconds: float) -> Purged:
        assert seconds < 10, "all else that upkeep does waits for it"
        self.purged.append((now, keep))
        return Purged(2, 10, more=len(self.purged) <= self.more_to_purge)

    def _make_room(self, now: float, enough: Callable[[], bool], seconds: float) -> Purged:
        self.early.append(enough())
        return Purged(3, 30)

    def counters(self) -> dict[str, Any]:
        return {"state": self.said}

    def look(self) -> None:
        self.looks += 1

    def wake(self, destinations: frozenset[str]) -> None:
        raise AssertionError("no license is needed: nothing pauses")

    def reload(self, path: Path) -> Sequence[Problem]:
        self.reloads.append(path)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kept]:
    """A node whose upkeep runs, quickly, from start to stop."""
    for name in ("ROUND", "BEAT"):
        monkeypatch.setattr(upkeep, name, 0.005)
    node = Kept(tmp_path / "running")
    works = Upkeep(node)
    works.stop(0.0)  # safe before start
    works = Upkeep(node)
    works.start()
    yield node
    works.stop(time.monotonic() + 10)
    works.stop(time.monotonic())


def _order(node: Kept, name: str, **arguments: Any) -> Mapping[str, Any]:
    node.orders.waiting.append(Command(7, "north", name, arguments, 0.0))
    node.version += 1
    until(lambda: 7 in node.orders.answers, 10, "the answer")
    return node.orders.answers[7]


def _signs(node: Kept, number: int) -> None:
    """Ask for a sign of life so many times, and wait for each."""
    for _ in range(number):
        seen = len(node.orders.beats)
        os.utime(node.running_file, ns=(time.time_ns(),) * 2)
        until(lambda: len(node.orders.beats) > seen, 10, "a sign of life")  # noqa: B023


def test_it_gives_signs_of_life_and_purges(kept: Kept) -> None:
    counted = lambda: kept.watch.counters().get("store.purged")  # noqa: E731
    until(lambda: kept.orders.beats and counted(), 10, "a sign of life and a purge")
    assert kept.orders.beats == [{"state": "running"}]
    ((now, keep),) = kept.purged
    assert (round(now - time.time(), -2), keep) == (0.0, 3600.0)
    assert counted() == 2


def test_a_purge_of_many_images_goes_on_in_the_next_round(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(upkeep, "ROUND", 0.005)
    node = Kept(tmp_path / "running")
    node.more_to_purge = 2
    node.unrouted.now = Purged(1, 10, more=True)
    node.plan.node.unrouted_retention = 86400.0
    works = Upkeep(node)
    works.start()
    until(lambda: len(node.purged) == 3, 10, "three rounds")
    works.stop(time.monotonic() + 10)
    assert node.watch.counters()["store.purged"] == 7


def test_without_a_retention_nothing_is_purged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(upkeep, "ROUND", 0.005)
    node = Kept(tmp_path / "running")
    node.plan.node.retention = None
    works = Upkeep(node)
    works.start()
    until(lambda: bool(node.orders.beats), 10, "a sign of life")
    works.stop(time.monotonic() + 10)
    assert not node.purged


def test_a_round_that_raises_is_said_and_the_next_goes_on(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        until(lambda: kept.orders.beats, 10, "the first sign of life")
        kept.orders.troubles += [ValueError(MARK), OSError(28, "No space left on device")]
        kept.said = "draining"
        until(lambda: {"state": "draining"} in kept.orders.beats, 10, "the next sign of life")
    assert kept.watch.counters()["upkeep.errors"] == 2
    assert "the sign of life could not be written: OSError" in caplog.text
    assert MARK not in caplog.text


def test_a_locked_index_is_said_in_its_own_words_and_its_end_too(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        locked = sqlite3.OperationalError("database is locked")
        kept.orders.troubles.append(OperationalError(MARK, {"name": MARK}, locked))
        kept.said = "draining"
        until(lambda: "can be written again" in caplog.text, 10, "the end")
    assert "the sign of life could not be written: database is locked" in caplog.text
    assert "the sign of life can be written again" in caplog.text
    assert MARK not in caplog.text


def test_a_clock_that_was_set_is_told_once(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        kept.jumps.append(-3600.0)
        until(lambda: [event for event in kept.watch.recent() if event.kind == "clock.set"], 10, "the event")
    (event,) = [event for event in kept.watch.recent() if event.kind == "clock.set"]
    assert (event.facts["way"], event.facts["seconds"]) == ("back", 3600)
    assert "the clock was set back by 3600 seconds" in caplog.text


def test_that_the_index_is_gone_and_back_is_told_once_each(kept: Kept) -> None:
    def told() -> list[str]:
        return [event.kind for event in kept.watch.recent() if event.kind.startswith("store.")]

    kept.refusing = "index.db was removed"
    until(lambda: told() == ["store.refuses"], 10, "that it is gone")
    kept.refusing = ""
    until(lambda: told() == ["store.refuses", "store.takes"], 10, "that it is back")


def test_each_step_of_the_disk_is_told_once_and_what_was_delivered_goes_early(kept: Kept) -> None:
    def told() -> list[tuple[Any, ...]]:
        facts = [event.facts for event in kept.watch.recent() if event.kind == "disk.step"]
        return [tuple(each[key] for key in ("step", "level", "free", "share")) for each in facts]

    _signs(kept, 3)
    assert not told()
    kept.disk = DiskFigures(DiskStep.LOW, 5, 10)
    until(lambda: told() == [("low", 1, 5, 0.5)], 10, "that it is low")
    assert not kept.early
    kept.disk = DiskFigures(DiskStep.NO_BULK, 2, 10)
    until(lambda: bool(kept.early), 10, "an early purge")
    assert kept.early == [False]
    kept.disk = DiskFigures(DiskStep.ENOUGH, 9, 10)
    until(lambda: len(told()) == 3, 10, "that there is enough")
    assert told()[1:] == [("no-bulk", 3, 2, 0.2), ("enough", 0, 9, 0.9)]
    (purged,) = [event.facts for event in kept.watch.recent() if event.kind == "images.purged"]
    assert purged == {"images": 3, "bytes": 30, "cause": "delivered, and the disk is filling"}


def test_a_retention_that_is_forever_is_not_shortened_by_a_full_disk(kept: Kept) -> None:
    kept.plan.node.retention = None
    kept.disk = DiskFigures(DiskStep.FULL, 0, 10)
    until(lambda: any(event.kind == "disk.step" for event in kept.watch.recent()), 10, "the step")
    _signs(kept, 3)
    assert not kept.early


def test_unrouted_images_are_told_of_and_then_purged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ROUND", "BEAT", "PURGE"):
        monkeypatch.setattr(upkeep, name, 0.005)
    node = Kept(tmp_path / "running")
    node.unrouted.soon = Expiring(5, time.time() + 2 * 86400 + 9, tell=True)
    works = Upkeep(node)
    works.start()

    def told(kind: str) -> list[Mapping[str, object]]:
        return [event.facts for event in node.watch.recent() if event.kind == kind]

    until(lambda: node.unrouted.calls == ["told"], 10, "that it was told")
    assert told("images.expiring") == [{"images": 5, "days": 2.0}]
    assert node.alarms.expiring == [(5, node.unrouted.soon.first_at)]
    node.unrouted.now = Purged(4, 40)
    until(lambda: bool(told("images.purged")), 10, "the purge")
    assert told("images.purged") == [{"images": 4, "bytes": 40, "cause": "no rule took them for 30 days"}]
    node.plan.node.unrouted_retention = None
    until(lambda: "forget" in node.unrouted.calls, 10, "that nothing goes any more")
    works.stop(time.monotonic() + 10)
    assert len(told("images.expiring")) == 1


def test_a_reload_is_answered(kept: Kept) -> None:
    assert _order(kept, "reload", path="/x/mapdr.toml") == {
        "ok": True,
        "problems": [],
        "changed": False,  # this one goes on with the plan that it has
    }
    assert kept.reloads == [Path("/x/mapdr.toml")]


def test_a_refused_reload_is_answered_with_its_problems(kept: Kept) -> None:
    kept.answer = (Problem("mapdr.toml", 3, "egress.pacs", "is wrong", "correct it"),)
    assert _order(kept, "reload", path="x") == {
        "ok": False,
        "problems": ["mapdr.toml:3 egress.pacs: is wrong; correct it"],
        "changed": False,
    }


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (ConfigurationError("the node is not running"), "the node is not running"),
        (ValueError(MARK), "ValueError"),
    ],
)
def test_a_reload_that_raises_is_answered_too(kept: Kept, trouble: Exception, said: str) -> None:
    kept.answer = trouble
    answer = _order(kept, "reload", path="x")
    assert not answer["ok"]
    assert said in answer["problems"][0]
    assert MARK not in answer["problems"][0]


def test_a_drain_is_answered_and_asked_for(kept: Kept) -> None:
    assert _order(kept, "drain", process=os.getpid()) == {"ok": True, "problems": []}
    assert kept.asked_to_end.is_set()


def test_a_drain_that_was_meant_for_another_process_ends_nothing(kept: Kept) -> None:
    answer = _order(kept, "drain", process=os.getpid() + 1)
    assert answer == {"ok": False, "problems": ["the process that was to end has ended already"]}
    kept.orders.answers.clear()
    assert not _order(kept, "drain")["ok"], "an order that names no process ends none"
    assert not kept.asked_to_end.is_set()


def test_what_a_person_did_is_among_the_events_and_stays_out_of_the_answer(kept: Kept) -> None:
    note = {"action": "retry", "by": "mona", "number": 3, "of": "deliveries", "to": "pacs"}
    assert _order(kept, "note", **note) == {"ok": True, "problems": []}
    (event,) = [one for one in kept.watch.recent() if one.kind == "operator.acted"]
    assert event.facts == note


def test_an_order_without_its_argument_and_an_unknown_one_are_answered(kept: Kept) -> None:
    assert not _order(kept, "reload")["ok"]
    kept.orders.answers.clear()
    assert _order(kept, "dance")["problems"] == ["this node does not know the order dance"]


def test_an_answer_that_could_not_be_written_is_given_again(kept: Kept) -> None:
    kept.orders.unheard += [ValueError(MARK), ValueError(MARK)]
    assert _order(kept, "dance")
    assert kept.watch.counters()["upkeep.errors"] == 2
