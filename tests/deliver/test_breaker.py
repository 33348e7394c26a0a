"""The breaker's three states, with a clock in hand."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from mapdr.deliver.backoff import Backoff
from mapdr.deliver.send.breaker import Breaker, BreakerState, BreakerView
from mapdr.deliver.send.probe import probe
from mapdr.kernel.errors import Temporary
from mapdr.kernel.item import Outcome


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[Breaker, Clock]:
    clock = Clock()
    quick = Backoff(first=1.0, factor=2.0, cap=60.0, jitter=0.0)
    slow = Backoff(first=30.0, factor=2.0, cap=300.0, jitter=0.0)
    return Breaker(quick, slow, clock=clock, wall=clock), clock


def test_a_trip_opens_it_with_a_reason_that_a_person_sees() -> None:
    breaker, _ = make()
    assert breaker.trip("unreachable", "connection refused")
    view = breaker.view()
    assert (view.state, view.reason, view.comment) == (BreakerState.OPEN, "unreachable", "connection refused")
    assert (view.since, view.retry_at) == (100.0, 101.0)


def test_it_knows_whether_anybody_was_ever_spoken_to() -> None:
    breaker, _ = make()
    assert not breaker.view().tried
    assert not breaker.heard()
    assert breaker.view() == BreakerView(BreakerState.CLOSED, tried=True)
    breaker, _ = make()
    breaker.trip("unreachable", "")
    assert breaker.view().tried
    breaker.trial()
    assert breaker.view().tried


def test_a_receiver_is_left_alone_for_as_long_as_it_asks_within_the_longest_pause() -> None:
    for asked, waits in ((0.0, 1.0), (0.5, 1.0), (45.0, 45.0), (1e9, 300.0)):
        breaker, clock = make()
        breaker.trip("busy", "", seconds=asked)
        assert breaker.wait() == waits
        clock.now += waits
        breaker.still_away("busy", "", seconds=asked)
        assert breaker.wait() == max(2.0, waits)


def test_associations_that_fail_together_are_one_failure() -> None:
    breaker, _ = make()
    assert breaker.trip("unreachable", "")
    assert not breaker.trip("unreachable", "")
    assert not breaker.trip("unreachable", "")
    assert breaker.view().failures == 1
    assert breaker.wait() == 1.0


def test_each_failure_in_a_row_waits_longer_and_an_echo_does_not_forget_them() -> None:
    breaker, clock = make()
    waits = []
    for _ in range(9):
        breaker.trip("receiver-busy", "")
        waits.append(breaker.wait())
        clock.now += breaker.wait()
        breaker.trial()
        assert breaker.state is BreakerState.TRIAL
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_final_status_closes_it_and_forgets() -> None:
    breaker, clock = make()
    breaker.trip("unreachable", "")
    clock.now += 5
    breaker.trial()
    assert breaker.heard()
    assert not breaker.heard()
    assert breaker.view().state is BreakerState.CLOSED
    breaker.trip("unreachable", "")
    assert breaker.wait() == 1.0


def test_a_rejection_is_asked_about_slowly() -> None:
    breaker, _ = make()
    breaker.trip("association-rejected", "the called AE title is not known", slow=True)
    assert breaker.wait() == 30.0
    breaker.still_away("association-rejected", "the called AE title is not known", slow=True)
    assert breaker.wait() == 60.0
    assert breaker.view().since == 100.0


def test_a_trial_needs_an_open_breaker() -> None:
    breaker, _ = make()
    breaker.trial()
    assert breaker.state is BreakerState.CLOSED


def test_each_change_is_told_with_what_was_before() -> None:
    clock, told = Clock(), list[tuple[BreakerView, BreakerView]]()
    quick = Backoff(first=2.0, factor=2.0, cap=60.0, jitter=0.0)
    breaker = Breaker(
        quick, quick, clock=clock, wall=clock, on_change=lambda before, after: told.append((before, after))
    )
    assert breaker.wait() == 0.0
    assert not breaker.heard()
    assert told == [], "it was closed"
    assert breaker.trip("unreachable", "no route", status=7)
    assert not breaker.trip("unreachable", "no route")
    (change,) = told
    assert change == (
        BreakerView(BreakerState.CLOSED, tried=True),
        BreakerView(BreakerState.OPEN, "unreachable", "no route", 1, 100.0, 102.0, 7, True),
    )
    clock.now += 1.5
    assert breaker.wait() == 0.5
    clock.now += 5
    assert breaker.wait() == 0.0, "the probe is due"
    breaker.trial()
    assert len(told) == 1
    assert (breaker.wait(), breaker.view().retry_at) == (0.0, None)
    assert breaker.heard()
    assert told[1][0].state is BreakerState.TRIAL
    assert told[1][1] == BreakerView(BreakerState.CLOSED, tried=True)


class Away:
    """A receiver that answers no probe, and its probes, of which `together` wait for each other."""

    def __init__(self, together: int = 1) -> None:
        self._all_asked = threading.Barrier(together)

    def probe(self) -> Outcome:
        self._all_asked.wait(20)
        raise Temporary("connection refused")


def ask(breaker: Breaker, egress: Away, **how: bool) -> bool:
    return probe("pacs", cast(Any, egress), breaker, **how)


def test_senders_that_ask_together_find_one_failure() -> None:
    breaker, _ = make()
    egress = Away(together=8)
    threads = [threading.Thread(target=ask, args=(breaker, egress)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert breaker.state is BreakerState.OPEN
    assert breaker.view().failures == 1


def test_each_probe_of_one_that_is_known_to_be_away_is_a_failure_more() -> None:
    breaker, _ = make()
    for _ in range(3):
        assert not ask(breaker, Away())
    assert breaker.view().failures == 3


def test_a_probe_that_failed_is_never_seen_to_try() -> None:
    seen: list[BreakerState] = []
    breaker, clock = make()
    breaker.trip("unreachable", "")

    def looking() -> float:
        seen.append(breaker.state)
        return clock.now

    breaker._clock = looking
    breaker.still_away("unreachable", "")
    assert seen == [BreakerState.OPEN]
    assert breaker.view().failures == 2


@pytest.mark.parametrize("others_open", [True, False])
def test_a_receiver_of_one_association_at_a_time_is_not_away_while_others_are_open(
    *, others_open: bool
) -> None:
    breaker, _ = make()
    assert not ask(breaker, Away(), others_open=others_open)
    assert (breaker.state is BreakerState.CLOSED) is others_open
