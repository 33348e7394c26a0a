"""What a deliverer does in each of its rounds, and in which order it stops: without its threads."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from deliver.fakes import LOST, FakeEgress, FakeLedger, FakePipeline, make_instance
from mapdr.deliver.feed.preparer import Preparer
from mapdr.deliver.send.breaker import BreakerState
from mapdr.deliver.settle.queue import Result, Return
from mapdr.deliver.supervise import deliverer as module
from mapdr.deliver.supervise.deliverer import ABORT, Deliverer
from mapdr.deliver.supervise.timetable import ALWAYS, Window
from mapdr.kernel.watch import Event, Watch
from mapdr.store.queue.ledger import LeasedDelivery
from mapdr.store.queue.settle import Settlement

NOW = 1_700_000_000.0
TICK, REST = 2.0, 50.0


class Feeder:
    """Notes what it is asked for; `fills` is whether there is more at once."""

    def __init__(self, done: list[Any]) -> None:
        self.done = done
        self.fills = False
        self.rests_until = float("inf")
        self.error: Exception | None = None
        self.wants = False

    def fill(self, *, trial: bool, stat_only: bool) -> bool:
        if self.error:
            raise self.error
        self.done.append(("fill", trial, stat_only))
        return self.fills

    def empty(self) -> None:
        self.done.append("empty")

    def look_again(self) -> None:
        self.done.append("look again")

    def ask_again(self) -> None:
        self.done.append("ask again")

    def wants_to_fill(self) -> bool:
        return self.wants


class Around:
    """A deliverer that was never started, and what it did since that was asked last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor) -> None:
        clock = SimpleNamespace(time=lambda: NOW, monotonic=lambda: NOW)
        monkeypatch.setattr(module, "time", clock)
        self.ledger, self.egress, self.watch = FakeLedger(), FakeEgress(), Watch()
        self.events: list[Event] = []
        self.watch.observe(self.events.append)
        self.permit = SimpleNamespace(pause="", resumed_at=0.0)
        preparer = Preparer(self.ledger, lambda steps: FakePipeline(), pool)
        made = self.made = Deliverer(
            "pacs", self.egress, self.ledger, preparer, owner="n", watch=self.watch, permit=self.permit,
            tick=TICK, rest=REST,
        )  # fmt: skip
        self._done: list[Any] = []
        self.feeder = Feeder(self._done)
        self.window = ALWAYS
        made._feeder = self.feeder  # type: ignore[assignment]
        made._timetable = SimpleNamespace(now=lambda: self.window)  # type: ignore[assignment]
        monkeypatch.setattr(made._leases, "renew", lambda: self._done.append("renew"))

    def step(self) -> tuple[float, list[Any]]:
        """A round: the pause after it, and what it did, after the leases were renewed."""
        pause = self.made._step()
        renewed, *done = self.since()
        assert renewed == "renew"
        return pause, done

    def since(self) -> list[Any]:
        done = list(self._done)
        self._done.clear()
        return done

    def opens(self, wait: float) -> None:
        """The breaker opens, with `wait` seconds left; what that woke is forgotten."""
        self.made._breaker.trip("unreachable", "no route")
        self.made._breaker.wait = lambda: wait  # type: ignore[method-assign]
        self.since()


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Iterator[Around]:
    with ThreadPoolExecutor(1) as pool:
        yield Around(monkeypatch, pool)


FILL = ("fill", False, False)


def test_there_is_no_pause_while_there_is_more_and_a_short_one_while_anything_is_in_hand(
    around: Around,
) -> None:
    around.feeder.fills = True
    assert around.step() == (0.0, [FILL])
    around.feeder.fills = False
    assert around.step() == (REST, [FILL])
    delivery = LeasedDelivery(1, make_instance(1), "pacs", 0, 0, "r", "", 0, 0.0)
    around.made._leases.hold([delivery])
    assert around.step() == (TICK, [FILL]), "its lease has to be renewed"
    around.made._leases.give_back([delivery])
    assert around.step()[0] == REST
    around.made._ready = [1]  # type: ignore[assignment]
    assert around.step()[0] == TICK


@pytest.mark.parametrize(
    ("due", "closes", "pause"),
    [
        (0.5, None, TICK),
        (-5.0, None, TICK),
        (10.0, None, 10.0),
        (100.0, None, REST),
        (10.0, 7.0, 7.0),
        (7.0, 10.0, 7.0),
        (100.0, 60.0, REST),
    ],
)
def test_a_rest_ends_when_a_row_is_due_or_the_hours_change(
    around: Around, due: float, closes: float | None, pause: float
) -> None:
    around.feeder.rests_until = NOW + due
    around.window = Window(True, None if closes is None else NOW + closes)
    assert around.step()[0] == pause


