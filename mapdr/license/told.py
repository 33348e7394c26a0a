"""How a license stands as a node's sign of life tells it, and when a person has to do something about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mapdr.license.standing import Standing

DAY = 86400.0
LAST_DAYS = (1, 7)
"""Days before forwarding pauses at which that is told once more; a trial is told of in the last of them."""


def told(standing: Standing) -> dict[str, Any]:
    """A standing as plain values, `until` in seconds since the epoch; empty where no license is needed."""
    if standing.kind == "unneeded":
        return {}
    return {
        "kind": standing.kind,
        "reason": standing.reason,
        "until": None if standing.until is None else standing.until.timestamp(),
        "set_back": standing.set_back,
    }


def needs_attention(said: Mapping[str, Any], now: float) -> bool:
    """Whether a person has to do something, as `told` says it: no license holds, or a trial ends soon."""
    if said.get("kind") == "trial":
        return bool(said["until"] - now <= max(LAST_DAYS) * DAY)
    return said.get("kind") in ("grace", "over")
