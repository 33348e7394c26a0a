"""One destination at work: puts together what feeds, sends and settles, and keeps it going.

Every destination has its own threads, so a slow or dead one delays no other: one that feeds and supervises,
one for each session that sends, one that writes the ledger. A row is given up only with a settlement, and the
settlement is kept until it is committed; leases of rows that are held are renewed however long a send takes.
After a crash the leases run out, and the rows go out again: a repeat is allowed, a loss is not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from mapdr.deliver.backoff import Backoff
from mapdr.deliver.feed.feeder import Feeder, LeasingLedger
from mapdr.deliver.feed.preparer import Preparer
from mapdr.deliver.feed.ready import ReadyQueue
from mapdr.deliver.feed.scheduler import Scheduler
from mapdr.deliver.feed.syntaxes import Syntaxes
from mapdr.deliver.permit import Always, Permit
from mapdr.deliver.send.breaker import Breaker, BreakerState, BreakerView
from mapdr.deliver.send.connection import Connection, OpenSessions
from mapdr.deliver.send.faults import Faults
from mapdr.deliver.send.outcomes import OutcomeHandler
from mapdr.deliver.send.probe import breaker_delays, probe
from mapdr.deliver.send.sender import IDLE, REFUSALS, Sender
from mapdr.deliver.settle.failures import Failures
from mapdr.deliver.settle.leases import LEASE, Leases, RenewingLedger
from mapdr.deliver.settle.queue import Result, Return, SettlementQueue, SettlingLedger
from mapdr.deliver.supervise.report import Report
from mapdr.deliver.supervise.timetable import Timetable
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import Egress
from mapdr.kernel.status import to_facts
from mapdr.kernel.watch import Watch
from mapdr.net.hours import KeepsHours
from mapdr.net.rate import Rate
from mapdr.net.retry import Retries, Retry, Waits
from mapdr.store.queue.ledger import LeasedDelivery

log = logging.getLogger("mapdr.deliver")

TICK = 1.0
"""Seconds between looks while there is something in hand or due, or the destination waits."""

REST = 30.0
"""The same while there is nothing: `look` tells when the ledger has changed, by this process or another."""

ABORT = 2.0
"""Seconds that a sender gets to end once its session was aborted."""


class Ledger(LeasingLedger, RenewingLedger, SettlingLedger, Protocol):
    """The part of `mapdr.store.queue.ledger.Ledger` that delivering needs."""

    def differs(self, delivery: LeasedDelivery) -> bool:
        """Whether other bytes under the UID of `delivery` were what its destination was last given."""


class Deliverer:
    """Delivers what the ledger holds for one destination; starts and stops the egress it is given.

    Leases are in the name of `owner`, the node, run for `lease` seconds and are renewed; a session without
    work for `idle` seconds is released. `wake` and `look` may be called by anybody, at any time: there may be
    new rows. Without them it looks every `tick` seconds, and every `rest` while there is nothing to do.
    While `permit` is paused nothing goes out, STAT images neither: rows stay pending as they are.
    """

    def __init__(
        self,
        destination: str,
        egress: Egress,
        ledger: Ledger,
        preparer: Preparer,
        *,
        owner: str,
        watch: Watch,
        permit: Permit | None = None,
        tick: float = TICK,
        rest: float = REST,
        lease: float = LEASE,
        idle: float = IDLE,
    ) -> None:
        self.destination = destination
        self._egress = egress
        self._watch = watch
        self._permit = permit or Always()
        self._tick = tick
        self._rest = rest
        self._idle = idle
        self._retry = egress.retry if isinstance(egress, Retries) else Retry()
        self._quiet_seconds = egress.quiet_seconds if isinstance(egress, Waits) else 0.0
        self._timetable = Timetable(egress.hours if isinstance(egress, KeepsHours) else None)
        self._was_open = self._went = True
        self._report = Report(destination, watch)
        self._signal = threading.Event()
        self._stopping = threading.Event()
        self._open_sessions = OpenSessions()
        self._syntaxes = Syntaxes()
        self._faults = Faults(destination)
        self._refusals = Rate(REFUSALS, burst=0.2)
        self._breaker = Breaker(*breaker_delays(self._retry), on_change=self._breaker_changed)
        failures = Failures()
        self._settlements = SettlementQueue(destination, ledger, self._written, watch)
        self._leases = Leases(ledger, self._settlements, failures, f"{owner}/{destination}", lease)
        self._ready = ReadyQueue(self._image_taken)
        self._preparer = preparer
        self._feeder = self._make_feeder(ledger, preparer, failures)
        self._outcomes = OutcomeHandler(
            destination,
            self._leases,
            failures=failures,
            breaker=self._breaker,
            retry=self._retry,
            watch=watch,
            differs=ledger.differs,
            stopping=self._stopping,
            permit=self._permit,
        )
        self._senders: list[Sender] = []
        self._thread: threading.Thread | None = None
        self._acquired = False
        self._stopped = False

    def _make_feeder(self, ledger: Ledger, preparer: Preparer, failures: Failures) -> Feeder:
        scheduler = Scheduler(
            self.destination,
            preparer,
            self._ready,
            self._leases,
            failures=failures,
            syntaxes=self._syntaxes,
            retry=self._retry,
            watch=self._watch,
            on_progress=self._signal.set,
        )
        return Feeder(
            self.destination,
            ledger,
            self._leases,
            scheduler,
            self._ready,
            sessions=self._egress.sessions,
            quiet_seconds=self._quiet_seconds,
        )

    def _make_sender(self, number: int) -> Sender:
        connection = Connection(
            self.destination, self._egress, self._syntaxes, self._open_sessions, self._retry.first
        )
        return Sender(
            f"{self.destination}-{number}",
            self._ready,
            connection,
            self._outcomes,
            leases=self._leases,
            breaker=self._breaker,
            faults=self._faults,
            refusals=self._refusals,
            probe=self._probe,
            sessions=self._egress.sessions,
            stopping=self._stopping,
            watch=self._watch,
            idle=self._idle,
        )

    def acquire(self, ending: Sequence[object] = ()) -> None:
        """Start the egress, which takes what it needs, and deliver nothing yet. Raises what it raises."""
        if not self._acquired:
            self._egress.start()
            self._acquired = True

    def start(self) -> None:
        """Begin to deliver. Raises what the egress raises when it cannot start."""
        self.acquire()
        self._settlements.start()
        self._senders = [self._make_sender(number) for number in range(self._egress.sessions)]
        for sender in self._senders:
            sender.start()
        self._thread = GuardedThread(
            self._supervise,
            f"feed-{self.destination}",
            goes_on=lambda: not self._stopping.is_set(),
            watch=self._watch,
        )
        self._thread.start()

    def wake(self) -> None:
        """There may be rows to deliver."""
        self._feeder.look_again()
        self._signal.set()

    def look(self) -> None:
        """The index has changed, or the clock: rows may be due."""
        self._feeder.ask_again()
        self._signal.set()

    def view(self) -> BreakerView:
        """Whether the destination takes images, and if not, why and until when."""
        return self._breaker.view()

    def facts(self) -> dict[str, Any]:
        """What the node's heartbeat tells of the destination.

        That is `view`, what its egress raised last, how many seconds a study must have been quiet before it
        is sent, why nothing may go out, when its hours open if they are closed, how many images in hand are
        ready, how many are still prepared, whether any waits for memory, and its egress' certificates.
        """
        unprepared = self._ready.unprepared()
        view, window, told = self.view(), self._timetable.now(), self._egress.describe()
        return {
            **asdict(view),
            **to_facts(view.status),
            "state": str(view.state),
            "fault": self._faults.last,
            "quiet_seconds": self._quiet_seconds,
            "pause": self._permit.pause,
            "closed_until": None if window.is_open else window.until,
            "ready": len(self._ready) - unprepared,
            "preparing": unprepared,
            "short_of_memory": bool(unprepared) and self._preparer.short_of_memory,
            "certificates": [asdict(each) for each in told.certificates],
            "tls_trouble": told.tls_trouble,
        }

    def halt(self) -> None:
        """Take no more images; those on the wire go on. Who stops several halts them all first."""
        self._stopping.set()
        self._signal.set()
        self._ready.close()

    def stop(self, deadline: float) -> None:
        """Let each sender finish its image until `deadline`, then abort it; unsent rows are given back.

        Safe twice, and before start.
        """
        if self._stopped:
            return
        self._stopped = True
        self.halt()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        self._feeder.empty()
        for sender in [sender for sender in self._senders if not sender.join(deadline)]:
            sender.abort()
        patience = max(deadline, time.monotonic()) + ABORT
        for sender in self._senders:
            sender.join(patience)
        self._leases.give_back(self._leases.held())
        if not self._settlements.stop(patience):
            log.error("%s: results were left unwritten; these images will be sent again", self.destination)
        self._egress.stop(deadline)

    def _supervise(self) -> None:
        failures = 0
        backoff = Backoff(first=0.2, factor=2.0, cap=10.0)
        trouble = Trouble(log)
        while not self._stopping.is_set():
            try:
                pause = self._step()
                failures = 0
                trouble.over()
            except Exception as error:  # noqa: BLE001  the ledger is locked or away: shown, and tried again
                failures += 1
                pause = backoff.delay(failures)
                words = in_words(error, places=False)
                trouble.tell(f"{self.destination}: cannot lease: {words}; trying again")
            self._signal.wait(pause)
            self._signal.clear()

    def _step(self) -> float:
        """One round; how many seconds to wait for the next unless something happens."""
        self._leases.renew()
        if self._permit.pause:
            self._went = False
            self._feeder.empty()  # what is on the wire goes on
            return self._tick
        if not self._went:
            self._went = True
            self._feeder.look_again()
        if self._breaker.state is BreakerState.OPEN:
            return self._while_open()
        trial = self._breaker.state is not BreakerState.CLOSED
        window = self._timetable.now()
        is_open = window.is_open
        if is_open is not self._was_open:
            self._was_open = is_open
            self._feeder.empty()  # what is on the wire goes on
            self._feeder.look_again()
        if self._feeder.fill(trial=trial, stat_only=not is_open):
            return 0.0
        if trial or len(self._ready) or self._leases.held():
            return self._tick
        changes = min(self._feeder.rests_until, window.until or float("inf"))
        return min(max(self._tick, changes - time.time()), self._rest)

    def _while_open(self) -> float:
        """Hold nothing while the receiver is away; ask it once the wait is over."""
        self._feeder.empty()
        wait = self._breaker.wait()
        if wait > 0:
            return min(wait, self._tick)
        if self._open_sessions.count:
            # It may take one association at a time, and would not answer a second one.
            self._breaker.trial()
        else:
            self._probe()
        self._feeder.look_again()
        return 0.0

    def _probe(self) -> bool:
        """See `probe`."""
        others_open = self._open_sessions.count > 0
        return probe(self.destination, self._egress, self._breaker, others_open=others_open)

    def _image_taken(self) -> None:
        if self._feeder.wants_to_fill():
            self._signal.set()

    def _breaker_changed(self, before: BreakerView, after: BreakerView) -> None:
        self._report.breaker_changed(before, after)
        self.wake()

    def _written(self, results: list[Result]) -> None:
        self._report.written(results)
        soon = time.time() + self._tick
        waiting = [row for row in results if isinstance(row, Return) or row.state == "pending"]
        if any(isinstance(row, Return) or row.not_before <= soon for row in waiting):
            self.wake()
        elif waiting:
            self.look()  # due later: the ledger may have been asked before it had the row back
