"""How a node stands: one look at its index and surroundings, or look after look."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date

from mapdr.kernel.privacy import in_words
from mapdr.operate.access import Access
from mapdr.operate.counts import day_number
from mapdr.operate.facts import NOTHING, Facts, free_space, index_size, is_silent, unwritable, writable
from mapdr.operate.model import NodeState
from mapdr.operate.rates import Rates
from mapdr.operate.state import compose
from mapdr.store import Store
from mapdr.store.index.commands import Heartbeat

Beat = Callable[[], Heartbeat]


def node_state(opened: Access) -> NodeState:
    """The node's state now. Raises what the index raises when it cannot be read."""
    return NodeView(opened).gather()


class NodeView:
    """The state for who looks again and again: it knows how fast images flow, and what was seen last.

    `beat` gives the sign of life of the node in this very process, if it is here; that of any other is in its
    index.
    """

    def __init__(self, opened: Access, *, beat: Beat | None = None) -> None:
        self._access = opened
        self._beat = beat
        self._rates = Rates()
        self._known: Facts | None = None

    def gather(self) -> NodeState:
        """The node's state now. Raises what the index raises when it cannot be read."""
        self._known = replace(self._facts(), misconfigured=bool(self._access.problems))
        return compose(self._access.plan, self._known, self._rates)

    def look(self) -> NodeState:
        """The same, and where that fails what was last known, and why no more."""
        node = self._access.plan.node
        try:
            with self._access.named():
                return self.gather()
        except Exception as error:  # noqa: BLE001  shown in what is drawn; the next look tries again
            trouble = in_words(error)
        # The file may have been replaced: the next look opens it anew.
        self._access.close()
        now, known = time.time(), self._known or Facts(0.0, NOTHING, 0, 0, 0)
        facts = replace(
            known,
            at=now,
            as_of=known.at,
            trouble=trouble,
            misconfigured=bool(self._access.problems),
            heartbeat=self._beat() if self._beat else known.heartbeat,
            disk_free=free_space(node.data),
            index_bytes=index_size(node),
            writable=writable(node.data),
        )
        return compose(self._access.plan, facts, self._rates)

    def _facts(self) -> Facts:
        store, free = self._access.store, free_space(self._access.plan.node.data)
        own = self._beat() if self._beat else None
        # Before the index is read, of which one moment is seen: a node that is asked answers later.
        told = self._access.last_beat() if own else self._access.asked()
        now, alive = time.time(), self._access.alive
        if (
            told is None
        ):  # a node that has begun meanwhile gave its first sign before it could be known to live
            told = self._access.last_beat()
        if store is None:
            return Facts(now, NOTHING, 0, 0, 0, heartbeat=own, disk_free=free, alive=alive, lost=bool(alive))
        with store.database.read():  # one moment's state: what is no longer pending is counted as delivered
            return self._read(store, now, free, alive, (own, told))

    def _read(
        self,
        store: Store,
        now: float,
        free: int | None,
        alive: bool | None,
        beats: tuple[Heartbeat | None, Heartbeat | None],
    ) -> Facts:
        """`beats`: the sign of life of the node in this process, and the last one in the index."""
        node, (own, told) = self._access.plan.node, beats
        return Facts(
            at=now,
            today=store.counts.today(),
            pending=store.counts.pending(),
            parked=store.counts.parked(),
            unrouted=store.counts.unrouted(),
            queues=store.counts.queues(),
            held=store.ledger.held_destinations(),
            reasons=store.overview.parked_reasons(),
            webhooks=store.outbox.queues(),
            heartbeat=own or told,
            disk_free=free,
            index_bytes=index_size(node),
            writable=writable(node.data),
            alive=alive,
            asked=self._access.can_ask,
            lost=bool(alive) and told is None,
            arrivals=store.arrivals.all(),
            from_peers=store.counts.received_today(),
            volumes=_volumes(store, day_number(date.today())),
            # The node in this process is not asked by the index: there it may rest.
            unwritable=unwritable(node)
            if alive and told and is_silent(told, now, asked=self._access.can_ask and not own)
            else "",
        )


def _volumes(store: Store, today: int) -> dict[str, tuple[int, int]]:
    """The bytes of a day's deliveries by destination, as they came and as they went."""
    return {
        one.destination: (one.bytes_received, one.bytes_sent)
        for one in store.figures.days(today, today)
        if one.destination is not None
    }
