"""Arrivals that the index refuses for their own sake: their files stay, and they are tried again."""

from __future__ import annotations

import time

from mapdr.kernel.item import Arrival

_RETRY_SECONDS = 60.0
_MOST = 1000  # that are kept here to be tried again; recovery finds the others at the next start


class SetAside:
    """What the writer has set aside, and when it is due again. The writer's lock guards it."""

    def __init__(self) -> None:
        self._arrivals: dict[str, Arrival] = {}
        self._more = 0  # not kept here, for there are too many
        self._tried_at = 0.0

    def __len__(self) -> int:
        return len(self._arrivals) + self._more

    @property
    def patience(self) -> float | None:
        """Seconds after which to ask for those that are due; None while there is none."""
        return _RETRY_SECONDS if self._arrivals else None

    def add(self, arrival: Arrival) -> bool:
        """The index has refused it; whether for the first time."""
        if arrival.id in self._arrivals:
            return False
        if not self._arrivals:
            self._tried_at = time.monotonic()
        if len(self._arrivals) < _MOST:
            self._arrivals[arrival.id] = arrival
        else:
            self._more += 1
        return True

    def entered(self, arrival: Arrival) -> None:
        """The index has it now; nothing happens for one that was never set aside."""
        self._arrivals.pop(arrival.id, None)

    def due(self) -> list[Arrival]:
        """Those that are to be tried again now: all of them once a minute, else none. They stay here
        until they are `entered`."""
        if not self._arrivals or time.monotonic() - self._tried_at < _RETRY_SECONDS:
            return []
        self._tried_at = time.monotonic()
        return list(self._arrivals.values())
