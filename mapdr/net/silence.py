"""When a source counts as silent: keys that receivers of every type have, and those of plug-ins may have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from mapdr.config.units import Duration, parse_duration
from mapdr.kernel.stage import StageConfig
from mapdr.net.hours import Hours, HoursField

SHORTEST, LONGEST = 60.0, 31 * 86400.0
"""Seconds."""

NEVER = 0.0
"""What "never" is as a number of seconds."""


def _after(value: Any) -> Any:
    if value == "never":
        return NEVER
    if isinstance(value, str) and not SHORTEST <= parse_duration(value) <= LONGEST:
        raise ValueError('is not between a minute and 31 days; write "4 h", or "never"')
    return value


SilentAfter = Annotated[Duration, BeforeValidator(_after)]


class SilentPeer(StageConfig):
    """A source that is otherwise than the rest, by the name under which `mapdr sources` counts it; what is
    left out is as for the rest."""

    peer: str = Field(min_length=1)
    silent_after: SilentAfter | None = None
    silent_hours: HoursField = None


class WatchesSilence(StageConfig):
    """The configuration of a receiver that tells when a source has fallen silent. Derive yours from it."""

    silent_after: SilentAfter = NEVER
    silent_hours: HoursField = None
    silent_peers: tuple[SilentPeer, ...] = ()

    def silence(self, peer: str) -> tuple[float, Hours | None]:
        """After how many seconds without an image, within which hours, `peer` is silent; NEVER: it is not."""
        for one in self.silent_peers:
            if one.peer == peer:
                after = self.silent_after if one.silent_after is None else one.silent_after
                return after, one.silent_hours or self.silent_hours
        return self.silent_after, self.silent_hours

    @property
    def watches(self) -> bool:
        """Whether any source can be silent."""
        return bool(self.silent_after or any(one.silent_after for one in self.silent_peers))

    @model_validator(mode="after")
    def _possible(self) -> WatchesSilence:
        names = [one.peer for one in self.silent_peers]
        if len(set(names)) < len(names):
            raise ValueError("names a peer twice in silent_peers; leave one of them out")
        if self.silent_hours is not None and not self.watches:
            raise ValueError('has silent_hours and nothing to wait for; add silent_after = "4 h"')
        for after, hours in (self.silence(name) for name in ("", *names)):
            if hours is not None and after > hours.seconds_a_week:
                raise ValueError(
                    "has a silent_after that is longer than its silent_hours are in a week; write less"
                )
        return self
