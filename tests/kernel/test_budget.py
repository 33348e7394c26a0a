"""The node's budget of memory: nobody has more than there is, nobody waits for ever, nothing is lost."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.kernel import budget as module
from mapdr.kernel.budget import SLOW, Budget, Limited, Share, Short
from mapdr.kernel.errors import Permanent


class Clock:
    """Seconds that stand still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def asked(budget: Budget, amount: int, *, alone: bool = False) -> list[Share]:
    """A list into which the share comes once it is granted."""
    found: list[Share] = []
    budget.ask(amount, found.append, alone=alone)
    return found


def granted(budget: Budget, amount: int) -> Share:
    return asked(budget, amount)[0]


def test_a_share_is_given_while_there_is_room_and_the_next_waits_for_it() -> None:
    budget = Budget(100)
    first = granted(budget, 60)
    second = asked(budget, 50)
    assert not second, "60 and 50 are more than 100"
    assert (budget.used, budget.waiting) == (60, 1)
    first.release()
    assert second[0].amount == 50
    assert (budget.used, budget.waiting) == (50, 0)
    first.release()
    assert budget.used == 50, "given back once"


def test_what_nobody_has_any_more_is_given_back() -> None:
    budget = Budget(100)
    share = granted(budget, 100)
    share.rest(80)
    waits = asked(budget, 50)
    assert not waits
    del share
    budget.tend()
    assert waits[0].amount == 50


def test_a_work_that_is_done_keeps_only_what_its_result_holds() -> None:
    budget = Budget(100)
    share = granted(budget, 90)
    waits = asked(budget, 80)
    share.rest(20)
    assert waits[0].amount == 80
    assert budget.used == 100


def test_who_comes_first_is_served_first_even_if_the_next_would_fit() -> None:
    budget = Budget(100)
    first = granted(budget, 60)
    large, small = asked(budget, 90), asked(budget, 10)
    assert not large
    assert not small, "else large ones would wait for ever"
    first.release()
    assert large
    assert small


def test_what_can_never_be_had_is_refused_with_the_figures() -> None:
    budget = Budget(256_000_000)
    with pytest.raises(Permanent, match=r"700 MB of memory or more, and \[node\] memory is 256 MB") as caught:
        asked(budget, 700_000_000)
    assert caught.value.reason == "memory"
    assert not budget.waiting


def test_a_share_grows_where_there_is_room_and_else_the_whole_is_asked_for_again() -> None:
    budget = Budget(100)
    share, other = granted(budget, 0), granted(budget, 30)
    with share.held():
        module.need(40)
        module.need(30)
        assert share.amount == 70
        with pytest.raises(Short) as caught:
            module.need(1)
    assert caught.value.amount == 71
    other.release()
    with share.held():
        module.hold(10)
        module.need(60)
        assert share.amount == 70, "what was given back within the work is used again"
        module.need(30)
    assert budget.used == 100


def test_nobody_grows_past_those_who_wait() -> None:
    budget = Budget(100)
    share, other = granted(budget, 10), granted(budget, 50)
    waits = asked(budget, 60)
    with share.held(), pytest.raises(Short):
        module.need(20)
    share.release()
    other.release()
    assert waits


def test_two_that_need_more_than_half_each_both_come_to_their_end() -> None:
    budget = Budget(100)
    done: list[str] = []

    def work(name: str, amount: int) -> None:
        budget.ask(amount, lambda share: run(name, share))

    def run(name: str, share: Share) -> None:
        waiting.append((name, share))

    waiting: list[tuple[str, Share]] = []
    work("a", 0)
    work("b", 0)
    while waiting:
        name, share = waiting.pop(0)
        try:
            with share.held():
                module.need(40)
                waiting_now = len(waiting)
                module.need(30)
        except Short as short:
            share.release()
            work(name, short.amount)
            continue
        assert waiting_now <= 1
        done.append(name)
        share.release()
    assert sorted(done) == ["a", "b"]
    assert budget.used == 0


def test_one_that_is_tried_alone_is_alone() -> None:
    budget = Budget(100)
    first = granted(budget, 10)
    alone = asked(budget, 0, alone=True)
    later = asked(budget, 10)
    assert not alone
    assert not later
    first.rest(10)
    assert alone, "what is prepared is not at work"
    assert not later, "nothing begins beside it"
    alone[0].rest(0)
    assert later


def test_payloads_of_a_slow_receiver_hold_up_only_those_who_need_their_memory() -> None:
    clock = Clock()
    budget = Budget(100, clock)
    slow = granted(budget, 60)
    slow.rest(60)
    large, small = asked(budget, 50), asked(budget, 20)
    assert not large
    assert not small, "a fast receiver would have taken it in a moment"
    clock.now += SLOW
    budget.tend()
    assert not large
    assert small
    del slow
    small.clear()
    budget.tend()
    assert large


