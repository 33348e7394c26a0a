"""A destination at work: what happens to rows when receivers are well, away, busy, strange or slow."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from deliver.fakes import (
    BUSY,
    CT,
    EXPLICIT,
    FAULT,
    IMPLICIT,
    JPEG2000,
    LOST,
    MR,
    OK,
    QUICK,
    FakeEgress,
    FakeLedger,
    FakePipeline,
    FakeSession,
    delivering,
    settled,
)
from mapdr.deliver.feed import scheduler
from mapdr.deliver.feed.preparer import Preparer
from mapdr.deliver.feed.ready import ReadyQueue
from mapdr.deliver.send.breaker import BreakerState
from mapdr.deliver.send.sender import REFUSALS
from mapdr.deliver.settle.leases import Leases
from mapdr.deliver.supervise.deliverer import Deliverer
from mapdr.deliver.supervise.timetable import Timetable, Window
from mapdr.kernel import budget
from mapdr.kernel.budget import Budget
from mapdr.kernel.errors import OWN_FAULT, OwnFault, Permanent, Temporary
from mapdr.kernel.item import Acceptance, Instance, Need, Outcome, Payload, Priority, Verdict
from mapdr.kernel.proof import missing
from mapdr.kernel.watch import Watch
from mapdr.net.retry import Retry
from mapdr.testing.wait import until


def test_every_row_is_delivered_once_with_the_receivers_status() -> None:
    ledger, egress = FakeLedger(), FakeEgress()
    ledger.add(1000)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 1000}
    assert Counter(uid for uid, _, _ in egress.sent) == {f"2.25.{n}": 1 for n in range(1, 1001)}
    assert all(row.status == 0 for row in ledger.rows.values())
    assert len(ledger.history) == 1000


def test_one_session_sends_in_the_order_of_the_ledger() -> None:
    ledger, egress = FakeLedger(), FakeEgress(sessions=1)
    ids = ledger.add(500)
    with delivering(ledger, egress):
        settled(ledger)
    assert [uid for uid, _, _ in egress.sent] == [f"2.25.{n}" for n in ids]
    assert len(egress.connects) == 1


def test_sessions_are_kept_over_batches_and_released_when_idle() -> None:
    ledger, egress = FakeLedger(), FakeEgress(sessions=3)
    with delivering(ledger, egress, idle=1.0) as deliverer:
        for _ in range(5):
            ledger.add(100)
            deliverer.wake()
            settled(ledger)
        assert len(egress.connects) <= 3
        until(lambda: egress.open == 0, 5, "the release of idle sessions")


def test_an_idle_destination_reads_once_a_tick_and_leases_nothing() -> None:
    ledger, egress = FakeLedger(), FakeEgress()
    with delivering(ledger, egress, tick=0.05):
        until(lambda: ledger.looks >= 4, 5)
        assert ledger.leases <= 1


def test_waking_does_not_wait_for_the_tick() -> None:
    ledger, egress = FakeLedger(), FakeEgress()
    with delivering(ledger, egress, tick=30) as deliverer:
        until(lambda: ledger.leases >= 1, 5)
        ledger.add(1)
        deliverer.wake()
        assert settled(ledger, 3) == {"delivered": 1}


def test_at_rest_it_looks_when_it_is_told_to() -> None:
    ledger, egress = FakeLedger(), FakeEgress()
    ledger.add(2)
    with delivering(ledger, egress, tick=0.01, idle=0.01, rest=60) as deliverer:
        assert settled(ledger, 2) == {"delivered": 2}
        until_quiet(lambda: ledger.looks)
        seen = ledger.looks
        ledger.add(3)
        until_quiet(lambda: ledger.looks)
        assert ledger.looks == seen, "nobody said that another process has added some"
        deliverer.look()
        assert settled(ledger, 5) == {"delivered": 5}


def test_a_row_that_will_be_due_ends_the_rest() -> None:
    ledger, egress = FakeLedger(), FakeEgress()
    (row,) = ledger.add(1)
    ledger.rows[row].not_before = time.time() + 1.0
    with delivering(ledger, egress, tick=0.01, rest=60):
        assert settled(ledger, 20) == {"delivered": 1}


def test_rows_of_other_processes_are_found_by_the_tick() -> None:
    ledger, egress = FakeLedger(), FakeEgress()
    with delivering(ledger, egress, tick=0.05):
        until(lambda: ledger.leases >= 1, 5)
        ledger.add(3)
        assert settled(ledger, 3) == {"delivered": 3}


def test_an_image_that_the_receiver_refuses_is_parked_after_its_tries_with_status_and_comment() -> None:
    ledger = FakeLedger()
    egress = FakeEgress(lambda payload, session: FAULT if payload.sop_instance_uid == "2.25.2" else OK)
    ledger.add(3)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 2, "parked": 1}
    row = ledger.rows[2]
    assert (row.reason, row.status, row.comment) == ("refused", 0xC000, "cannot understand")
    assert row.delivery.attempts == QUICK.tries
    assert len(ledger.of(2)) == 3


def test_a_receiver_out_of_room_is_left_alone_and_no_image_is_burned() -> None:
    ledger = FakeLedger()
    room = threading.Event()
    egress = FakeEgress(lambda payload, session: OK if room.is_set() else BUSY)
    ledger.add(20)
    with delivering(ledger, egress) as deliverer:
        until(lambda: deliverer.view().reason == "receiver-busy" and len(egress.sent) > 12, 10)
        assert ledger.states()["parked"] == 0
        room.set()
        assert settled(ledger) == {"delivered": 20}
        until(lambda: deliverer.view().state is BreakerState.CLOSED, 5)
    assert all(row.delivery.attempts <= 1 for row in ledger.rows.values())


def test_the_heartbeat_tells_why_a_destination_waits() -> None:
    ledger, egress = FakeLedger(), FakeEgress(lambda payload, session: BUSY)
    ledger.add(20)
    with delivering(ledger, egress) as deliverer:
        until(lambda: deliverer.view().state is BreakerState.OPEN, 10)
        facts = json.loads(json.dumps(deliverer.facts()))
    assert list(facts) == [
        "state", "reason", "comment", "failures", "since", "retry_at", "status", "tried", "fault",
            "quiet_seconds", "pause", "closed_until", "ready", "preparing", "short_of_memory",
            "certificates", "tls_trouble",
    ]  # fmt: skip
    assert facts["state"] in set(BreakerState)
    assert (facts["reason"], facts["status"], facts["tried"]) == ("receiver-busy", 0xA700, True)


def test_outside_its_hours_a_destination_gets_what_is_stat_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = threading.Event()
    opened.set()
    monkeypatch.setattr(Timetable, "now", lambda self: Window(opened.is_set(), 1_800_000_000.0))
    going, busy = threading.Event(), threading.Event()

    def answer(payload: Any, session: Any) -> Any:
        going.set()
        return busy.wait(5) and OK

    ledger, egress = FakeLedger(), FakeEgress(answer, sessions=1)
    first, *others = ledger.add(20)
    with delivering(ledger, egress) as deliverer:
        until(lambda: ledger.states()["leased"] >= 8, 5)
        assert going.wait(5)
        opened.clear()
        until(lambda: ledger.states() == {"leased": 1, "pending": 19}, 5, "the return of what was not begun")
        (urgent,) = ledger.add(1, priority=Priority.STAT)
        busy.set()
        until(lambda: ledger.states() == {"delivered": 2, "pending": 19}, 5)
        assert ledger.rows[first].state == ledger.rows[urgent].state == "delivered"
        assert deliverer.facts()["closed_until"] == 1_800_000_000.0
        opened.set()
        assert settled(ledger) == {"delivered": 21}
        assert deliverer.facts()["closed_until"] is None
    assert Counter(uid for uid, _, _ in egress.sent) == {f"2.25.{n}": 1 for n in (first, *others, urgent)}


def test_stat_overtakes_what_a_slow_receiver_has_in_hand() -> None:
    ledger, busy = FakeLedger(), threading.Semaphore(0)
    egress = FakeEgress(lambda payload, session: busy.acquire(timeout=5) and OK, sessions=1)
    ledger.add(60)
    with delivering(ledger, egress) as deliverer:
        until(lambda: ledger.leases >= 2, 5)
        urgent = ledger.add(12, priority=Priority.STAT)
        deliverer.wake()
        until(lambda: sum(ledger.rows[n].state == "leased" for n in urgent) >= 8, 5, "a lease of stat rows")
        before = len(egress.sent)
        for _ in range(72):
            busy.release()
        assert settled(ledger) == {"delivered": 72}
    order = [uid for uid, _, _ in egress.sent]
    assert before == 0, "nothing has been answered"
    assert order[1:9] == [f"2.25.{n}" for n in urgent[:8]], "the one on the wire is not interrupted"


def test_a_receiver_that_refuses_many_is_sent_so_many_refusals_a_second_and_no_more() -> None:
    ledger, started = FakeLedger(), time.monotonic()
    egress = FakeEgress(
        lambda payload, session: FAULT if int(payload.sop_instance_uid[5:]) % 2 else OK,
        retry=replace(QUICK, tries=1),
    )
    ledger.add(2 * int(REFUSALS * 1.5))
    with delivering(ledger, egress):
        until(lambda: ledger.states()["parked"] >= REFUSALS, 10)
        assert settled(ledger) == {"delivered": REFUSALS * 1.5, "parked": REFUSALS * 1.5}
    assert 0.4 < time.monotonic() - started < 5, "half of a second's worth more than may go at once"


def test_a_peer_that_is_away_costs_probes_and_no_attempts() -> None:
    ledger, egress = FakeLedger(), FakeEgress()
    away = threading.Event()
    away.set()

    def refuse() -> None:
        if away.is_set():
            raise Temporary("connection refused")

    egress.refuse = refuse
    egress.echo = lambda: LOST if away.is_set() else OK
    ledger.add(500)
    with delivering(ledger, egress) as deliverer:
        until(lambda: egress.probes >= 3, 10)
        assert deliverer.view().reason == "unreachable"
        until(lambda: ledger.states() == {"pending": 500}, 5)
        assert {row.reason for row in ledger.rows.values() if row.reason} == {"unreachable"}
        assert len(ledger.history) <= 2
        assert not any(item.count_attempt for item in ledger.history)
        connects = len(egress.connects)
        assert connects <= 2
        away.clear()
        assert settled(ledger) == {"delivered": 500}


@pytest.mark.parametrize("error", [OwnFault("no more files"), OSError(errno.EMFILE, "no more files")])
def test_a_node_that_can_open_no_session_says_so_and_loses_no_attempts(error: Exception) -> None:
    ledger, egress, watch = FakeLedger(), FakeEgress(), Watch()
    short = threading.Event()
    short.set()

    def ask() -> Outcome:
        if short.is_set():
            raise error
        return OK

    egress.refuse = egress.echo = ask  # type: ignore[assignment]
    ledger.add(5)
    with delivering(ledger, egress, watch=watch) as deliverer:
        until(lambda: egress.probes >= 2 and deliverer.view().failures >= 3, 10)
        assert deliverer.view().reason == OWN_FAULT
        assert {row.reason for row in ledger.rows.values() if row.reason} == {OWN_FAULT}
        assert not any(item.count_attempt for item in ledger.history)
        short.clear()
        assert settled(ledger) == {"delivered": 5}
    assert watch.recent()[0].facts["reason"] == OWN_FAULT


def test_a_destination_tells_when_it_goes_and_when_it_is_back() -> None:
    ledger, egress, watch = FakeLedger(), FakeEgress(), Watch()
    away = threading.Event()
    away.set()

    def refuse() -> None:
        if away.is_set():
            raise Temporary("connection refused")

    egress.refuse = refuse
    egress.echo = lambda: LOST if away.is_set() else OK
    ledger.add(5)
    with delivering(ledger, egress, watch=watch):
        until(lambda: egress.probes >= 3, 10)
        away.clear()
        assert settled(ledger) == {"delivered": 5}
        until(lambda: len(watch.recent()) >= 2, 5)
    gone, back = watch.recent()
    assert (gone.kind, back.kind) == ("destination.waits", "destination.back")
    assert gone.facts == {"destination": "pacs", "reason": "unreachable", "comment": "connection refused"}


def test_parked_images_are_told_with_count_and_status_and_without_the_receivers_words() -> None:
    ledger, watch = FakeLedger(), Watch()
    ledger.add(7)
    with delivering(ledger, FakeEgress(lambda payload, session: FAULT), watch=watch):
        assert settled(ledger) == {"parked": 7}
        until(lambda: watch.recent() and watch.recent()[-1].facts["images"] == 7, 5)
    (parked,) = watch.recent()
    facts = {key: value for key, value in parked.facts.items() if key != "times"}
    assert (parked.kind, facts) == (
        "images.parked",
        {"destination": "pacs", "reason": "refused", "status": 0xC000, "images": 7},
    )


def test_an_unknown_ae_title_opens_the_breaker_and_the_rows_stay_with_the_reason_in_sight() -> None:
    ledger, egress = FakeLedger(), FakeEgress()
    known = threading.Event()
    words = "rejected: the called AE title is not recognised"

    def refuse() -> None:
        if not known.is_set():
            raise Permanent(words, reason="association-rejected")

    egress.refuse = refuse
    egress.echo = lambda: OK if known.is_set() else Outcome(Verdict.REFUSED, comment=words, peer_fault=True)
    ledger.add(50)
    with delivering(ledger, egress) as deliverer:
        until(lambda: egress.probes >= 2, 10)
        view = deliverer.view()
        assert (view.state, view.reason, view.comment) == (BreakerState.OPEN, "association-rejected", words)
        until(lambda: ledger.states() == {"pending": 50}, 5)
        assert words in {row.comment for row in ledger.rows.values()}
        assert all(row.delivery.attempts == 0 for row in ledger.rows.values())
        known.set()
        assert settled(ledger) == {"delivered": 50}


def test_a_lost_association_is_tried_again_and_the_repeat_is_shown() -> None:
    ledger = FakeLedger()
    lost = iter([True, True])

    def script(payload: Payload, session: FakeSession) -> Outcome:
        return LOST if payload.sop_instance_uid == "2.25.3" and next(lost, False) else OK

    egress = FakeEgress(script)
    ledger.add(10)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 10}
    shown = ledger.of(3)
    assert [item.reason for item in shown] == ["no-answer", "no-answer", ""]
    assert [item.status for item in shown] == [None, None, 0]


def test_an_image_that_brings_its_receiver_down_does_not_hold_up_the_rest() -> None:
    ledger = FakeLedger()
    egress = FakeEgress(lambda payload, session: LOST if payload.sop_instance_uid == "2.25.1" else OK)
    ledger.add(200)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 199, "parked": 1}
    assert ledger.rows[1].reason == "no-answer"


def test_giving_up_on_a_silent_peer_is_a_policy() -> None:
    ledger = FakeLedger()
    egress = FakeEgress(lambda payload, session: LOST, retry=Retry(first=0.01, cap=0.05, give_up=0.2))
    ledger.add(2)
    with delivering(ledger, egress):
        assert settled(ledger) == {"parked": 2}
    assert {row.reason for row in ledger.rows.values()} == {"gave-up"}


def test_a_refused_syntax_becomes_the_next_one_and_the_rest_are_prepared_in_it() -> None:
    ledger, chain = FakeLedger(), FakePipeline()
    egress = FakeEgress(takes=(IMPLICIT,))
    ledger.add(1000, syntax=JPEG2000)
    with delivering(ledger, egress, chain):
        assert settled(ledger) == {"delivered": 1000}
    assert {syntax for _, syntax, _ in egress.sent} == {IMPLICIT}
    refused = [item for item in ledger.history if item.verdict == Verdict.SYNTAX_REFUSED]
    assert 0 < len(refused) <= 410
    assert all(not item.count_attempt and item.syntax == IMPLICIT for item in refused)
    assert [item for item in ledger.history if item.state == "delivered"][-1].transfer_syntax_uid == IMPLICIT


def test_a_sop_class_in_no_syntax_parks_its_images_and_no_others() -> None:
    ledger = FakeLedger()
    egress = FakeEgress()
    accepts = FakeSession.accepts

    class Picky(FakeSession):
        def accepts(self, need):  # type: ignore[no-untyped-def]
            return need.sop_class_uid != MR and accepts(self, need)

    egress.connect = lambda needs: Picky(egress, needs)  # type: ignore[method-assign, assignment, return-value]
    ledger.add(5, sop_class=CT)
    ledger.add(5, sop_class=MR)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 5, "parked": 5}
    assert {row.reason for row in ledger.rows.values() if row.state == "parked"} == {"syntax-refused"}


def test_one_association_is_proposed_what_the_batch_holds() -> None:
    ledger, egress = FakeLedger(), FakeEgress(sessions=1)
    for number in range(50):
        ledger.add(2, sop_class=CT if number % 2 else MR)
    with delivering(ledger, egress):
        settled(ledger)
    assert len(egress.connects) == 1
    assert {need.sop_class_uid for need in egress.connects[0]} == {CT, MR}


def test_a_transform_that_fails_lets_nothing_out() -> None:
    def fail(instance: Instance) -> None:
        if instance.id.endswith("2"):
            raise Permanent("(0008,0080) is too long for its VR", reason="value-too-long")

    ledger, egress = FakeLedger({"steps": [{"type": "tags"}]}), FakeEgress()
    ledger.add(3)
    with delivering(ledger, egress, FakePipeline(fail, quick=False)):
        assert settled(ledger) == {"delivered": 2, "parked": 1}
    row = ledger.rows[2]
    assert (row.reason, row.comment) == ("value-too-long", "(0008,0080) is too long for its VR")
    assert "2.25.2" not in {uid for uid, _, _ in egress.sent}


def test_an_unknown_exception_is_tried_again_then_parked_without_its_words() -> None:
    def fail(instance: Instance) -> None:
        raise KeyError("DOE^JOHN")

    ledger, egress = FakeLedger({"steps": [{"type": "tags"}]}), FakeEgress()
    ledger.add(1)
    with delivering(ledger, egress, FakePipeline(fail, quick=False)):
        assert settled(ledger) == {"parked": 1}
    assert (ledger.rows[1].reason, ledger.rows[1].comment) == ("unexpected", "KeyError")
    assert len(ledger.history) == QUICK.tries
    assert not egress.sent


def test_a_temporary_failure_of_a_transform_is_tried_until_it_works() -> None:
    failures = iter(range(6))

    def fail(instance: Instance) -> None:
        if next(failures, None) is not None:
            raise Temporary("no room for a scratch file")

    ledger, egress = FakeLedger({"steps": [{"type": "compress"}]}), FakeEgress()
    ledger.add(1)
    with delivering(ledger, egress, FakePipeline(fail, quick=False)):
        assert settled(ledger) == {"delivered": 1}
    assert ledger.rows[1].delivery.attempts == 1


def test_a_spool_file_that_cannot_be_read_is_parked_in_sight() -> None:
    def script(payload: Payload, session: FakeSession) -> Outcome:
        raise missing()

    ledger, egress = FakeLedger(), FakeEgress(script)
    ledger.add(1)
    with delivering(ledger, egress):
        assert settled(ledger) == {"parked": 1}
    assert (ledger.rows[1].reason, ledger.rows[1].comment) == (
        "missing",
        "its file in the spool is gone; push it again",
    )
    assert len(ledger.history) == 1, "to try again would bring nothing"


def test_results_wait_for_a_ledger_that_is_away() -> None:
    ledger = FakeLedger()
    go = threading.Event()

    def script(payload: Payload, session: FakeSession) -> Outcome:
        assert go.wait(10)
        return OK

    egress = FakeEgress(script)
    ledger.add(4)
    with delivering(ledger, egress):
        until(lambda: ledger.states()["leased"] == 4 and egress.open, 5)
        ledger.broken = True
        go.set()
        until(lambda: len(egress.sent) == 4, 5)
        assert ledger.states()["delivered"] == 0
        ledger.broken = False
        assert settled(ledger) == {"delivered": 4}
    assert len(egress.sent) == 4


def test_leases_are_renewed_while_a_long_send_runs() -> None:
    ledger = FakeLedger()
    go = threading.Event()

    def script(payload: Payload, session: FakeSession) -> Outcome:
        assert go.wait(20)
        return OK

    egress = FakeEgress(script, sessions=1)
    ledger.add(2)
    with delivering(ledger, egress, lease=3.0):
        until(lambda: ledger.renewed[1] >= 3, 20)
        assert ledger.renewed[2] >= 2
        go.set()
        assert settled(ledger) == {"delivered": 2}
    assert len(egress.sent) == 2
    assert not ledger.expired, "somebody else might have sent them, too"


def test_stopping_lets_the_image_on_the_wire_end_and_gives_the_rest_back() -> None:
    ledger = FakeLedger()
    going, go = threading.Event(), threading.Event()

    def script(payload: Payload, session: FakeSession) -> Outcome:
        going.set()
        assert go.wait(10)
        return OK

    egress = FakeEgress(script, sessions=1)
    ledger.add(50)
    with delivering(ledger, egress) as deliverer:
        assert going.wait(5)
        threading.Timer(0.2, go.set).start()
        deliverer.stop(time.monotonic() + 5)
        assert ledger.states() == {"delivered": 1, "pending": 49}
        assert egress.open == 0
        assert egress.stopped == 1
        deliverer.stop(time.monotonic())
        assert egress.stopped == 1


def test_stopping_aborts_a_send_that_does_not_end() -> None:
    ledger = FakeLedger()
    going = threading.Event()

    def script(payload: Payload, session: FakeSession) -> Outcome:
        going.set()
        session.closed.wait(20)
        return LOST

    egress = FakeEgress(script, sessions=1)
    ledger.add(5)
    with delivering(ledger, egress) as deliverer:
        assert going.wait(5)
        started = time.monotonic()
        deliverer.stop(started + 0.3)
        assert time.monotonic() - started < 5
    assert ledger.states() == {"pending": 5}
    assert ledger.rows[1].delivery.attempts == 0


def test_stop_before_start_and_twice() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from mapdr.deliver.feed.preparer import Preparer
    from mapdr.deliver.supervise.deliverer import Deliverer
    from mapdr.kernel.watch import Watch

    ledger = FakeLedger()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(ledger, lambda steps: FakePipeline(), pool)
        deliverer = Deliverer("pacs", FakeEgress(), ledger, preparer, owner="n", watch=Watch())
        deliverer.stop(time.monotonic() + 1)
        deliverer.stop(time.monotonic() + 1)


def test_a_receiver_that_allows_fewer_associations_is_served_by_those_it_allows() -> None:
    ledger = FakeLedger()
    egress = FakeEgress(sessions=4)

    def refuse() -> None:
        with egress.lock:
            if egress.open >= 1:
                raise Temporary("rejected: local limit exceeded")

    egress.refuse = refuse
    ledger.add(400)
    with delivering(ledger, egress) as deliverer:
        assert settled(ledger) == {"delivered": 400}
        assert deliverer.view().state is BreakerState.CLOSED
    assert len(egress.connects) < 30


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007, 0x0111])
def test_a_row_shows_the_final_status_it_ended_with(status: int) -> None:
    ledger, egress = FakeLedger(), FakeEgress(lambda payload, session: Outcome(Verdict.DELIVERED, status))
    ledger.add(1)
    with delivering(ledger, egress):
        settled(ledger)
    assert ledger.rows[1].status == status


def test_no_image_waits_behind_an_association_that_is_not_answered() -> None:
    """Receivers that take one association at a time leave the second one waiting until the first ends."""
    ledger, egress = FakeLedger(), FakeEgress(sessions=2)
    answered = threading.Event()

    first = threading.Lock()

    def one_at_a_time() -> None:
        if not first.acquire(blocking=False):
            answered.wait(30)

    egress.refuse = one_at_a_time
    ledger.add(40)
    try:
        with delivering(ledger, egress) as deliverer:
            assert settled(ledger) == {"delivered": 40}
            ledger.add(40)
            deliverer.wake()
            assert settled(ledger) == {"delivered": 80}
            assert not answered.is_set()
            answered.set()
    finally:
        answered.set()
    assert Counter(uid for uid, _, _ in egress.sent) == {f"2.25.{n}": 1 for n in range(1, 81)}


def test_one_image_opens_one_session() -> None:
    ledger, egress = FakeLedger(), FakeEgress(sessions=8)

    def slowly() -> None:
        threading.Event().wait(0.3)

    egress.refuse = slowly
    ledger.add(1)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 1}
    assert len(egress.connects) == 1


def test_an_exception_of_our_own_while_connecting_is_held_against_its_image_alone() -> None:
    ledger, egress = FakeLedger(), FakeEgress(sessions=2)
    connect = egress.connect

    def strict(needs):  # type: ignore[no-untyped-def]
        if any(need.sop_class_uid == MR for need in needs):
            raise ValueError("DOE^JOHN")
        return connect(needs)

    egress.connect = strict  # type: ignore[method-assign]
    ledger.add(20)
    ledger.add(1, sop_class=MR)
    ledger.add(20)
    with delivering(ledger, egress) as deliverer:
        assert settled(ledger) == {"delivered": 40, "parked": 1}
        assert deliverer.view().state is BreakerState.CLOSED
        assert deliverer.view().failures == 0
    assert (ledger.rows[21].reason, ledger.rows[21].comment) == ("failed", "ValueError")


def test_a_probe_that_fails_by_our_fault_keeps_no_image_waiting() -> None:
    ledger, egress = FakeLedger(), FakeEgress()
    away = iter([True])

    def refuse() -> None:
        if next(away, False):
            raise Temporary("connection refused")

    def echo() -> Outcome:
        raise ValueError("a bug")

    egress.refuse, egress.echo = refuse, echo
    ledger.add(5)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 5}


def test_an_egress_that_fails_every_image_is_told_once_and_shown_until_it_sends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger, egress = FakeLedger(), FakeEgress(sessions=2, retry=Retry(first=0.01, cap=0.01, tries=1000))
    gone = threading.Event()
    gone.set()

    class Folder(FakeSession):
        def send(self, payload: Payload) -> Outcome:
            if gone.is_set():
                raise FileNotFoundError(2, "No such file or directory", "/archive/SECRET.dcm")
            return super().send(payload)

    egress.connect = lambda needs: Folder(egress, needs)  # type: ignore[method-assign, assignment, return-value]
    ledger.add(20)
    with delivering(ledger, egress) as deliverer:
        until(lambda: len(ledger.history) >= 30, 10)
        assert deliverer.facts()["fault"] == "FileNotFoundError: No such file or directory"
        gone.clear()
        assert settled(ledger) == {"delivered": 20}
        until(lambda: not deliverer.facts()["fault"], 5)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "pacs: sending failed by a fault of this destination's program"
        " (FileNotFoundError: No such file or directory)"
    ]


def test_a_session_that_raises_in_every_method_ends_no_sender() -> None:
    ledger, egress = FakeLedger(), FakeEgress(sessions=1)
    broken = iter(range(3))

    class Faulty(FakeSession):
        def covers(self, need):  # type: ignore[no-untyped-def]
            if next(broken, None) is not None:
                raise KeyError("a bug")
            return super().covers(need)

        def close(self) -> None:
            super().close()
            raise KeyError("a bug")

    egress.connect = lambda needs: Faulty(egress, needs)  # type: ignore[method-assign, assignment, return-value]
    ledger.add(20)
    with delivering(ledger, egress):
        assert settled(ledger)["delivered"] >= 19


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
@pytest.mark.parametrize("where", ["connect", "acceptance", "send", "close"])
def test_what_would_end_a_thread_ends_no_sender(where: str, error: BaseException) -> None:
    ledger, egress = FakeLedger(), FakeEgress(sessions=1, retry=Retry(first=0.01, cap=0.01, tries=5))
    failures = iter(range(2))

    class Leaving(FakeSession):
        def acceptance(self, need: Need) -> Acceptance | None:
            leave("acceptance")
            return super().acceptance(need)

        def send(self, payload: Payload) -> Outcome:
            leave("send")
            return super().send(payload)

        def close(self) -> None:
            super().close()
            leave("close")

    def leave(here: str) -> None:
        if here == where and next(failures, None) is not None:
            raise error

    def connect(needs: Sequence[Need]) -> FakeSession:
        leave("connect")
        return Leaving(egress, needs)

    egress.connect = connect  # type: ignore[method-assign]
    ledger.add(20)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 20}


@pytest.mark.parametrize("told", [None, "ok", Outcome("delivered", 0)])  # type: ignore[arg-type]
def test_what_is_no_answer_is_held_against_the_image(told: Any) -> None:
    ledger, egress = FakeLedger(), FakeEgress(sessions=1, retry=Retry(first=0.01, cap=0.01, tries=3))

    class Odd(FakeSession):
        def send(self, payload: Payload) -> Outcome:
            said = super().send(payload)
            return told if payload.sop_instance_uid == "2.25.10" else said  # type: ignore[no-any-return]

    egress.connect = lambda needs: Odd(egress, needs)  # type: ignore[method-assign]
    ledger.add(20)
    with delivering(ledger, egress):
        assert settled(ledger) == {"delivered": 19, "parked": 1}
    assert ledger.rows[10].state == "parked"
    assert ledger.rows[10].comment == "the session did not say what became of an image"


def test_an_image_does_not_stay_in_hand_when_its_end_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails in a sender, its thread goes on and the row is leased again."""
    failures = iter(range(3))
    real = Leases.settle

    def settle(self: Leases, *arguments: Any) -> Any:
        if next(failures, None) is not None:
            raise OverflowError("SECRET")
        return real(self, *arguments)

    monkeypatch.setattr(Leases, "settle", settle)
    ledger, egress = FakeLedger(), FakeEgress(sessions=1)
    ledger.add(3)
    with delivering(ledger, egress) as deliverer:
        assert settled(ledger) == {"delivered": 3}
    assert deliverer._watch.counters()["threads.failed"] >= 1


