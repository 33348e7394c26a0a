"""How a license stands, in a sentence that every face uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapdr.operate import words


def license_said(told: Mapping[str, Any], now: float | None = None) -> str:
    """The sentence for a standing (`mapdr.node.licensing.told`); with `now` how long is left too."""
    kind, reason, until = told.get("kind"), words.plain(str(told.get("reason") or "")), told.get("until")
    if kind == "unneeded" or kind is None:
        return "this build needs no license"
    day = "" if until is None else words.date(until)
    left = "" if until is None or now is None else f", {words.duration(max(0.0, until - now))} left"
    if kind == "licensed":
        said = f"licensed until {day}{left}" if day else "licensed"
    elif kind == "trial":
        said = f"a trial without a license, until {day}{left}: then forwarding pauses ({reason})"
    elif kind == "grace":
        said = f"{reason}: forwarding pauses on {day}{left}"
    else:
        said = (
            f"forwarding PAUSES: {reason}; images are received and kept, and go out once there is a license"
        )
    return f"{said}; the clock was set back, and what it said before counts" if told.get("set_back") else said
