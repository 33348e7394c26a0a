"""Leases the due rows of one destination: as many as its receiver takes in about half a second."""

from __future__ import annotations

import time
from typing import Protocol

from mapdr.deliver.feed.ready import ReadyQueue
from mapdr.deliver.feed.scheduler import Scheduler
from mapdr.deliver.settle.leases import Leases
from mapdr.store.queue.ledger import LeasedDelivery

CHUNK = 500
"""The most rows leased at once."""

FEW = 8
"""Rows leased at once from a receiver whose speed is not known yet, or that is slow."""

SOON, LATE = 0.3, 1.0
"""Seconds that a lease should last: if less, the next is larger; if more, smaller.

What is leased when a node is killed may have been sent, so a slow receiver should have few such images.
"""


ASK = 1.0
"""Seconds after which the ledger is asked again what is due, though nothing is known to have changed."""

STAT_LOOK = 0.5
"""Seconds between two looks for STAT rows while the ready queue is full of others."""


class LeasingLedger(Protocol):
    """The part of the ledger that is needed here."""

    def lease(
        self,
        destination: str,
        limit: int,
        seconds: float,
        owner: str,
        *,
        quiet_seconds: float = 0.0,
        untried_first: bool = False,
        stat_only: bool = False,
    ) -> list[LeasedDelivery]:
        """Due rows in the order of priority, study and arrival, ours for `seconds`."""

    def next_due(self, destination: str) -> float | None:
        """When the earliest row of `destination` is due (seconds since the epoch)."""


class Feeder:
    """Keeps a ready queue filled. `fill` and `empty` are called by one thread, the rest by anybody.

    Rows of a study are leased once none of it has come for `quiet_seconds`; `sessions` is how many images may
    be sent at once.
    """

    def __init__(
        self,
        destination: str,
        ledger: LeasingLedger,
        leases: Leases,
        scheduler: Scheduler,
        ready: ReadyQueue,
        *,
        sessions: int,
        quiet_seconds: float = 0.0,
    ) -> None:
        self._destination = destination
        self._ledger = ledger
        self._leases = leases
        self._scheduler = scheduler
        self._ready = ready
        self._sessions = sessions
        self._quiet_seconds = quiet_seconds
        self._more = True
        self._starved = False
        self._chunk = FEW
        self._leased_at = 0.0
        self._filled = 0  # images in the ready queue after the last lease
        self._stat_looked_at = 0.0
        self._others_taken = -1
        self.rests_until = 0.0
        """Until when nothing is due, as the ledger said last (seconds since the epoch); infinite where it has
        nothing, 0 where it was not asked since rows were leased."""
        self._asked_at = 0.0
        self._has_changed = True

    def look_again(self) -> None:
        """There are due rows in the ledger, or may be."""
        self._more = True

    def ask_again(self) -> None:
        """The index has changed, or the clock: what the ledger said last may be so no more."""
        self._has_changed = True

    def wants_to_fill(self) -> bool:
        """Whether `fill` has something to do now that an image was taken."""
        if self._starved and len(self._ready) < self._enough():
            self._starved = False
            return True
        return self._scheduler.lacks_room

    def fill(self, *, trial: bool, stat_only: bool = False) -> bool:
        """Lease rows if the ready queue has room, and have them prepared; whether to do so again at once.

        `trial`: the receiver was in trouble, and is tried with a few images only. `stat_only`: only STAT
        images go now. Raises what the ledger raises.
        """
        self._scheduler.submit()
        if len(self._ready) >= self._enough():
            self._starved = self._more
            if not trial:
                self._let_stat_overtake()
            return False
        if not self._more and not self._is_due():
            return False
        self._more, self.rests_until = False, 0.0
        limit = max(2, self._sessions) if trial else self._next_chunk()
        # Images that the receiver will never take must not be all that it is tried with.
        rows = self._lease(limit, untried_first=trial, stat_only=stat_only)
        if len(rows) < limit or trial:
            return False
        self._more = True
        return True

    def _is_due(self) -> bool:
        """Whether rows are due, as the ledger says; asked once a second, unless something has changed.

        It is asked for whenever an image was taken or prepared, which is often where each is compressed.
        """
        now = time.monotonic()
        if self._has_changed or now - self._asked_at >= ASK or self.rests_until <= time.time():
            # Before it is asked: what changes meanwhile counts, and one that fails has told nothing.
            self._has_changed, self._asked_at, self.rests_until = False, now, 0.0
            due = self._ledger.next_due(self._destination)
            self.rests_until = float("inf") if due is None else due
        return self.rests_until <= time.time()

    def _lease(
        self, limit: int, *, untried_first: bool = False, stat_only: bool = False
    ) -> list[LeasedDelivery]:
        rows = self._ledger.lease(
            self._destination,
            limit,
            self._leases.seconds,
            self._leases.owner,
            quiet_seconds=self._quiet_seconds,
            untried_first=untried_first,
            stat_only=stat_only,
        )
        if rows:
            self._filled += len(rows)
            self._leases.hold(rows)
            self._scheduler.add(rows)
        return rows

    def _let_stat_overtake(self) -> None:
        """Lease a few STAT rows beyond what the ready queue should hold: what fills it may take a while.

        Not again before one of the others was taken: they must not wait for ever.
        """
        now, others_taken = time.monotonic(), self._ready.others_taken
        if now - self._stat_looked_at < STAT_LOOK or others_taken == self._others_taken:
            return
        self._stat_looked_at = now
        if self._lease(FEW, stat_only=True):
            self._others_taken = others_taken

    def empty(self) -> None:
        """Give every image that is not taken yet back to the ledger."""
        self._filled = 0
        self._scheduler.clear()
        self._leases.give_back(image.delivery for image in self._ready.drain())

    def _next_chunk(self) -> int:
        """How many rows to lease, by how many images have left the ready queue since the last lease.

        Not by the time alone: while images arrive, each commit of the index leads to a lease, however few of
        the last one were sent. Where codecs are at work, all that arrived would soon be leased.
        """
        now, left = time.monotonic(), len(self._ready)
        took, self._leased_at = now - self._leased_at, now
        gone, self._filled = max(0, self._filled - left), left
        if gone * SOON > self._chunk * took:
            self._chunk = min(CHUNK, self._chunk * 2)
        elif gone * LATE < self._chunk * took:
            self._chunk = max(FEW, self._sessions * 2, self._chunk // 2)
        self._chunk = max(self._chunk, min(CHUNK, self._in_batches(left)))
        return self._enough()

    def _enough(self) -> int:
        """Images that the ready queue should hold: a lease, but while codecs are at work one for each thread.

        A lease is sized by the rate at which images leave, and of slow ones no more leave than are prepared
        at once.
        """
        return max(self._chunk, self._scheduler.at_once) if self._ready.unprepared() else self._chunk

    def _in_batches(self, left: int) -> int:
        """Rows of a lease that fills a batch for each session; 0 where no batches are sent.

        A request may take longer than a lease should last, however few images it holds. Where most of what is
        leased still waits for a codec, more rows would fill no batch.
        """
        if self._ready.wanted == 1 or self._ready.unprepared() * 2 > left:
            return 0
        return self._ready.wanted * self._sessions
