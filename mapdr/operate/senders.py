"""Who sends, for who looks again and again: by the peer's name, as images are counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapdr.operate.facts import Facts
from mapdr.operate.model import Sender

LATELY = 7 * 86400.0
"""Seconds after which a peer that sends nothing is no longer shown, unless it is silent."""


def senders(facts: Facts, live: Mapping[str, Any]) -> list[Sender]:
    """The peers that sent lately, the last one first; `live` is what holds of what the node said."""
    silent = {str(one["peer"]) for one in live.get("silent", ())}
    last: dict[str, float] = {}
    receivers: dict[str, set[str]] = {}
    for source, at in facts.arrivals:
        last[source.peer] = max(at, last.get(source.peer, at))
        receivers.setdefault(source.peer, set()).add(source.receiver)
    found = [
        Sender(
            name=name,
            receivers=sorted(receivers.get(name, ())),
            today=facts.from_peers.get(name, 0),
            last_at=last.get(name),
            silent=name.partition(" sha256:")[0] in silent,
        )
        for name in {**last, **facts.from_peers}
    ]
    shown = [one for one in found if one.silent or one.today or facts.at - (one.last_at or 0.0) <= LATELY]
    return sorted(shown, key=lambda one: (-(one.last_at or 0.0), one.name))
