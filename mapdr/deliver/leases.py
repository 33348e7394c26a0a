"""The rows that one destination has in hand: leased, renewed, and given up only with a settlement.

Each row is decided exactly once: who comes second (a sender that was aborted, a codec that ended late) is
not heard.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from mapdr.deliver.judge import DELIVERED, Decision
from mapdr.deliver.settle import Result, Return, Settler
from mapdr.kernel.item import Outcome, Payload, Sent
from mapdr.store.queue.ledger import Delivery
from mapdr.store.queue.settle import Settlement

LEASE = 60.0
"""Seconds that a lease runs; it is renewed after a third of it."""


IN_A_ROW = 4
"""So many images in a row not taken, or twice as many tries, are the receiver's trouble."""


class Leases(Protocol):
    """The part of the ledger that is needed here."""

    def extend(self, delivery_ids: Iterable[int], seconds: float, owner: str) -> None:
        """Keep rows leased to `owner` for `seconds` from now."""


class Hands:
    """Thread-safe."""

    def __init__(self, leases: Leases, settler: Settler, owner: str, lease: float = LEASE) -> None:
        self.lease = lease
        self._leases = leases
        self._settler = settler
        self._owner = owner
        self._lock = threading.Lock()
        self._open: dict[int, tuple[Delivery, float]] = {}
        self._losses: dict[int, tuple[int, int, bool]] = {}
        self._taken = 0
        self._in_a_row: Counter[int] = Counter()

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """These rows were just leased."""
        until = time.monotonic() + self.lease
        with self._lock:
            for delivery in deliveries:
                self._open[delivery.id] = (delivery, until)

    def renew(self) -> None:
        """Renew every lease of which a third has run. Raises what the ledger raises."""
        now = time.monotonic()
        with self._lock:
            due = [id_ for id_, (_, until) in self._open.items() if until - now < self.lease * 2 / 3]
        if not due:
            return
        self._leases.extend(due, self.lease, self._owner)
        with self._lock:
            for id_ in due:
                if id_ in self._open:
                    self._open[id_] = (self._open[id_][0], now + self.lease)

    def lost(self, delivery: Delivery, *, alone: bool = False) -> int:
        """Count one more trouble with this image; how many they were. `alone`: it ended a session."""
        with self._lock:
            count, taken, _ = self._losses.pop(delivery.id, (0, self._taken, False))
            self._losses[delivery.id] = (count + 1, taken, alone)
            if len(self._losses) > 10_000:
                del self._losses[next(iter(self._losses))]
            return count + 1

    def took(self, images: int = 1) -> None:
        """The receiver has given some images a final answer."""
        self._taken += images
        self._in_a_row.clear()

    def too_many(self, delivery: Delivery) -> bool:
        """Whether an image that was not taken, by nobody's known fault, makes it the receiver's trouble."""
        with self._lock:
            self._in_a_row[delivery.id] += 1
            if len(self._in_a_row) < IN_A_ROW and self._in_a_row.total() < 2 * IN_A_ROW:
                return False
            self._in_a_row.clear()
            return True

    def goes_alone(self, delivery: Delivery) -> bool:
        """Whether a session ended by this image when it was last sent."""
        with self._lock:
            return self._losses.get(delivery.id, (0, 0, False))[2]

    def blame(self, delivery: Delivery, tries: int) -> int:
        """After how many losses in all it is the image's own fault; 0 if nothing speaks for that.

        `tries` if the receiver has taken others since the first loss, twice as many if only before it.
        """
        with self._lock:
            known = self._losses.get(delivery.id)
            if known is None or not self._taken:
                return 0
            return tries if self._taken > known[1] else 2 * tries

    def give_back(self, deliveries: Iterable[Delivery]) -> None:
        """Return rows that were not tried; they are due at once."""
        self._settle([Return(delivery.id) for delivery in self._claim(deliveries)])

    def decide(
        self,
        delivery: Delivery,
        decision: Decision,
        outcome: Outcome,
        *,
        payload: Payload | None = None,
        started_at: float,
        seconds: float = 0.0,
    ) -> bool:
        """Settle one row after an attempt; False if it was decided before."""
        if not self._claim([delivery]):
            return False
        if decision.state != "pending":
            with self._lock:
                self._losses.pop(delivery.id, None)
        self._settle([_settlement(delivery, decision, payload, Sent(outcome, started_at, seconds))])
        return True

    def delivered(self, images: Sequence[tuple[Delivery, Payload, Sent]]) -> list[Payload]:
        """Settle rows whose images the receiver has; the payloads of those that were not decided before."""
        with self._lock:
            known = [image for image in images if self._open.pop(image[0].id, None) is not None]
            if self._losses:
                for delivery, _, _ in known:
                    self._losses.pop(delivery.id, None)
        self._settle([_settlement(delivery, DELIVERED, payload, sent) for delivery, payload, sent in known])
        return [payload for _, payload, _ in known]

    def undecided(self) -> list[Delivery]:
        """The rows that nobody has settled yet."""
        with self._lock:
            return [delivery for delivery, _ in self._open.values()]

    def _claim(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        with self._lock:
            return [delivery for delivery in deliveries if self._open.pop(delivery.id, None) is not None]

    def _settle(self, results: Sequence[Result]) -> None:
        if results:
            self._settler.put(results)


def _settlement(delivery: Delivery, decision: Decision, payload: Payload | None, sent: Sent) -> Settlement:
    outcome = sent.outcome
    answered = payload is not None and outcome.status is not None
    return Settlement(
        delivery_id=delivery.id,
        state=decision.state,
        not_before=decision.not_before,
        verdict=outcome.verdict.value,
        status=outcome.status,
        comment=outcome.comment,
        reason=decision.reason or (payload.unmet if payload and decision.state == "delivered" else ""),
        started_at=sent.started_at,
        milliseconds=round(sent.seconds * 1000),
        bytes=payload.length if payload is not None and answered else 0,
        transfer_syntax_uid=payload.transfer_syntax_uid if payload else "",
        sop_instance_uid=payload.sop_instance_uid if payload else "",
        treatment=payload.treatment.value if payload else "",
        syntax=decision.syntax,
        count_attempt=decision.count_attempt,
    )
