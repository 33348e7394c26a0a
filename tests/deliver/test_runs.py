"""Sessions that send runs: every image is settled by its own answer, and what was not begun goes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deliver.fakes import BUSY, FAULT, LOST, OK, FakeEgress, FakeLedger, FakeSession, delivering, settled
from deliver.world import delivering as delivering_from
from deliver.world import egress as dicom
from deliver.world import world
from mapdr.kernel.item import Need, Outcome, Payload, Sent, Verdict
from mapdr.store.queue.ledger import LeasedDelivery
from mapdr.testing.wait import until
from peers.rawsink import Answer, RawSink, Received


class RunSession(FakeSession):
    """Sends runs; `lengths` of its egress says how many payloads it was given each time."""

    def send_run(self, payloads: Sequence[Payload], seconds: float, sent: list[Sent]) -> None:
        assert isinstance(self.egress, RunEgress)
        self.egress.lengths.append(len(payloads))
        began = time.monotonic()
        for payload in payloads:
            started = time.time()
            sent.append(Sent(self.send(payload), started, time.time() - started))
            if sent[-1].outcome.verdict is not Verdict.DELIVERED or time.monotonic() - began >= seconds:
                return


class RunEgress(FakeEgress):
    """A destination whose sessions send runs."""

    lengths: list[int]

    def connect(self, needs: Sequence[Need]) -> RunSession:
        super().connect(needs)
        self.lengths = getattr(self, "lengths", [])
        return RunSession(self, needs)


def test_runs_grow_with_the_receivers_speed_and_keep_the_order_of_the_ledger() -> None:
    ledger, egress = FakeLedger(), RunEgress(sessions=1)
    ledger.add(1000)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 1000}
    assert [uid for uid, _, _ in egress.sent] == [f"2.25.{number}" for number in range(1, 1001)]
    assert egress.lengths[0] == 1
    assert max(egress.lengths) > 10


def test_a_slow_receiver_is_given_one_image_at_a_time() -> None:
    slow = threading.Event()

    def script(payload: Payload, session: FakeSession) -> Outcome:
        slow.wait(0.06)
        return OK

    ledger, egress = FakeLedger(), RunEgress(script, sessions=1)
    ledger.add(8)
    with delivering(ledger, egress):
        settled(ledger)
    assert set(egress.lengths) == {1}


@pytest.mark.parametrize("answer", [FAULT, LOST, BUSY])
def test_what_is_behind_an_image_that_was_not_delivered_goes_out_untried(answer: Outcome) -> None:
    bad = "2.25.300"
    left = iter([answer])

    def script(payload: Payload, session: FakeSession) -> Outcome:
        return next(left, OK) if payload.sop_instance_uid == bad else OK

    ledger, egress = FakeLedger(), RunEgress(script, sessions=2)
    ledger.add(600)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 600}
    assert [item.status for item in ledger.of(300)] == [answer.status, 0]
    assert all(len(ledger.of(number)) == 1 for number in range(1, 601) if number != 300)


def test_an_egress_that_raises_in_a_run_is_held_against_one_image() -> None:
    class Faulty(RunSession):
        def send_run(self, payloads: Sequence[Payload], seconds: float, sent: list[Sent]) -> None:
            good = [one for one in payloads if one.sop_instance_uid != "2.25.300"]
            at = next((n for n, one in enumerate(payloads) if one.sop_instance_uid == "2.25.300"), None)
            super().send_run(good if at is None else payloads[:at] or good[:0], seconds, sent)
            if at is not None and len(sent) == at:
                raise FileNotFoundError(2, "No such file or directory", "/patient/name")

    class FaultyEgress(RunEgress):
        def connect(self, needs: Sequence[Need]) -> RunSession:
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


@pytest.mark.parametrize("told", [(), (None,), (Sent(None, 0.0, 0.0),), (Sent(OK, 0.0, 0.0),) * 700])  # type: ignore[arg-type]
def test_a_run_that_tells_something_else_keeps_no_image_in_hand(told: Sequence[Any]) -> None:
    once = iter([1])

    class Odd(RunSession):
        def send_run(self, payloads: Sequence[Payload], seconds: float, sent: list[Sent]) -> None:
            super().send_run(payloads, seconds, sent)
            if len(payloads) > 1 and next(once, None):
                sent[-1:] = told

    class OddEgress(RunEgress):
        def connect(self, needs: Sequence[Need]) -> RunSession:
            super().connect(needs)
            return Odd(self, needs)

    ledger = FakeLedger()
    ledger.add(200)
    with delivering(ledger, OddEgress(sessions=1)):
        assert settled(ledger) == {"delivered": 200}


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

    ledger, egress = Locked(), RunEgress(script, sessions=1)
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

    ledger, egress = FakeLedger(), RunEgress(script, sessions=1)
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
