"""What becomes of a ledger row after an attempt: pure functions, so that every status can be tested.

| the receiver said                                   | the row                                              |
|-----------------------------------------------------|------------------------------------------------------|
| success or a warning                                | delivered                                            |
| that it has this SOP instance already (0x0111)      | delivered; parked (`duplicate`) if other bytes were  |
|                                                     | delivered under its UID before                       |
| out of resources, processing failure, cancelled     | pending, alone, until `give_up`; no try is used up   |
| that it takes nothing at present (`Outcome.pause`)  | the same; the destination waits                      |
| a status that faults the image or is unknown        | pending until `tries` are used up, then parked       |
| the same for good (`Outcome.final`)                 | parked                                               |
| nothing: aborted after the request                  | pending, alone; parked after `tries` if it takes     |
|                                                     | others, else it is the receiver's trouble            |
| nothing: closed, reset, silent after the request    | the same, later, and only if something came through  |
|                                                     | between: it may have been the network. No try is     |
|                                                     | used up (`settle.failures`)                          |
| success for another SOP instance or class, in       | as nothing: the association is aborted               |
| another context, with an element twice, too early   |                                                      |
| nothing, and nothing of the image had gone out      | pending, at once                                     |
| context result 3 or 4, or another syntax accepted   | pending in the next syntax it takes, or parked       |
| context result 1 or 2 (user rejection, no reason)   | pending in the next syntax it takes, or until        |
|                                                     | `give_up`; no try is used up                         |

Our own trouble with an image (a codec, a disk, no memory) counts as a fault of the image: it ends parked, in
sight, after `tries` unless it fails for good. Whether the receiver as a whole is in trouble, `send.outcomes`
finds out: several images in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from mapdr.deliver.backoff import Backoff
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.item import Outcome, Verdict
from mapdr.net.retry import Retry
from mapdr.store.queue.ledger import LeasedDelivery


@dataclass(frozen=True, slots=True)
class Decision:
    """The next state of a row: "delivered", "pending" or "parked".

    `reason` is one word for why; `not_before` is when a pending row is due again (seconds since the epoch),
    in the transfer syntax `syntax` if that is not None. `count_attempt`: one of the image's tries is used up.
    """

    state: str
    reason: str = ""
    not_before: float = 0.0
    count_attempt: bool = True
    syntax: str | None = None


DELIVERED = Decision("delivered")

OWN_FAULTS = ("unexpected", "out-of-memory")
"""Why an image could not be prepared that nothing is wrong with, as far as is known: the log names each."""

LATER = 1.0
"""Seconds within which other images show whether the image was the cause or the receiver."""


def decide(
    delivery: LeasedDelivery,
    outcome: Outcome,
    retry: Retry,
    *,
    failures: int,
    now: float,
    fallback: str = "",
    after: float = 0.0,
    limit: int = 0,
    cuts: int = 0,
    differs: bool = False,
    waits_since: float = 0.0,
) -> Decision:
    """What becomes of the row `delivery` after `outcome`, `now` in seconds since the epoch.

    `failures` is how often this image was not taken since it was last settled for good, `limit` after how
    many of them it is parked as their cause (0: the cause may be the receiver). `cuts` is how often its
    session was cut while others were taken, this time included: such failures use up no try. An image that
    was answered "out of resources" waits beyond `after`, when the receiver is asked again, so that another
    image is tried before it. `fallback` is another transfer syntax that the receiver accepts, or empty.
    `differs`: other bytes were delivered under its SOP Instance UID before. `give_up` counts from when it
    was received, but not from before `waits_since`, until when nothing went out.
    """
    if outcome.verdict is Verdict.DELIVERED:
        return Decision("parked", "duplicate") if outcome.duplicate and differs else DELIVERED
    if outcome.verdict is Verdict.SYNTAX_REFUSED:
        if fallback:
            return Decision("pending", "syntax-refused", now, count_attempt=False, syntax=fallback)
        return Decision("parked", "syntax-refused")
    if outcome.verdict is Verdict.RETRY and (outcome.peer_fault or outcome.not_now):
        # The first failure was not counted, as the receiver might have been the cause; an attempt is not yet.
        losses = cuts + 1 if outcome.cut else delivery.attempts + 2
        if session_lost(outcome) and limit and losses >= limit:
            return Decision("parked", "no-answer")
        waited = now - max(delivery.instance.received_at, waits_since)
        if retry.give_up is not None and waited > retry.give_up:
            return Decision("parked", "gave-up")
        counts = limit > 0 and not outcome.cut
        return _wait(outcome, Backoff.of(retry), failures, now, max(now, after), counts)
    reason = outcome.reason or ("refused" if outcome.verdict is Verdict.REFUSED else "failed")
    if outcome.final:
        return Decision("parked", reason)
    return _again_or_park(delivery, retry, reason, now)


def session_lost(outcome: Outcome) -> bool:
    """Whether the session ended without an answer for the image."""
    return outcome.peer_fault and outcome.status is None and outcome.pause is None


def _wait(  # noqa: PLR0917  facts of `decide`
    outcome: Outcome, backoff: Backoff, failures: int, now: float, after: float, counts: bool
) -> Decision:
    """When an image is due again that the receiver did not take, and nobody knows yet for whose fault."""
    if outcome.not_now:
        return Decision("pending", "not-accepted", now + backoff.delay(failures), count_attempt=False)
    if outcome.status is not None or outcome.pause is not None:
        due = max(now + backoff.delay(failures), after)
        reason = outcome.pause.reason if outcome.pause is not None else "receiver-busy"
        return Decision("pending", reason, due, count_attempt=False)
    wait = min(LATER, backoff.delay(1)) if failures == 1 else backoff.delay(failures - 1)
    return Decision("pending", "no-answer", now + wait, count_attempt=counts)


def decide_unprepared(
    delivery: LeasedDelivery, error: Exception, retry: Retry, *, failures: int, now: float
) -> Decision:
    """What becomes of a row whose payload could not be prepared or read, for the `failures`-th time."""
    if isinstance(error, Permanent):
        return Decision("parked", error.reason)
    if isinstance(error, Temporary):
        return Decision("pending", "preparing", now + Backoff.of(retry).delay(failures), count_attempt=False)
    reason = "out-of-memory" if isinstance(error, MemoryError) else "unexpected"
    return _again_or_park(delivery, retry, reason, now)


def _again_or_park(delivery: LeasedDelivery, retry: Retry, reason: str, now: float) -> Decision:
    tries = delivery.attempts + 1
    if tries >= retry.tries:
        return Decision("parked", reason)
    return Decision("pending", reason, now + Backoff.of(retry).delay(tries))
