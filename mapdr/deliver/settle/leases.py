"""The rows that one destination holds: leased, renewed, and settled after an attempt or given back untried.

Each row is settled exactly once: who comes second (a sender that was aborted, a codec that ended late) is
not heard.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from mapdr.deliver.settle.decide import Decision
from mapdr.deliver.settle.failures import Failures
from mapdr.deliver.settle.queue import Return, SettlementQueue
from mapdr.kernel.item import Payload, Sent, Verdict
from mapdr.store.queue.ledger import LeasedDelivery
from mapdr.store.queue.settle import Settlement

LEASE = 60.0
"""Seconds that a lease runs; it is renewed after a third of it."""


class RenewingLedger(Protocol):
    """The part of the ledger that is needed here."""

    def extend(self, delivery_ids: Iterable[int], seconds: float, owner: str) -> None:
        """Keep rows leased to `owner` for `seconds` from now."""


class EndedAttempt(NamedTuple):
    """How one attempt ended, and what its row becomes; without a payload nothing could be sent."""

    delivery: LeasedDelivery
    decision: Decision
    sent: Sent
    payload: Payload | None = None


class Leases:
    """Thread-safe. Leases are in the name of `owner` and run for `seconds`."""

    def __init__(
        self,
        ledger: RenewingLedger,
        settlements: SettlementQueue,
        failures: Failures,
        owner: str,
        seconds: float = LEASE,
    ) -> None:
        self.owner = owner
        self.seconds = seconds
        self._ledger = ledger
        self._settlements = settlements
        self._failures = failures
        self._lock = threading.Lock()
        self._held: dict[int, tuple[LeasedDelivery, float]] = {}

    def hold(self, deliveries: Iterable[LeasedDelivery]) -> None:
        """These rows were just leased."""
        until = time.monotonic() + self.seconds
        with self._lock:
            for delivery in deliveries:
                self._held[delivery.id] = (delivery, until)

    def renew(self) -> None:
        """Renew every lease of which a third has run. Raises what the ledger raises."""
        now = time.monotonic()
        with self._lock:
            due = [id_ for id_, (_, until) in self._held.items() if until - now < self.seconds * 2 / 3]
        if not due:
            return
        self._ledger.extend(due, self.seconds, self.owner)
        with self._lock:
            for id_ in due:
                if id_ in self._held:
                    self._held[id_] = (self._held[id_][0], now + self.seconds)

    def settle(self, attempts: Sequence[EndedAttempt]) -> list[EndedAttempt]:
        """Settle rows after an attempt each; those of them that were not settled before.

        Waits while the ledger is far behind.
        """
        with self._lock:
            held = [each for each in attempts if self._held.pop(each.delivery.id, None) is not None]
        self._failures.forget(
            (each.delivery.id, each.decision.state == "delivered")
            for each in held
            if each.decision.state != "pending"
        )
        if held:
            self._settlements.put([_settlement(each) for each in held])
        return held

    def give_back(self, deliveries: Iterable[LeasedDelivery]) -> None:
        """Return rows that were not tried; they are due at once. Those that were settled stay so."""
        with self._lock:
            held = [each.id for each in deliveries if self._held.pop(each.id, None) is not None]
        if held:
            self._settlements.put([Return(id_) for id_ in held])

    def held(self) -> list[LeasedDelivery]:
        """The rows that nobody has settled yet."""
        with self._lock:
            return [delivery for delivery, _ in self._held.values()]


def _settlement(attempt: EndedAttempt) -> Settlement:
    delivery, decision, (outcome, started_at, seconds), payload = attempt
    arrived = outcome.status is not None or outcome.verdict is Verdict.DELIVERED  # a folder has no status
    return Settlement(
        delivery_id=delivery.id,
        state=decision.state,
        not_before=decision.not_before,
        verdict=outcome.verdict.value,
        status=outcome.status,
        comment=outcome.comment,
        reason=decision.reason or (payload.unmet if payload and decision.state == "delivered" else ""),
        started_at=started_at,
        milliseconds=round(seconds * 1000),
        bytes=payload.length if payload is not None and arrived else 0,
        transfer_syntax_uid=payload.transfer_syntax_uid if payload else "",
        sop_instance_uid=payload.sop_instance_uid if payload else "",
        treatment=payload.treatment.value if payload else "",
        credential=outcome.credential,
        syntax=decision.syntax,
        count_attempt=decision.count_attempt,
    )
