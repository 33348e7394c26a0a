"""One session of a destination at work: takes prepared images, sends them, reports what the receiver said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mapdr.deliver.backoff import Backoff
from mapdr.deliver.breaker import Breaker, State
from mapdr.deliver.hands import Hands
from mapdr.deliver.judge import Decision, judge
from mapdr.deliver.lanes import Lanes, Slot
from mapdr.deliver.settle import describe
from mapdr.deliver.syntaxes import Syntaxes
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Need, Outcome, Verdict
from mapdr.kernel.retry import Retry
from mapdr.kernel.stage import Egress, EgressSession
from mapdr.kernel.watch import Watch

IDLE = 5.0
"""Seconds without an image after which an association is released: some receivers see a study's end in it."""

STALE = 1.0
"""An association that rested longer may have been ended by the peer: losing it proves nothing."""

LATER = 1.0
"""Seconds after the receiver is asked again before an image comes back for which it had no room."""

SWITCHES = 8
"""How often one image may change its transfer syntax before that counts as a refusal."""

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
    idle: float = IDLE
    stopping: threading.Event = field(default_factory=threading.Event)
    open_sessions: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Sender:
    """One thread with at most one session, kept over batches and released when there is nothing to send."""

    def __init__(self, desk: Desk, number: int) -> None:
        self._desk = desk
        self._session: EgressSession | None = None
        self._used_at = 0.0
        self._limited = 0
        self._thread = threading.Thread(target=self._run, name=f"send-{desk.name}-{number}", daemon=True)

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
            slot = desk.lanes.take(self._session.covers if self._session else None, desk.idle)
            if slot is None:
                self._close()
                continue
            desk.taken()
            try:
                self._handle(slot)
            except Exception as error:  # noqa: BLE001  a faulty egress; the image is tried again, then parked
                self._close()
                self._conclude(slot, Outcome(Verdict.RETRY, comment=describe(error)), time.time(), 0.0)
        self._close()

    def _handle(self, slot: Slot) -> None:
        desk = self._desk
        assert slot.need is not None
        assert slot.payload is not None
        if desk.breaker.state is State.OPEN:
            desk.hands.give_back([slot.delivery])
            return
        desk.syntaxes.needed(slot.need)
        session = self._session
        if session is None or not session.covers(slot.need):
            # It may take seconds until the receiver answers, and another sender may have a session free.
            desk.lanes.put_back(slot, awaited=True)
            session = self._connect(slot.need)
            if not desk.lanes.reclaim(slot):
                if session is None:
                    self._rest()
                return
        if session is None:
            self._no_session(slot)
            return
        started, clock = time.time(), time.perf_counter()
        if session.accepts(slot.need):
            stale = time.monotonic() - self._used_at > STALE
            outcome = session.send(slot.payload)
            self._used_at = time.monotonic()
        else:
            stale = False
            outcome = Outcome(
                Verdict.SYNTAX_REFUSED, comment="the receiver accepts no such presentation context"
            )
        seconds = time.perf_counter() - clock
        fallback = ""
        if outcome.verdict is Verdict.SYNTAX_REFUSED:
            fallback = desk.syntaxes.refused(session, slot.need)
        self._weigh_peer(slot, outcome, stale)
        self._conclude(slot, outcome, started, seconds, fallback)

    def _weigh_peer(self, slot: Slot, outcome: Outcome, stale: bool) -> None:
        """Tell the breaker what the answer says about the receiver as such."""
        desk = self._desk
        lost = outcome.peer_fault and outcome.status is None
        if lost:
            self._close()
        if not outcome.peer_fault:
            desk.hands.took()
            if outcome.status is not None and desk.breaker.heard():
                desk.wake()
        elif not lost and desk.hands.is_suspect(slot.delivery):
            # It has room for others: this image waits alone, the receiver is not left alone for it.
            desk.breaker.heard()
        elif not (lost and stale) and not desk.stopping.is_set():
            reason = "no-answer" if lost else "receiver-busy"
            desk.breaker.trip(reason, outcome.comment, status=outcome.status)
            desk.wake()

    def _conclude(
        self, slot: Slot, outcome: Outcome, started: float, seconds: float, fallback: str = ""
    ) -> None:
        desk, delivery = self._desk, slot.delivery
        losses = 0
        if outcome.peer_fault or outcome.verdict is Verdict.SYNTAX_REFUSED:
            losses = desk.hands.lost(delivery)
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

    def _connect(self, need: Need) -> EgressSession | None:
        """A new session for `need`; None when the receiver gives none."""
        self._close()
        desk = self._desk
        needs = list(dict.fromkeys([need, *desk.lanes.needs(), *desk.syntaxes.recent()]))
        try:
            session = desk.egress.connect(needs)
        except Permanent as error:
            self._refused(error.reason, str(error), slow=True)
            return None
        except Exception as error:  # noqa: BLE001  Temporary, or a faulty egress: shown as the breaker's reason
            self._refused("unreachable", describe(error), slow=False)
            return None
        with desk.lock:
            desk.open_sessions += 1
        self._session = session
        self._used_at = time.monotonic()
        self._limited = 0
        return session

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
        session.close()
