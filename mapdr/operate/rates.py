"""Rates from totals that only grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

WINDOW = 5.0
"""Seconds over which rates are taken."""

KEPT = 240
"""How many earlier rates are kept for the drawing."""


class Rates:
    """Rates from totals that only grow, over the last seconds; and what they were before."""

    def __init__(self) -> None:
        self._totals: deque[tuple[float, dict[str, float]]] = deque()
        self._history: dict[str, deque[float]] = {}

    def add(self, at: float, totals: Mapping[str, float]) -> None:
        """Note the totals of this moment."""
        if self._totals and any(value < self._totals[-1][1].get(key, 0) for key, value in totals.items()):
            self._totals.clear()  # the node was restarted, or a day has begun
        self._totals.append((at, dict(totals)))
        while len(self._totals) > 2 and at - self._totals[1][0] >= WINDOW:
            self._totals.popleft()
        for key in totals:
            self._history.setdefault(key, deque(maxlen=KEPT)).append(self.of(key) or 0.0)

    def of(self, key: str) -> float | None:
        """Per second; None before there are two moments."""
        if len(self._totals) < 2 or key not in self._totals[-1][1]:
            return None
        (first, before), (last, after) = self._totals[0], self._totals[-1]
        return max(0.0, after.get(key, 0.0) - before.get(key, 0.0)) / max(last - first, 1e-3)

    def history(self, key: str) -> list[float]:
        """The rates so far, oldest first."""
        return list(self._history.get(key, ()))
