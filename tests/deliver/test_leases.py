"""The rows that are held: settled once, their leases kept, their failures forgotten with them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest

from deliver.fakes import LOST, OK, make_instance
from mapdr.deliver.settle import leases as leases_module
from mapdr.deliver.settle.decide import Decision
from mapdr.deliver.settle.failures import IN_A_ROW, REMEMBERED, Failures
from mapdr.deliver.settle.leases import EndedAttempt, Leases
from mapdr.deliver.settle.queue import Result, Return, SettlementQueue
from mapdr.kernel.item import Outcome, Payload, Sent, Treatment, Verdict
from mapdr.store.queue.ledger import LeasedDelivery
from mapdr.store.queue.settle import Settlement
from mapdr.testing.wait import until


class Ledger:
    """Takes everything, and remembers what was renewed."""

    def __init__(self) -> None:
        self.extended: list[tuple[list[int], float, str]] = []

    def extend(self, delivery_ids: Iterable[int], seconds: float, owner: str) -> None:
        self.extended.append((list(delivery_ids), seconds, owner))

    def settle(self, settlements: Sequence[object]) -> None: ...

    def give_back(self, delivery_ids: Iterable[int]) -> None: ...


def make(lease: float = 60.0) -> tuple[Leases, Failures, Ledger]:
    ledger, failures = Ledger(), Failures()
    told: list[Result] = []
    settlements = SettlementQueue("pacs", ledger, told.extend)
    return Leases(ledger, settlements, failures, "north/pacs", lease), failures, ledger


def delivery(number: int = 1) -> LeasedDelivery:
    return LeasedDelivery(number, make_instance(number), "pacs", 0, 0, "r", "", 0, 0.0)


def payload(number: int = 1) -> Payload:
    return Payload("1.2", f"2.25.{number}", "1.2.840.10008.1.2.1", (), 0)


def attempt(state: str, outcome: Outcome = OK, number: int = 1) -> EndedAttempt:
    return EndedAttempt(delivery(number), Decision(state), Sent(outcome, 0.0, 0.0), payload(number))


@pytest.mark.parametrize("state", ["parked", "delivered"])
def test_the_failures_of_an_image_end_with_its_row(state: str) -> None:
    """`mapdr retry` begins anew: what an image did before it was parked is not held against it."""
    leases, failures, _ = make()
    leases.hold([delivery()])
    assert failures.count(delivery(), ended_session=True) == 1
    failures.answered()
    assert failures.count(delivery(), ended_session=True) == 2
    assert failures.ended_session(delivery())
    assert failures.limit(delivery(), 3) == 3
    leases.settle([attempt(state)])
    assert not failures.ended_session(delivery())
    assert failures.limit(delivery(), 3) == 0
    assert failures.count(delivery()) == 1


def test_the_failures_of_an_image_that_waits_are_kept() -> None:
    leases, failures, _ = make()
    leases.hold([delivery()])
    failures.count(delivery(), ended_session=True)
    leases.settle([attempt("pending", LOST)])
    leases.hold([delivery()])
    assert failures.ended_session(delivery())
    assert failures.count(delivery()) == 2


def test_the_failures_of_a_row_that_was_settled_before_are_kept() -> None:
    leases, failures, _ = make()
    failures.count(delivery())
    assert leases.settle([attempt("delivered")]) == []
    assert failures.count(delivery()) == 2


def test_a_row_is_settled_once() -> None:
    leases, _, _ = make()
    leases.hold([delivery()])
    first = attempt("delivered")
    assert leases.settle([first]) == [first]
    assert not leases.settle([attempt("parked", LOST)])
    assert leases.settle([attempt("delivered")]) == []
    assert leases.held() == []


def test_those_of_several_rows_that_are_held_are_settled() -> None:
    leases, _, _ = make()
    leases.hold([delivery(1), delivery(3)])
    settled = leases.settle([attempt("delivered", number=number) for number in (1, 2, 3)])
    assert [each.delivery.id for each in settled] == [1, 3]


def test_a_lease_is_renewed_for_its_whole_time_after_a_third_of_it() -> None:
    leases, _, ledger = make(lease=0.0)
    leases.hold([delivery(1), delivery(2)])
    leases.settle([attempt("delivered", number=2)])
    for _ in range(2):
        now = time.monotonic()
        until(lambda: time.monotonic() > now, what="a tick of the clock")  # noqa: B023
        leases.renew()
    assert ledger.extended == [([1], 0.0, "north/pacs")] * 2
    leases, _, ledger = make(lease=1000.0)
    leases.hold([delivery()])
    leases.renew()
    assert ledger.extended == []


def test_a_lease_is_renewed_neither_sooner_nor_later(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [5000.0]
    monkeypatch.setattr(leases_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    leases, _, ledger = make(lease=900.0)
    row = delivery()
    leases.hold([row])
    for at, renewals in ((299.0, 0), (301.0, 1), (600.0, 1), (602.0, 2), (603.0, 2)):
        clock[0] = 5000.0 + at
        leases.renew()
        assert len(ledger.extended) == renewals, at
    assert leases.held() == [row]


def test_what_is_written_of_an_attempt() -> None:
    """All that is shown of it later comes from here."""
    outcome = Outcome(Verdict.DELIVERED, 0xB000, "changed", credential="CN=pacs")
    settled = written(Decision("delivered"), outcome)
    assert settled == Settlement(
        delivery_id=1,
        state="delivered",
        verdict="delivered",
        status=0xB000,
        comment="changed",
        reason="no-room",
        started_at=77.0,
        milliseconds=1500,
        bytes=4,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        sop_instance_uid="2.25.1",
        treatment=Treatment.TRANSCODED.value,
        credential="CN=pacs",
    )
    # A folder has no status; what was lost may not have arrived; a reason of the decision goes before.
    assert written(Decision("delivered"), Outcome(Verdict.DELIVERED)).bytes == 4
    lost = written(Decision("pending", "no-answer", 99.0, count_attempt=False, syntax="1.2"), LOST)
    assert (lost.bytes, lost.reason, lost.not_before) == (0, "no-answer", 99.0)
    assert (lost.count_attempt, lost.syntax) == (False, "1.2")
    assert written(Decision("pending"), Outcome(Verdict.RETRY, 0xA700)).reason == ""
    assert written(Decision("parked", "failed"), LOST, prepared=False).transfer_syntax_uid == ""


def written(decision: Decision, outcome: Outcome, *, prepared: bool = True) -> Settlement:
    """What the ledger is told of an attempt with a payload of four bytes, of which something is unmet."""
    told: list[Result] = []
    settlements = SimpleNamespace(put=told.extend)
    leases = Leases(Ledger(), settlements, Failures(), "north/pacs", 60.0)
    leases.hold([delivery()])
    made = replace(payload(), length=4, treatment=Treatment.TRANSCODED, unmet="no-room") if prepared else None
    leases.settle([EndedAttempt(delivery(), decision, Sent(outcome, 77.0, 1.5), made)])
    (settlement,) = told
    assert isinstance(settlement, Settlement)
    return settlement


def test_rows_that_were_not_tried_are_returned_unless_they_were_settled() -> None:
    told: list[Result] = []
    leases = Leases(Ledger(), SimpleNamespace(put=told.extend), Failures(), "north/pacs", 60.0)
    leases.hold([delivery(1), delivery(2)])
    leases.settle([attempt("delivered", number=1)])
    told.clear()
    leases.give_back([delivery(1), delivery(2), delivery(3)])
    assert told == [Return(2)]
    assert leases.held() == []
    leases.give_back([delivery(2)])
    assert told == [Return(2)]


def test_an_image_is_the_cause_only_where_the_receiver_takes_others() -> None:
    failures = Failures()
    assert failures.limit(delivery(), 3) == 0
    failures.count(delivery())
    assert failures.limit(delivery(), 3) == 0, "it has never taken any"
    failures.answered()
    assert failures.limit(delivery(), 3) == 3
    failures.count(delivery(2))
    assert failures.limit(delivery(2), 3) == 6, "it took others before only"


def test_a_cut_says_less_the_more_images_were_lost_in_the_same_way_and_then_taken() -> None:
    leases, failures, _ = make()
    failures.answered()
    failures.count(delivery(1), ended_session=True)
    failures.answered()
    failures.count(delivery(1), ended_session=True, cut=True, against=True)
    failures.answered()
    assert (failures.cuts(delivery(1)), failures.limit(delivery(1), 3, cut=True)) == (1, 6)
    for number, state, limit in ((2, "delivered", 7), (3, "parked", 7), (4, "delivered", 8)):
        leases.hold([delivery(number)])
        failures.count(delivery(number), ended_session=True)
        leases.settle([attempt(state, number=number)])
        assert failures.limit(delivery(1), 3, cut=True) == limit
    for number in range(10, 30):
        leases.hold([delivery(number)])
        failures.count(delivery(number), ended_session=True)
        leases.settle([attempt("delivered", number=number)])
    assert failures.limit(delivery(1), 3, cut=True) == 15
    assert failures.limit(delivery(1), 3) == 3, "an abort is the receiver's word"


def test_only_cuts_since_an_image_s_own_first_one_speak_for_it() -> None:
    leases, failures, _ = make()
    for number in (2, 3, 4):
        leases.hold([delivery(number)])
        failures.count(delivery(number), ended_session=True)
        leases.settle([attempt("delivered", number=number)])
    failures.answered()
    failures.count(delivery(1), ended_session=True, cut=True, against=True)
    failures.answered()
    assert failures.limit(delivery(1), 3, cut=True) == 6


def test_a_cut_says_nothing_of_an_image_unless_something_came_through_since_the_last() -> None:
    """Others that were taken long ago do not show that the network is good now."""
    failures, image = Failures(), delivery(1)

    def cut() -> int:
        limit = failures.limit(image, 3, cut=True)
        failures.count(image, ended_session=True, cut=True, against=limit > 0)
        return limit

    failures.answered()
    assert not failures.wants_probe(image)
    cut()
    failures.answered()
    assert (failures.wants_probe(image), cut()) == (False, 6)
    for _ in range(20):
        assert (failures.wants_probe(image), cut()) == (True, 0)
    assert failures.cuts(image) == 1


def test_a_probe_that_is_answered_says_less_of_the_way_than_an_image() -> None:
    failures, image = Failures(), delivery(1)
    failures.answered()
    limits = []
    for number in range(16):
        if number in {3, 5}:
            failures.answered()
        elif failures.wants_probe(image):
            failures.probe_answered(image)
            assert not failures.wants_probe(image)
        limits.append(failures.limit(image, 3, cut=True))
        failures.count(image, ended_session=True, cut=True, against=limits[-1] > 0)
    # None before its first; the most while others were taken before that only; then one more for each probe.
    assert limits == [0, 15, 15, 8, 9, 9, 10, 11, 12, 13, 14, 15, 15, 15, 15, 15]
    assert failures.cuts(image) == 15

    failures.count(image, ended_session=True)
    assert not failures.wants_probe(image), "the receiver itself has ended the session"


def test_several_images_in_a_row_are_the_receivers_trouble() -> None:
    failures = Failures()
    for _ in range(3):
        assert not any(failures.receiver_in_trouble(delivery(number)) for number in range(1, IN_A_ROW))
        failures.answered()
    assert [failures.receiver_in_trouble(delivery(number)) for number in range(IN_A_ROW)] == [False] * (
        IN_A_ROW - 1
    ) + [True]
    again = [failures.receiver_in_trouble(delivery(number)) for number in range(IN_A_ROW - 1)]
    assert not any(again), "once it was told, they are counted anew"
    failures.answered()
    assert [failures.receiver_in_trouble(delivery(1)) for _ in range(2 * IN_A_ROW)][-1]


def test_the_failures_that_are_remembered_are_bounded() -> None:
    failures, first = Failures(), delivery(0)
    for number in range(REMEMBERED + 1):
        failures.count(replace(first, id=number))
    assert failures.count(replace(first, id=REMEMBERED)) == 2
    assert failures.count(replace(first, id=1)) == 2, "only as many as there must be"
    assert failures.count(first) == 1, "the oldest is forgotten"
