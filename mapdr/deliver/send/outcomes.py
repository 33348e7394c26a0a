"""What each image that was handed to a receiver becomes: whose fault it was, and the next state of its row.

The last stop of an image in `deliver`: from here its row goes to the ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from mapdr.deliver.feed.ready import QueuedImage
from mapdr.deliver.permit import Permit
from mapdr.deliver.send.breaker import Breaker, BreakerState
from mapdr.deliver.settle.decide import (
    DELIVERED,
    LATER,
    Decision,
    decide,
    decide_unprepared,
    session_lost,
)
from mapdr.deliver.settle.failures import Failures
from mapdr.deliver.settle.leases import EndedAttempt, Leases
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Outcome, Sent, Verdict
from mapdr.kernel.privacy import in_words
from mapdr.kernel.watch import Watch
from mapdr.net.retry import Retry
from mapdr.store.queue.ledger import LeasedDelivery

SLOW = 5.0
"""Seconds without an answer after which others are not tried just to see whose fault it is."""

SWITCHES = 8
"""How often one image may change its transfer syntax before that counts as a refusal."""


class OutcomeHandler:
    """Shared by the senders of one destination; thread-safe.

    `differs` says whether other bytes under the UID of a row were what its destination was last given. While
    `stopping` is set, sessions are aborted, which says nothing about the receiver. A pause of `permit` makes
    no image older.
    """

    def __init__(
        self,
        destination: str,
        leases: Leases,
        *,
        failures: Failures,
        breaker: Breaker,
        retry: Retry,
        watch: Watch,
        differs: Callable[[LeasedDelivery], bool],
        stopping: threading.Event,
        permit: Permit,
    ) -> None:
        self._leases = leases
        self._failures = failures
        self._breaker = breaker
        self._retry = retry
        self._watch = watch
        self._differs = differs
        self._stopping = stopping
        self._permit = permit
        self._counter = f"deliver.{destination}."
        self._images, self._bytes = f"{self._counter}images", f"{self._counter}bytes"

    def delivered(self, images: Sequence[QueuedImage], sent: Sequence[Sent]) -> None:
        """The receiver has taken these images, each of them for the first time."""
        self._failures.answered(len(images))
        self._breaker.heard()
        attempts = [
            EndedAttempt(image.delivery, DELIVERED, one, image.payload)
            for image, one in zip(images, sent, strict=True)
        ]
        settled = self._leases.settle(attempts)
        self._watch.count(self._images, len(settled))
        self._watch.count(self._bytes, sum([each.payload.length for each in settled if each.payload]))

    def answered(
        self,
        image: QueuedImage,
        sent: Sent,
        *,
        fallback: str = "",
        stale: bool = False,
        known_lost: bool = False,
    ) -> None:
        """Any other end of an attempt, or a duplicate.

        `fallback` is a transfer syntax that the receiver takes instead of one that it does not accept;
        `stale`: the session had rested, so that losing it says nothing. `known_lost`: it was lost with an
        image before, in one request, so that losing it says no more.
        """
        if fallback:
            refused = replace(sent.outcome, verdict=Verdict.SYNTAX_REFUSED, not_now=False)
            sent = sent._replace(outcome=refused)
        limit = self._limit(image.delivery, sent.outcome)
        if not (known_lost and session_lost(sent.outcome)):
            self._tell_breaker(image.delivery, sent, limit, stale)
        if stale and session_lost(sent.outcome):
            sent = sent._replace(outcome=replace(sent.outcome, begun=False))
        self._decide(image, sent, fallback, limit)

    def raised(self, image: QueuedImage, error: Exception) -> None:
        """An image could not be sent, by a fault that is not the receiver's."""
        now = time.time()
        if not isinstance(error, Permanent):
            outcome = Outcome(Verdict.RETRY, comment=in_words(error, places=False))
            self._decide(image, Sent(outcome, now, 0.0), "", 0)
            return
        decision = decide_unprepared(image.delivery, error, self._retry, failures=0, now=now)
        sent = Sent(Outcome(Verdict.REFUSED, comment=str(error)), now, 0.0)
        self._count(self._leases.settle([EndedAttempt(image.delivery, decision, sent)]))

    def unreachable(self, image: QueuedImage) -> None:
        """There is no session for an image: its row shows why, and none of its tries is used up."""
        view, now = self._breaker.view(), time.time()
        outcome = Outcome(Verdict.RETRY, comment=view.comment, peer_fault=True)
        decision = Decision("pending", view.reason, now, count_attempt=False)
        self._leases.settle([EndedAttempt(image.delivery, decision, Sent(outcome, now, 0.0))])

    def wants_probe(self, image: QueuedImage) -> bool:
        """Whether the receiver is to be asked if it is there before this image is sent again.

        Its session was cut, and nothing came through since: only then can another cut be the image's fault.
        """
        return self._breaker.state is BreakerState.CLOSED and self._failures.wants_probe(image.delivery)

    def probe_answered(self, image: QueuedImage) -> None:
        """The receiver was asked, and is there."""
        self._failures.probe_answered(image.delivery)

    def _limit(self, delivery: LeasedDelivery, outcome: Outcome) -> int:
        """After how many failures the image is parked as their cause; 0 while that may be the receiver."""
        if not outcome.peer_fault or not outcome.begun or self._breaker.state is not BreakerState.CLOSED:
            return 0
        tries = self._retry.tries
        limit = self._failures.limit(delivery, tries, cut=outcome.cut)
        return limit if session_lost(outcome) or limit == tries else 0

    def _tell_breaker(self, delivery: LeasedDelivery, sent: Sent, limit: int, stale: bool) -> None:
        """Tell the breaker what the answer says about the receiver; nothing if the image is the cause."""
        outcome, lost = sent.outcome, session_lost(sent.outcome)
        if not outcome.peer_fault:
            if outcome.status is not None:
                self._failures.answered()
                self._breaker.heard()
        elif limit or (lost and stale) or self._stopping.is_set():
            return
        elif outcome.pause is not None:
            reason, seconds = outcome.pause.reason, outcome.pause.seconds
            status = outcome.status
            self._breaker.trip(reason, outcome.comment, slow=not seconds, status=status, seconds=seconds)
        elif self._failures.receiver_in_trouble(delivery) or sent.seconds > SLOW:
            reason = "no-answer" if lost else "receiver-busy"
            self._breaker.trip(reason, outcome.comment, status=outcome.status)

    def _decide(self, image: QueuedImage, sent: Sent, fallback: str, limit: int) -> None:
        """Settle the row by what was answered."""
        sent, differs = self._compared(image.delivery, sent)
        outcome, failures = sent.outcome, 0
        refused = outcome.verdict is Verdict.SYNTAX_REFUSED
        if outcome.begun and (outcome.peer_fault or outcome.not_now or refused):
            lost = session_lost(outcome)
            failures = self._failures.count(
                image.delivery, ended_session=lost, cut=lost and outcome.cut, against=limit > 0
            )
        asked_again = self._breaker.view().retry_at
        decision = decide(
            image.delivery,
            outcome,
            self._retry,
            failures=failures,
            now=time.time(),
            fallback=fallback if failures <= SWITCHES else "",
            after=asked_again + LATER if asked_again else 0.0,
            limit=limit,
            cuts=self._failures.cuts(image.delivery) if outcome.cut else 0,
            differs=differs,
            waits_since=self._permit.resumed_at,
        )
        self._count(self._leases.settle([EndedAttempt(image.delivery, decision, sent, image.payload)]))

    def _compared(self, delivery: LeasedDelivery, sent: Sent) -> tuple[Sent, bool]:
        """Whether a duplicate's UID was delivered with other bytes before.

        Where the index cannot say so, the receiver's answer is kept, and does not count as a delivery.
        """
        if not sent.outcome.duplicate:
            return sent, False
        try:
            return sent, self._differs(delivery)
        except Exception as error:  # noqa: BLE001  kept with the row, shown, tried again, then parked
            words = in_words(error, places=False)
            comment = f"the receiver has its UID; with which bytes cannot be looked up: {words}"
            outcome = replace(sent.outcome, verdict=Verdict.RETRY, comment=comment)
            return sent._replace(outcome=outcome), False

    def _count(self, settled: Sequence[EndedAttempt]) -> None:
        """Count what was settled now, in the node's counters."""
        for each in settled:
            if each.decision.state == "delivered":
                self._watch.count(self._images)
                self._watch.count(self._bytes, each.payload.length if each.payload else 0)
            else:
                parked = each.decision.state == "parked"
                self._watch.count(f"{self._counter}{'parked' if parked else 'retries'}")