@pytest.mark.parametrize("quick", [False, True])
def test_an_index_that_cannot_be_used_for_a_while_parks_no_image(quick: bool) -> None:
    locked = OperationalError("", None, sqlite3.OperationalError("database is locked"))
    failures = Counter[str]()

    def fail(instance: Instance) -> None:
        failures[instance.id] += 1
        if failures[instance.id] <= 5:
            raise locked

    ledger, egress = FakeLedger(), FakeEgress(retry=Retry(first=0.01, cap=0.01, tries=2))
    ledger.add(3)
    with delivering(ledger, egress, FakePipeline(fail, quick=quick)):
        assert settled(ledger) == {"delivered": 3}


def test_an_image_whose_work_cannot_be_begun_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def request(self: Preparer, *arguments: Any) -> Any:
        raise OverflowError("SECRET")

    monkeypatch.setattr(Preparer, "request", request)
    ledger, egress = FakeLedger({"steps": [{"type": "compress"}]}), FakeEgress()
    ledger.add(3)
    with delivering(ledger, egress, FakePipeline(quick=False)):
        assert settled(ledger) == {"parked": 3}
    assert {row.reason for row in ledger.rows.values()} == {"unexpected"}


def test_a_compression_that_the_receiver_refused_is_kept_with_the_row_and_told() -> None:
    class Compressing(FakePipeline):
        """The recipe wants JPEG 2000; for a receiver that refuses it the image goes without."""

        def prepare(self, instance: Instance, memory: Any, syntax_override: str = "") -> Payload:
            payload = super().prepare(instance, memory, syntax_override or JPEG2000)
            return replace(payload, unmet="compression-refused" if syntax_override else "")

    ledger, watch = FakeLedger(), Watch()
    ledger.add(5)
    with delivering(ledger, FakeEgress(takes=(EXPLICIT,)), Compressing(), watch=watch):
        assert settled(ledger) == {"delivered": 5}
        until(lambda: watch.counters().get("deliver.pacs.uncompressed") == 5, 5)
    assert {row.reason for row in ledger.rows.values()} == {"compression-refused"}
    told = [event for event in watch.recent() if event.kind == "images.uncompressed"]
    assert sum(event.facts["images"] for event in told) == 5  # type: ignore[misc]
    ledger = FakeLedger()
    ledger.add(5)
    with delivering(ledger, FakeEgress(), Compressing()):
        assert settled(ledger) == {"delivered": 5}
    assert {row.reason for row in ledger.rows.values()} == {""}


