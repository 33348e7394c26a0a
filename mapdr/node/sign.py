"""When a node writes its sign of life: when it says something new, when it is asked, and now and then.

    it differs from the last    within a second, while images move or something happens
    somebody asks               within a second: whoever looks touches the file that the node claims while it
                                runs (`mapdr.store.spool.claim.running_file`), and reads what is written then
    neither                     every `rests` seconds, which the sign itself tells: for who cannot ask

So a node that has nothing to do writes nothing, and who looks learns that it lives now
(docs/decisions/0099).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class SignOfLife:
    """Decides of one node; for one thread. `running` is the file that is touched."""

    def __init__(self, running: Path, rests: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._running = running
        self._rests = rests
        self._clock = clock
        self._said: dict[str, Any] = {}
        self._due = float("-inf")
        self._touched = 0

    def give(self, sign: Mapping[str, Any], write: Callable[[Mapping[str, Any]], object]) -> bool:
        """Have `sign` (`Node.counters`) written if it is time to; whether it was. Raises what `write` does;
        then it is time still."""
        touched, said = self._last_touch(), _lasting(sign)
        if self._clock() < self._due and touched == self._touched and said == self._said:
            return False
        write(sign)
        self._said, self._touched, self._due = said, touched, self._clock() + self._rests
        return True

    def asked(self) -> bool:
        """Whether somebody has asked since the last sign."""
        return self._last_touch() != self._touched

    def renew(self) -> None:
        """Have the next one written, whatever it says: the last has a time that is no longer true."""
        self._due = float("-inf")

    def _last_touch(self) -> int:
        try:
            return self._running.stat().st_mtime_ns
        except OSError:  # not there yet, or taken away: nobody can ask
            return self._touched


def _lasting(sign: Mapping[str, Any]) -> dict[str, Any]:
    """A sign without what changes by itself: the minutes of the last hour, and moments reckoned from now."""
    destinations = {
        name: {key: value for key, value in told.items() if key != "retry_at"}
        for name, told in sign.get("destinations", {}).items()
    }
    return {**{key: value for key, value in sign.items() if key != "flow"}, "destinations": destinations}
