"""The node's state, concluded from the index (counts, queues) and the node's heartbeat.

So it needs no second way into the node, and is the same for one that runs on another machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mapdr.kernel.errors import OWN_FAULT
from mapdr.node.outline import EndOutline, Outline, ReceiverOutline
from mapdr.operate import words
from mapdr.operate.attention import needing_attention
from mapdr.operate.events import event_line
from mapdr.operate.facts import SILENT, Facts
from mapdr.operate.model import (
    Counted,
    Counts,
    Destination,
    ExtraCounts,
    FlowRates,
    Hook,
    NodeInfo,
    NodeState,
    Receiver,
    Webhooks,
)
from mapdr.operate.rates import Rates
from mapdr.store.index.counts import Queue
from mapdr.wire.status import meaning

if TYPE_CHECKING:
    from mapdr.node.plan import Plan, Planned


def compose(plan: Plan | Outline, facts: Facts, rates: Rates) -> NodeState:
    """The state, complete. `rates` gets this moment's totals."""
    told, state, live = _told(facts)
    rates.add(facts.at, _totals(facts.today, live.get("counters", {})))
    destinations = [_destination(name, facts, live, rates) for name in _names(plan, facts, live)]
    return NodeState(
        at=facts.at,
        day=words.date(facts.at),
        node=_node(plan, facts, live, state),
        today=_today(facts.today),
        repeats=_beside(facts.today, "repeats"),
        versions=_beside(facts.today, "versions"),
        pending=facts.pending,
        parked=facts.parked,
        unrouted=facts.unrouted,
        rates=FlowRates(
            rates.of("received"),
            rates.of("delivered"),
            rates.of("received_bytes"),
            rates.of("delivered_bytes"),
        ),
        destinations=destinations,
        webhooks=_webhooks(facts),
        attention=needing_attention(facts, destinations, state, plan.node),
        events=[event_line(event) for event in told.get("events", ())],
        history={key: rates.history(key) for key in ("received", "delivered")},
    )


def standing(names: Iterable[str], facts: Facts) -> list[Destination]:
    """How these destinations stand, from facts without counts."""
    _, _, live = _told(facts)
    return [_destination(name, facts, live, Rates()) for name in names]


def _told(facts: Facts) -> tuple[Mapping[str, Any], str, Mapping[str, Any]]:
    """What the node said last, its state, and what of its words still holds."""
    told: Mapping[str, Any] = facts.heartbeat.counters if facts.heartbeat is not None else {}
    state = _node_state(facts, told)
    # What a node that is gone last said of its peers and associations is no longer true.
    return told, state, told if state in ("running", "draining") else {}


def _names(plan: Plan | Outline, facts: Facts, live: Mapping[str, Any]) -> list[str]:
    """The configured destinations, and those that are not (or not readably) but are still owed or in use."""
    others = {queue.destination for queue in facts.queues} | set(live.get("destinations", {}))
    return [*plan.destinations, *sorted(others - set(plan.destinations))]


def _today(today: Mapping[str, Any]) -> Counts:
    def counted(counts: Mapping[str, Mapping[str, int]]) -> dict[str, Counted]:
        return {
            modality: Counted(numbers["images"], numbers["studies"])
            for modality, numbers in sorted(counts.items())
            if numbers["images"]
        }

    delivered = {name: counted(counts) for name, counts in sorted(today["delivered"].items())}
    return Counts(counted(today["received"]), {name: counts for name, counts in delivered.items() if counts})


def _beside(today: Mapping[str, Any], key: str) -> ExtraCounts:
    """Repeats or versions, which are counted beside the images."""
    return ExtraCounts(
        sum(numbers.get(key, 0) for numbers in today["received"].values()),
        {
            name: sum(numbers.get(key, 0) for numbers in counts.values())
            for name, counts in sorted(today["delivered"].items())
        },
    )


def _totals(today: Mapping[str, Any], counters: Mapping[str, float]) -> dict[str, float]:
    """Totals that only grow: the node's own counters, or today's counts where it keeps none."""
    totals = {
        "received": _ending(counters, "receive.", ".stored"),
        "delivered": _ending(counters, "deliver.", ".images"),
        "delivered_bytes": _ending(counters, "deliver.", ".bytes"),
    }
    if any(name.startswith("receive.") and name.endswith(".bytes") for name in counters):
        totals["received_bytes"] = _ending(counters, "receive.", ".bytes")
    if not counters:
        totals["received"] = _images([today["received"]])
        totals["delivered"] = _images(today["delivered"].values())
    for name, counts in today["delivered"].items():
        totals[f"to {name}"] = counters.get(f"deliver.{name}.images", _images([counts]))
    return totals


def _ending(counters: Mapping[str, float], start: str, end: str) -> float:
    return sum(value for name, value in counters.items() if name.startswith(start) and name.endswith(end))


def _images(groups: Iterable[Mapping[str, Mapping[str, int]]]) -> int:
    return sum(numbers["images"] for counts in groups for numbers in counts.values())


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


def _node(plan: Plan | Outline, facts: Facts, live: Mapping[str, Any], state: str) -> NodeInfo:
    beat = facts.heartbeat
    return NodeInfo(
        name=plan.node.name,
        state=state,
        started_at=beat.started_at if beat else None,
        uptime_seconds=facts.at - beat.started_at if beat else None,
        heartbeat_age_seconds=max(0.0, facts.at - beat.at) if beat else None,
        process=beat.process if beat else None,
        durability=plan.node.durability,
        data=str(plan.node.data),
        disk_free=facts.disk_free,
        receivers=[_receiver(planned, live) for planned in plan.receivers.values()],
    )


def _receiver(planned: Planned | ReceiverOutline, live: Mapping[str, Any]) -> Receiver:
    """A receiver by its configuration, and by what it says of itself while it runs."""
    told, end = live.get("receivers", {}).get(planned.name, {}), planned.endpoint or EndOutline()
    host, port = told.get("host") or end.host, told.get("port") or end.port
    associations = told.get("associations")
    return Receiver(
        name=planned.name,
        ae_title=end.ae_title or planned.type,
        address=f"{host}:{port}" if port else host,
        associations=None if associations is None else int(associations),
    )


def _destination(name: str, facts: Facts, live: Mapping[str, Any], rates: Rates) -> Destination:
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
        said = breaker.get("comment") if status is None else f"it answers: {meaning(status)}"
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


def _webhooks(facts: Facts) -> Webhooks:
    return Webhooks(
        pending=sum(hook.waiting for hook in facts.webhooks),
        parked=sum(hook.parked for hook in facts.webhooks),
        hooks=[
            Hook(hook.hook, hook.waiting, hook.parked, hook.trouble, hook.next_try) for hook in facts.webhooks
        ],
    )
