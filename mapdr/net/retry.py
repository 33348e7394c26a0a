"""When and how often a destination is tried: what an egress may be configured with, and deliver obeys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pydantic import Field

from mapdr.config.units import Duration
from mapdr.kernel.stage import StageConfig


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


class RetryConfig(StageConfig):
    """The table `retry` of a destination: see `Retry`; `max` is its `cap`, `give_up` an age or never."""

    first: Duration = 10.0
    factor: float = Field(default=2.0, ge=1.0, le=100.0)
    max: Duration = 3600.0
    tries: int = Field(default=3, ge=1, le=1000)
    give_up: Duration | None = None

    def policy(self) -> Retry:
        """The policy that it asks for."""
        return Retry(self.first, self.factor, max(self.first, self.max), self.tries, self.give_up)


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