def test_a_destination_nobody_has_spoken_to_says_so() -> None:
    ledger, egress = FakeLedger(), FakeEgress()
    with delivering(ledger, egress) as deliverer:
        assert not deliverer.view().tried
        ledger.add(1)
        deliverer.wake()
        settled(ledger)
        until(lambda: deliverer.view().tried, 5)
        assert deliverer.view().state is BreakerState.CLOSED


# --- memory -------------------------------------------------------------------------------------------------


class Encodes(FakePipeline):
    """Makes payloads of `size` bytes in memory, and says so before."""

    def __init__(self, size: int) -> None:
        super().__init__(quick=False)
        self.size = size

    def prepare(self, instance: Instance, memory: object, syntax_override: str = "") -> Payload:
        budget.need(self.size)
        made = super().prepare(instance, memory, syntax_override)
        return replace(made, parts=(bytes(self.size),), length=self.size)


def test_a_destination_has_no_more_prepared_than_may_wait_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "AHEAD", 3000)
    go = threading.Event()
    chain = Encodes(1000)

    def slow(payload: Payload, session: FakeSession) -> Outcome:
        assert go.wait(10)
        return OK

    ledger, egress = FakeLedger(), FakeEgress(slow, sessions=1)
    ledger.add(40)
    with delivering(ledger, egress, chain):
        until(lambda: len(chain.prepared) >= 4, 10, "what is prepared ahead")
        until_quiet(lambda: len(chain.prepared))
        assert len(chain.prepared) <= 1 + 3 + 1, "one on the wire, three that wait, and the one that was next"
        go.set()
        assert settled(ledger) == {"delivered": 40}


