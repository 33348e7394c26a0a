"""A sender: takes images from the ready queue, sends them on its session, and hands on what was answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mapdr.deliver.backoff import Backoff
from mapdr.deliver.feed.ready import QueuedImage, ReadyQueue
from mapdr.deliver.send.breaker import Breaker, BreakerState
from mapdr.deliver.send.connection import Connection
from mapdr.deliver.send.faults import Faults
from mapdr.deliver.send.outcomes import OutcomeHandler
from mapdr.deliver.settle.decide import LATER, session_lost
from mapdr.deliver.settle.leases import Leases
from mapdr.kernel.errors import OWN_FAULT, Permanent, Temporary, is_own_fault
from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.item import Sent, Verdict
from mapdr.kernel.privacy import in_words
from mapdr.kernel.watch import Watch
from mapdr.net.rate import Rate

IDLE = 5.0
"""Seconds without an image after which an association is released: some receivers see a study's end in it."""

LIMITED = Backoff(first=5.0, factor=2.0, cap=60.0)
"""The rest of a sender whose association was not accepted while others run: the receiver has a limit."""


REFUSALS = 50
"""Refused images a second that a destination is sent: each ends its run, costs several times what one costs
that is taken, and will be tried again. Those that are taken share the pause."""


class Sender:
    """One thread with one connection, kept over batches and released when there is nothing to send.

    `sessions` is the number of senders, which share what is ready and `refusals`; `idle` how many seconds a
    session rests. `probe` asks the receiver whether it is there, opens the breaker if not, and says which.
    """

    def __init__(
        self,
        name: str,
        ready: ReadyQueue,
        connection: Connection,
        outcomes: OutcomeHandler,
        *,
        leases: Leases,
        breaker: Breaker,
        faults: Faults,
        refusals: Rate,
        probe: Callable[[], bool],
        sessions: int,
        stopping: threading.Event,
        watch: Watch,
        idle: float = IDLE,
    ) -> None:
        self._ready = ready
        self._connection = connection
        self._outcomes = outcomes
        self._leases = leases
        self._breaker = breaker
        self._faults = faults
        self._refusals = refusals
        self._probe = probe
        self._sessions = sessions
        self._stopping = stopping
        self._idle = idle
        self._refused = 0
        self._thread = GuardedThread(
            self._run, f"send-{name}", goes_on=lambda: not stopping.is_set(), watch=watch
        )

    def start(self) -> None:
        """Begin to take images."""
        self._thread.start()

    def join(self, deadline: float) -> bool:
        """Wait until `deadline` (time.monotonic()); whether it has ended."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def abort(self) -> None:
        """End the session under way; the image on the wire is then unanswered."""
        self._connection.abort()

    def _run(self) -> None:
        while not self._stopping.is_set():
            image = None  # the memory of the last one is given back before the next is waited for
            try:
                image = self._take()
                if image is not None:
                    self._send(image)
            except Exception as error:  # noqa: BLE001  the last guard: nothing that an egress raises ends a sender
                self._faults.sender(error)
                self._failed(image, error)
        self._connection.close()

    def _take(self) -> QueuedImage | None:
        """An image out of the queue that goes on the session, which is opened for it if need be.

        None if there is none, or not for this sender; after so long without one the session is released, and
        without a session there is nothing to wake for but an image.
        """
        covers = self._connection.covers
        taken = self._ready.take(covers, None if covers is None else self._idle)
        if taken is None:
            self._connection.close()
            return None
        image, reserved = taken
        if self._breaker.state is BreakerState.OPEN:
            if not reserved or self._ready.claim(image):
                self._leases.give_back([image.delivery])
            return None
        if not reserved:
            try:
                if self._connection.serves(image):
                    return image
            except Exception as error:  # noqa: BLE001  of the egress: the image is tried again, then parked
                self._egress_failed(image, error)
                return None
            self._ready.put_back([image], reserved=True)
        return self._open_for(image)

    def _open_for(self, image: QueuedImage) -> QueuedImage | None:
        """Open a session for a reserved image; the image, out of the queue, unless another sender has it now
        or there is no session."""
        claimed = None
        try:
            try:
                refusal = self._open(image)
            finally:
                claimed = image if self._ready.claim(image) else None
            if refusal is None:
                return claimed
            self._no_session(claimed, refusal)
        except Exception as error:  # noqa: BLE001  not the receiver's fault: the image's
            self._egress_failed(claimed, error)
        return None

    def _open(self, image: QueuedImage) -> Exception | None:
        """Open a session; if the receiver gives none, how it said so. Raises what is not its fault."""
        assert image.need is not None
        if self._outcomes.wants_probe(image):
            self._connection.close()  # it may take no more associations than this destination has
            if not self._probe():
                return Temporary("nothing comes through to the receiver")
            self._outcomes.probe_answered(image)
        try:
            self._connection.open(image.need, self._ready.needs())
        except (Permanent, Temporary, OSError) as error:
            return error
        self._refused = 0
        return None

    def _no_session(self, image: QueuedImage | None, refusal: Exception) -> None:
        """There is no session for the image in hand, if there still is one."""
        if self._connection.others_open:
            self._refused += 1  # the receiver serves them: there is nothing the matter with it
        elif isinstance(refusal, Permanent):
            self._breaker.trip(refusal.reason, str(refusal), slow=True)
        else:
            reason = OWN_FAULT if is_own_fault(refusal) else "unreachable"
            self._breaker.trip(reason, in_words(refusal, places=False))
        if self._breaker.state is BreakerState.OPEN:
            if image is not None:
                self._outcomes.unreachable(image)
            return
        if image is not None:
            self._ready.put_back([image])
        self._stopping.wait(LIMITED.delay(self._refused))

    def _send(self, first: QueuedImage) -> None:
        """Send `first`, and as many of those behind it as the session may be given at once."""
        connection = self._connection
        assert first.need is not None
        refusal = connection.refusal(first.need)
        if refusal is not None:
            self._answered(first, Sent(refusal, time.time(), 0.0), stale=False)
            return
        images, stale, sent = [first], connection.stale, list[Sent]()
        batch = connection.batch
        if batch.images > 1 and not first.alone:
            images += self._ready.following(first, connection.accepts, batch, self._sessions)
        try:
            connection.send([image.payload for image in images if image.payload], sent)
        except Exception as error:  # noqa: BLE001  a faulty egress or file; the image is tried again, then parked
            self._egress_failed(images.pop(len(sent)) if len(sent) < len(images) else None, error)
        if len(sent) < len(images):
            self._ready.put_back(images[len(sent) :])
            del images[len(sent) :]
        self._hand_on(images, sent, stale)

    def _hand_on(self, images: list[QueuedImage], sent: list[Sent], stale: bool) -> None:
        """Hand on what was answered, those that were simply taken all at once."""
        if sent:
            self._faults.over()
        taken = 0
        for one in sent:
            if one.outcome.verdict is not Verdict.DELIVERED or one.outcome.duplicate:
                break
            taken += 1
        try:
            if taken:
                self._outcomes.delivered(images[:taken], sent[:taken])
            lost = False
            for image, one in zip(images[taken:], sent[taken:], strict=True):
                self._answered(image, one, stale=stale and not taken, known_lost=lost)
                lost = lost or session_lost(one.outcome)
        except BaseException:
            self._leases.give_back(image.delivery for image in images)  # but for those that were settled
            raise
        refused = sum(one.outcome.verdict is Verdict.REFUSED for one in sent[taken:])
        if refused:
            self._stopping.wait(self._refusals.reserve(refused))

    def _answered(self, image: QueuedImage, sent: Sent, *, stale: bool, known_lost: bool = False) -> None:
        """Hand on an answer other than plain success, with the syntax that the receiver takes instead.

        `known_lost`: the session was lost by an image before this one in the same call.
        """
        outcome, fallback = sent.outcome, ""
        if image.need is not None and (outcome.not_now or outcome.verdict is Verdict.SYNTAX_REFUSED):
            fallback = self._connection.fallback(image.need)
        if session_lost(outcome) or outcome.pause is not None:
            self._connection.close()  # who waits is asked by `Egress.probe`, and with no session open
        self._outcomes.answered(image, sent, fallback=fallback, stale=stale, known_lost=known_lost)

    def _egress_failed(self, image: QueuedImage | None, error: Exception) -> None:
        """The egress raised; with a Permanent error it faults the image, which is parked in sight."""
        if image is None or not isinstance(error, Permanent):
            self._faults.egress(error)
        self._failed(image, error)

    def _failed(self, image: QueuedImage | None, error: Exception) -> None:
        """An exception of ours or of an egress: the fault of the image in hand, and not of the receiver."""
        try:
            self._connection.close()
            if image is not None:
                self._outcomes.raised(image, error)
        finally:
            if image is None:
                self._stopping.wait(LATER)
            else:
                self._leases.give_back([image.delivery])  # does nothing if it was settled
