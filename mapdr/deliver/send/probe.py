"""How a receiver is asked whether it is there, and how long one that is not is left alone before."""

from __future__ import annotations

import logging

from mapdr.deliver.backoff import Backoff
from mapdr.deliver.send.breaker import Breaker, BreakerState
from mapdr.kernel.errors import Permanent, Temporary, is_own_fault
from mapdr.kernel.item import Outcome, Verdict
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import Egress
from mapdr.net.retry import Retry

log = logging.getLogger("mapdr.deliver")


def breaker_delays(retry: Retry) -> tuple[Backoff, Backoff]:
    """How long a receiver is left alone: one that is away or busy, and one that rejects us.

    A probe costs next to nothing, so a peer that comes back is seen within a minute, whatever the images'
    own back-off; a rejection may last until somebody changes a configuration, or until the receiver has
    started: it is asked again after pauses that grow up to those of an image.
    """
    quick = Backoff(first=min(1.0, retry.first), factor=retry.factor, cap=min(60.0, retry.cap))
    slow = Backoff.of(retry)
    return quick, slow


def probe(destination: str, egress: Egress, breaker: Breaker, *, others_open: bool = False) -> bool:
    """Ask the receiver whether it is there, and give whether it is.

    If so an open breaker lets images try; if not it is open from now on, or for longer. A receiver that
    rejects us while it has `others_open`, sessions of ours, is there: it has a limit. One that does not
    answer then may take one association at a time, and leaves the breaker as it is: those sessions will tell.
    """
    was_open = breaker.state is BreakerState.OPEN
    outcome = _asked(destination, egress)
    rejected = outcome.verdict is Verdict.REFUSED
    if outcome.verdict is Verdict.DELIVERED or not outcome.peer_fault or (rejected and others_open):
        breaker.trial()
        return True
    # Senders whose sessions a network has cut ask one beside the other: what fails together is one failure.
    away = breaker.still_away if was_open else breaker.trip
    if outcome.pause is not None:
        reason, seconds = outcome.pause.reason, outcome.pause.seconds
        away(reason, outcome.comment, slow=not seconds, seconds=seconds)
    elif was_open or not others_open:
        reason = "association-rejected" if rejected else "unreachable"
        away(reason, outcome.comment, slow=rejected)
    return False


def _asked(destination: str, egress: Egress) -> Outcome:
    try:
        outcome: object = egress.probe()
        if not isinstance(outcome, Outcome):
            raise TypeError("the probe gave no outcome")
        return outcome
    except (Permanent, Temporary, OSError) as error:
        words = in_words(error, places=False)
        return Outcome(Verdict.RETRY, comment=words, peer_fault=not is_own_fault(error))
    except BaseException as error:  # noqa: BLE001  `sys.exit` too: not the receiver's fault: then images ask it
        words = in_words(error, places=False)
        log.error("%s: the probe failed: %s", destination, words)
        return Outcome(Verdict.RETRY, comment=words)
