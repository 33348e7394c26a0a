"""How destinations stand, and why images wait for one: from what the node said last, and the queues."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from mapdr.kernel.errors import OWN_FAULT
from mapdr.operate import words
from mapdr.operate.access import Access
from mapdr.operate.facts import NOTHING, SILENT, Facts
from mapdr.operate.model import Destination
from mapdr.operate.rates import Rates
from mapdr.store.index.counts import Queue

_URGENCY = {"down": 0, "waiting": 1, "held": 2}
"""States of destinations that take nothing, the worst first."""


def standing(opened: Access, names: Iterable[str]) -> list[Destination]:
    """How these destinations stand now, for who asks why images wait for them: nothing is counted for it.

    `view.node_state` gives all destinations, with their counts. Raises MapdrError if there is no index.
    """
    held = opened.index().ledger.held_destinations()
    facts = Facts(time.time(), NOTHING, 0, 0, 0, held=held, heartbeat=opened.last_beat(), alive=opened.alive)
    _, _, live = told_by(facts)
    return [destination(name, facts, live, Rates()) for name in names]


def stuck_first(destinations: Iterable[Destination]) -> list[Destination]:
    """Destinations in the order in which a person should see them: of many, none that is stuck is missed."""
    return sorted(destinations, key=lambda one: (_URGENCY.get(one.state, len(_URGENCY)), one.name))


def destination(name: str, facts: Facts, live: Mapping[str, Any], rates: Rates) -> Destination:
    """How a destination stands by these facts; `live` is what holds of what the node said (`told_by`)."""
    queue = next((queue for queue in facts.queues if queue.destination == name), None)
    breaker = live.get("destinations", {}).get(name, {})
    rate = rates.of(f"to {name}") or 0.0
    state, why = _why(name, facts, breaker, queue)
    is_open = breaker.get("state") == "open"
    if state != "held" and not live:
        state, why = "stopped", "the node does not run"
        if facts.alive or facts.trouble:
            state, why = "unknown", "the node says nothing"
    if state == "waiting" and rate:
        state, why = "sending", ""
    return Destination(
        name=name,
        state=state,
        reason=str(breaker.get("reason", "")) if is_open and state in ("down", "waiting") else "",
        comment=why,
        fault=words.plain(breaker.get("fault", "")),
        queue=queue.pending + queue.leased if queue else 0,
        pending=queue.pending if queue else 0,
        leased=queue.leased if queue else 0,
        held=queue.held if queue else 0,
        parked=queue.parked if queue else 0,
        parked_reasons=dict(facts.reasons.get(name, {})),
        uncompressed=int(live.get("counters", {}).get(f"deliver.{name}.uncompressed", 0)),
        oldest_seconds=facts.at - queue.oldest if queue and queue.oldest is not None else None,
        rate=rate,
        next_try_at=breaker.get("retry_at") or (queue.next_due if queue else None),
        quiet_seconds=float(breaker.get("quiet_seconds", 0.0)),
    )


def _why(name: str, facts: Facts, breaker: Mapping[str, Any], queue: Queue | None) -> tuple[str, str]:
    """How a destination stands, in one word, and why images wait for it."""
    if name in facts.held:
        return "held", f"held by the operator for {words.duration(facts.at - facts.held[name])}"
    if breaker.get("state") == "open":
        # With a status the comment is the receiver's own, and may quote a value of an image.
        status = breaker.get("status")
        said = breaker.get("comment") if status is None else f"it answers: {words.answer(status)}"
        parts = [str(said or breaker.get("reason") or "it does not answer")]
        if breaker.get("failures", 0) > 1:
            parts.append(f"{breaker['failures']} times")
        if breaker.get("retry_at"):
            parts.append(f"next try in {words.duration(breaker['retry_at'] - facts.at)}")
        if breaker.get("reason") == OWN_FAULT:
            return "waiting", f"by a fault of this node: {', '.join(parts)}"
        return "down", ", ".join(parts)
    if queue is None or not queue.pending + queue.leased:
        spoken = breaker.get("tried", True) or facts.today["delivered"].get(name)
        return ("idle", "") if spoken else ("untried", "not tried yet")
    if queue.leased:
        return "sending", ""
    if queue.next_due is not None and queue.next_due > facts.at + 1:
        return "waiting", f"tried and put off; next try in {words.duration(queue.next_due - facts.at)}"
    return "waiting", ""


def told_by(facts: Facts) -> tuple[Mapping[str, Any], str, Mapping[str, Any]]:
    """What the node said last, its state, and what of its words still holds."""
    told: Mapping[str, Any] = facts.heartbeat.counters if facts.heartbeat is not None else {}
    state = _node_state(facts, told)
    # What a node that is gone last said of its peers and associations is no longer true.
    return told, state, told if state in ("running", "draining") else {}


def _node_state(facts: Facts, told: Mapping[str, Any]) -> str:
    """running, draining, stopped, silent (it is or may be there, and says nothing), or unknown."""
    beat = facts.heartbeat
    said = "" if beat is None else str(told.get("state", "running"))
    if said == "stopped" or (beat is not None and facts.alive is False):
        return "stopped"  # a process that died says nothing more
    if beat is not None and facts.at - beat.at <= SILENT:
        return said
    if facts.trouble:
        return "unknown"
    if facts.alive:
        return "silent"
    return "stopped" if beat is None else "silent"
