"""One session of a destination at work: takes prepared images, sends them, reports what the receiver said."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import takewhile

from mapdr.deliver.backoff import Backoff
from mapdr.deliver.breaker import Breaker, State
from mapdr.deliver.judge import LATER, Decision, judge, judge_error
from mapdr.deliver.leases import Hands
from mapdr.deliver.ready import Lanes, Slot
from mapdr.deliver.settle import describe
from mapdr.deliver.syntaxes import Syntaxes
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.item import Need, Outcome, Payload, Sent, Verdict
from mapdr.kernel.stage import Egress, EgressSession, SaysWhy, SendsRuns
from mapdr.kernel.watch import Watch
from mapdr.net.retry import Retry
from mapdr.store.queue.ledger import Delivery

log = logging.getLogger("mapdr.deliver")

IDLE = 5.0
"""Seconds without an image after which an association is released: some receivers see a study's end in it."""

STALE = 1.0
"""An association that rested longer may have been ended by the peer: losing it proves nothing."""

SLOW = 5.0
"""Seconds without an answer after which others are not tried just to see whose fault it is."""

SWITCHES = 8
"""How often one image may change its transfer syntax before that counts as a refusal."""

RUN = 128
"""The most images that are handed to a session at once ..."""

RUN_SECONDS = 0.05
"""... and about how long it may keep them: others wait for what it has not begun, and a stop for it all."""

LIMITED = Backoff(first=5.0, factor=2.0, cap=60.0)
"""The rest of a sender whose association was not accepted while others run: the receiver has a limit."""


