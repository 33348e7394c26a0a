"""What is told of a destination (events, counters, windows, faults), and how its receiver is asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from deliver.fakes import OK
from mapdr.deliver.backoff import Backoff
from mapdr.deliver.send.breaker import Breaker, BreakerState, BreakerView
from mapdr.deliver.send.faults import Faults
from mapdr.deliver.send.probe import breaker_delays, probe
from mapdr.deliver.settle.queue import Return
from mapdr.deliver.supervise.report import Report
from mapdr.deliver.supervise.timetable import ALWAYS, Timetable, Window
from mapdr.kernel.errors import OwnFault, Permanent, Temporary
from mapdr.kernel.item import Outcome, Pause, Verdict
from mapdr.kernel.watch import Event, Watch
from mapdr.net.hours import Hours
from mapdr.net.retry import Retry
from mapdr.store.queue.settle import Settlement


class Told:
    """A report, and what it told and counted."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.events: list[Event] = []
        self.watch.observe(self.events.append)
        self.report = Report("pacs", self.watch)

    @property
    def facts(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.kind, dict(event.facts)) for event in self.events]


CLOSED = BreakerView(BreakerState.CLOSED, tried=True)
AWAY = BreakerView(BreakerState.OPEN, "unreachable", "no route", 1, since=1000.0, retry_at=1001.0, tried=True)
BUSY = BreakerView(BreakerState.OPEN, "receiver-busy", "SECRET", 2, since=1000.0, status=0xA700, tried=True)


def test_a_destination_that_waits_is_told_once_for_each_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.deliver.supervise.report.time.time", lambda: 1012.34)
    told = Told()
    told.report.breaker_changed(CLOSED, AWAY)
    told.report.breaker_changed(AWAY, AWAY)
    told.report.breaker_changed(AWAY, BUSY)
    told.report.breaker_changed(BUSY, CLOSED)
    told.report.breaker_changed(BreakerView(BreakerState.OPEN), CLOSED)
    kinds = [kind for kind, _ in told.facts]
    assert kinds == ["destination.waits", "destination.waits", "destination.back", "destination.back"]
    away, busy, back, unknown = (facts for _, facts in told.facts)
    assert away == {"destination": "pacs", "reason": "unreachable", "comment": "no route"}
    assert (busy["reason"], busy["status"]) == ("receiver-busy", 0xA700)
    assert "comment" not in busy, "the receiver's own words may quote the image"
    assert back == {"destination": "pacs", "seconds": 12.3}
    assert unknown == {"destination": "pacs", "seconds": 0.0}


def test_what_was_parked_is_told_by_reason_and_status_and_what_goes_uncompressed_in_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Told()
    rows = [
        Settlement(1, "parked", reason="refused", status=0xC000, comment="SECRET"),
        Settlement(2, "delivered", status=0),
        Settlement(3, "parked", reason="refused", status=0xC000),
        Settlement(4, "parked", reason="missing"),
        Settlement(5, "pending", reason="receiver-busy"),
        Settlement(6, "delivered", reason="syntax-refused", bytes=70, milliseconds=30),
        Settlement(8, "delivered", reason="syntax-refused"),
    ]
    with caplog.at_level(logging.DEBUG, "mapdr.deliver"):
        told.report.written([*rows, Return(9)])
    parked = [facts for kind, facts in told.facts if kind == "images.parked"]
    assert [(each["reason"], each["status"], each["images"]) for each in parked] == [
        ("refused", 0xC000, 2),
        ("missing", None, 1),
    ]
    assert [facts for kind, facts in told.facts if kind == "images.uncompressed"] == [
        {"destination": "pacs", "images": 2}
    ]
    assert told.watch.counters() == {"deliver.pacs.uncompressed": 2}
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(rows)
    assert lines[5] == "pacs: delivery 6: delivered (syntax-refused), no status, 70 bytes in 30 ms"
    assert lines[1].startswith("pacs: delivery 2: delivered, status ")
    assert "SECRET" not in caplog.text
    told.report.written([rows[1]])
    assert len(told.facts) == 3


NOON = time.mktime((2026, 11, 23, 12, 0, 0, 0, 0, -1))  # a Monday


