"""What an answer does to its row, to the breaker and to the counters, without threads or sockets."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deliver.fakes import BUSY, LOST, NOT_SO, OK, QUICK, make_instance
from mapdr.deliver.backoff import Backoff
from mapdr.deliver.feed.ready import QueuedImage
from mapdr.deliver.permit import Permit
from mapdr.deliver.send.breaker import Breaker, BreakerState
from mapdr.deliver.send.outcomes import SLOW, SWITCHES, OutcomeHandler
from mapdr.deliver.settle.decide import LATER, Decision
from mapdr.deliver.settle.failures import CUTS, IN_A_ROW, Failures
from mapdr.deliver.settle.leases import EndedAttempt, Leases
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Outcome, Pause, Payload, Sent, Verdict
from mapdr.kernel.watch import Watch
from mapdr.net.retry import Retry
from mapdr.store.queue.ledger import LeasedDelivery

FAULT = Outcome(Verdict.REFUSED, 0xC000, "cannot understand")
CUT = replace(LOST, cut=True)


def image(number: int = 1, length: int = 100, attempts: int = 0) -> QueuedImage:
    instance = replace(make_instance(number), received_at=1000.0)
    delivery = LeasedDelivery(number, instance, "pacs", 0, 0, "r", "", attempts, 0.0)
    return QueuedImage(delivery, Payload("1.2", f"2.25.{number}", "1.2.840.10008.1.2.1", (), length))


def after(outcome: Outcome, seconds: float = 0.0) -> Sent:
    return Sent(outcome, 0.0, seconds)


class World:
    """A handler, whose rows are all held until they are settled; what it settled, in order."""

    def __init__(self, retry: Retry = QUICK) -> None:
        self.settled: list[EndedAttempt] = []
        self.gone: set[int] = set()
        self.attempts: Counter[int] = Counter()
        self.stopping = threading.Event()
        self.failures, self.watch = Failures(), Watch()
        self.permit = SimpleNamespace(resumed_at=0.0, pause="")
        self.differs: Any = lambda delivery: False
        self.breaker = Breaker(
            Backoff(1.0, 2.0, 60.0, 0.0),
            Backoff(100.0, 2.0, 900.0, 0.0),
            clock=lambda: 5.0,
            wall=lambda: 2000.0,
        )
        self.handler = OutcomeHandler(
            "pacs",
            cast(Leases, SimpleNamespace(settle=self._settle)),
            failures=self.failures,
            breaker=self.breaker,
            retry=retry,
            watch=self.watch,
            differs=self._differs,
            stopping=self.stopping,
            permit=cast(Permit, self.permit),
        )

    def _differs(self, delivery: LeasedDelivery) -> bool:
        return bool(self.differs(delivery))

    def _settle(self, attempts: Sequence[EndedAttempt]) -> list[EndedAttempt]:
        held = [each for each in attempts if each.delivery.id not in self.gone]
        self.settled += held
        return held

    @property
    def is_open(self) -> bool:
        """Whether the breaker keeps images back."""
        return self.breaker.state is not BreakerState.CLOSED

    def answered(self, outcome: Outcome, number: int = 1, seconds: float = 0.0, **more: Any) -> Decision:
        """The decision of the row after this answer."""
        tried = image(number, attempts=self.attempts[number])
        self.handler.answered(tried, after(outcome, seconds), **more)
        decision = self.settled[-1].decision
        self.attempts[number] += decision.count_attempt
        return decision


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("mapdr.deliver.send.outcomes.time.time", lambda: 2000.0)
    return World()


def test_what_was_taken_is_counted_once_with_its_bytes(world: World) -> None:
    world.gone = {2}
    world.failures.receiver_in_trouble(image(9).delivery)
    world.handler.delivered([image(1, 7), image(2, 50), image(3, 9)], [after(OK)] * 3)
    assert [(each.delivery.id, each.decision.state) for each in world.settled] == [
        (1, "delivered"),
        (3, "delivered"),
    ]
    assert world.watch.counters() == {"deliver.pacs.images": 2, "deliver.pacs.bytes": 16}
    assert world.failures._answers == 3, "the receiver has answered all of them"
    assert world.breaker.view().tried


def test_what_was_not_taken_is_counted_by_what_becomes_of_it(world: World) -> None:
    world.answered(replace(OK, duplicate=True, status=0x0111))
    world.answered(FAULT)
    world.answered(FAULT, 2)
    world.answered(NOT_SO)
    assert [each.decision.state for each in world.settled] == ["delivered", "pending", "pending", "parked"]
    assert world.watch.counters() == {
        "deliver.pacs.images": 1,
        "deliver.pacs.bytes": 100,
        "deliver.pacs.retries": 2,
        "deliver.pacs.parked": 1,
    }
    assert all(each.payload is not None for each in world.settled)


def test_an_answer_that_faults_the_image_closes_the_breaker(world: World) -> None:
    world.breaker.trip("unreachable", "away")
    world.answered(replace(FAULT, status=None))
    assert world.is_open, "nobody has answered"
    world.answered(FAULT)
    assert not world.is_open
    assert world.failures._answers == 1


@pytest.mark.parametrize(
    ("outcome", "reason", "status"),
    [(LOST, "no-answer", None), (BUSY, "receiver-busy", 0xA700)],
    ids=["lost", "busy"],
)
def test_images_in_a_row_or_one_long_silence_are_the_receivers_trouble(
    world: World, outcome: Outcome, reason: str, status: int | None
) -> None:
    for number in range(1, IN_A_ROW):
        world.answered(outcome, number)
        assert not world.is_open
    world.answered(outcome, IN_A_ROW)
    view = world.breaker.view()
    assert (view.state, view.reason, view.status) == (BreakerState.OPEN, reason, status)
    other = World()
    other.answered(outcome, seconds=SLOW)
    assert not other.is_open
    other.answered(outcome, seconds=SLOW + 0.1)
    assert (other.breaker.state, other.breaker.view().reason) == (BreakerState.OPEN, reason)


def test_what_says_nothing_of_the_receiver_leaves_the_breaker_closed(world: World) -> None:
    for number in range(1, 3 * IN_A_ROW):
        world.answered(LOST, number, SLOW + 1, stale=True)
        world.answered(LOST, number, SLOW + 1, known_lost=True)
    assert not world.is_open
    world.stopping.set()
    world.answered(LOST, 1, SLOW + 1)
    assert not world.is_open, "it is we who abort"
    world.stopping.clear()
    world.answered(BUSY, 1, SLOW + 1, stale=True)
    assert world.is_open, "that it is busy is an answer, on whatever session"


def test_a_busy_answer_behind_a_lost_one_of_the_same_request_counts(world: World) -> None:
    world.answered(BUSY, 1, SLOW + 1, known_lost=True)
    assert world.is_open


@pytest.mark.parametrize(("seconds", "wait"), [(0.0, 100.0), (30.0, 30.0)])
def test_a_receiver_that_takes_nothing_is_left_alone_as_it_says(
    world: World, seconds: float, wait: float
) -> None:
    outcome = Outcome(Verdict.RETRY, 0x3000 + 503, peer_fault=True, pause=Pause("busy", seconds))
    decision = world.answered(outcome)
    view = world.breaker.view()
    assert (view.state, view.reason, view.status) == (BreakerState.OPEN, "busy", outcome.status)
    assert world.breaker.wait() == wait
    assert (decision.state, decision.reason, decision.count_attempt) == ("pending", "busy", False)


def test_an_image_waits_until_another_has_asked_before_it(world: World) -> None:
    world.breaker.trip("receiver-busy", "", seconds=50.0)
    assert world.answered(BUSY).not_before == 2050.0 + LATER
    assert World().answered(BUSY).not_before == pytest.approx(2000.0, abs=0.2), "nobody is asked"


def test_an_image_that_ends_sessions_while_others_are_taken_is_parked_and_opens_nothing(
    world: World,
) -> None:
    states = []
    for _ in range(QUICK.tries + 1):
        states.append(world.answered(LOST).state)
        world.handler.delivered([image(7)], [after(OK)])
    assert states[-1] == "parked"
    assert "parked" not in states[:-2]
    assert not world.is_open


def test_an_image_by_which_sessions_are_cut_is_parked_after_more_of_them_and_uses_up_no_tries(
    world: World,
) -> None:
    states = []
    for _ in range(CUTS[0] * QUICK.tries):
        world.handler.delivered([image(7)], [after(OK)])
        states.append(world.answered(CUT).state)
    assert states == ["pending"] * (len(states) - 1) + ["parked"]
    assert world.attempts[1] == 1, "that it was parked"


def test_nothing_is_held_against_an_image_of_which_nothing_went_out_or_while_the_receiver_is_in_trouble(
    world: World,
) -> None:
    world.handler.delivered([image(7)], [after(OK)])
    world.failures.count(image().delivery)
    world.handler.delivered([image(7)], [after(OK)])
    delivery = image().delivery
    assert world.handler._limit(delivery, LOST) == QUICK.tries
    assert world.handler._limit(delivery, BUSY) == QUICK.tries
    assert world.handler._limit(delivery, FAULT) == 0
    assert world.handler._limit(delivery, replace(LOST, begun=False)) == 0
    world.breaker.trip("unreachable", "")
    assert world.handler._limit(delivery, LOST) == 0
    early = World()
    early.handler.delivered([image(7)], [after(OK)])
    early.failures.count(delivery)
    assert early.handler._limit(delivery, LOST) == 2 * QUICK.tries
    assert early.handler._limit(delivery, BUSY) == 0, "it took others before only"


def test_a_session_that_rested_and_is_lost_counts_against_nobody(world: World) -> None:
    decision = world.answered(LOST, stale=True)
    assert (decision.count_attempt, decision.not_before) == (False, 2000.0), "it goes out again at once"
    assert world.failures.count(image().delivery) == 1
    assert not world.settled[-1].sent.outcome.begun
    world.answered(BUSY, 2, stale=True)
    assert world.settled[-1].sent.outcome.begun
    assert world.failures.count(image(2).delivery) == 2


def test_an_image_goes_in_the_syntax_that_is_taken_instead_but_not_for_ever(world: World) -> None:
    not_now = Outcome(Verdict.RETRY, not_now=True, comment="not now")
    for _ in range(SWITCHES):
        decision = world.answered(not_now, fallback="1.2.9")
        assert (decision.state, decision.syntax) == ("pending", "1.2.9")
        outcome = world.settled[-1].sent.outcome
        assert (outcome.verdict, outcome.not_now) == (Verdict.SYNTAX_REFUSED, False)
    assert world.answered(not_now, fallback="1.2.9").state == "parked"


def test_other_bytes_under_the_uid_are_no_delivery(world: World) -> None:
    duplicate = replace(OK, duplicate=True, status=0x0111)
    world.differs = lambda delivery: True
    decision = world.answered(duplicate)
    assert (decision.state, decision.reason) == ("parked", "duplicate")

    def fails(delivery: LeasedDelivery) -> bool:
        raise OverflowError("SECRET")

    world.differs = fails
    decision = world.answered(duplicate)
    outcome = world.settled[-1].sent.outcome
    assert (decision.state, outcome.verdict, outcome.status) == ("pending", Verdict.RETRY, 0x0111)
    assert "cannot be looked up" in outcome.comment
    assert "SECRET" not in outcome.comment
    world.differs = fails
    assert world.answered(OK).state == "delivered", "only a duplicate is compared"


def test_an_image_that_is_held_up_by_a_pause_of_ours_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.deliver.send.outcomes.time.time", lambda: 2000.0)
    world = World(replace(QUICK, give_up=60.0))
    world.permit.resumed_at = 1970.0
    assert world.answered(BUSY).state == "pending"
    world.permit.resumed_at = 0.0
    assert world.answered(BUSY).reason == "gave-up"


def test_our_own_faults_use_up_tries_and_permanent_ones_park(world: World) -> None:
    world.handler.raised(image(), OverflowError("SECRET"))
    attempt = world.settled[-1]
    assert (attempt.decision.state, attempt.decision.count_attempt) == ("pending", True)
    assert attempt.sent.outcome.verdict is Verdict.RETRY
    assert "SECRET" not in attempt.sent.outcome.comment
    assert attempt.sent.started_at == 2000.0
    world.handler.raised(image(), Permanent("its file is gone", reason="missing"))
    attempt = world.settled[-1]
    assert (attempt.decision.state, attempt.decision.reason) == ("parked", "missing")
    assert (attempt.sent.outcome.verdict, attempt.sent.outcome.comment) == (
        Verdict.REFUSED,
        "its file is gone",
    )
    assert world.watch.counters() == {"deliver.pacs.retries": 1, "deliver.pacs.parked": 1}
    assert not world.is_open


def test_an_image_without_a_session_says_why_and_loses_no_try(world: World) -> None:
    world.breaker.trip("unreachable", "no route")
    world.handler.unreachable(image())
    (attempt,) = world.settled
    decision, outcome = attempt.decision, attempt.sent.outcome
    assert (decision.state, decision.reason, decision.not_before) == ("pending", "unreachable", 2000.0)
    assert decision.count_attempt is False
    assert (outcome.verdict, outcome.comment, outcome.peer_fault) == (Verdict.RETRY, "no route", True)
    assert (outcome.status, attempt.sent.started_at, attempt.sent.seconds) == (None, 2000.0, 0.0)
    assert world.watch.counters() == {}, "it was not tried"


def test_a_receiver_is_asked_first_where_an_image_was_cut_and_nothing_came_through(world: World) -> None:
    world.answered(LOST, 2)
    assert not world.handler.wants_probe(image(2)), "an abort is the receiver's word"
    assert not world.handler.wants_probe(image())
    world.answered(CUT)
    assert world.handler.wants_probe(image())
    world.handler.probe_answered(image())
    assert not world.handler.wants_probe(image())
    world.answered(CUT)
    world.breaker.trip("unreachable", "")
    assert not world.handler.wants_probe(image()), "the breaker asks"