@dataclass(slots=True)
class Desk:
    """What the senders of one destination share with its feeder."""

    name: str
    egress: Egress
    lanes: Lanes
    hands: Hands
    breaker: Breaker
    syntaxes: Syntaxes
    retry: Retry
    watch: Watch
    wake: Callable[[], None]
    taken: Callable[[], None]
    differs: Callable[[Delivery], bool]
    idle: float = IDLE
    stopping: threading.Event = field(default_factory=threading.Event)
    open_sessions: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Sender:
    """One thread with at most one session, kept over batches and released when there is nothing to send."""

    def __init__(self, desk: Desk, number: int) -> None:
        self._desk = desk
        self._session: EgressSession | None = None
        self._runs: SendsRuns | None = None
        self._most = 1
        self._used_at = 0.0
        self._opened_at = 0.0
        self._fresh = False
        self._limited = 0
        self._thread = GuardedThread(
            self._run,
            f"send-{desk.name}-{number}",
            goes_on=lambda: not desk.stopping.is_set(),
            watch=desk.watch,
        )

    def start(self) -> None:
        """Begin to take images."""
        self._thread.start()

    def join(self, deadline: float) -> bool:
        """Wait until `deadline` (time.monotonic()); whether it has ended."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def abort(self) -> None:
        """End the session under the sender's hands; the image on the wire is then unanswered."""
        session = self._session
        if session is not None:
            session.close()

    def _run(self) -> None:
        desk = self._desk
        while not desk.stopping.is_set():
            slot = None  # the memory of the last one is given back before the next is waited for
            try:
                slot = desk.lanes.take(self._session.covers if self._session else None, desk.idle)
                if slot is None:
                    self._close()
                    continue
                desk.taken()
                self._handle(slot)
            except Exception as error:  # noqa: BLE001  the last guard: nothing that an egress raises ends a sender
                self._failed(slot, error)
        self._close()

    def _failed(self, slot: Slot | None, error: Exception) -> None:
        """Our own exception, or an egress's, is the image's and not the receiver's: again, then parked."""
        what = slot.delivery.instance.id if slot else "nothing"
        log.error("%s: a sender failed with %s in hand: %s", self._desk.name, what, describe(error))
        try:
            self._close()
            if slot is not None:
                self._broke(slot, error)
        finally:
            if slot is None:
                self._desk.stopping.wait(LATER)
            else:
                self._desk.hands.give_back([slot.delivery])  # does nothing if it was concluded

    def _broke(self, slot: Slot, error: Exception) -> None:
        """An image could not be sent, and not by the receiver's fault."""
        desk, now = self._desk, time.time()
        if not isinstance(error, Permanent):
            self._conclude(slot, Sent(Outcome(Verdict.RETRY, comment=describe(error)), now, 0.0))
            return
        decision = judge_error(slot.delivery, error, desk.retry, losses=0, now=now)
        outcome = Outcome(Verdict.REFUSED, comment=str(error))
        if desk.hands.decide(slot.delivery, decision, outcome, started_at=now):
            desk.watch.count(f"deliver.{desk.name}.parked")

    def _handle(self, slot: Slot) -> None:
        desk = self._desk
        assert slot.need is not None
        if desk.breaker.state is State.OPEN:
            desk.hands.give_back([slot.delivery])
            return
        desk.syntaxes.needed(slot.need)
        session = self._session
        if session is None or not self._suits(session, slot):
            # It may take seconds until the receiver answers, and another sender may have a session free.
            desk.lanes.put_back(slot, awaited=True)
            try:
                session = self._connect(slot.need)
            except Exception as error:  # noqa: BLE001  not the receiver's fault: see `_connect`
                self._failed(slot if desk.lanes.reclaim(slot) else None, error)
                return
            if not desk.lanes.reclaim(slot):
                if session is None:
                    self._rest()
                return
        if session is None:
            self._no_session(slot)
            return
        if not session.accepts(slot.need):
            self._account(session, slot, Sent(_refusal(session, slot.need), time.time(), 0.0), stale=False)
            return
        self._fresh = False
        if self._runs is None:
            stale = time.monotonic() - self._used_at > STALE
            self._account(session, slot, _send(session, slot.payload), stale)
            self._used_at = time.monotonic()
        else:
            self._run_of(session, self._runs, slot)

    def _suits(self, session: EgressSession, slot: Slot) -> bool:
        """Whether `session` will do for an image: for one that goes alone a new one, and for one that the
        receiver does not accept now another than it has said so on before."""
        need = slot.need
        assert need is not None
        if not session.covers(need):
            return False
        if slot.alone:
            return self._fresh
        if session.accepts(need) or time.monotonic() - self._opened_at < self._desk.retry.first:
            return True
        return not _refusal(session, need).waits

    def _run_of(self, session: EgressSession, runs: SendsRuns, first: Slot) -> None:
        """Send `first` and as many behind it as go with it; those that were not begun are put back."""
        desk = self._desk
        share = 1 if first.alone else len(desk.lanes) // desk.egress.sessions
        fits = lambda need: session.covers(need) and session.accepts(need)  # noqa: E731
        slots = [first, *desk.lanes.more(fits, min(self._most, share) - 1)]
        stale = time.monotonic() - self._used_at > STALE
        clock = time.perf_counter()
        sent: list[Sent] = []
        try:
            runs.send_run([slot.payload for slot in slots if slot.payload], RUN_SECONDS, sent)
        except Exception as error:  # noqa: BLE001  a faulty egress or file; the image is tried again, then parked
            self._failed(slots.pop(len(sent)) if len(sent) < len(slots) else None, error)
        self._used_at = time.monotonic()
        each = (time.perf_counter() - clock) / max(1, len(sent))
        self._most = max(1, min(RUN, self._most * 2, int(RUN_SECONDS / max(each, 1e-6))))
        for slot in reversed(slots[len(sent) :]):
            desk.lanes.put_back(slot)
        fine = sum(1 for _ in takewhile(_is_plain_success, sent))
        try:
            self._delivered(slots[:fine], sent[:fine])
            for slot, one in zip(slots[fine:], sent[fine:], strict=False):
                self._account(session, slot, one, stale and not fine)
        finally:
            desk.hands.give_back(slot.delivery for slot in slots[: len(sent)])  # nothing, if all went well

    def _delivered(self, slots: list[Slot], sent: list[Sent]) -> None:
        """The receiver has these images: what `_account` does, for all of them at once."""
        desk = self._desk
        if not slots:
            return
        desk.hands.took(len(slots))
        if desk.breaker.heard():
            desk.wake()
        images = [
            (slot.delivery, slot.payload, one) for slot, one in zip(slots, sent, strict=True) if slot.payload
        ]
        counted = desk.hands.delivered(images)
        desk.watch.count(f"deliver.{desk.name}.images", len(counted))
        desk.watch.count(f"deliver.{desk.name}.bytes", sum(payload.length for payload in counted))

    def _account(self, session: EgressSession, slot: Slot, sent: Sent, stale: bool) -> None:
        """Judge one attempt, and what it says about the receiver."""
        fallback, outcome = "", sent.outcome
        if slot.need is not None and (outcome.waits or outcome.verdict is Verdict.SYNTAX_REFUSED):
            fallback = self._desk.syntaxes.refused(session, slot.need)
            if fallback:
                sent = sent._replace(outcome=replace(outcome, verdict=Verdict.SYNTAX_REFUSED, waits=False))
        blame = self._blame(slot.delivery, outcome)
        self._weigh_peer(slot, sent, blame, stale)
        if stale and _is_lost(outcome):
            sent = sent._replace(outcome=replace(outcome, begun=False))
        self._conclude(slot, sent, fallback, blame)

    def _blame(self, delivery: Delivery, outcome: Outcome) -> int:
        """After how many losses an image is parked; 0 while it may be the receiver's trouble."""
        desk, tries = self._desk, self._desk.retry.tries
        if not outcome.peer_fault or not outcome.begun or desk.breaker.state is not State.CLOSED:
            return 0
        found = desk.hands.blame(delivery, tries)
        return found if _is_lost(outcome) or found == tries else 0

    def _weigh_peer(self, slot: Slot, sent: Sent, blame: int, stale: bool) -> None:
        """Tell the breaker what the answer says about the receiver; `blame`: it takes other images."""
        desk, outcome = self._desk, sent.outcome
        lost = _is_lost(outcome)
        if lost:
            self._close()
        if not outcome.peer_fault:
            if outcome.status is not None:
                desk.hands.took()
                if desk.breaker.heard():
                    desk.wake()
        elif blame or (lost and stale) or desk.stopping.is_set():
            return
        elif desk.hands.too_many(slot.delivery) or sent.seconds > SLOW:
            reason = "no-answer" if lost else "receiver-busy"
            desk.breaker.trip(reason, outcome.comment, status=outcome.status)
            desk.wake()

    def _conclude(self, slot: Slot, sent: Sent, fallback: str = "", blame: int = 0) -> None:
        desk, delivery = self._desk, slot.delivery
        sent, differs = self._compared(delivery, sent)
        outcome, started, seconds = sent
        losses = 0
        if outcome.begun and (
            outcome.peer_fault or outcome.waits or outcome.verdict is Verdict.SYNTAX_REFUSED
        ):
            losses = desk.hands.lost(delivery, alone=_is_lost(outcome))
        if losses > SWITCHES and fallback:
            fallback = ""
        asked_again = desk.breaker.view().retry_at
        decision = judge(
            delivery,
            outcome,
            desk.retry,
            losses=losses,
            now=time.time(),
            fallback=fallback,
            after=asked_again + LATER if asked_again else 0.0,
            blame=blame,
            differs=differs,
        )
        if not desk.hands.decide(
            delivery, decision, outcome, payload=slot.payload, started_at=started, seconds=seconds
        ):
            return
        watch, name = desk.watch, desk.name
        if decision.state == "delivered":
            watch.count(f"deliver.{name}.images")
            watch.count(f"deliver.{name}.bytes", slot.payload.length if slot.payload else 0)
        else:
            watch.count(f"deliver.{name}.{'parked' if decision.state == 'parked' else 'retries'}")

    def _compared(self, delivery: Delivery, sent: Sent) -> tuple[Sent, bool]:
        """Whether other bytes were delivered under its UID before, which matters for a duplicate. Where the
        index does not say so, the receiver's answer is kept, and does not count as a delivery."""
        if not sent.outcome.duplicate:
            return sent, False
        try:
            return sent, self._desk.differs(delivery)
        except Exception as error:  # noqa: BLE001  kept with the row, shown, tried again, then parked
            comment = f"the receiver has its UID; with which bytes cannot be looked up: {describe(error)}"
            outcome = replace(sent.outcome, verdict=Verdict.RETRY, comment=comment)
            return sent._replace(outcome=outcome), False

    def _connect(self, need: Need) -> EgressSession | None:
        """A new session for `need`; None when the receiver gives none.

        Raises what is not the receiver's fault: an exception of our own that `need` alone meets, too.
        """
        self._close()
        desk = self._desk
        try:
            session = self._ask([need, *desk.lanes.needs(), *desk.syntaxes.recent()])
        except Permanent as error:
            self._refused(error.reason, str(error), slow=True)
            return None
        except (Temporary, OSError) as error:
            self._refused("unreachable", describe(error), slow=False)
            return None
        with desk.lock:
            desk.open_sessions += 1
        self._session = session
        self._runs = session if isinstance(session, SendsRuns) else None
        self._most = 1
        self._used_at = self._opened_at = time.monotonic()
        self._fresh = True
        self._limited = 0
        return session

    def _ask(self, needs: list[Need]) -> EgressSession:
        """Open a session for all `needs`, or for the first alone where that fails by a fault of our own."""
        connect = self._desk.egress.connect
        try:
            return connect(list(dict.fromkeys(needs)))
        except (Permanent, Temporary, OSError):
            raise
        except Exception as error:  # noqa: BLE001  raised again if it is of this need
            log.error("%s: no session for all that waits: %s", self._desk.name, describe(error))
            return connect(needs[:1])

    def _refused(self, reason: str, comment: str, *, slow: bool) -> None:
        desk = self._desk
        with desk.lock:
            others = desk.open_sessions
        if others:
            self._limited += 1
            return
        desk.breaker.trip(reason, comment, slow=slow)

    def _no_session(self, slot: Slot) -> None:
        """The row keeps the reason in sight, and no attempt of it is used up."""
        desk, view = self._desk, self._desk.breaker.view()
        if view.state is State.OPEN:
            now = time.time()
            outcome = Outcome(Verdict.RETRY, comment=view.comment, peer_fault=True)
            decision = Decision("pending", view.reason, now, count_attempt=False)
            desk.hands.decide(slot.delivery, decision, outcome, started_at=now)
            desk.wake()
            return
        desk.lanes.put_back(slot)
        self._rest()

    def _rest(self) -> None:
        if self._desk.breaker.state is not State.OPEN:
            self._desk.stopping.wait(LIMITED.delay(self._limited))

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        with self._desk.lock:
            self._desk.open_sessions -= 1
        try:
            session.close()
        except Exception as error:  # noqa: BLE001  it is gone either way; what was sent has its answer
            log.error("%s: a session could not be closed: %s", self._desk.name, describe(error))


def _is_plain_success(sent: Sent) -> bool:
    return sent.outcome.verdict is Verdict.DELIVERED and not sent.outcome.duplicate


def _is_lost(outcome: Outcome) -> bool:
    """Whether the session ended by it."""
    return outcome.peer_fault and outcome.status is None


def _refusal(session: EgressSession, need: Need) -> Outcome:
    if isinstance(session, SaysWhy):
        return session.refusal(need)
    return Outcome(Verdict.SYNTAX_REFUSED, comment="the receiver does not accept it in this transfer syntax")


def _send(session: EgressSession, payload: Payload | None) -> Sent:
    assert payload is not None
    started, clock = time.time(), time.perf_counter()
    outcome = session.send(payload)
    return Sent(outcome, started, time.perf_counter() - clock)
