"""How a receiver that was away is asked whether it is back, and how long it is left alone before."""

from __future__ import annotations

import logging

from mapdr.deliver.backoff import Backoff
from mapdr.deliver.send.breaker import Breaker
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


def probe(destination: str, egress: Egress, breaker: Breaker) -> None:
    """Ask the receiver whether it is there; the breaker lets images try, or stays open for longer."""
    outcome = _asked(destination, egress)
    if outcome.verdict is Verdict.DELIVERED or not outcome.peer_fault:
        breaker.trial()
        return
    if outcome.pause is not None:
        reason, seconds = outcome.pause.reason, outcome.pause.seconds
        breaker.still_away(reason, outcome.comment, slow=not seconds, seconds=seconds)
        return
    rejected = outcome.verdict is Verdict.REFUSED
    reason = "association-rejected" if rejected else "unreachable"
    breaker.still_away(reason, outcome.comment, slow=rejected)


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
