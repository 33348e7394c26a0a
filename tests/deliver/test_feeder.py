"""How many rows are leased at a time, and when: with a clock that is set, and nothing that sends."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.deliver.feed import feeder as module
from mapdr.deliver.feed.feeder import ASK, CHUNK, FEW, LATE, SOON, STAT_LOOK, Feeder


class Ledger:
    """Has `rows` due rows; remembers each lease as (limit, untried first, only STAT)."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.leases: list[tuple[int, bool, bool]] = []
        self.due: float | None = None
        self.asked = 0

    def lease(
        self, destination: str, limit: int, seconds: float, owner: str, **options: Any
    ) -> list[SimpleNamespace]:
        self.leases.append((limit, options["untried_first"], options["stat_only"]))
        taken = min(limit, self.rows)
        self.rows -= taken
        return [SimpleNamespace(id=number) for number in range(taken)]

    def next_due(self, destination: str) -> float | None:
        self.asked += 1
        return self.due


class Ready:
    """A ready queue of which only the length counts."""

    wanted = 1
    others_taken = 0

    def __init__(self) -> None:
        self.images = self.waiting = 0

    def unprepared(self) -> int:
        return self.waiting

    def __len__(self) -> int:
        return self.images

    def drain(self) -> list[Any]:
        return []