def test_who_prepares_ahead_has_half_and_comes_last() -> None:
    budget = Budget(100)

    def owned(amount: int, owner: str) -> list[Share]:
        found: list[Share] = []
        budget.ask(amount, found.append, owner=owner)
        return found

    first = owned(30, "slow")
    ahead, further = owned(0, "slow"), owned(30, "slow")
    assert not further, "60 of 100 are more than half"
    with ahead[0].held():
        module.need(20)
        with pytest.raises(Short):
            module.need(1)
    assert not budget.pressed
    other = owned(50, "fast")
    assert other, "it is served before"
    with other[0].held(), pytest.raises(Short):
        module.need(51)
    waits = owned(60, "third")
    assert budget.pressed
    other.clear()
    first.clear()
    assert not further
    budget.tend()
    assert waits, "80 are used"
    waits.clear()
    ahead.clear()
    budget.tend()
    assert further, "there is nothing of its owner any more"


def test_what_needs_more_than_half_is_not_ahead_for_it_would_wait_for_ever() -> None:
    budget = Budget(100)
    found: list[Share] = []
    budget.ask(10, found.append, owner="a")
    budget.ask(60, found.append, owner="a")
    assert [share.amount for share in found] == [10, 60]
    found.pop().release()
    budget.ask(0, found.append, owner="a")
    with found[1].held():
        module.need(51)
    assert budget.used == 61
    budget.ask(40, found.append, owner="a")
    assert budget.waiting == 1, "it prepares ahead"
    budget.ask(60, found.append, owner="a")
    assert budget.pressed


def test_a_share_that_was_given_back_counts_no_more_whatever_is_done_with_it() -> None:
    budget = Budget(100)
    share = granted(budget, 10)
    share.release()
    with share.held(), pytest.raises(Short):
        module.need(20)
    share.rest(30)
    assert budget.used == 0
    del share
    assert budget.used == 0


def test_it_is_crowded_while_somebody_waits_or_half_is_used() -> None:
    budget = Budget(100)
    assert not budget.crowded
    share = granted(budget, 51)
    assert budget.crowded
    share.rest(10)
    assert not budget.crowded
    waits = asked(budget, 95)
    assert budget.crowded
    share.release()
    assert waits


def test_without_a_share_nothing_is_limited_and_a_limit_needs_no_budget() -> None:
    module.need(1 << 60)
    assert module.most() is None
    with Limited(100).held():
        module.need(100)
        with pytest.raises(Short):
            module.need(1)


def test_a_share_belongs_to_the_thread_that_holds_it() -> None:
    share = granted(Budget(10), 10)
    raised: list[Exception] = []

    def other() -> None:
        try:
            module.need(1000)
        except Short as short:
            raised.append(short)

    with share.held():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert not raised


STEPS = st.tuples(
    st.sampled_from(["ask", "alone", "rest", "release", "drop", "grow", "tick"]), st.integers(0, 120)
)


class Users:
    """Who asks for shares, works with them and drops them, in any order."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.budget = Budget(100, self.clock)
        self.at_work: list[Share] = []
        self.rested: list[Share] = []
        self.alone: list[bool] = []

    def ask(self, amount: int, *, alone: bool) -> None:
        def take(share: Share) -> None:
            assert not (alone and self.at_work), "alone"
            assert not any(self.alone), "nothing begins beside one that is alone"
            self.at_work.append(share)
            self.alone.append(alone)

        if amount <= self.budget.total:
            owner = "abc"[amount % 3]
            self.budget.ask(amount, take, owner=owner, alone=alone)

    def end(self, place: int, rest: int | None = None) -> None:
        self.alone.pop(place)
        share = self.at_work.pop(place)
        if rest is None:
            share.release()
        else:
            self.rested.append(share)
            share.rest(min(rest, share.amount))

    def grow(self, place: int, amount: int) -> None:
        try:
            with self.at_work[place].held():
                module.need(amount)
        except Short:
            self.end(place)

    def step(self, what: str, amount: int) -> None:
        place = amount % max(1, len(self.at_work))
        if what in ("ask", "alone"):
            self.ask(amount, alone=what == "alone")
        elif what == "tick":
            self.clock.now += amount
            self.budget.tend()
        elif what == "drop":
            del self.rested[: amount % 3]
        elif self.at_work and what == "grow":
            self.grow(place, amount)
        elif self.at_work:
            self.end(place, amount if what == "rest" else None)


@given(st.lists(STEPS, max_size=60))
def test_it_never_gives_more_than_there_is_and_all_comes_back(steps: list[tuple[str, int]]) -> None:
    users = Users()
    for what, amount in steps:
        users.step(what, amount)
        assert users.budget.used <= 100
        assert users.budget.used == sum(share.amount for share in (*users.at_work, *users.rested))
    for _ in range(2 * len(steps)):
        users.rested.clear()
        users.budget.tend()
        if users.at_work:
            users.end(0)
    assert not users.budget.waiting
    assert users.budget.used == 0
