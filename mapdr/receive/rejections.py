"""Who was not let in: the rejected associations of a receiver, for people to look at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

KEPT = 50
"""How many peers are remembered; a stranger may invent AE titles without end."""


@dataclass(slots=True)
class Rejection:
    """How often a peer was rejected for one cause, and when last (seconds since the epoch)."""

    address: str
    calling_ae: str
    called_ae: str
    cause: str
    cure: str
    times: int = 0
    last_at: float = 0.0


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
            one = self._known.pop(key, None) or Rejection(*key, cure)
            one.times += 1
            one.last_at = self._clock()
            self._known[key] = one
            if len(self._known) > KEPT:
                del self._known[next(iter(self._known))]

    def told(self) -> list[dict[str, Any]]:
        """Each as plain values, the last one first."""
        with self._lock:
            return [asdict(one) for one in reversed(self._known.values())]
