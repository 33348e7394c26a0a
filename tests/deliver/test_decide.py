"""What becomes of a row, by the table of answers, and what the policy changes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from deliver.fakes import EXPLICIT, IMPLICIT, make_instance
from mapdr.deliver.settle.decide import decide, decide_unprepared
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.item import Outcome, Verdict
from mapdr.net.retry import Retry
from mapdr.store.queue.ledger import LeasedDelivery

RETRY = Retry(first=10.0, factor=2.0, cap=60.0, tries=3)
NOW = 1_000_000.0


def delivery(attempts: int = 0) -> LeasedDelivery:
    return LeasedDelivery(1, make_instance(1), "pacs", 0, 0, "r", "", attempts, 0.0)


def decided(
    outcome: Outcome, *, attempts: int = 0, failures: int = 1, retry: Retry = RETRY, **more: Any
) -> Any:
    return decide(delivery(attempts), outcome, retry, failures=failures, now=NOW, **more)


def test_only_a_final_status_of_the_receiver_delivers() -> None:
    assert decided(Outcome(Verdict.DELIVERED, 0xB007)).state == "delivered"
    others = [verdict for verdict in Verdict if verdict is not Verdict.DELIVERED]
    for verdict in others:
        for fault in (True, False):
            for attempts in range(4):
                outcome = Outcome(verdict, None, peer_fault=fault)
                assert decided(outcome, attempts=attempts, fallback=IMPLICIT).state != "delivered"


@pytest.mark.parametrize(
    ("attempts", "state"), [(0, "pending"), (1, "pending"), (2, "parked"), (9, "parked")]
)
def test_a_refused_image_is_parked_after_its_tries(attempts: int, state: str) -> None:
    decision = decided(Outcome(Verdict.REFUSED, 0xC000), attempts=attempts)
    assert (decision.state, decision.reason, decision.count_attempt) == (state, "refused", True)
    if state == "pending":
        assert NOW + 8 <= decision.not_before <= NOW + 20


def test_a_peer_fault_uses_up_no_try_and_waits_longer_each_time() -> None:
    lost = Outcome(Verdict.RETRY, None, "gone", peer_fault=True)
    first, second, many = (decided(lost, attempts=9, failures=failures) for failures in (1, 2, 50))
    assert {each.state for each in (first, second, many)} == {"pending"}
    assert not any(each.count_attempt for each in (first, second, many))
    assert NOW < first.not_before <= NOW + 1
    assert NOW + 8 <= second.not_before <= NOW + 10
    assert NOW + 48 <= many.not_before <= NOW + 60
    assert first.reason == "no-answer"
    assert decided(Outcome(Verdict.RETRY, 0xA700, peer_fault=True)).reason == "receiver-busy"


def test_the_first_wait_is_short_even_where_the_policy_s_is_shorter() -> None:
    lost = Outcome(Verdict.RETRY, None, peer_fault=True)
    quick = Retry(first=0.25, factor=2.0, cap=60.0)
    assert NOW < decided(lost, retry=quick).not_before <= NOW + 0.25


def test_a_busy_receiver_is_asked_again_by_the_policy_even_if_nobody_says_when() -> None:
    busy = Outcome(Verdict.RETRY, 0xA700, peer_fault=True)
    assert NOW + 8 <= decided(busy).not_before <= NOW + 10
    assert NOW + 16 <= decided(busy, failures=2).not_before <= NOW + 20


def test_what_is_not_the_receiver_s_trouble_uses_up_tries() -> None:
    """A codec or disk of ours that fails, and a receiver that refuses while it is in trouble."""
    ours = Outcome(Verdict.RETRY, None)
    assert (decided(ours).state, decided(ours).count_attempt) == ("pending", True)
    assert (decided(ours, attempts=2).state, decided(ours, attempts=2).reason) == ("parked", "failed")
    refused = decided(Outcome(Verdict.REFUSED, 0x0122, peer_fault=True), attempts=2)
    assert (refused.state, refused.reason) == ("parked", "refused")


def test_giving_up_counts_from_when_the_image_came() -> None:
    lost = Outcome(Verdict.RETRY, None, peer_fault=True)
    policy = Retry(give_up=3600.0)
    young, old = delivery(), delivery()
    assert decide(young, lost, policy, failures=1, now=time.time()).state == "pending"
    assert decide(old, lost, policy, failures=1, now=time.time() + 3700).state == "parked"


def test_a_refused_syntax_leads_to_the_next_or_to_a_person() -> None:
    refused = Outcome(Verdict.SYNTAX_REFUSED)
    again = decided(refused, fallback=EXPLICIT)
    assert (again.state, again.syntax, again.count_attempt, again.not_before) == (
        "pending",
        EXPLICIT,
        False,
        NOW,
    )
    assert decided(refused).state == "parked"


def test_errors_of_preparation() -> None:
    def error(raised: Exception, attempts: int = 0, failures: int = 1) -> Any:
        return decide_unprepared(delivery(attempts), raised, RETRY, failures=failures, now=NOW)

    permanent = error(Permanent("no", reason="value-too-long"))
    assert (permanent.state, permanent.reason) == ("parked", "value-too-long")
    temporary = error(Temporary("later"), attempts=50, failures=2)
    assert (temporary.state, temporary.count_attempt) == ("pending", False)
    assert temporary.not_before > NOW + 10
    assert error(KeyError("x")).state == "pending"
    assert error(KeyError("x"), attempts=2).state == "parked"
    short, parked = error(MemoryError()), error(MemoryError(), attempts=2)
    assert (short.state, short.reason, short.count_attempt) == ("pending", "out-of-memory", True)
    assert (parked.state, parked.reason) == ("parked", "out-of-memory")


def test_an_image_without_room_waits_until_another_has_been_tried() -> None:
    busy = Outcome(Verdict.RETRY, status=0xA700, peer_fault=True)
    decision = decide(delivery(), busy, Retry(first=10.0), failures=1, now=NOW, after=NOW + 60)
    assert (decision.state, decision.reason, decision.count_attempt) == ("pending", "receiver-busy", False)
    assert decision.not_before == NOW + 60
    lost = Outcome(Verdict.RETRY, peer_fault=True)
    assert (
        decide(delivery(), lost, Retry(first=10.0), failures=1, now=NOW, after=NOW + 60).not_before < NOW + 2
    )


@pytest.mark.parametrize(
    ("limit", "attempts", "state", "counts"),
    [(0, 9, "pending", False), (3, 0, "pending", True), (3, 1, "parked", True), (6, 3, "pending", True),
     (6, 4, "parked", True), (1, 0, "parked", True)],
)  # fmt: skip
def test_an_image_that_is_the_cause_is_parked_after_its_failures(
    limit: int, attempts: int, state: str, counts: bool
) -> None:
    lost = Outcome(Verdict.RETRY, None, "aborted", peer_fault=True)
    decision = decided(lost, attempts=attempts, failures=2, limit=limit)
    assert (decision.state, decision.reason, decision.count_attempt) == (state, "no-answer", counts)


@pytest.mark.parametrize(("limit", "cuts", "state"), [(0, 0, "pending"), (6, 4, "pending"), (6, 5, "parked")])
def test_what_may_have_been_the_network_uses_up_no_tries(limit: int, cuts: int, state: str) -> None:
    lost = Outcome(Verdict.RETRY, None, "closed", peer_fault=True, cut=True)
    decision = decided(lost, attempts=50, failures=2, limit=limit, cuts=cuts)
    assert (decision.state, decision.reason) == (state, "no-answer")
    assert state == "parked" or not decision.count_attempt


def test_what_may_pass_never_parks_the_image() -> None:
    for outcome in (
        Outcome(Verdict.RETRY, 0x0110, peer_fault=True),
        Outcome(Verdict.RETRY, None, "not now", not_now=True),
    ):
        decision = decided(outcome, attempts=50, failures=50, limit=3)
        assert (decision.state, decision.count_attempt) == ("pending", False)
    assert decided(Outcome(Verdict.RETRY, None, not_now=True)).reason == "not-accepted"


def test_an_image_of_which_nothing_went_out_is_due_at_once() -> None:
    assert decided(Outcome(Verdict.RETRY, None, peer_fault=True, begun=False), failures=0).not_before == NOW


@pytest.mark.parametrize(("differs", "state"), [(False, "delivered"), (True, "parked")])
def test_a_duplicate_is_delivered_unless_other_bytes_were_before(differs: bool, state: str) -> None:
    decision = decided(Outcome(Verdict.DELIVERED, 0x0111, duplicate=True), differs=differs)
    assert (decision.state, decision.reason) == (state, "duplicate" if differs else "")
    assert decided(Outcome(Verdict.DELIVERED, 0x0000), differs=True).state == "delivered"