class Fed:
    """A feeder with all around it; `clock` is its time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int, sessions: int = 2) -> None:
        self.clock = 1000.0
        self.ledger, self.ready = Ledger(rows), Ready()
        self.submits = self.added = 0
        self.held: list[int] = []
        self.scheduler = SimpleNamespace(
            submit=self._submit, add=self._add, clear=lambda: None, lacks_room=False, at_once=3
        )
        leases = SimpleNamespace(
            seconds=60.0, owner="north/pacs", hold=lambda rows: self.held.append(len(rows)), give_back=list
        )
        monkeypatch.setattr(
            module, "time", SimpleNamespace(monotonic=lambda: self.clock, time=lambda: self.clock)
        )
        parts: tuple[Any, ...] = (self.ledger, leases, self.scheduler, self.ready)
        self.feeder = Feeder("pacs", *parts, sessions=sessions)

    def _submit(self) -> None:
        self.submits += 1

    def _add(self, rows: Iterable[Any]) -> None:
        number = len(list(rows))
        self.added += number
        self.ready.images += number

    def fill(self, after: float, **how: Any) -> int:
        """Fill an empty ready queue `after` seconds; how many rows were asked for."""
        self.clock += after
        self.ready.images = 0
        self.feeder.fill(trial=False, **how)
        return self.ledger.leases[-1][0]


def test_who_is_fast_gets_more_at_a_time_and_who_is_slow_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is leased when a node is killed may have been sent: a slow receiver has few such images."""
    fed = Fed(monkeypatch, rows=1_000_000)
    fed.fill(LATE + 1)
    asked = [fed.fill(SOON / 2) for _ in range(20)]
    assert asked[:2] == [2 * FEW, 4 * FEW]
    assert asked[-1] == CHUNK
    assert fed.fill((SOON + LATE) / 2) == CHUNK
    assert [fed.fill(LATE + 1) for _ in range(2)] == [CHUNK // 2, CHUNK // 4]
    assert [fed.fill(LATE + 1) for _ in range(20)][-1] == FEW
    assert sum(fed.held) == 1_000_000 - fed.ledger.rows == fed.added, "what is leased is held and prepared"


def test_rows_that_are_still_arriving_do_not_make_leases_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codecs are slower than what arrives: it is leased as they take it, not as it comes."""
    fed = Fed(monkeypatch, rows=0)
    fed.feeder.fill(trial=False)
    for _ in range(20):
        fed.clock += SOON / 10
        fed.ledger.rows += 3
        fed.feeder.look_again()
        fed.feeder.fill(trial=False)
    of_all = [limit for limit, _, stat_only in fed.ledger.leases if not stat_only]
    assert of_all == [FEW] * 4, "after three that brought some the queue is as full as it should be"
    fed.ready.images = 0
    fed.feeder.look_again()
    fed.feeder.fill(trial=False)
    assert [fed.fill(SOON / 10) for _ in range(2)] == [2 * FEW, 4 * FEW], "they are soon used up"


def test_a_lease_lasts_by_the_rate_at_which_images_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are left of it when the next one is made."""
    fed = Fed(monkeypatch, rows=1000)
    assert fed.fill(LATE + 1) == FEW

    def lease(after: float, gone: int) -> int:
        fed.clock += after
        fed.ready.images -= gone
        fed.feeder.fill(trial=False)
        return fed.ledger.leases[-1][0]

    assert lease(0.1, 4) == 2 * FEW, "40 a second: eight would last 0.2 s"
    assert lease(0.1, 5) == 2 * FEW, "50 a second: sixteen last 0.32 s"
    fed.feeder.empty()
    fed.ready.images = 0
    assert lease(LATE, 0) == FEW, "what was given back was not taken"


def test_while_codecs_are_at_work_each_of_their_threads_has_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of slow images no more would leave than are prepared at once, and leases would stay that small."""
    fed = Fed(monkeypatch, rows=1000)
    fed.scheduler.at_once = 17
    assert fed.fill(LATE + 1) == FEW
    fed.ready.waiting = 1
    assert not fed.feeder.wants_to_fill()
    assert fed.feeder.fill(trial=False), "eight are too few"
    assert [limit for limit, _, _ in fed.ledger.leases] == [FEW, 17]
    assert not fed.feeder.fill(trial=False)
    fed.ready.images = 17
    assert not fed.feeder.wants_to_fill()
    fed.ready.images = 16
    assert fed.feeder.wants_to_fill()
    fed.ready.waiting = 0
    assert fed.fill(LATE + 1) == FEW, "what is prepared waits for its receiver alone"


def test_a_receiver_that_takes_single_images_is_not_given_the_lease_of_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fed = Fed(monkeypatch, rows=1000, sessions=FEW + 1)
    assert fed.fill(LATE + 1) == 2 * (FEW + 1)
    fed = Fed(monkeypatch, rows=1000)
    fed.ready.wanted = FEW
    assert fed.fill(LATE + 1) == 2 * FEW
    fed = Fed(monkeypatch, rows=1000)
    fed.fill(LATE + 1)
    fed.ready.wanted, fed.ready.images, fed.ready.waiting = FEW, FEW - 1, FEW - 2
    fed.clock += LATE + 1
    fed.feeder.fill(trial=False)
    assert fed.ledger.leases[-1][0] == FEW, "nor is who waits for a codec: no batch becomes full by it"


def test_the_ledger_is_asked_again_when_it_had_more_or_somebody_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fed = Fed(monkeypatch, rows=FEW)
    assert fed.feeder.fill(trial=False), "there may be more at once"
    fed.ready.images = 0
    assert not fed.feeder.fill(trial=False)
    assert len(fed.ledger.leases) == 2
    for _ in range(3):
        assert not fed.feeder.fill(trial=False)
    assert len(fed.ledger.leases) == 2, "nothing is due"
    fed.feeder.look_again()
    fed.feeder.fill(trial=False)
    assert len(fed.ledger.leases) == 3
    fed.ledger.due = fed.clock - 1
    fed.feeder.ask_again()
    fed.feeder.fill(trial=False)
    assert len(fed.ledger.leases) == 4, "a row has become due"
    fed.ledger.due = fed.clock + 1
    fed.feeder.fill(trial=False)
    assert len(fed.ledger.leases) == 4
    assert fed.submits == 8, "the codec threads are looked at each time"


def test_a_full_queue_leases_nothing_and_asks_to_be_called_when_it_has_run_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fed = Fed(monkeypatch, rows=1000)
    fed.ready.images = FEW
    assert not fed.feeder.fill(trial=True)
    assert fed.ledger.leases == []
    assert not fed.feeder.wants_to_fill(), "it is still full"
    fed.ready.images = FEW - 1
    assert fed.feeder.wants_to_fill()
    assert not fed.feeder.wants_to_fill(), "once"
    fed.scheduler.lacks_room = True
    assert fed.feeder.wants_to_fill(), "a codec thread may have become free"


def test_a_trial_takes_a_few_images_untried_ones_first(monkeypatch: pytest.MonkeyPatch) -> None:
    fed = Fed(monkeypatch, rows=1000, sessions=1)
    assert not fed.feeder.fill(trial=True)
    assert fed.ledger.leases == [(2, True, False)]


def test_stat_images_overtake_a_full_queue_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    fed = Fed(monkeypatch, rows=1000)
    fed.ready.images = CHUNK
    fed.feeder.fill(trial=False)
    assert fed.ledger.leases == [(FEW, False, True)]
    fed.clock += STAT_LOOK + 1
    fed.feeder.fill(trial=False)
    assert len(fed.ledger.leases) == 1, "the others must not wait for ever"
    fed.ready.others_taken += 1
    fed.feeder.fill(trial=False)
    assert len(fed.ledger.leases) == 2
    fed.ready.others_taken += 1
    fed.feeder.fill(trial=False)
    assert len(fed.ledger.leases) == 2, "nor the ledger be asked without end"


def test_what_the_ledger_said_holds_until_something_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that are compressed are taken one by one, and each asks whether there is more."""
    fed = Fed(monkeypatch, rows=1)
    fed.feeder.fill(trial=False)
    fed.ready.images = 0
    for _ in range(3):
        fed.feeder.fill(trial=False)
    assert fed.ledger.asked == 1
    assert fed.feeder.rests_until == float("inf")
    fed.ledger.due = fed.clock + 10
    fed.feeder.ask_again()
    fed.feeder.fill(trial=False)
    assert (fed.ledger.asked, fed.feeder.rests_until) == (2, fed.clock + 10)
    fed.clock += ASK
    fed.feeder.fill(trial=False)
    assert fed.ledger.asked == 3, "what nobody tells of is found all the same"
    leases = len(fed.ledger.leases)
    fed.ledger.due = fed.feeder.rests_until
    for step in (9.5 - ASK, 0.5):
        fed.clock += step
        fed.feeder.fill(trial=False)
    assert len(fed.ledger.leases) == leases + 1, "at the moment at which it is due"


def test_an_index_that_fails_when_it_is_asked_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fed = Fed(monkeypatch, rows=1)
    fed.feeder.fill(trial=False)
    fed.ready.images = 0
    fed.feeder.fill(trial=False)

    def away(destination: str) -> float | None:
        raise OSError("the index is away")

    fed.feeder.ask_again()
    with monkeypatch.context() as failing:
        failing.setattr(fed.ledger, "next_due", away)
        with pytest.raises(OSError, match="away"):
            fed.feeder.fill(trial=False)
    fed.ledger.due, fed.ledger.rows = fed.clock - 1, 1
    fed.feeder.fill(trial=False)
    assert fed.ledger.rows == 0, "what came meanwhile is leased"
