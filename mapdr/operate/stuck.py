"""What is stuck: parked deliveries by reason, with what cures it, and what is held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mapdr.operate.access import Access
from mapdr.operate.parked import ParkedGroup, parked


@dataclass(frozen=True, slots=True)
class HeldDestination:
    """A destination that somebody holds, since when, and how many deliveries wait for it."""

    name: str
    held_at: float
    waiting: int


@dataclass(frozen=True, slots=True)
class Stuck:
    """All that waits for a person. `held` counts single deliveries that are on hold, by destination;
    `unrouted` images that no rule takes."""

    parked: Sequence[ParkedGroup]
    destinations: Sequence[HeldDestination]
    held: Mapping[str, int]
    unrouted: int


def stuck(opened: Access) -> Stuck:
    """What is stuck now. Raises MapdrError if there is no index."""
    store = opened.index()
    queues = {queue.destination: queue for queue in store.counts.queues()}
    held = {name: queue.held for name, queue in sorted(queues.items()) if queue.held}
    destinations = [
        HeldDestination(name, since, queues[name].pending + queues[name].leased if name in queues else 0)
        for name, since in sorted(store.ledger.held_destinations().items())
    ]
    return Stuck(parked(opened), destinations, held, store.counts.unrouted())
