"""A node's state for a sign of a few pixels, and what of it is news."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mapdr.operate.brief import counts_line
from mapdr.operate.model import Attention, NodeState

Standing = Literal["receiving", "waiting", "stuck", "stopped"]
"""All goes well; something waits for its time; a person has to look; the node does not run."""
STANDINGS: tuple[Standing, ...] = ("receiving", "waiting", "stuck", "stopped")


@dataclass(frozen=True, slots=True)
class Glance:
    """`standing` in one word, `counts` of today in one line, each destination's name and state, and `bad`:
    what a person has to look at."""

    standing: Standing
    counts: str
    destinations: Sequence[tuple[str, str]]
    bad: Sequence[Attention]


def glance(state: NodeState) -> Glance:
    """What there is to see at a glance."""
    return Glance(
        standing=_standing(state),
        counts=counts_line(state),
        destinations=[(one.name, one.state) for one in state.destinations],
        bad=[item for item in state.attention if item.level == "bad"],
    )


def _standing(state: NodeState) -> Standing:
    if any(item.level == "bad" for item in state.attention) or state.parked:
        return "stuck"
    if state.node.state not in ("running", "draining"):
        return "stopped"
    waits = any(one.state in ("waiting", "held") and one.queue + one.held for one in state.destinations)
    return "waiting" if waits or state.unrouted else "receiving"


class News:
    """What needs attention and did not at the look before: each event is told once, whatever its words count
    meanwhile (tries, seconds, images)."""

    def __init__(self) -> None:
        self._known: Counter[str] = Counter()

    def of(self, seen: Glance) -> list[Attention]:
        """What is to be told now: of a kind of which there is more than before, all."""
        now = Counter(item.kind for item in seen.bad)
        more = {kind for kind, number in now.items() if number > self._known[kind]}
        self._known = now
        return [item for item in seen.bad if item.kind in more]
