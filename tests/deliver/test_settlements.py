"""Settlements reach the ledger in batches, soon, and whatever happens to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

import pytest

from mapdr.deliver.settle import queue
from mapdr.deliver.settle.queue import BACKLOG, LARGEST, Result, Return, SettlementQueue
from mapdr.kernel.errors import LocalProtocolError
from mapdr.kernel.watch import Watch
from mapdr.store.queue.settle import Settlement
from mapdr.testing.wait import until


class Ledger:
    """Keeps batches; `gate` holds it up; `broken` and `poison` make it raise."""

    def __init__(self) -> None:
        self.batches: list[list[Settlement]] = []
        self.returned: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False
        self.poison: set[int] = set()
        self.tries = 0

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self.tries += 1
        self.gate.wait(10)
        if self.broken:
            raise OSError(28, "No space left on device")
        if self.poison & {row.delivery_id for row in settlements}:
            raise LocalProtocolError("there is no such delivery")
        self.batches.append(list(settlements))

    def give_back(self, delivery_ids: Iterable[int]) -> None:
        self.returned += delivery_ids

    @property
    def rows(self) -> list[int]:
        return [row.delivery_id for batch in self.batches for row in batch]


def row(number: int) -> Settlement:
    return Settlement(number, "delivered")


def running(ledger: Ledger) -> tuple[SettlementQueue, list[Result]]:
    written: list[Result] = []
    settlements = SettlementQueue("pacs", ledger, written.extend)
    settlements.start()
    return settlements, written


def test_a_lone_answer_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "SECONDS", 60.0)  # what waits for others waits so long
    monkeypatch.setattr(queue, "LONGEST", 60.0)
    ledger = Ledger()
    settlements, written = running(ledger)
    settlements.put([row(1)])
    until(lambda: written, 10)
    assert settlements.stop(time.monotonic() + 1)


def test_many_answers_share_transactions_and_keep_their_order() -> None:
    ledger = Ledger()
    settlements, written = running(ledger)
    ledger.gate.clear()
    for number in range(1500):
        settlements.put([row(number)])
    ledger.gate.set()
    until(lambda: len(written) == 1500, 5)
    assert ledger.rows == list(range(1500))
    assert len(ledger.batches) <= 4
    assert max(map(len, ledger.batches)) <= LARGEST
    assert settlements.stop(time.monotonic() + 1)


def test_a_ledger_that_is_away_gets_everything_when_it_is_back() -> None:
    ledger = Ledger()
    settlements, written = running(ledger)
    ledger.broken = True
    settlements.put([row(1), Return(7), row(2)])
    until(lambda: ledger.tries >= 3, 5)
    assert ledger.tries < 10, "it waits between its tries"
    assert not written
    ledger.broken = False
    until(lambda: len(written) == 3, 5)
    assert ledger.rows == [1, 2]
    assert ledger.returned == [7]
    assert settlements.stop(time.monotonic() + 1)


def test_a_row_that_is_gone_does_not_hold_up_the_others() -> None:
    ledger = Ledger()
    settlements, written = running(ledger)
    ledger.poison = {2}
    settlements.put([row(1), row(2), row(3)])
    until(lambda: len(written) == 3, 5)
    assert ledger.rows == [1, 3]
    assert settlements.stop(time.monotonic() + 1)


def test_stopping_writes_what_waits_or_says_that_it_could_not() -> None:
    ledger = Ledger()
    settlements, _ = running(ledger)
    ledger.gate.clear()
    settlements.put([row(1)])
    settlements.put([row(2)])
    threading.Timer(0.1, ledger.gate.set).start()
    assert settlements.stop(time.monotonic() + 5)
    assert ledger.rows == [1, 2]
    broken = Ledger()
    broken.broken = True
    settlements, _ = running(broken)
    settlements.put([row(1)])
    assert not settlements.stop(time.monotonic() + 0.3)
    assert not settlements.stop(time.monotonic())
    assert SettlementQueue("x", broken, lambda rows: None).stop(time.monotonic())


def test_a_settler_that_fails_is_seen_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    failures, watch, ledger = iter([OverflowError()]), Watch(), Ledger()
    settlements = SettlementQueue("pacs", ledger, lambda rows: None, watch)
    following = settlements._next

    def fails_once() -> list[Result]:
        for failure in failures:
            raise failure
        return following()

    monkeypatch.setattr(settlements, "_next", fails_once)
    settlements.start()
    settlements.put([row(1)])
    until(lambda: ledger.rows == [1])
    assert settlements.stop(time.monotonic() + 5)
    assert [event.facts["thread"] for event in watch.recent()] == ["settle-pacs"]


def test_a_listener_that_fails_ends_no_settler() -> None:
    ledger, calls = Ledger(), []

    def fails(rows: list[Result]) -> None:
        calls.append(rows)
        raise OverflowError

    settlements = SettlementQueue("pacs", ledger, fails)
    settlements.start()
    settlements.put([row(1)])
    until(lambda: len(calls) == 1)
    settlements.put([row(2)])
    until(lambda: len(calls) == 2)
    assert settlements.stop(time.monotonic() + 5)
    assert ledger.rows == [1, 2]


def test_who_sends_waits_while_the_ledger_is_far_behind() -> None:
    """What is answered and not written is bounded: it would all be sent again after a crash."""
    ledger = Ledger()
    ledger.gate.clear()
    settlements, _ = running(ledger)
    settlements.put([row(number) for number in range(BACKLOG)])
    handed_over = threading.Event()

    def send() -> None:
        settlements.put([row(BACKLOG)])
        handed_over.set()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    assert not handed_over.wait(0.3)
    ledger.gate.set()
    assert handed_over.wait(10)
    sender.join(10)
    assert settlements.stop(time.monotonic() + 10)
    assert sorted(ledger.rows) == list(range(BACKLOG + 1))


def test_nobody_waits_for_a_ledger_that_is_closing() -> None:
    """A sender that waited there would not end by the deadline of the stop."""
    ledger = Ledger()
    ledger.gate.clear()
    settlements, _ = running(ledger)
    settlements.put([row(number) for number in range(BACKLOG)])
    stopping = threading.Thread(target=settlements.stop, args=(time.monotonic() + 20,), daemon=True)
    stopping.start()
    handed_over = threading.Event()

    def send() -> None:
        settlements.put([row(BACKLOG)])
        handed_over.set()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        assert handed_over.wait(10)
    finally:
        ledger.gate.set()
    stopping.join(20)
    sender.join(20)
    assert sorted(ledger.rows) == list(range(BACKLOG + 1))