def test_nothing_goes_out_in_a_pause_and_all_is_looked_at_behind_it(around: Around) -> None:
    around.permit.pause = "license"
    for _ in range(2):
        assert around.step() == (TICK, ["empty"])
    around.permit.pause = ""
    assert around.step() == (REST, ["look again", FILL])
    assert around.step() == (REST, [FILL])


def test_out_of_its_hours_only_what_is_stat_is_leased(around: Around) -> None:
    stat = ("fill", False, True)
    assert around.step()[1] == [FILL], "it begins open"
    around.window = Window(False, NOW + 20)
    assert around.step() == (20.0, ["empty", "look again", stat])
    assert around.step() == (20.0, [stat]), "what was STAT stays"
    around.window = Window(True, NOW + 5)
    assert around.step() == (5.0, ["empty", "look again", FILL])
    assert around.step() == (5.0, [FILL])


def test_a_receiver_that_is_away_is_asked_when_its_time_has_come(around: Around) -> None:
    around.opens(TICK + 1)
    assert around.step() == (TICK, ["empty"])
    around.opens(0.25)
    assert around.step() == (0.25, ["empty"])
    assert around.egress.probes == 0
    around.opens(0.0)
    around.egress.echo = lambda: LOST
    around.step()
    assert (around.egress.probes, around.made.view().state) == (1, BreakerState.OPEN)
    around.egress.echo = FakeEgress().echo
    assert around.step() == (0.0, ["empty", "look again"])
    assert around.made.view().state is BreakerState.TRIAL
    around.feeder.fills = False
    assert around.step() == (TICK, [("fill", True, False)]), "a few images, and soon again"


def test_one_with_an_open_session_is_not_asked_for_another(around: Around) -> None:
    """It may take one association at a time."""
    around.opens(0.0)
    around.made._open_sessions.add(1)
    assert around.step() == (0.0, ["empty", "look again"])
    assert (around.egress.probes, around.made.view().state) == (0, BreakerState.TRIAL)
    around.egress.echo = lambda: LOST
    assert not around.made._probe()
    assert around.made.view().state is BreakerState.TRIAL, "its sessions will tell"
    around.made._open_sessions.add(-1)
    assert not around.made._probe()
    assert around.made.view().state is BreakerState.OPEN


