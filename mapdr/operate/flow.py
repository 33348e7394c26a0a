"""How many images a second flowed in each minute of the last hour: from what the node said last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mapdr.operate import words
from mapdr.operate.model import LastHour
from mapdr.store.index.commands import Heartbeat
from mapdr.store.index.flow import MINUTES

_SHORTEST = 5.0
"""Seconds of the minute that has begun over which a rate is taken at least."""


def last_hour(beat: Heartbeat | None, now: float) -> LastHour:
    """The last hour by a sign of life, moved on by what has passed since; without one, nothing.

    A node begins it anew when it starts.
    """
    flow = beat.counters.get("flow", {}) if beat is not None else {}
    if beat is None or not flow:
        return LastHour({}, {})
    elapsed = float(flow["elapsed"]) + max(0.0, now - beat.at)
    return LastHour(_rates(flow["sources"], elapsed), _rates(flow["destinations"], elapsed))


def _rates(series: Mapping[str, Sequence[int]], elapsed: float) -> dict[str, list[float]]:
    over = min(MINUTES, int(elapsed // 60))
    found = {}
    for name, images in series.items():
        minutes = [*images[over:], *[0] * over]
        current = max(_SHORTEST, elapsed % 60)
        found[words.plain(name)] = [each / 60 for each in minutes[:-1]] + [minutes[-1] / current]
    return found
