"""How destinations stand, and why images wait for one: from what the node said last, and the queues."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from mapdr.kernel.errors import OWN_FAULT
from mapdr.kernel.status import from_facts
from mapdr.operate import waits, words
from mapdr.operate.access import Access
from mapdr.operate.counts import share_saved
from mapdr.operate.facts import NOTHING, Facts, is_silent
from mapdr.operate.model import Destination
from mapdr.operate.rates import Rates
from mapdr.store.index.counts import Queue

_URGENCY = {"down": 0, "waiting": 1, "held": 2}
"""States of destinations that take nothing, the worst first."""


def standing(opened: Access, names: Iterable[str]) -> list[Destination]:
    """How these destinations stand now, for who asks why images wait for them: nothing is counted for it.

    `view.node_state` gives all destinations, with their counts. Raises MapdrError if there is no index.
    """
    held, beat = opened.index().ledger.held_destinations(), opened.asked()
    facts = Facts(
        time.time(), NOTHING, 0, 0, 0, held=held, heartbeat=beat, alive=opened.alive, asked=opened.can_ask
    )
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
    state, reason, why = _why(name, facts, breaker, queue)
    closed_until = breaker.get("closed_until")
    if state != "held" and not live:
        state, reason, why = "stopped", waits.NO_NODE, "the node does not run"
        if facts.alive or facts.trouble:
            state, reason, why = "unknown", waits.UNKNOWN, "the node says nothing"
    if state == "waiting" and rate:
        state, reason, why = "sending", "", ""
    return Destination(
        name=name,
        state=state,
        reason=reason,
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
        next_try_at=breaker.get("retry_at") or closed_until or (queue.next_due if queue else None),
        quiet_seconds=float(breaker.get("quiet_seconds", 0.0)),
        closed_until=closed_until,
        saved=share_saved(*facts.volumes.get(name, (0, 0))),
    )


def _why(name: str, facts: Facts, breaker: Mapping[str, Any], queue: Queue | None) -> tuple[str, str, str]:
    """How a destination stands, and why images wait for it: in one word of `waits.REASONS`, and in words."""
    if name in facts.held:
        return "held", waits.HELD, f"held by the operator for {words.duration(facts.at - facts.held[name])}"
    if breaker.get("pause"):
        return "waiting", str(breaker["pause"]), "forwarding pauses: no license holds"
    if breaker.get("state") == "open":
        return _left_alone(facts, breaker)
    in_hand = _in_hand(breaker)
    if queue is None or not queue.pending + queue.leased:
        spoken = breaker.get("tried", True) or facts.today["delivered"].get(name)
        return ("idle", in_hand, "") if spoken else ("untried", "", "not tried yet")
    if queue.leased:
        return "sending", in_hand, _preparing(breaker)
    if breaker.get("closed_until"):
        until = breaker["closed_until"]
        opens = f"{words.weekday_and_clock(until)}, in {words.duration(until - facts.at)}"
        return "waiting", waits.WINDOW, f"outside its hours until {opens}"
    if queue.next_due is not None and queue.next_due > facts.at + 1:
        next_try = words.duration(queue.next_due - facts.at)
        return "waiting", waits.PUT_OFF, f"tried and put off; next try in {next_try}"
    if breaker.get("quiet_seconds"):
        quiet = words.duration(breaker["quiet_seconds"])
        return "waiting", waits.QUIET, f"waits until nothing of a study has come for {quiet}"
    return "waiting", waits.BEHIND, ""


def _left_alone(facts: Facts, breaker: Mapping[str, Any]) -> tuple[str, str, str]:
    """Of a destination whose breaker is open."""
    # With a status the comment is the receiver's own, and may quote a value of an image.
    status, reason = from_facts(breaker), str(breaker.get("reason", ""))
    said = breaker.get("comment") if status is None else f"it answers: {words.answer(status)}"
    parts = [str(said or reason or "it does not answer")]
    if breaker.get("failures", 0) > 1:
        parts.append(f"{breaker['failures']} times")
    if breaker.get("retry_at"):
        parts.append(f"next try in {words.duration(breaker['retry_at'] - facts.at)}")
    if reason == OWN_FAULT:
        return "waiting", reason, f"by a fault of this node: {', '.join(parts)}"
    return "down", reason, ", ".join(parts)


def _in_hand(breaker: Mapping[str, Any]) -> str:
    """What all images wait for that a destination has in hand, if none of them can be sent yet."""
    if not breaker.get("preparing") or breaker.get("ready"):
        return ""
    return waits.MEMORY if breaker.get("short_of_memory") else waits.CODEC


def _preparing(breaker: Mapping[str, Any]) -> str:
    number = breaker.get("preparing", 0)
    if not number:
        return ""
    what = "memory" if breaker.get("short_of_memory") else "a codec"
    return f"{words.many(number, 'image')} in hand: waiting for {what}"


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
    if beat is not None and not is_silent(beat, facts.at, asked=facts.asked):
        return said
    if facts.trouble:
        return "unknown"
    if facts.alive:
        return "silent"
    return "stopped" if beat is None else "silent"