def test_a_window_is_looked_up_once_and_again_when_it_is_over_or_the_clock_was_set() -> None:
    looked: list[float] = []

    class Counting(Hours):
        def changes_at(self, moment: float, zone: Any = None) -> float | None:
            looked.append(moment)
            return Hours.changes_at(self, moment, zone)

    moment = [NOON]
    hours = Counting(Hours.of(["mon 08:00-18:00"]).minutes)
    timetable = Timetable(hours, clock=lambda: moment[0])
    today = Window(True, NOON + 6 * 3600)
    tonight = Window(False, NOON + 6 * 3600 + (7 * 24 - 10) * 3600)
    for after in (0.0, 60.0, 6 * 3600 - 1):
        moment[0] = NOON + after
        assert timetable.now() == today
    assert looked == [NOON]
    moment[0] = NOON + 6 * 3600
    assert timetable.now() == timetable.now() == tonight
    assert len(looked) == 2
    moment[0] = NOON
    assert timetable.now() == today, "set back: it is open again"
    moment[0] = NOON - 600
    assert timetable.now() == today
    assert len(looked) == 4, "set back within the window: what was known of it is not believed"
    moment[0] = NOON + 7 * 24 * 3600
    assert timetable.now() == Window(True, NOON + (7 * 24 + 6) * 3600), (
        "set forward, a window was jumped over"
    )
    assert Timetable(None).now() is ALWAYS


def test_faults_of_an_egress_are_shown_until_it_sends_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults = Faults("pacs")
    assert faults.last == ""
    faults.egress(OverflowError("SECRET"))
    assert "OverflowError" in faults.last
    faults.over()
    assert faults.last == ""
    faults.egress(OverflowError("SECRET"))
    faults.sender(KeyError("SECRET"))
    assert "OverflowError" in faults.last, "what a sender raised is nobody's yet"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith("pacs: sending failed")
    assert lines[1].startswith("pacs: a sender failed")
    assert "SECRET" not in caplog.text + faults.last


def breaker() -> Breaker:
    return Breaker(
        Backoff(1.0, 2.0, 60.0, 0.0), Backoff(30.0, 2.0, 300.0, 0.0), clock=lambda: 0.0, wall=lambda: 0.0
    )


def ask(made: Breaker, answer: Callable[[], object], *, others_open: bool = False) -> bool:
    class Egress:
        def probe(self) -> object:
            return answer()

    return probe("pacs", cast(Any, Egress()), made, others_open=others_open)


def raises(error: BaseException) -> Callable[[], object]:
    def answer() -> object:
        raise error

    return answer


NO = Outcome(Verdict.REFUSED, comment="we do not know you", peer_fault=True)


@pytest.mark.parametrize(
    "answer",
    [lambda: OK, lambda: "yes", raises(OverflowError("SECRET")), raises(OwnFault("no files left"))],
    ids=["answered", "no outcome", "our fault", "no files"],
)
def test_a_receiver_that_answers_or_cannot_be_asked_by_our_fault_is_sent_images(
    answer: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    made = breaker()
    assert ask(made, answer)
    assert made.state is BreakerState.CLOSED
    made.trip("unreachable", "")
    assert ask(made, answer)
    assert made.state is BreakerState.TRIAL
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    ("answer", "reason", "wait"),
    [
        (raises(Temporary("no route")), "unreachable", 1.0),
        (raises(Permanent("unknown host", reason="config")), "unreachable", 1.0),
        (lambda: Outcome(Verdict.RETRY, comment="no route", peer_fault=True), "unreachable", 1.0),
        (lambda: NO, "association-rejected", 30.0),
        (lambda: Outcome(Verdict.RETRY, peer_fault=True, pause=Pause("busy")), "busy", 30.0),
        (lambda: Outcome(Verdict.RETRY, peer_fault=True, pause=Pause("busy", 7.0)), "busy", 7.0),
    ],
)
def test_one_that_does_not_is_left_alone_for_its_reason(
    answer: Callable[[], object], reason: str, wait: float
) -> None:
    made = breaker()
    assert not ask(made, answer)
    assert (made.state, made.view().reason, made.wait()) == (BreakerState.OPEN, reason, wait)
    assert not ask(made, answer)
    assert (made.view().reason, made.view().failures) == (reason, 2)


def test_who_rejects_us_while_it_has_sessions_of_ours_has_a_limit() -> None:
    made = breaker()
    assert ask(made, lambda: NO, others_open=True)
    assert made.state is BreakerState.CLOSED
    away = raises(Temporary("no route"))
    assert not ask(made, away, others_open=True)
    assert made.state is BreakerState.CLOSED
    made.trip("unreachable", "")
    assert not ask(made, away, others_open=True)
    assert made.view().failures == 2


def test_a_receiver_is_asked_within_a_minute_and_one_that_rejects_us_as_seldom_as_images_go() -> None:
    quick, slow = breaker_delays(Retry(first=10.0, factor=3.0, cap=3600.0, tries=3))
    assert (quick.first, quick.factor, quick.cap) == (1.0, 3.0, 60.0)
    assert (slow.first, slow.factor, slow.cap) == (10.0, 3.0, 3600.0)
    quick, _ = breaker_delays(Retry(first=0.02, factor=2.0, cap=0.1, tries=3))
    assert (quick.first, quick.cap) == (0.02, 0.1)
