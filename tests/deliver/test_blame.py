"""Whose fault it is that an image was not taken: its own, or its receiver's (design, decision 24)."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from deliver.fakes import LOST, OK, FakeEgress, FakeLedger, FakeSession, delivering, settled
from deliver.world import World, egress, world
from deliver.world import delivering as delivering_from
from mapdr.deliver.send.breaker import BreakerState
from mapdr.kernel.item import Outcome, Payload, Verdict
from mapdr.net.retry import Retry
from mapdr.testing.wait import until
from peers.rawsink import Answer, RawSink, Received

ALL = [f"1.9.{number}" for number in range(1, 41)]
FIRST, SPREAD = frozenset(ALL[:10]), frozenset(ALL[::4])


def aborting(bad: frozenset[str], manner: str = "abort") -> RawSink:
    """A receiver that takes one association at a time, and ends it when one of `bad` comes."""

    def script(request: Received) -> Answer:
        return Answer(hang_up=manner) if request.sop_instance_uid in bad else Answer()

    return RawSink(script, serial=True)


def delivered(made: World) -> set[str]:
    return {row.uid for row in made.rows() if row.state == "delivered"}


@pytest.mark.parametrize("bad", [FIRST, SPREAD], ids=["first", "spread"])
@pytest.mark.parametrize("manner", ["abort", "reset"])
def test_images_that_make_their_receiver_hang_up_delay_no_others(
    tmp_path: Path, bad: frozenset[str], manner: str
) -> None:
    """Those are tried again after hours; who waited for them would be in time by no machine."""
    good = set(ALL) - bad
    hours = {"first": 10_000.0, "max": 20_000.0}
    with world(tmp_path) as made, aborting(bad, manner) as sink:
        made.push(*ALL)
        with delivering_from(made, {"pacs": egress(tmp_path, sink.port, retry=hours)}):
            until(lambda: delivered(made) == good, 60, "the delivery of the good images")
        assert not any(row.state == "parked" for row in made.rows())
        assert all(count == 1 for uid, count in sent(sink).items() if uid in good)


def sent(sink: RawSink) -> Counter[str]:
    return Counter(item.sop_instance_uid for item in sink.received)


@pytest.mark.parametrize("bad", [FIRST, SPREAD], ids=["first", "spread"])
def test_such_an_image_is_parked_after_its_tries_with_the_reason(tmp_path: Path, bad: frozenset[str]) -> None:
    with world(tmp_path) as made, aborting(bad) as sink:
        made.push(*ALL)
        with delivering_from(made, {"pacs": egress(tmp_path, sink.port)}):
            rows = made.settled(seconds=30)
        assert {uid for uid, row in rows.items() if row.state == "parked"} == bad
        assert {rows[uid].reason for uid in bad} == {"no-answer"}
        assert all("abort" in rows[uid].comment for uid in bad)
        # The first does not count; twice as many count where nothing was left to be taken since. Lost while
        # the receiver was in trouble or had taken none yet, which is as it comes, it counts never.
        assert all(2 <= rows[uid].attempts <= 5 for uid in bad)
        assert all(sent(sink)[uid] > rows[uid].attempts for uid in bad)
        assert all(sent(sink)[uid] == 1 for uid in rows if uid not in bad)


def test_an_image_by_which_connections_just_end_is_parked_later_and_uses_up_no_tries(tmp_path: Path) -> None:
    with world(tmp_path) as made, aborting(SPREAD, "reset") as sink:
        made.push(*ALL)
        with delivering_from(made, {"pacs": egress(tmp_path, sink.port)}):
            rows = made.settled(seconds=60)
        assert {uid for uid, row in rows.items() if row.state == "parked"} == SPREAD
        assert {rows[uid].reason for uid in SPREAD} == {"no-answer"}
        assert all(sent(sink)[uid] >= 6 for uid in SPREAD)
        assert {rows[uid].attempts for uid in SPREAD} == {1}, "the one that parked it"


def test_a_network_that_cuts_now_and_then_parks_no_image_and_uses_up_no_tries(tmp_path: Path) -> None:
    """Of five images one is lost once, one twice, one three times, and one more often than it has tries."""
    left = {uid: number % 5 for number, uid in enumerate(ALL)}

    def script(request: Received) -> Answer:
        uid = request.sop_instance_uid
        left[uid] -= 1
        return Answer(hang_up="reset") if left[uid] >= 0 else Answer()

    with world(tmp_path) as made, RawSink(script, serial=True) as sink:
        made.push(*ALL)
        with delivering_from(made, {"pacs": egress(tmp_path, sink.port)}):
            rows = made.settled(seconds=60)
        assert {row.state for row in rows.values()} == {"delivered"}
        assert {row.attempts for row in rows.values()} == {1}
        assert sent(sink) == {uid: number % 5 + 1 for number, uid in enumerate(ALL)}


CUT = replace(LOST, cut=True)


def test_a_network_that_dies_over_the_last_images_parks_none_of_them() -> None:
    """Others were taken since they were first cut, and then nothing comes through any more."""
    last = ("2.25.1", "2.25.2")
    network = {"last": CUT, "others": OK}
    cut, others_taken = set[str](), threading.Event()

    def script(payload: Payload, session: FakeSession) -> Outcome:
        uid = payload.sop_instance_uid
        if uid in last and uid in cut:
            assert others_taken.wait(20)
        cut.add(uid)
        return network["last" if uid in last else "others"]

    ledger, egress = FakeLedger(), FakeEgress(script, sessions=3)
    ledger.add(2)
    with delivering(ledger, egress) as deliverer:
        until(lambda: cut >= set(last), 5)
        ledger.add(28)
        deliverer.wake()
        until(lambda: ledger.states()["delivered"] == 28, 20)
        egress.echo = lambda: CUT
        others_taken.set()
        until(lambda: egress.probes >= 15 or ledger.states()["parked"], 20)
        assert not ledger.states()["parked"]
        assert deliverer.view().state is not BreakerState.CLOSED
        network["last"], egress.echo = OK, lambda: OK
        assert settled(ledger) == {"delivered": 30}
    assert {row.delivery.attempts for row in ledger.rows.values()} == {1}


def test_an_image_that_alone_is_cut_while_probes_are_answered_is_parked() -> None:
    """What the receiver dies of is not sent for ever, though no other image comes to show it."""
    bad = "2.25.6"
    ledger = FakeLedger()
    egress = FakeEgress(lambda payload, session: CUT if payload.sop_instance_uid == bad else OK)
    ledger.add(5)
    with delivering(ledger, egress) as deliverer:
        until(lambda: ledger.states()["delivered"] == 5, 5)
        ledger.add(1)
        deliverer.wake()
        assert settled(ledger) == {"delivered": 5, "parked": 1}
        assert deliverer.view().state is BreakerState.CLOSED, "it keeps no other image waiting"
    assert Counter(uid for uid, _, _ in egress.sent)[bad] == 15
    assert egress.probes == 14
    assert (ledger.rows[6].reason, ledger.rows[6].delivery.attempts) == ("no-answer", 1)


def test_the_last_images_are_parked_too_when_no_other_comes_to_show_whose_fault_it_is(tmp_path: Path) -> None:
    bad = frozenset(ALL[-2:])
    with world(tmp_path) as made, aborting(bad) as sink:
        made.push(*ALL)
        with delivering_from(made, {"pacs": egress(tmp_path, sink.port, associations=1)}):
            rows = made.settled(seconds=30)
        assert {uid for uid, row in rows.items() if row.state == "parked"} == bad
        assert all(sent(sink)[uid] == 6 for uid in bad)


def test_a_receiver_that_hangs_up_at_every_image_is_left_alone_and_nothing_is_parked(tmp_path: Path) -> None:
    with world(tmp_path) as made, aborting(frozenset(ALL)) as sink:
        made.push(*ALL)
        with delivering_from(made, {"pacs": egress(tmp_path, sink.port)}):
            until(lambda: len(sink.received) >= 12, 30, "some rounds")
            until(lambda: {row.state for row in made.rows()} == {"pending"}, 30, "a pause")
            assert all(row.attempts == 0 for row in made.rows())
            sink.script = lambda request: Answer()
            assert {row.state for row in made.settled(seconds=30).values()} == {"delivered"}


def test_images_in_a_row_open_the_breaker_and_one_alone_does_not() -> None:
    never = Retry(first=10_000.0, cap=20_000.0)
    ledger, egress = FakeLedger(), FakeEgress(lambda payload, session: LOST, sessions=1, retry=never)
    ledger.add(3)
    with delivering(ledger, egress) as deliverer:
        until(lambda: len(ledger.history) == 3, 5)
        assert deliverer.view().state is BreakerState.CLOSED
        ledger.add(20)
        deliverer.wake()
        until(lambda: deliverer.view().state is not BreakerState.CLOSED, 5)
        assert deliverer.view().reason == "no-answer"


def test_an_image_that_ended_a_session_goes_alone_on_a_new_one() -> None:
    sessions: dict[str, list[FakeSession]] = {}

    def script(payload: Payload, session: FakeSession) -> Outcome:
        sessions.setdefault(payload.sop_instance_uid, []).append(session)
        return LOST if payload.sop_instance_uid == "2.25.5" else OK

    ledger, egress = FakeLedger(), FakeEgress(script, sessions=1)
    ledger.add(10)
    with delivering(ledger, egress) as deliverer:
        until(lambda: ledger.states()["delivered"] == 9, 5)
        ledger.add(50)
        deliverer.wake()
        settled(ledger)
    row = ledger.rows[5]
    assert (row.reason, row.comment) == ("no-answer", LOST.comment)
    with_others = [
        {uid for uid, used in sessions.items() if session in used} for session in sessions["2.25.5"][1:]
    ]
    assert with_others == [{"2.25.5"}] * len(with_others)


def test_a_receiver_that_takes_one_image_an_association_gets_them_all(tmp_path: Path) -> None:
    def script(request: Received) -> Answer:
        return Answer(release=True)

    with world(tmp_path) as made, RawSink(script) as sink:
        made.push(*ALL)
        with delivering_from(made, {"pacs": egress(tmp_path, sink.port)}):
            rows = made.settled(seconds=30)
        assert {row.state for row in rows.values()} == {"delivered"}
        assert sink.associations >= len(ALL)


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110, 0x0213, 0xFE00])
def test_what_may_pass_waits_and_is_given_up_only_by_policy(status: int) -> None:
    ledger = FakeLedger()
    from mapdr.wire.status import outcome

    egress = FakeEgress(
        lambda payload, session: outcome(status) if payload.sop_instance_uid == "2.25.1" else OK
    )
    ledger.add(30)
    with delivering(ledger, egress):
        until(lambda: ledger.states()["delivered"] == 29, 10)
        until(lambda: len(ledger.of(1)) > 6, 10)
        assert ledger.rows[1].state != "parked"
        assert ledger.rows[1].delivery.attempts == 0
    assert ledger.of(1)[-1].reason == "receiver-busy"
    assert Verdict(ledger.of(1)[-1].verdict) is Verdict.RETRY
