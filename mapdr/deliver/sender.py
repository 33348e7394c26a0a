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
from mapdr.kernel.item import Need, Outcome, Payload, Sent, Verdict
from mapdr.kernel.retry import Retry
from mapdr.kernel.stage import Egress, EgressSession, SendsRuns
from mapdr.kernel.watch import Watch

IDLE = 5.0
"""Seconds without an image after which an association is released: some receivers see a study's end in it."""

STALE = 1.0
"""An association that rested longer may have been ended by the peer: losing it proves nothing."""

LATER = 1.0
"""Seconds after the receiver is asked again before an image comes back for which it had no room."""

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
                failed = Outcome(Verdict.RETRY, comment=describe(error))
                self._conclude(slot, Sent(failed, time.time(), 0.0))
            slot = None  # its memory is given back before the next is waited for
        self._close()

    def _handle(self, slot: Slot) -> None:
        desk = self._desk
        assert slot.need is not None
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
        if not session.accepts(slot.need):
            refused = Outcome(
                Verdict.SYNTAX_REFUSED, comment="the receiver accepts no such presentation context"
            )
            self._account(session, slot, Sent(refused, time.time(), 0.0), stale=False)
        elif self._runs is None:
            stale = time.monotonic() - self._used_at > STALE
            self._account(session, slot, _send(session, slot.payload), stale)
            self._used_at = time.monotonic()
        else:
            self._run_of(session, self._runs, slot)

    def _run_of(self, session: EgressSession, runs: SendsRuns, first: Slot) -> None:
        """Send `first` and as many behind it as go with it; those that were not begun are put back."""
        desk = self._desk
        share = len(desk.lanes) // desk.egress.sessions
        fits = lambda need: session.covers(need) and session.accepts(need)  # noqa: E731
        slots = [first, *desk.lanes.more(fits, min(self._most, share) - 1)]
        stale = time.monotonic() - self._used_at > STALE
        clock = time.perf_counter()
        sent: list[Sent] = []
        try:
            runs.send_run([slot.payload for slot in slots if slot.payload], RUN_SECONDS, sent)
        except Exception as error:  # noqa: BLE001  a faulty egress or file; the image is tried again, then parked
            self._close()
            if len(sent) < len(slots):
                failed = Outcome(Verdict.RETRY, comment=describe(error))
                self._conclude(slots.pop(len(sent)), Sent(failed, time.time(), 0.0))
        self._used_at = time.monotonic()
        each = (time.perf_counter() - clock) / max(1, len(sent))
        self._most = max(1, min(RUN, self._most * 2, int(RUN_SECONDS / max(each, 1e-6))))
        for slot in reversed(slots[len(sent) :]):
            desk.lanes.put_back(slot)
        fine = sum(one.outcome.verdict is Verdict.DELIVERED for one in sent)
        self._delivered(slots[:fine], sent[:fine])
        for slot, one in zip(slots[fine:], sent[fine:], strict=False):
            self._account(session, slot, one, stale and not fine)

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
        fallback = ""
        if sent.outcome.verdict is Verdict.SYNTAX_REFUSED and slot.need is not None:
            fallback = self._desk.syntaxes.refused(session, slot.need)
        self._weigh_peer(slot, sent.outcome, stale)
        self._conclude(slot, sent, fallback)

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

    def _conclude(self, slot: Slot, sent: Sent, fallback: str = "") -> None:
        desk, delivery = self._desk, slot.delivery
        outcome, started, seconds = sent
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
        self._runs = session if isinstance(session, SendsRuns) else None
        self._most = 1
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


def _send(session: EgressSession, payload: Payload | None) -> Sent:
    assert payload is not None
    started, clock = time.time(), time.perf_counter()
    outcome = session.send(payload)
    return Sent(outcome, started, time.perf_counter() - clock)
