"""One destination at work: leases rows, has them prepared, sends them, and settles what the receiver said.

```
             lease              prepare              take            send
  ledger ------------> feeder ------------> lanes ----------> sender x N ----------> receiver
     ^                   | (codec threads)                       |
     |                   +--- parked ---+                        | final status
     +--------------- settler <---------+------------------------+
```
Every destination has its own threads, so a slow or dead one delays no other. A row leaves `in hand` only
after its settlement is committed; leases of rows in hand are renewed however long a send takes. After a
crash the leases run out, and the rows go out again: a repeat is allowed, a loss is not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Protocol

from mapdr.deliver.backoff import Backoff
from mapdr.deliver.breaker import Breaker, State, View
from mapdr.deliver.judge import judge_error
from mapdr.deliver.leases import LEASE, Hands
from mapdr.deliver.prepare import Preparer
from mapdr.deliver.ready import Lanes, Slot
from mapdr.deliver.sender import IDLE, Desk, Sender
from mapdr.deliver.settle import Result, Return, Settler, describe
from mapdr.deliver.syntaxes import Syntaxes
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.item import Need, Outcome, Payload, Verdict
from mapdr.kernel.output import in_words
from mapdr.kernel.stage import Description, Egress
from mapdr.kernel.watch import Watch
from mapdr.net.retry import Retries, Retry, Waits
from mapdr.store.queue.ledger import Delivery
from mapdr.store.queue.settle import Settlement

log = logging.getLogger("mapdr.deliver")

CHUNK = 500
"""The most rows leased at once."""

FEW = 8
"""Rows leased at once from a receiver whose speed is not known yet, or that is slow."""

SOON, LATE = 0.3, 1.0
"""Seconds within which a lease should be used up: if sooner, the next is larger; if later, smaller.

What is leased when a node is killed may have been sent, so a slow receiver should have few such images.
"""

TICK = 1.0
"""Seconds between looks for rows that another process made, or whose time has come."""

AHEAD = 64 << 20
"""Bytes of images that may be at work or prepared in memory, beyond the first."""

ABORT = 2.0
"""Seconds that a sender gets to end once its session was aborted."""


class Ledger(Protocol):
    """The part of `mapdr.store.queue.ledger.Ledger` that delivering needs."""

    def lease(
        self,
        destination: str,
        limit: int,
        seconds: float,
        owner: str,
        *,
        quiet_seconds: float = 0.0,
        untried_first: bool = False,
    ) -> list[Delivery]:
        """Due rows in the order of lane, study and arrival, ours for `seconds`."""

    def extend(self, delivery_ids: Iterable[int], seconds: float, owner: str) -> None:
        """Keep rows leased to `owner` for `seconds` from now."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Write how attempts ended, in one transaction."""

    def give_back(self, delivery_ids: Iterable[int]) -> None:
        """Leased rows that were not tried become pending again."""

    def differs(self, delivery: Delivery) -> bool:
        """Whether other bytes under the UID of `delivery` were what its destination was last given."""

    def next_due(self, destination: str) -> float | None:
        """When the earliest row of `destination` is due (seconds since the epoch)."""