def until_quiet(count: Callable[[], int], seconds: float = 0.5) -> None:
    """Wait until `count` has stood still for a while."""
    seen, since = count(), time.monotonic()

    def quiet() -> bool:
        nonlocal seen, since
        if count() != seen:
            seen, since = count(), time.monotonic()
        return time.monotonic() - since > seconds

    until(quiet, 10, "an end of the work")


def test_payloads_that_wait_for_a_slow_receiver_do_not_starve_another_destination() -> None:
    go = threading.Event()
    chain = Encodes(1000)

    def slow(payload: Payload, session: FakeSession) -> Outcome:
        assert go.wait(30)
        return OK

    ledger = FakeLedger()
    memory = Budget(4000)
    ledger.add(20, destination="slow")
    fast_rows = ledger.add(20, destination="fast")
    pool = ThreadPoolExecutor(2)
    preparer = Preparer(ledger, lambda steps: chain, pool, budget=memory)
    egresses = {"slow": FakeEgress(slow, sessions=1), "fast": FakeEgress(sessions=1)}
    deliverers = {
        name: Deliverer(name, egress, ledger, preparer, owner="node", watch=Watch(), tick=0.05)
        for name, egress in egresses.items()
    }
    deliverers["slow"].start()
    try:
        until(lambda: memory.used >= 2000, 10, "payloads of the slow one")
        until_quiet(lambda: memory.used)
        assert memory.used <= 2000, "half of the memory"
        deliverers["fast"].start()
        until(lambda: len(egresses["fast"].sent) == 20, 20, "every image of the other one")
        assert not egresses["slow"].sent
        go.set()
        assert settled(ledger) == {"delivered": 40}
    finally:
        go.set()
        for deliverer in deliverers.values():
            deliverer.stop(time.monotonic() + 5)
        pool.shutdown()
    assert all(ledger.rows[id_].state == "delivered" for id_ in fast_rows)
    memory.tend()
    assert memory.used <= preparer._keep, "only what is kept for others"


