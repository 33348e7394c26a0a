"""When and how often a destination is tried: what an egress may be configured with, and deliver obeys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Retry:
    """Seconds throughout.

    `first`, `factor` and `cap` shape the exponential back-off; `tries` is how often a receiver may refuse
    one image before it is parked; `give_up` parks an image that old although the peer alone is at fault
    (None: never).
    """

    first: float = 10.0
    factor: float = 2.0
    cap: float = 3600.0
    tries: int = 3
    give_up: float | None = None


@runtime_checkable
class Retries(Protocol):
    """An egress that says how it wants to be retried; others get the default `Retry`."""

    @property
    def retry(self) -> Retry:
        """The policy of this destination."""


@runtime_checkable
class Waits(Protocol):
    """An egress that wants whole studies; others get images as they come."""

    @property
    def quiet_seconds(self) -> float:
        """For how long no image of a study may have come before its first one is sent; 0: send at once."""