def test_rounds_that_fail_are_tried_again_ever_later_and_told_once(
    around: Around, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    cleared: list[int] = []

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        around.feeder.error = None if len(pauses) == 50 else OSError(5, "the disk is gone")
        if len(pauses) == 52:
            around.made._stopping.set()

    around.feeder.error = OSError(5, "the disk is gone")
    signal: Any = SimpleNamespace(wait=wait, clear=lambda: cleared.append(len(pauses)))
    around.made._signal = signal
    around.made._supervise()
    for pause, wanted in zip(pauses[:50], [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, *[10] * 44], strict=True):
        assert 0.8 * wanted <= pause <= wanted
    assert pauses[50] == REST, "it was there again"
    assert pauses[51] <= 0.2, "and failed for the first time"
    assert cleared == list(range(1, 53))
    assert caplog.text.count("cannot lease") == 2, "a trouble that lasts is told once"


def pending(not_before: float) -> Settlement:
    return Settlement(1, "pending", not_before=not_before)


@pytest.mark.parametrize(
    ("rows", "wakes"),
    [
        ([], []),
        ([Settlement(1, "delivered"), Settlement(2, "parked")], []),
        ([Settlement(1, "delivered"), Return(2)], ["look again"]),
        ([pending(NOW + TICK)], ["look again"]),
        ([pending(NOW + TICK + 1)], ["ask again"]),
        ([pending(NOW + TICK + 1), pending(0.0)], ["look again"]),
    ],
)
def test_rows_that_came_back_are_looked_for_when_they_are_due(
    around: Around, rows: list[Result], wakes: list[str]
) -> None:
    around.made._written(rows)
    assert around.since() == wakes
    assert [event.kind for event in around.events] == ["images.parked"] * (len(rows) > 1 and not wakes)
    assert around.made._signal.is_set() is bool(wakes)


def test_who_wakes_it_ends_its_pause(around: Around) -> None:
    signal = around.made._signal
    for wake, done in ((around.made.wake, ["look again"]), (around.made.look, ["ask again"])):
        wake()
        assert (around.since(), signal.is_set()) == (done, True)
        signal.clear()
    around.made._image_taken()
    assert not signal.is_set()
    around.feeder.wants = True
    around.made._image_taken()
    assert signal.is_set()
    signal.clear()
    around.made._breaker.trip("unreachable", "no route")
    assert (around.since(), signal.is_set()) == (["look again"], True)
    assert [event.kind for event in around.events] == ["destination.waits"]


def test_what_the_heartbeat_says_of_it(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = around.made.facts()
    assert (facts["state"], facts["tried"], facts["pause"]) == ("closed", False, "")
    assert (facts["ready"], facts["preparing"], facts["short_of_memory"]) == (0, 0, False)
    assert (facts["closed_until"], facts["quiet_seconds"], facts["fault"]) == (None, 0.0, "")
    around.permit.pause = "license"
    around.window = Window(True, NOW)

    class Queue:
        unprepared_ = 2

        def unprepared(self) -> int:
            return self.unprepared_

        def __len__(self) -> int:
            return 5

    queue = Queue()
    around.made._ready = queue  # type: ignore[assignment]
    monkeypatch.setattr(Preparer, "short_of_memory", True)
    facts = around.made.facts()
    assert (facts["ready"], facts["preparing"], facts["short_of_memory"]) == (3, 2, True)
    assert (facts["closed_until"], facts["pause"]) == (None, "license")
    around.window, queue.unprepared_ = Window(False, NOW + 7), 0
    facts = around.made.facts()
    assert (facts["ready"], facts["preparing"], facts["short_of_memory"]) == (5, 0, False)
    assert facts["closed_until"] == NOW + 7


@pytest.mark.parametrize("acquired", [False, True])
def test_it_starts_its_egress_once_and_a_sender_for_each_session(
    around: Around, monkeypatch: pytest.MonkeyPatch, acquired: bool
) -> None:
    made, started = around.made, list[Any]()
    monkeypatch.setattr(around.egress, "start", lambda: started.append("egress"))
    monkeypatch.setattr(made._settlements, "start", lambda: started.append("settlements"))
    monkeypatch.setattr(module.Sender, "start", lambda self: started.append("sender"))

    class Thread:
        def __init__(self, run: Any, name: str, *, goes_on: Any, watch: Watch) -> None:
            self.facts = run, name, watch
            self.goes_on = goes_on

        def start(self) -> None:
            started.append("feed")

    monkeypatch.setattr(module, "GuardedThread", Thread)
    if acquired:
        made.acquire()
        made.acquire()
        assert started == ["egress"]
    made.start()
    assert started == ["egress", "settlements", *["sender"] * around.egress.sessions, "feed"]
    thread: Any = made._thread
    assert thread.facts == (made._supervise, "feed-pacs", around.watch)
    assert thread.goes_on()
    made.halt()
    assert not thread.goes_on()
    made._thread = None
    made._senders = []


class Sender:
    """Ends by `ends` only: by itself, when it is aborted, or never."""

    def __init__(self, name: str, done: list[Any], ends: str) -> None:
        self.name, self.done, self.ends = name, done, ends
        self.aborted = False

    def join(self, deadline: float) -> bool:
        self.done.append((self.name, "join", deadline))
        return self.ends == "itself" or (self.ends == "abort" and self.aborted)

    def abort(self) -> None:
        self.aborted = True
        self.done.append((self.name, "abort"))


@pytest.mark.parametrize(("left", "late"), [(5.0, 0.0), (-3.0, 0.0), (5.0, 1.0)])
def test_it_stops_in_order_and_once(
    around: Around,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    left: float,
    late: float,
) -> None:
    """Nothing is taken any more, what is on the wire ends or is aborted, and the rest is given back."""
    made, done = around.made, around._done
    delivery = LeasedDelivery(1, make_instance(1), "pacs", 0, 0, "r", "", 0, 0.0)
    made._leases.hold([delivery])
    made._senders = [Sender(each, done, each) for each in ("itself", "abort", "never")]  # type: ignore[misc]
    made._thread = SimpleNamespace(join=lambda seconds: done.append(("thread", seconds)))  # type: ignore[assignment]
    stopped: list[float] = []

    def stop(deadline: float) -> bool:
        assert made._leases.held() == [], "given back before what is left is written"
        stopped.append(deadline)
        return not late

    monkeypatch.setattr(made._settlements, "stop", stop)
    deadline = NOW + left
    for _ in range(2):
        made.stop(deadline)
    assert made._stopping.is_set()
    assert made._signal.is_set()
    patience = max(deadline, NOW) + ABORT
    assert around.since() == [
        ("thread", max(0.0, left)),
        "empty",
        *((each, "join", deadline) for each in ("itself", "abort", "never")),
        ("abort", "abort"),
        ("never", "abort"),
        *((each, "join", patience) for each in ("itself", "abort", "never")),
    ]
    assert stopped == [patience]
    assert around.egress.stopped == 1
    told = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(told) == bool(late), "results that were left unwritten are told"
