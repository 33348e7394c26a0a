"""Leases, the ready queue and codec threads together: a simulation by a clock of its own, without threads."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from deliver.fakes import EXPLICIT, make_instance
from mapdr.deliver.feed import feeder as module
from mapdr.deliver.feed.feeder import FEW, Feeder
from mapdr.deliver.feed.preparer import Preparation
from mapdr.deliver.feed.ready import ReadyQueue
from mapdr.deliver.feed.scheduler import Scheduler
from mapdr.deliver.feed.syntaxes import Syntaxes
from mapdr.deliver.settle.failures import Failures
from mapdr.kernel.item import Payload
from mapdr.kernel.watch import Watch
from mapdr.net.retry import Retry
from mapdr.store.queue.ledger import LeasedDelivery

ROW = LeasedDelivery(1, make_instance(1), "pacs", 0, 0, "r", "", 0, 0.0)
PAYLOAD = Payload("1.2", "2.25.1", EXPLICIT, (), 0)


class Node:
    """`workers` codec threads that take `seconds` for an image, while images come `every` so many seconds for
    a receiver that takes each at once. One thread does all, event by event."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, workers: int, seconds: float, every: float) -> None:
        self.now = 1000.0
        self.worked = 0.0  # seconds of all codec threads together
        self.most_leased = 0
        self._workers, self._seconds, self._every = workers, seconds, every
        self._order = count()
        self._events: list[tuple[float, int, Preparation | None]] = []
        self._waiting: deque[Preparation] = deque()
        self._working = 0
        self._due: list[LeasedDelivery] = []
        self._again = False
        clock = SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now)
        monkeypatch.setattr(module, "time", clock)
        self.ready = ReadyQueue(self._taken)
        preparer: Any = SimpleNamespace(
            now=lambda delivery, syntax: None, request=self._request, crowded=lambda: False, share=workers + 1
        )
        leases: Any = SimpleNamespace(
            seconds=60.0, owner="north/pacs", hold=lambda rows: None, give_back=list, settle=list
        )
        ledger: Any = SimpleNamespace(
            lease=self._lease, next_due=lambda destination: self.now if self._due else None
        )
        scheduler = Scheduler(
            "pacs",
            preparer,
            self.ready,
            leases,
            failures=Failures(),
            syntaxes=Syntaxes(),
            retry=Retry(),
            watch=Watch(),
            on_progress=self._progress,
        )
        self._feeder = Feeder("pacs", ledger, leases, scheduler, self.ready, sessions=2)

    def run(self, seconds: float) -> None:
        """All that happens within so many seconds."""
        end = self.now + seconds
        heappush(self._events, (self.now, next(self._order), None))
        while self._events[0][0] < end:
            at, _, ended = heappop(self._events)
            self.worked += self._working * (at - self.now)
            self.now = at
            if ended is None:
                self._arrives()
            else:
                self._ends(ended)
            while self.ready.take(lambda need: True, 0):
                pass
            while self._again:
                self._again = self._feeder.fill(trial=False)
            self.most_leased = max(self.most_leased, len(self.ready))

    def _arrives(self) -> None:
        number = next(self._order) + 1
        self._due.append(replace(ROW, id=number, instance=make_instance(number)))
        self._feeder.ask_again()
        self._again = True
        heappush(self._events, (self.now + self._every, number, None))

    def _ends(self, future: Preparation) -> None:
        self._working -= 1
        future.made()
        self._begin()
        future.set_result(PAYLOAD)

    def _request(self, delivery: LeasedDelivery, syntax: str) -> Preparation:
        self._waiting.append(future := Preparation())
        self._begin()
        return future

    def _begin(self) -> None:
        while self._waiting and self._working < self._workers:
            self._working += 1
            heappush(self._events, (self.now + self._seconds, next(self._order), self._waiting.popleft()))

    def _lease(self, destination: str, limit: int, *args: Any, stat_only: bool, **options: Any) -> list[Any]:
        if stat_only:
            return []
        rows, self._due = self._due[:limit], self._due[limit:]
        return rows

    def _taken(self) -> None:
        self._again |= self._feeder.wants_to_fill()

    def _progress(self) -> None:
        self._again = True


@pytest.mark.parametrize("workers", [2, 8, 12, 16, 48])
@pytest.mark.parametrize("seconds", [0.2, 0.5, 2.0])
def test_every_processor_works_while_slow_images_arrive(
    monkeypatch: pytest.MonkeyPatch, workers: int, seconds: float
) -> None:
    """They come half as fast again as codecs take them. The first seconds, until there are enough, aside."""
    node = Node(monkeypatch, workers, seconds, every=seconds / workers / 1.5)
    node.run(4 * seconds)
    before = node.worked
    node.run(20 * seconds)
    assert (node.worked - before) / (20 * seconds) > 0.97 * workers


def test_not_all_that_has_arrived_is_leased_while_codecs_are_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is leased is in doubt when the node is killed (record 107)."""
    node = Node(monkeypatch, workers=2, seconds=0.05, every=0.01)
    node.run(20.0)
    assert node.most_leased < 4 * FEW
    many = Node(monkeypatch, workers=16, seconds=1.0, every=0.02)
    many.run(20.0)
    assert many.most_leased < 2 * 17