def test_an_image_that_can_never_have_its_memory_is_parked_and_the_others_go() -> None:
    ledger, egress, chain = FakeLedger(), FakeEgress(), Encodes(10)
    heavy = ledger.add(5)[2]
    needs = chain.prepare

    def prepare(instance: Instance, memory: object, syntax_override: str = "") -> Payload:
        if instance.id == f"{heavy:032x}":
            budget.need(1 << 60)
        return needs(instance, memory, syntax_override)

    chain.prepare = prepare  # type: ignore[method-assign]
    with delivering(ledger, egress, chain):
        assert settled(ledger) == {"delivered": 4, "parked": 1}
    assert ledger.rows[heavy].reason == "memory"
    assert "[node] memory" in ledger.rows[heavy].comment


def test_senders_with_sessions_for_different_images_send_each_once() -> None:
    """One opens a session for an image while another, that has one, takes it: it is in one hand only."""

    class Narrow(FakeEgress):
        """Each session covers one need, and is there after a moment."""

        def connect(self, needs: Sequence[Need]) -> FakeSession:
            threading.Event().wait(0.001)
            return super().connect(needs[:1])

    ledger, egress = FakeLedger(), Narrow(sessions=8)
    for number in range(200):
        ledger.add(1, sop_class=f"1.2.{number % 5}")
    with delivering(ledger, egress, idle=0.01):
        assert settled(ledger, 30) == {"delivered": 200}
    assert Counter(uid for uid, _, _ in egress.sent) == {f"2.25.{n}": 1 for n in range(1, 201)}
    assert len(ledger.history) == 200


def test_an_image_that_another_sender_took_meanwhile_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a sender's look at the queue and its next step, another may have taken what it reserved."""
    real, others = ReadyQueue.take, []

    def take(self: ReadyQueue, *arguments: Any) -> Any:
        taken = real(self, *arguments)
        if taken is not None and taken.reserved and not others:
            assert self.claim(taken.image)
            others.append(taken.image)
        return taken

    monkeypatch.setattr(ReadyQueue, "take", take)
    ledger, egress = FakeLedger(), FakeEgress(sessions=1)
    ledger.add(1)
    with delivering(ledger, egress) as deliverer:
        until(lambda: egress.open == 1, 5, "the session that was opened for it")
        until_quiet(lambda: len(egress.sent), 0.2)
        assert not egress.sent
        deliverer._ready.put_back(others)
        assert settled(ledger) == {"delivered": 1}
    assert len(ledger.history) == 1