class Deliverer:
    """Delivers what the ledger holds for one destination; starts and stops the egress it is given.

    Leases are in the name of `owner`, the node, run for `lease` seconds and are renewed; a session without
    work for `idle` seconds is released. `wake` may be called by anybody, at any time: there may be new rows.
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
        tick: float = TICK,
        lease: float = LEASE,
        idle: float = IDLE,
    ) -> None:
        self.destination = destination
        self._egress = egress
        self._ledger = ledger
        self._preparer = preparer
        self._owner = f"{owner}/{destination}"
        self._quiet = egress.quiet_seconds if isinstance(egress, Waits) else 0.0
        self._watch = watch
        self._tick = tick
        self._retry = egress.retry if isinstance(egress, Retries) else Retry()
        self._settler = Settler(destination, ledger, self._written, watch)
        self._breaker = Breaker(*breaker_delays(self._retry), told=self._stands)
        self._desk = Desk(
            name=destination,
            egress=egress,
            lanes=Lanes(),
            hands=Hands(ledger, self._settler, self._owner, lease),
            breaker=self._breaker,
            syntaxes=Syntaxes(egress.syntaxes),
            retry=self._retry,
            watch=watch,
            wake=self.wake,
            taken=self._taken,
            differs=ledger.differs,
            idle=idle,
        )
        self._lanes = self._desk.lanes
        self._hands = self._desk.hands
        self._backlog: deque[Slot] = deque()
        self._lock = threading.Lock()
        self._at_work: dict[int, int] = {}
        self._signal = threading.Event()
        self._more = True
        self._starved = False
        self._chunk = FEW
        self._leased_at = 0.0
        self._feeder: threading.Thread | None = None
        self._senders: list[Sender] = []
        self._acquired = False
        self._stopped = False

    def acquire(self, ending: Sequence[object] = ()) -> None:
        """Start the egress, which takes what it needs, and deliver nothing yet. Raises what it raises."""
        if not self._acquired:
            self._egress.start()
            self._acquired = True

    def start(self) -> None:
        """Begin to deliver. Raises what the egress raises when it cannot start."""
        self.acquire()
        self._settler.start()
        self._senders = [Sender(self._desk, number) for number in range(self._egress.sessions)]
        for sender in self._senders:
            sender.start()
        self._feeder = GuardedThread(
            self._feed,
            f"feed-{self.destination}",
            goes_on=lambda: not self._desk.stopping.is_set(),
            watch=self._watch,
        )
        self._feeder.start()

    def wake(self) -> None:
        """There may be rows to deliver."""
        self._more = True
        self._signal.set()

    def view(self) -> View:
        """Whether the destination takes images, and if not, why and until when."""
        return self._breaker.view()

    def describe(self) -> Description:
        """What its egress is and does now."""
        return self._egress.describe()

    def halt(self) -> None:
        """Take no more images; those on the wire go on. Who stops several halts them all first."""
        self._desk.stopping.set()
        self._signal.set()
        self._lanes.close()

    def stop(self, deadline: float) -> None:
        """Let each sender finish its image until `deadline`, then abort it; unsent rows are given back.

        Safe twice, and before start.
        """
        if self._stopped:
            return
        self._stopped = True
        self.halt()
        if self._feeder is not None:
            self._feeder.join(max(0.0, deadline - time.monotonic()))
        self._hands.give_back(slot.delivery for slot in self._lanes.drain())
        for sender in [sender for sender in self._senders if not sender.join(deadline)]:
            sender.abort()
        patience = max(deadline, time.monotonic()) + ABORT
        for sender in self._senders:
            sender.join(patience)
        self._hands.give_back(self._hands.undecided())
        if not self._settler.stop(patience):
            log.error("%s: results were left unwritten; these images will be sent again", self.destination)
        self._egress.stop(deadline)

    def _feed(self) -> None:
        failures = 0
        backoff = Backoff(first=0.2, factor=2.0, cap=10.0)
        trouble = Trouble(log)
        while not self._desk.stopping.is_set():
            try:
                pause = self._step()
                failures = 0
                trouble.over()
            except Exception as error:  # noqa: BLE001  the ledger is locked or away: shown, and tried again
                failures += 1
                pause = backoff.delay(failures)
                trouble.tell(f"{self.destination}: cannot lease: {describe(error)}; trying again")
            self._signal.wait(pause)
            self._signal.clear()

    def _step(self) -> float:
        """One round; how long to wait for the next unless something happens."""
        self._hands.renew()
        if self._breaker.state is State.OPEN:
            return self._while_open()
        self._submit()
        waiting = len(self._lanes)
        if waiting >= self._chunk:
            self._starved = self._more
            return self._tick
        if not self._more:
            due = self._ledger.next_due(self.destination)
            if due is None or due > time.time():
                return self._tick
        self._more = False
        closed = self._breaker.state is State.CLOSED
        limit = self._next_chunk() if closed else max(2, self._egress.sessions)
        rows = self._ledger.lease(
            self.destination,
            limit,
            self._hands.lease,
            self._owner,
            quiet_seconds=self._quiet,
            # Images that the receiver will never take must not be all that it is tried with.
            untried_first=self._breaker.state is not State.CLOSED,
        )
        if rows:
            self._hands.hold(rows)
            self._admit(rows)
        if len(rows) < limit or not closed:
            return self._tick
        self._more = True
        return 0.0

    def _next_chunk(self) -> int:
        """How many rows to lease: about what the receiver takes in half a second."""
        now = time.monotonic()
        took, self._leased_at = now - self._leased_at, now
        if took < SOON:
            self._chunk = min(CHUNK, self._chunk * 2)
        elif took > LATE:
            self._chunk = max(FEW, self._egress.sessions * 2, self._chunk // 2)
        return self._chunk

    def _while_open(self) -> float:
        """Hold nothing while the receiver is away; ask it once the wait is over."""
        self._backlog.clear()
        self._hands.give_back(slot.delivery for slot in self._lanes.drain())
        wait = self._breaker.wait()
        if wait > 0:
            return min(wait, self._tick)
        if self._desk.open_sessions:
            # It may take one association at a time, and would not answer a second one.
            self._breaker.trial()
        else:
            self._probe()
        self._more = True
        return 0.0

    def _probe(self) -> None:
        try:
            outcome = self._egress.probe()
        except (Permanent, Temporary, OSError) as error:
            outcome = Outcome(Verdict.RETRY, comment=describe(error), peer_fault=True)
        except Exception as error:  # noqa: BLE001  not the receiver's fault: then images ask it
            log.error("%s: the probe failed: %s", self.destination, describe(error))
            outcome = Outcome(Verdict.RETRY, comment=describe(error))
        if outcome.verdict is Verdict.DELIVERED or not outcome.peer_fault:
            self._breaker.trial()
            return
        rejected = outcome.verdict is Verdict.REFUSED
        reason = "association-rejected" if rejected else "unreachable"
        self._breaker.still_away(reason, outcome.comment, slow=rejected)

    def _admit(self, rows: list[Delivery]) -> None:
        """Prepare what takes no time, queue the rest for the codec threads, all in the ledger's order."""
        slots = []
        for delivery in rows:
            slot = Slot(delivery, syntax=delivery.syntax, alone=self._hands.goes_alone(delivery))
            try:
                self._prepare_now(slot)
            except Exception as error:  # noqa: BLE001  fails closed: judged, kept with the row, shown
                self._failed(slot, error)
                continue
            slots.append(slot)
            if slot.payload is None:
                self._backlog.append(slot)
        self._lanes.add(slots)
        self._submit()

    def _prepare_now(self, slot: Slot) -> None:
        payload = self._preparer.now(slot.delivery, slot.syntax)
        if payload is None:
            return
        need = Need(payload.sop_class_uid, payload.transfer_syntax_uid)
        other = self._desk.syntaxes.instead(need)
        if other:
            slot.syntax = other
        else:
            slot.payload, slot.need = payload, need

    def _submit(self) -> None:
        """Give the codec threads work, as much as may wait in memory and as is fair to other destinations."""
        crowded = self._preparer.crowded()
        while self._backlog:
            size = self._backlog[0].delivery.instance.size
            with self._lock:
                if len(self._at_work) >= self._preparer.share:
                    return
                held = self._lanes.weight + sum(self._at_work.values())
                if held and (crowded or held + size > AHEAD):
                    return
                slot = self._backlog.popleft()
                self._at_work[slot.delivery.id] = size
            try:
                self._request(slot)
            except Exception as error:  # noqa: BLE001  fails closed: judged, kept with the row, shown
                self._not_prepared(slot, error)

    def _request(self, slot: Slot) -> None:
        future = self._preparer.request(slot.delivery, slot.syntax)
        future.add_done_callback(lambda ended: self._taken_up(slot, ended))

    def _taken_up(self, slot: Slot, future: Future[Payload]) -> None:
        """`_prepared`; what it raises would be logged by `concurrent.futures`, with what it quotes."""
        try:
            self._prepared(slot, future)
        except Exception as error:  # noqa: BLE001  the last guard
            log.error("%s: a prepared image was not taken up: %s", self.destination, in_words(error))

    def _prepared(self, slot: Slot, future: Future[Payload]) -> None:
        try:
            payload = future.result()
            other = self._desk.syntaxes.instead(Need(payload.sop_class_uid, payload.transfer_syntax_uid))
            if other and other != slot.syntax:
                slot.syntax = other
                self._request(slot)
                return
            self._lanes.prepared(slot, payload)
        except Exception as error:  # noqa: BLE001  fails closed: judged, kept with the row, shown
            self._not_prepared(slot, error)
            return
        self._worked(slot)

    def _not_prepared(self, slot: Slot, error: Exception) -> None:
        try:
            if self._lanes.remove(slot):
                self._failed(slot, error)
        finally:
            self._hands.give_back([slot.delivery])  # does nothing if it was judged
            self._worked(slot)

    def _worked(self, slot: Slot) -> None:
        """The codec threads have nothing to do with it any more."""
        with self._lock:
            self._at_work.pop(slot.delivery.id, None)
        self._signal.set()

    def _failed(self, slot: Slot, error: Exception) -> None:
        delivery = slot.delivery
        losses = self._hands.lost(delivery) if isinstance(error, Temporary) else 0
        decision = judge_error(delivery, error, self._retry, losses=losses, now=time.time())
        outcome = Outcome(
            Verdict.RETRY if decision.state == "pending" else Verdict.REFUSED, comment=describe(error)
        )
        if self._hands.decide(delivery, decision, outcome, started_at=time.time()):
            word = "parked" if decision.state == "parked" else "retries"
            self._watch.count(f"deliver.{self.destination}.{word}")
            if decision.reason == "unexpected":
                log.error(
                    "%s: %s could not be prepared: %s",
                    self.destination,
                    delivery.instance.id,
                    describe(error),
                )

    def _stands(self, before: View, after: View) -> None:
        """Tell when the destination begins to wait, waits for another reason, or takes images again."""
        if after.state is State.CLOSED:
            since = before.since if before.since is not None else time.time()
            self._watch.emit(
                "destination.back", destination=self.destination, seconds=round(time.time() - since, 1)
            )
        elif (after.reason, after.status) != (before.reason, before.status):
            facts: dict[str, object] = {"destination": self.destination, "reason": after.reason}
            # With a status the comment is the receiver's, and may quote a value of the image.
            facts |= {"comment": after.comment} if after.status is None else {"status": after.status}
            self._watch.emit("destination.waits", **facts)

    def _taken(self) -> None:
        if (self._starved and len(self._lanes) < self._chunk) or self._backlog:
            self._starved = False
            self._signal.set()

    def _written(self, results: list[Result]) -> None:
        self._tell_parked(results)
        self._tell_unmet(results)
        if log.isEnabledFor(logging.DEBUG):
            self._log_attempts(results)
        soon = time.time() + self._tick
        if any(
            isinstance(row, Return) or (row.state == "pending" and row.not_before <= soon) for row in results
        ):
            self.wake()

    def _log_attempts(self, results: Iterable[Result]) -> None:
        for row in results:
            if isinstance(row, Settlement):
                status = "no status" if row.status is None else f"status 0x{row.status:04X}"
                reason = f" ({row.reason})" if row.reason else ""
                log.debug(
                    "%s: delivery %d: %s%s, %s, %d bytes in %d ms",
                    self.destination,
                    row.delivery_id,
                    row.state,
                    reason,
                    status,
                    row.bytes,
                    row.milliseconds,
                )

    def _tell_parked(self, results: Iterable[Result]) -> None:
        parked = Counter(
            (row.reason, row.status)
            for row in results
            if isinstance(row, Settlement) and row.state == "parked"
        )
        for (reason, status), images in parked.items():
            self._watch.emit(
                "images.parked", destination=self.destination, reason=reason, status=status, images=images
            )

    def _tell_unmet(self, results: Iterable[Result]) -> None:
        """Images that arrived, but not as their rule wanted: the client pays for the longer line."""
        images = sum(
            1 for row in results if isinstance(row, Settlement) and row.state == "delivered" and row.reason
        )
        if images:
            self._watch.count(f"deliver.{self.destination}.uncompressed", images)
            self._watch.emit("images.uncompressed", destination=self.destination, images=images)


def breaker_delays(retry: Retry) -> tuple[Backoff, Backoff]:
    """How long a receiver is left alone: one that is away or busy, and one that rejects us.

    A probe costs next to nothing, so a peer that comes back is seen within a minute, whatever the images'
    own back-off; a rejection may last until somebody changes a configuration, or until the receiver has
    started: it is asked again after pauses that grow up to those of an image.
    """
    quick = Backoff(first=min(1.0, retry.first), factor=retry.factor, cap=min(60.0, retry.cap))
    slow = Backoff.of(retry)
    return quick, slow
