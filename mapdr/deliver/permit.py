"""Whether images may go out at all, beside what a destination takes: a license may pause that."""

from __future__ import annotations

from typing import Protocol


class Permit(Protocol):
    """Asked by every destination, several times a second, from any thread."""

    @property
    def pause(self) -> str:
        """Why nothing goes out now, in one word; empty while images go."""

    @property
    def resumed_at(self) -> float:
        """When the last pause ended (seconds since the epoch); 0 if there was none."""


class Always:
    """No pause, ever."""

    pause = ""
    resumed_at = 0.0
