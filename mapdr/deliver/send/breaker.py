"""The circuit breaker of one destination: a dead peer costs one probe now and then, and no image an attempt.

```
            trip                  wait over, trial()
  closed ---------> open -------------------------------> trial
    ^                ^                                      |  |
    |                +------------------ trip --------------+  |
    +-------------------------- heard -------------------------+
```
`heard`: the receiver gave a final status for an image; only that forgets earlier failures. A C-ECHO that was
answered lets only a few images try: the receiver's storage may still be out of room.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from mapdr.deliver.backoff import Backoff


class BreakerState(StrEnum):
    """Whether images may go out."""

    CLOSED = "closed"
    OPEN = "open"
    TRIAL = "trial"


@dataclass(frozen=True, slots=True)
class BreakerView:
    """What a person is shown: why a destination waits, since when, until when (seconds since the epoch).

    `tried`: somebody has spoken to it, or tried to, since the node started.
    """

    state: BreakerState
    reason: str = ""
    comment: str = ""
    failures: int = 0
    since: float | None = None
    retry_at: float | None = None
    status: int | None = None
    tried: bool = False


OnChange = Callable[[BreakerView, BreakerView], None]
"""Is called with the breaker before the change and after it."""


class Breaker:
    """Thread-safe. `quick` is the back-off for peers that are away or busy, `slow` for those that reject.

    `on_change` is called after it has opened or closed, without the lock.
    """

    def __init__(
        self,
        quick: Backoff,
        slow: Backoff,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        on_change: OnChange = lambda before, after: None,
    ) -> None:
        self._quick = quick
        self._slow = slow
        self._clock = clock
        self._wall = wall
        self._on_change = on_change
        self._lock = threading.Lock()
        self._until = 0.0
        self._view = BreakerView(BreakerState.CLOSED)

    def trip(
        self,
        reason: str,
        comment: str,
        *,
        slow: bool = False,
        status: int | None = None,
        seconds: float = 0.0,
    ) -> bool:
        """Open it, longer after each failure in a row; whether it was not open before.

        Several associations that fail together are one failure. `status` is the answer that opened it, if
        there was one; `comment` may then be the receiver's own words. `seconds` is how long the receiver
        wants to be left alone: as long it is, within the longest pause that is configured.
        """
        with self._lock:
            before = self._view
            if before.state is BreakerState.OPEN:
                return False
            after = self._open(
                before, reason=reason, comment=comment, slow=slow, status=status, seconds=seconds
            )
        self._on_change(before, after)
        return True

    def _open(
        self,
        before: BreakerView,
        *,
        reason: str,
        comment: str,
        slow: bool,
        status: int | None,
        seconds: float,
    ) -> BreakerView:
        """Be open for longer than `before`. Under the lock."""
        failures = before.failures + 1
        wait = max((self._slow if slow else self._quick).delay(failures), min(seconds, self._slow.cap))
        self._until = self._clock() + wait
        now = self._wall()
        since = before.since if before.since is not None else now
        self._view = BreakerView(
            BreakerState.OPEN, reason, comment, failures, since, now + wait, status, True
        )
        return self._view

    def trial(self) -> None:
        """Let a few images try, after the wait; the next failure opens it again, for longer."""
        with self._lock:
            if self._view.state is BreakerState.OPEN:
                self._view = replace(self._view, state=BreakerState.TRIAL, retry_at=None)

    def heard(self) -> bool:
        """The receiver answered an image with a final status: close it; whether it was not closed before."""
        # Called for every image: the lock is only needed when there is something to change.
        if self._view.state is BreakerState.CLOSED and self._view.tried:
            return False
        with self._lock:
            before, after = self._view, BreakerView(BreakerState.CLOSED, tried=True)
            self._view = after
            self._until = 0.0
        if before.state is BreakerState.CLOSED:
            return False
        self._on_change(before, after)
        return True

    def still_away(self, reason: str, comment: str, *, slow: bool = False, seconds: float = 0.0) -> None:
        """A probe failed: open for longer; `seconds` as for `trip`."""
        with self._lock:  # nobody may see that it tries: it has tried
            before = self._view
            if before.state is BreakerState.OPEN:
                before = replace(before, state=BreakerState.TRIAL, retry_at=None)
            after = self._open(
                before, reason=reason, comment=comment, slow=slow, status=None, seconds=seconds
            )
        self._on_change(before, after)

    def wait(self) -> float:
        """Seconds until a probe is due; 0 when images may go out or the probe is due now."""
        with self._lock:
            if self._view.state is not BreakerState.OPEN:
                return 0.0
            return max(0.0, self._until - self._clock())

    @property
    def state(self) -> BreakerState:
        """The state now; an open breaker stays open until a probe or an image says otherwise."""
        return self._view.state

    def view(self) -> BreakerView:
        """The state with its reason, for status lines and heartbeats; `retry_at` by the clock of now."""
        with self._lock:
            if self._view.retry_at is None:
                return self._view
            return replace(self._view, retry_at=self._wall() + self._until - self._clock())
