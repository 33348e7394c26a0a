"""The node's state, concluded from the index (counts, queues) and the node's heartbeat.

So it needs no second way into the node, and is the same for one that runs on another machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mapdr.kernel.certificate import ending
from mapdr.node.certificates import known
from mapdr.node.outline import EndOutline, Outline, ReceiverOutline
from mapdr.operate import words
from mapdr.operate.attention import needing_attention
from mapdr.operate.destinations import destination, told_by
from mapdr.operate.events import event_line
from mapdr.operate.facts import Facts
from mapdr.operate.flow import last_hour
from mapdr.operate.model import (
    Counted,
    Counts,
    ExtraCounts,
    FlowRates,
    Hook,
    KnownCertificate,
    NodeInfo,
    NodeState,
    Receiver,
    Webhooks,
)
from mapdr.operate.rates import Rates
from mapdr.operate.senders import senders

if TYPE_CHECKING:
    from mapdr.node.plan import Plan, Planned


def compose(plan: Plan | Outline, facts: Facts, rates: Rates) -> NodeState:
    """The state, complete. `rates` gets this moment's totals."""
    told, state, live = told_by(facts)
    rates.add(facts.at, _totals(facts.today, live.get("counters", {})))
    destinations = [destination(name, facts, live, rates) for name in _names(plan, facts, live)]
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
        last_hour=last_hour(facts.heartbeat, facts.at),
        senders=senders(facts, live),
        certificates=_certificates(live, facts.at),
    )


def _names(plan: Plan | Outline, facts: Facts, live: Mapping[str, Any]) -> list[str]:
    """The configured destinations, and those that are not (or not readably) but are still owed or in use."""
    others = {queue.destination for queue in facts.queues} | set(live.get("destinations", {}))
    return [*plan.destinations, *sorted(others - set(plan.destinations))]


def _today(today: Mapping[str, Any]) -> Counts:
    def counted(counts: Mapping[str, Mapping[str, int]]) -> dict[str, Counted]:
        return {
            words.modality(modality): Counted(numbers["images"], numbers["studies"])
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
        disk_step=live.get("store", {}).get("disk"),
        disk_floor=plan.node.min_free,
        index_bytes=facts.index_bytes,
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


def _certificates(live: Mapping[str, Any], now: float) -> list[KnownCertificate]:
    found = []
    for stage, one in known(live):
        said = ending(one.whose, words.plain(one.name), one.days_left(now))
        found.append(KnownCertificate(words.plain(stage), said, one.expires_at))
    return sorted(found, key=lambda one: one.expires_at)


def _webhooks(facts: Facts) -> Webhooks:
    return Webhooks(
        pending=sum(hook.waiting for hook in facts.webhooks),
        parked=sum(hook.parked for hook in facts.webhooks),
        hooks=[
            Hook(hook.hook, hook.waiting, hook.parked, hook.trouble, hook.next_try) for hook in facts.webhooks
        ],
    )
