"""The transfer syntaxes that one receiver refused and took instead: the next image is prepared so at once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from mapdr.kernel.item import Need

REMEMBERED = 64
"""Needs that are proposed again on the next association: half of the 128 presentation contexts of PS3.8."""

FORGET_AFTER = 900.0
"""Seconds after which a refused transfer syntax is tried again: receivers are reconfigured."""


class Syntaxes:
    """What is known of one destination. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._recent: OrderedDict[Need, None] = OrderedDict()
        self._latest: Need | None = None
        # By `others` too, which a need is not compared by: what is best depends on what its recipe makes.
        self._instead: dict[tuple[Need, tuple[str, ...]], tuple[str, float]] = {}

    def recent(self) -> list[Need]:
        """What was needed lately, the latest first."""
        with self._lock:
            return list(reversed(self._recent))

    def needed(self, need: Need) -> None:
        """An image is ready to be sent in this syntax."""
        if need == self._latest:
            return
        with self._lock:
            self._latest = need
            self._recent[need] = None
            self._recent.move_to_end(need)
            while len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)

    def instead(self, need: Need) -> str:
        """The transfer syntax to prepare in place of a refused one; empty if `need` was not refused."""
        found = self._instead.get((need, need.others))
        if found is None:
            return ""
        syntax, until = found
        if self._clock() < until:
            return syntax
        with self._lock:
            self._instead.pop((need, need.others), None)
        return ""

    def refused(self, need: Need, instead: str) -> None:
        """The receiver refused `need`, and takes the transfer syntax `instead`."""
        with self._lock:
            self._instead[need, need.others] = (instead, self._clock() + FORGET_AFTER)
