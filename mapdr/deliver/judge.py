"""What an attempt means for its ledger row: a pure function, so that every status can be tested.

| the receiver said                                   | the row                                              |
|-----------------------------------------------------|------------------------------------------------------|
| success or a warning                                | delivered                                            |
| that it has this SOP instance already (0x0111)      | delivered; parked (`duplicate`) if other bytes were  |
|                                                     | delivered under its UID before                       |
| out of resources, processing failure, cancelled     | pending, alone, until `give_up`; no try is used up   |
| a status that faults the image or is unknown        | pending until `tries` are used up, then parked       |
| nothing: aborted, closed, silent after the request  | pending, alone; parked after `tries` if it takes     |
|                                                     | others, else it is the receiver's trouble            |
| success for another SOP instance or class, in       | as nothing: the association is aborted               |
| another context, with an element twice, too early   |                                                      |
| nothing, and nothing of the image had gone out      | pending, at once                                     |
| context result 3 or 4, or another syntax accepted   | pending in the next syntax it takes, or parked       |
| context result 1 or 2 (user rejection, no reason)   | pending in the next syntax it takes, or until        |
|                                                     | `give_up`; no try is used up                         |

Our own trouble with an image (a codec, a disk) is treated as a fault of the image: it ends parked, in sight.
What is the receiver's trouble, `sender` finds out: several images in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from mapdr.deliver.backoff import Backoff
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.item import Outcome, Verdict
from mapdr.net.retry import Retry
from mapdr.store.queue.ledger import Delivery


@dataclass(frozen=True, slots=True)
class Decision:
    """The next state of a row, and why, in one word; `not_before` is seconds since the epoch."""

    state: str
    reason: str = ""
    not_before: float = 0.0
    count_attempt: bool = True
    syntax: str | None = None


DELIVERED = Decision("delivered")

LATER = 1.0
"""Seconds within which other images show whether it was the image or the receiver."""


def judge(
    delivery: Delivery,
    outcome: Outcome,
    retry: Retry,
    *,
    losses: int,
    now: float,
    fallback: str = "",
    after: float = 0.0,
    blame: int = 0,
    differs: bool = False,
) -> Decision:
    """What becomes of `delivery` after `outcome`.

    `losses` is how often in a row this very image was not taken by nobody's known fault, `blame` after how
    many of them it parks, 0 while it may be the receiver's. One that was answered "out of resources" waits
    beyond `after`, when the receiver is asked again: then another image shows whether it was this one.
    `fallback` is the next transfer syntax, if the receiver takes one. `differs`: other bytes were delivered
    under its UID before.
    """
    if outcome.verdict is Verdict.DELIVERED:
        return Decision("parked", "duplicate") if outcome.duplicate and differs else DELIVERED
    if outcome.verdict is Verdict.SYNTAX_REFUSED:
        if fallback:
            return Decision("pending", "syntax-refused", now, count_attempt=False, syntax=fallback)
        return Decision("parked", "syntax-refused")
    if outcome.verdict is Verdict.RETRY and (outcome.peer_fault or outcome.waits):
        if outcome.peer_fault and outcome.status is None and blame and delivery.attempts + 2 >= blame:
            # The first loss was not counted, for it might have been the receiver's; this one makes two more.
            return Decision("parked", "no-answer")
        if retry.give_up is not None and now - delivery.instance.received_at > retry.give_up:
            return Decision("parked", "gave-up")
        return _wait(outcome, Backoff.of(retry), losses, now, max(now, after), blame > 0)
    reason = "refused" if outcome.verdict is Verdict.REFUSED else "failed"
    return _again_or_park(delivery, retry, reason, now)


def _wait(  # noqa: PLR0917  facts of `judge`
    outcome: Outcome, backoff: Backoff, losses: int, now: float, after: float, blamed: bool
) -> Decision:
    """When an image comes again that the receiver did not take, and whose fault that is not said."""
    if outcome.waits:
        return Decision("pending", "not-accepted", now + backoff.delay(losses), count_attempt=False)
    if outcome.status is not None:
        due = max(now + backoff.delay(losses), after)
        return Decision("pending", "receiver-busy", due, count_attempt=False)
    wait = min(LATER, backoff.delay(1)) if losses == 1 else backoff.delay(losses - 1)
    return Decision("pending", "no-answer", now + wait, count_attempt=blamed)


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
