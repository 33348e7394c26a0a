"""What an attempt means for its ledger row: a pure function, so that every status can be tested.

| the receiver said                        | the row                                                   |
|------------------------------------------|-----------------------------------------------------------|
| a final status of success or warning     | delivered                                                 |
| out of resources, or nothing at all      | pending; the destination backs off, no try is used up     |
| out of resources, but it took others     | pending; the image waits alone (`Hands.is_suspect`)       |
| a status that faults the image           | pending until `tries` are used up, then parked            |
| no context for this transfer syntax      | pending in the next syntax it takes, or parked            |

Our own trouble with an image (a codec, a disk) is treated as a fault of the image: it ends parked, in sight.
"""

from __future__ import annotations

from dataclasses import dataclass

from mapdr.deliver.backoff import Backoff
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.item import Outcome, Verdict
from mapdr.kernel.retry import Retry
from mapdr.store.ledger import Delivery


@dataclass(frozen=True, slots=True)
class Decision:
    """The next state of a row, and why, in one word; `not_before` is seconds since the epoch."""

    state: str
    reason: str = ""
    not_before: float = 0.0
    count_attempt: bool = True
    syntax: str | None = None


DELIVERED = Decision("delivered")


def judge(
    delivery: Delivery,
    outcome: Outcome,
    retry: Retry,
    *,
    losses: int,
    now: float,
    fallback: str = "",
    after: float = 0.0,
) -> Decision:
    """What becomes of `delivery` after `outcome`.

    `losses` is how often in a row this very image met a fault of the peer: the first goes out again as
    soon as the breaker lets it, later ones wait, so that an image that brings a receiver down does not
    hold up the rest. One that was answered "out of resources" waits at once, and beyond `after`, when the
    receiver is asked again: then another image shows whether it was this one. `fallback` is the next
    transfer syntax, if the receiver takes one.
    """
    if outcome.verdict is Verdict.DELIVERED:
        return DELIVERED
    if outcome.verdict is Verdict.SYNTAX_REFUSED:
        if fallback:
            return Decision("pending", "syntax-refused", now, count_attempt=False, syntax=fallback)
        return Decision("parked", "syntax-refused")
    if outcome.verdict is Verdict.RETRY and outcome.peer_fault:
        reason = "no-answer" if outcome.status is None else "receiver-busy"
        if retry.give_up is not None and now - delivery.instance.received_at > retry.give_up:
            return Decision("parked", "gave-up")
        if outcome.status is None:
            return Decision("pending", reason, now + Backoff.of(retry).delay(losses - 1), count_attempt=False)
        due = max(now + Backoff.of(retry).delay(losses), after)
        return Decision("pending", reason, due, count_attempt=False)
    reason = "refused" if outcome.verdict is Verdict.REFUSED else "failed"
    return _again_or_park(delivery, retry, reason, now)


def judge_error(delivery: Delivery, error: Exception, retry: Retry, *, losses: int, now: float) -> Decision:
    """What becomes of `delivery` when its payload could not be prepared for the `losses`-th time in a row."""
    if isinstance(error, Permanent):
        return Decision("parked", error.reason)
    if isinstance(error, Temporary):
        return Decision("pending", "preparing", now + Backoff.of(retry).delay(losses), count_attempt=False)
    return _again_or_park(delivery, retry, "unexpected", now)


def _again_or_park(delivery: Delivery, retry: Retry, reason: str, now: float) -> Decision:
    tries = delivery.attempts + 1
    if tries >= retry.tries:
        return Decision("parked", reason)
    return Decision("pending", reason, now + Backoff.of(retry).delay(tries))
