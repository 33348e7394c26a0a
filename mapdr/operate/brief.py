"""A node's state in one line: for a log, and for who reads no drawing."""

from __future__ import annotations

from collections.abc import Iterable

from mapdr.operate import words
from mapdr.operate.model import Counted, NodeState


def counts_line(state: NodeState) -> str:
    """Today's counts in one line, without the time."""
    delivered = (_images(counts.values()) for counts in state.today.delivered.values())
    parts = [
        f"received {words.count(_images(state.today.received.values()))}",
        f"delivered {words.count(sum(delivered))}",
        f"waiting {words.count(state.pending)}",
    ]
    stuck = (("parked", state.parked), ("unrouted", state.unrouted))
    parts += [f"{word} {words.count(number)}" for word, number in stuck if number]
    return words.plain("; ".join(parts))


def state_line(state: NodeState) -> str:
    """The state in one line, without the time: how the node stands, if not well, counts and troubles."""
    stands = state.node.state
    parts = [] if stands == "running" else [f"the node is {stands}"]
    parts.append(counts_line(state))
    parts += [item.text for item in state.attention if item.level == "bad"]
    return words.plain("; ".join(parts))


_UNFIT = frozenset({"index", "store", "spool", "disk"})


def ready(state: NodeState) -> bool:
    """Whether the node takes images: it runs, and nothing that is bad keeps them from being stored."""
    bad = {item.kind for item in state.attention if item.level == "bad"}
    return state.node.state == "running" and not bad & _UNFIT


def _images(counts: Iterable[Counted]) -> int:
    return sum(one.images for one in counts)
