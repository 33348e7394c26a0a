"""Who was not let in: the rejected associations of a receiver, for people to look at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from mapdr.kernel import tls_words
from mapdr.kernel.stage import Rejection

KEPT = 50
"""How many peers are remembered; a stranger may invent AE titles without end."""

_CURES = {
    tls_words.NOT_TLS: "set up TLS at the peer, or remove tls of {}",
    tls_words.SPEAKS_TLS: "add tls = {{ cert = ..., key = ... }} to {}, or switch TLS off at the peer",
    tls_words.NO_CERTIFICATE: "give the peer a certificate that ca of {} has signed",
}


def cure_by_tls(cause: str, receiver: str) -> str:
    """What would let in a peer that came no further than TLS, by the cause; empty where it is not known."""
    return _CURES.get(cause.removeprefix("rejected: "), "").format(f"[receive.{receiver}]")


class Rejections:
    """Thread-safe; the peers that were rejected last."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, str, str], Rejection] = {}

    def note(self, address: str, calling_ae: str, called_ae: str, cause: str, cure: str) -> None:
        """A peer was rejected; `cure` is the configuration that would let it in, or empty."""
        key = (address, calling_ae, called_ae, cause)
        with self._lock:
            known = self._known.pop(key, None) or Rejection(*key, cure)
            self._known[key] = replace(known, times=known.times + 1, last_at=self._clock())
            if len(self._known) > KEPT:
                del self._known[next(iter(self._known))]

    def carry_over(self, known: Sequence[Rejection]) -> None:
        """Take what another told by `all`; the same peer and cause are one with the sum of their counts."""
        with self._lock:
            for one in reversed(known):
                key = (one.address, one.calling_ae, one.called_ae, one.cause)
                same = self._known.pop(key, one)
                times = one.times if same is one else one.times + same.times
                self._known[key] = replace(one, times=times, last_at=max(one.last_at, same.last_at))
            while len(self._known) > KEPT:
                del self._known[next(iter(self._known))]

    def all(self) -> tuple[Rejection, ...]:
        """Each peer and cause, the last one first."""
        with self._lock:
            return tuple(reversed(self._known.values()))
