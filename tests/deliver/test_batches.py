"""Sessions that send batches: each image is settled by its own answer, and what was not begun goes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deliver.fakes import (
    BUSY,
    FAULT,
    LOST,
    OK,
    FakeEgress,
    FakeLedger,
    FakeSession,
    Script,
    delivering,
    settled,
)
from deliver.world import delivering as delivering_from
from deliver.world import egress as dicom
from deliver.world import world
from mapdr.deliver.send.breaker import BreakerState
from mapdr.kernel.item import Need, Outcome, Pause, Payload, Sent, Verdict
from mapdr.kernel.stage import Batch
from mapdr.kernel.watch import Watch
from mapdr.store.queue.ledger import LeasedDelivery
from mapdr.testing.wait import until
from peers.rawsink import Answer, RawSink, Received


class AssociationSession(FakeSession):
    """Sends one image after the other, as an association does, until one is not delivered."""

    @property
    def batch(self) -> Batch:
        assert isinstance(self.egress, BatchEgress)
        return self.egress.batch

    def send_batch(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
        assert isinstance(self.egress, BatchEgress)
        self.egress.lengths.append(len(payloads))
        for payload in payloads:
            started = time.time()
            sent.append(Sent(self.send(payload), started, time.time() - started))
            if sent[-1].outcome.verdict is not Verdict.DELIVERED:
                return


class RequestSession(AssociationSession):
    """Sends all that it is given in one request, as STOW-RS does: whatever becomes of one, all are sent."""

    def send_batch(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
        assert isinstance(self.egress, BatchEgress)
        self.egress.lengths.append(len(payloads))
        sent += [Sent(self.send(payload), time.time(), 0.0) for payload in payloads]


class BatchEgress(FakeEgress):
    """A destination whose sessions send batches, of the class `kind`.

    `lengths` says how many payloads they were given each time.
    """

    kind = AssociationSession
    batch = Batch(64)

    def __init__(self, *script: Script, sessions: int) -> None:
        super().__init__(*script, sessions=sessions)
        self.lengths: list[int] = []

    def connect(self, needs: Sequence[Need]) -> AssociationSession:
        super().connect(needs)
        return self.kind(self, needs)


class RequestEgress(BatchEgress):
    kind = RequestSession


def test_batches_keep_the_order_of_the_ledger() -> None:
    ledger, egress = FakeLedger(), BatchEgress(sessions=1)
    ledger.add(1000)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 1000}
    assert [uid for uid, _, _ in egress.sent] == [f"2.25.{number}" for number in range(1, 1001)]
    assert 10 < max(egress.lengths) <= 64


@pytest.mark.parametrize("told", [(), (None,), (Sent(None, 0.0, 0.0),), (Sent(OK, 0.0, 0.0),) * 700])  # type: ignore[arg-type]
def test_a_batch_that_tells_something_else_keeps_no_image_in_hand(told: Sequence[Any]) -> None:
    once = iter([1])

    class Odd(AssociationSession):
        def send_batch(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
            super().send_batch(payloads, sent)
            if len(payloads) > 1 and next(once, None):
                sent[-1:] = told

    ledger, egress = FakeLedger(), BatchEgress(sessions=1)
    egress.kind = Odd
    ledger.add(200)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 200}


def test_a_session_that_wants_one_image_at_a_time_is_given_one() -> None:
    ledger, egress = FakeLedger(), BatchEgress(sessions=1)
    egress.batch = Batch(1)
    ledger.add(8)
    with delivering(ledger, egress):
        settled(ledger)
    assert egress.lengths == [1] * 8


def test_a_slow_receiver_of_batches_has_enough_leased_for_them() -> None:
    """A request that takes half a second does so with one image and with fifty."""
    slow = threading.Event()

    class Slow(RequestSession):
        def send_batch(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
            slow.wait(0.4)
            super().send_batch(payloads, sent)

    ledger, egress = FakeLedger(), RequestEgress(sessions=2)
    egress.kind = Slow
    egress.batch = Batch(50)
    ledger.add(400)
    with delivering(ledger, egress):
        assert settled(ledger, 20) == {"delivered": 400}
    assert max(egress.lengths) == 50
    assert len(egress.lengths) < 30


def test_each_image_of_a_request_is_settled_by_its_own_answer() -> None:
    """One is refused, one is busy, and those behind them in the same request are delivered all the same."""
    busy = iter([BUSY])

    def script(payload: Payload, session: FakeSession) -> Outcome:
        if payload.sop_instance_uid == "2.25.40":
            return FAULT
        return next(busy, OK) if payload.sop_instance_uid == "2.25.50" else OK

    ledger, egress = FakeLedger(), RequestEgress(script, sessions=1)
    ledger.add(100)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 99, "parked": 1}
    assert [item.status for item in ledger.of(40)] == [0xC000] * 3
    assert [item.status for item in ledger.of(50)] == [0xA700, 0]
    assert len(egress.sent) == 103, "what was answered is not sent again"


def test_a_request_that_is_lost_is_one_failure_and_not_one_for_each_image() -> None:
    lost: list[str] = []

    class Loses(RequestSession):
        def send_batch(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
            if len(payloads) < 8 or lost:
                super().send_batch(payloads, sent)
                return
            lost.extend(payload.sop_instance_uid for payload in payloads)
            sent += [Sent(LOST, time.time(), 0.0) for _ in payloads]

    ledger, egress, watch = FakeLedger(), RequestEgress(sessions=1), Watch()
    egress.kind = Loses
    ledger.add(100)
    with delivering(ledger, egress, watch=watch):
        assert settled(ledger) == {"delivered": 100}
    assert len(lost) >= 8
    assert not [event for event in watch.recent() if event.kind == "destination.waits"]
    again = [len(ledger.of(number)) for number in range(1, 101)]
    assert sorted(again) == [1] * (100 - len(lost)) + [2] * len(lost)


def test_a_delivery_without_a_status_has_arrived_with_all_its_bytes() -> None:
    """A folder has no status to give."""
    ledger, egress, watch = (
        FakeLedger(),
        BatchEgress(lambda *_: Outcome(Verdict.DELIVERED), sessions=1),
        Watch(),
    )
    ledger.add(3)
    with delivering(ledger, egress, watch=watch):
        assert settled(ledger) == {"delivered": 3}
    assert [(item.status, item.bytes) for item in ledger.history] == [(None, 1000)] * 3
    assert watch.counters()["deliver.pacs.bytes"] == 3000


def test_a_session_that_says_nothing_of_what_it_was_given_faults_itself() -> None:
    class Mute(AssociationSession):
        def send_batch(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
            pass

    ledger, egress = FakeLedger(), BatchEgress(sessions=1)
    egress.kind = Mute
    ledger.add(1)
    with delivering(ledger, egress):
        assert settled(ledger) == {"parked": 1}
    assert "did not say" in ledger.rows[1].comment


@pytest.mark.parametrize("status", [401, None])
def test_a_receiver_that_takes_nothing_makes_its_destination_wait(
    status: int | None,
) -> None:
    away = threading.Event()
    no = Outcome(Verdict.RETRY, status, "HTTP 401", peer_fault=True, pause=Pause("unauthorized"))
    ledger = FakeLedger()
    egress = RequestEgress(lambda payload, session: OK if away.is_set() else no, sessions=1)
    egress.echo = lambda: OK if away.is_set() else no
    ledger.add(100)
    with delivering(ledger, egress) as deliverer:
        until(lambda: egress.probes > 1, 5)
        view = deliverer.view()
        assert (view.state, view.reason, view.comment) == (BreakerState.OPEN, "unauthorized", "HTTP 401")
        assert len(egress.connects) == 1, "who takes nothing is asked once, and not once an image"
        away.set()
        assert settled(ledger) == {"delivered": 100}
    assert {row.delivery.attempts for row in ledger.rows.values()} == {1}, "the one that arrived"
    assert {item.reason for item in ledger.history if item.state == "pending"} == {"unauthorized"}


def test_a_receiver_is_left_alone_for_as_long_as_it_asks() -> None:
    started: list[float] = []
    later = Outcome(Verdict.RETRY, 503, "HTTP 503", peer_fault=True, pause=Pause("busy", 0.08))

    def script(payload: Payload, session: FakeSession) -> Outcome:
        started.append(time.monotonic())
        return later if len(started) == 1 else OK

    ledger, egress = FakeLedger(), BatchEgress(script, sessions=1)
    ledger.add(1)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 1}
    assert started[1] - started[0] >= 0.08
    assert ledger.of(1)[0].reason == "busy"


@pytest.mark.parametrize("answer", [FAULT, LOST, BUSY])
def test_what_is_behind_an_image_that_was_not_delivered_goes_out_untried(answer: Outcome) -> None:
    bad = "2.25.300"
    left = iter([answer])

    def script(payload: Payload, session: FakeSession) -> Outcome:
        return next(left, OK) if payload.sop_instance_uid == bad else OK

    ledger, egress = FakeLedger(), BatchEgress(script, sessions=2)
    ledger.add(600)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 600}
    assert [item.status for item in ledger.of(300)] == [answer.status, 0]
    assert all(len(ledger.of(number)) == 1 for number in range(1, 601) if number != 300)


def test_an_egress_that_raises_in_a_batch_is_held_against_one_image() -> None:
    class Faulty(AssociationSession):
        def send_batch(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
            good = [one for one in payloads if one.sop_instance_uid != "2.25.300"]
            at = next((n for n, one in enumerate(payloads) if one.sop_instance_uid == "2.25.300"), None)
            super().send_batch(good if at is None else payloads[:at] or good[:0], sent)
            if at is not None and len(sent) == at:
                raise FileNotFoundError(2, "No such file or directory", "/patient/name")

    class FaultyEgress(BatchEgress):
        def connect(self, needs: Sequence[Need]) -> AssociationSession:
            super().connect(needs)
            return Faulty(self, needs)

    ledger = FakeLedger()
    ledger.add(600)
    with delivering(ledger, FaultyEgress(sessions=1)):
        assert settled(ledger) == {"delivered": 599, "parked": 1}
    assert ledger.rows[300].reason == "failed", "nobody says that it was a file of the spool"
    assert len(ledger.of(300)) == 3
    assert "patient" not in ledger.rows[300].comment
    assert all(len(ledger.of(number)) == 1 for number in range(1, 601) if number != 300)


def test_an_answer_that_the_index_cannot_judge_is_kept_and_keeps_no_other_back() -> None:
    """A duplicate is compared with what was delivered before; what is behind it is answered, too."""

    class Locked(FakeLedger):
        def differs(self, delivery: LeasedDelivery) -> bool:
            if len(self.of(300)) < 1:
                raise OSError(5, "database is locked")
            return False

    duplicate = Outcome(Verdict.DELIVERED, 0x0111, "duplicate", duplicate=True)

    def script(payload: Payload, session: FakeSession) -> Outcome:
        return duplicate if payload.sop_instance_uid == "2.25.300" else OK

    ledger, egress = Locked(), BatchEgress(script, sessions=1)
    ledger.add(600)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 600}
    assert max(egress.lengths) > 10
    first, second = ledger.of(300)
    assert (first.state, first.verdict, first.status) == ("pending", "retry", 0x0111)
    assert "database is locked" in first.comment
    assert (second.state, second.status) == ("delivered", 0x0111)
    sent = [uid for uid, _, _ in egress.sent]
    assert len(sent) == 601, "what was answered is not sent again"


def test_stopping_ends_a_run_after_its_time_and_gives_the_rest_back() -> None:
    going = threading.Event()

    def script(payload: Payload, session: FakeSession) -> Outcome:
        if payload.sop_instance_uid == "2.25.300":
            going.set()
            session.closed.wait(20)
            return LOST
        return OK

    ledger, egress = FakeLedger(), BatchEgress(script, sessions=1)
    ledger.add(600)
    with delivering(ledger, egress) as deliverer:
        assert going.wait(5)
        started = time.monotonic()
        deliverer.stop(started + 0.3)
        assert time.monotonic() - started < 5
    assert ledger.states() == {"delivered": 299, "pending": 301}
    assert ledger.rows[300].delivery.attempts == 0
    assert not [number for number in range(301, 601) if ledger.of(number)]


@pytest.mark.parametrize("manner", ["reset", "abort", "status"])
def test_trouble_within_a_run_over_a_real_association(tmp_path: Path, manner: str) -> None:
    uids = [f"1.9.{number}" for number in range(1, 101)]
    trouble = Answer(0xC000, comment="no") if manner == "status" else Answer(hang_up=manner)
    first = iter([trouble])

    def script(request: Received) -> Answer:
        return next(first, Answer()) if request.sop_instance_uid == "1.9.70" else Answer()

    with world(tmp_path) as made, RawSink(script) as sink:
        made.push(*uids)
        with delivering_from(made, {"pacs": dicom(tmp_path, sink.port, associations=1)}):
            rows = made.settled()
        assert {row.state for row in rows.values()} == {"delivered"}
        shown = [made.attempts(uid) for uid in uids]
        assert [attempt[0] for attempt in shown[69]] == [
            "refused" if manner == "status" else "retry",
            "delivered",
        ]
        assert all(len(attempts) == 1 for number, attempts in enumerate(shown, 1) if number != 70)
        assert len(sink.received) == 101


def test_a_spool_file_that_vanishes_in_a_run_parks_its_image(tmp_path: Path) -> None:
    uids = [f"1.9.{number}" for number in range(1, 101)]
    with world(tmp_path) as made, RawSink() as sink:
        made.push(*uids)
        files = sorted((tmp_path / "data").rglob("*.dcm"))
        files[70].unlink()
        with delivering_from(made, {"pacs": dicom(tmp_path, sink.port, associations=1)}):
            rows = made.settled()
        until(lambda: len(sink.received) == 99, 5)
        assert [uid for uid, row in rows.items() if row.state != "delivered"] == ["1.9.71"]
        assert rows["1.9.71"].state == "parked"
