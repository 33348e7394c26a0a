"""The node's state as one plain dict: what `status --json` prints and the dashboard draws.

Built from the index (counts, queues) and the node's heartbeat, so it needs no second way into the node.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapdr.config.model import NodeConfig
from mapdr.kernel.item import SPOILED
from mapdr.node.plan import Plan, Planned
from mapdr.store.index.commands import Heartbeat
from mapdr.store.index.counts import Queue
from mapdr.store.outbox import HookQueue
from mapdr.wire.status import meaning
from mapdr_cli import words
from mapdr_cli.happened import event_line

SILENT = 15.0
"""Seconds without a heartbeat after which a node counts as gone."""

WINDOW = 5.0
"""Seconds over which rates are taken."""

REJECTED = 3
"""How many rejected peers of a receiver are said; `mapdr sources` shows all."""

KEPT = 240
"""How many earlier rates are kept for the drawing."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read at one moment from index and surroundings.

    `trouble` says why the index cannot be read now; counts and queues are then those of `as_of`.
    `alive`: whether a process runs as this node; None where that cannot be found out. `lost`: it does, and
    the index has never heard of it. `unwritable`: why the index cannot be written, if the node is silent.
    """

    at: float
    today: Mapping[str, Any]
    pending: int
    parked: int
    unrouted: int
    queues: Sequence[Queue] = ()
    held: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    webhooks: Sequence[HookQueue] = ()
    heartbeat: Heartbeat | None = None
    disk_free: int | None = None
    writable: bool = True
    trouble: str = ""
    as_of: float = 0.0
    alive: bool | None = None
    lost: bool = False
    unwritable: str = ""


NOTHING: dict[str, Any] = {"received": {}, "delivered": {}}


class Rates:
    """Rates from totals that only grow, over the last seconds; and what they were before."""

    def __init__(self) -> None:
        self._totals: deque[tuple[float, dict[str, float]]] = deque()
        self._history: dict[str, deque[float]] = {}

    def add(self, at: float, totals: Mapping[str, float]) -> None:
        """Note the totals of this moment."""
        if self._totals and any(value < self._totals[-1][1].get(key, 0) for key, value in totals.items()):
            self._totals.clear()  # the node was restarted, or a day has begun
        self._totals.append((at, dict(totals)))
        while len(self._totals) > 2 and at - self._totals[1][0] >= WINDOW:
            self._totals.popleft()
        for key in totals:
            self._history.setdefault(key, deque(maxlen=KEPT)).append(self.of(key) or 0.0)

    def of(self, key: str) -> float | None:
        """Per second; None before there are two moments."""
        if len(self._totals) < 2 or key not in self._totals[-1][1]:
            return None
        (first, before), (last, after) = self._totals[0], self._totals[-1]
        return max(0.0, after.get(key, 0.0) - before.get(key, 0.0)) / max(last - first, 1e-3)

    def history(self, key: str) -> list[float]:
        """The rates so far, oldest first."""
        return list(self._history.get(key, ()))


def compose(plan: Plan, facts: Facts, rates: Rates) -> dict[str, Any]:
    """The state, complete. `rates` gets this moment's totals."""
    told, state, live = _told(facts)
    rates.add(facts.at, _totals(facts.today, live.get("counters", {})))
    destinations = [_destination(name, facts, live, rates) for name in _names(plan, facts)]
    return {
        "at": facts.at,
        "node": _node(plan, facts, live, state),
        "today": _today(facts.today),
        "repeats": _beside(facts.today, "repeats"),
        "versions": _beside(facts.today, "versions"),
        "pending": facts.pending,
        "parked": facts.parked,
        "unrouted": facts.unrouted,
        "rates": {
            key: rates.of(key) for key in ("received", "delivered", "received_bytes", "delivered_bytes")
        },
        "history": {key: rates.history(key) for key in ("received", "delivered")},
        "destinations": destinations,
        "webhooks": _webhooks(facts),
        "attention": [
            item for lines in ATTENTION for item in lines(_Look(facts, destinations, state, plan.node))
        ],
        "events": [event_line(event) for event in told.get("events", ())],
    }


def standing(names: Iterable[str], facts: Facts) -> list[dict[str, Any]]:
    """How these destinations stand, as "destinations" of the state says it, from facts without counts."""
    _, _, live = _told(facts)
    return [_destination(name, facts, live, Rates()) for name in names]


def _told(facts: Facts) -> tuple[Mapping[str, Any], str, Mapping[str, Any]]:
    """What the node said last, its state, and what of its words still holds."""
    told: Mapping[str, Any] = facts.heartbeat.counters if facts.heartbeat is not None else {}
    state = _node_state(facts, told)
    # What a node that is gone last said of its peers and associations is no longer true.
    return told, state, told if state in ("running", "draining") else {}


def free_space(data: Path) -> int | None:
    """Bytes that are free where the data is or will be; None if that cannot be found out."""
    there = data
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None


def writable(data: Path) -> bool:
    """Whether images can be kept there; True for what does not exist yet."""
    return all(os.access(place, os.W_OK) for place in (data, data / "spool") if place.exists())


def _names(plan: Plan, facts: Facts) -> list[str]:
    """The configured destinations, and those that are gone from the configuration but are still owed."""
    owed = {queue.destination for queue in facts.queues} - set(plan.destinations)
    return [*plan.destinations, *sorted(owed)]


def _today(today: Mapping[str, Any]) -> dict[str, Any]:
    def counted(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        return {
            modality: {"images": numbers["images"], "studies": numbers["studies"]}
            for modality, numbers in sorted(counts.items())
            if numbers["images"]
        }

    delivered = {name: counted(counts) for name, counts in sorted(today["delivered"].items())}
    return {
        "received": counted(today["received"]),
        "delivered": {name: counts for name, counts in delivered.items() if counts},
    }


def _beside(today: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Repeats or versions, which are counted beside the images."""
    return {
        "received": sum(numbers.get(key, 0) for numbers in today["received"].values()),
        "delivered": {
            name: sum(numbers.get(key, 0) for numbers in counts.values())
            for name, counts in sorted(today["delivered"].items())
        },
    }


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


def _node(plan: Plan, facts: Facts, live: Mapping[str, Any], state: str) -> dict[str, Any]:
    beat = facts.heartbeat
    return {
        "name": plan.node.name,
        "state": state,
        "since": beat.started_at if beat else None,
        "uptime": facts.at - beat.started_at if beat else None,
        "heartbeat_age": max(0.0, facts.at - beat.at) if beat else None,
        "process": beat.process if beat else None,
        "durability": plan.node.durability,
        "data": str(plan.node.data),
        "disk_free": facts.disk_free,
        "receivers": [_receiver(planned, live) for planned in plan.receivers.values()],
    }


def _receiver(planned: Planned, live: Mapping[str, Any]) -> dict[str, Any]:
    told = live.get("receivers", {}).get(planned.name, {})
    host = told.get("host") or getattr(planned.config, "host", "")
    port = told.get("port") or getattr(planned.config, "port", "")
    associations = told.get("associations")
    return {
        "name": planned.name,
        "ae_title": getattr(planned.config, "ae_title", planned.factory.type),
        "address": f"{host}:{port}" if port else host,
        "associations": None if associations is None else int(associations),
    }


def _destination(name: str, facts: Facts, live: Mapping[str, Any], rates: Rates) -> dict[str, Any]:
    queue = next((queue for queue in facts.queues if queue.destination == name), None)
    breaker = live.get("destinations", {}).get(name, {})
    waiting = queue.pending + queue.leased if queue else 0
    rate = rates.of(f"to {name}") or 0.0
    reasons = dict(facts.reasons.get(name, {}))
    state, why = _why(name, facts, breaker, queue)
    if state != "held" and not live:
        state, why = "stopped", "the node does not run"
        if facts.alive or facts.trouble:
            state, why = "unknown", "the node says nothing"
    if state == "waiting" and rate:
        state, why = "sending", ""
    return {
        "name": name,
        "state": state,
        "why": why,
        "reason": str(breaker.get("reason", "")) if state == "down" else "",
        "uncompressed": int(live.get("counters", {}).get(f"deliver.{name}.uncompressed", 0)),
        "queue": waiting,
        "pending": queue.pending if queue else 0,
        "leased": queue.leased if queue else 0,
        "held": queue.held if queue else 0,
        "parked": queue.parked if queue else 0,
        "parked_reasons": reasons,
        "oldest": facts.at - queue.oldest if queue and queue.oldest is not None else None,
        "rate": rate,
        "next_try": breaker.get("retry_at") or (queue.next_due if queue else None),
    }


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
        return "down", ", ".join(parts)
    if queue is None or not queue.pending + queue.leased:
        spoken = breaker.get("tried", True) or facts.today["delivered"].get(name)
        return ("idle", "") if spoken else ("untried", "not tried yet")
    if queue.leased:
        return "sending", ""
    if queue.next_due is not None and queue.next_due > facts.at + 1:
        return "waiting", f"tried and put off; next try in {words.duration(queue.next_due - facts.at)}"
    return "waiting", ""


def _room(facts: Facts, node: NodeConfig) -> Iterable[dict[str, str]]:
    """What keeps images from being kept, or soon will."""
    if not facts.writable:
        text = f"images are REFUSED: {node.data} cannot be written to"
        yield {"kind": "spool", "level": "bad", "text": text}
    free = facts.disk_free
    if free is not None and free < 2 * node.min_free:
        full = free < node.min_free
        text = f"{words.size(free)} free, {words.size(node.min_free)} kept in reserve"
        text = f"images are REFUSED: {text}" if full else f"the disk is nearly full: {text}"
        yield {"kind": "disk", "level": "bad" if full else "warn", "text": text}


def _webhooks(facts: Facts) -> dict[str, Any]:
    return {
        "pending": sum(hook.waiting for hook in facts.webhooks),
        "parked": sum(hook.parked for hook in facts.webhooks),
        "hooks": [
            {
                "name": hook.hook,
                "waiting": hook.waiting,
                "parked": hook.parked,
                "trouble": hook.trouble,
                "next_try": hook.next_try,
            }
            for hook in facts.webhooks
        ],
    }


def _hook_trouble(hook: HookQueue, now: float) -> str:
    due = hook.next_try or now
    again = f"next try in {words.duration(due - now)}" if due > now else "next try now"
    return f"webhook {hook.hook}: {hook.trouble}, {words.count(hook.waiting)} waiting, {again}"


LOST = (
    "the node runs, but this index knows nothing of it: index.db was removed or replaced under it; "
    "stop the node and start it again, which indexes what is in the spool"
)
"""What a node looks like whose index is no longer where it was."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is to judge what needs attention by."""

    facts: Facts
    destinations: Sequence[Mapping[str, Any]]
    state: str
    node: NodeConfig


def _item(kind: str, level: str, text: str) -> dict[str, str]:
    return {"kind": kind, "level": level, "text": text}


def _index(look: _Look) -> Iterable[dict[str, str]]:
    facts = look.facts
    if facts.trouble:
        known = f"counts are those of {words.clock(facts.as_of)}" if facts.as_of else "no counts are known"
        yield _item("index", "bad", f"the index cannot be read: {known}")
        yield _item("index", "bad", facts.trouble)
    elif facts.lost:
        yield _item("index", "bad", LOST)


def _store(look: _Look) -> Iterable[dict[str, str]]:
    """What keeps images from coming in or from leaving that is the node's own (`Store.health`)."""
    beat = look.facts.heartbeat
    lives = look.state in ("running", "draining")
    health = beat.counters.get("store", {}) if beat is not None and lives else {}
    if health.get("refusing"):
        yield _item("store", "bad", f"images are REFUSED: the index cannot be written: {health['refusing']}")
    if health.get("set_aside"):
        what = words.many(health["set_aside"], "image is", "images are")
        yield _item(
            "aside", "bad", f"{what} safe in the spool, but the index does not take them; see the log"
        )
    spoiled: Counter[str] = Counter()
    for row in look.destinations:
        spoiled.update({reason: row["parked_reasons"].get(reason, 0) for reason in SPOILED})
    if spoiled.total():
        text = ", ".join(f"{reason} ({number})" for reason, number in sorted(spoiled.items()) if number)
        yield _item(
            "spool", "bad", f"the spool does NOT hold what was received: {text}; push these images again"
        )


def _life(look: _Look) -> Iterable[dict[str, str]]:
    """What is to be said of a node that says nothing."""
    facts, beat = look.facts, look.facts.heartbeat
    if beat is None or facts.trouble or beat.counters.get("state") == "stopped":
        return
    if look.state == "stopped":
        seen = words.day_and_clock(beat.at)
        yield _item("silent", "bad", f"the node ended without a word (last seen {seen}); start it: mapdr run")
    elif look.state == "silent" and facts.alive:
        full = facts.disk_free is not None and facts.disk_free < look.node.min_free
        why = "its index cannot be written, for the disk is full" if full else "its log says why"
        if facts.unwritable:
            why = f"its index cannot be written ({facts.unwritable})"
        yield _item("silent", "bad", f"the node is there, but gives no sign of life: {why}")
    elif look.state == "silent":
        yield _item("silent", "bad", "the node gives no sign of life; is it running?")


def _down(look: _Look) -> Iterable[dict[str, str]]:
    for row in look.destinations:
        if row["state"] == "down":
            waiting = f" ({words.many(row['queue'], 'image')} waiting)" if row["queue"] else ""
            yield _item("down", "bad", f"{row['name']} is down: {row['why']}{waiting}")


def _parked(look: _Look) -> Iterable[dict[str, str]]:
    for row in look.destinations:
        if row["parked"]:
            reasons = ", ".join(
                f"{word} ({number})" for word, number in sorted(row["parked_reasons"].items())
            )
            text = f"{words.many(row['parked'], 'image')} parked for {row['name']}"
            yield _item("parked", "bad", f"{text}: {reasons}" if reasons else text)


def _hooks(look: _Look) -> Iterable[dict[str, str]]:
    for hook in look.facts.webhooks:
        if hook.trouble:
            yield _item("webhook", "bad", _hook_trouble(hook, look.facts.at))
        if hook.parked:
            text = f"webhook {hook.hook}: {words.many(hook.parked, 'message')} given up"
            yield _item("webhook", "bad", f"{text}; mapdr retry --webhooks tries again")


def _unrouted(look: _Look) -> Iterable[dict[str, str]]:
    if look.facts.unrouted:
        it = "it" if look.facts.unrouted == 1 else "them"
        text = f"{words.many(look.facts.unrouted, 'image')} unrouted: no rule takes {it}"
        yield _item("unrouted", "warn", text)


def _rejected(look: _Look) -> Iterable[dict[str, str]]:
    """Peers that were not let in since the receiver began, with the line that lets them in."""
    if look.state not in ("running", "draining") or look.facts.heartbeat is None:
        return
    for name, told in look.facts.heartbeat.counters.get("receivers", {}).items():
        for one in told.get("rejected", ())[:REJECTED]:
            who = f"{words.plain(one['calling_ae']) or '(no title)'} at {words.plain(one['address'])}"
            times = f", {one['times']} times" if one["times"] > 1 else ""
            cure = f"; {words.plain(one['cure'])}" if one["cure"] else ""
            yield _item("rejected", "warn", f"{name}: {who} was {one['cause']}{times}{cure}")


def _held(look: _Look) -> Iterable[dict[str, str]]:
    for row in look.destinations:
        if row["state"] == "held" or row["held"]:
            text = row["why"] if row["state"] == "held" else f"{words.many(row['held'], 'image')} on hold"
            yield _item("held", "warn", f"{row['name']}: {text}")


def _uncompressed(look: _Look) -> Iterable[dict[str, str]]:
    for row in look.destinations:
        if row["uncompressed"]:
            text = f"{words.many(row['uncompressed'], 'image')} sent without the compression of the rule"
            why = f"{row['name']} refuses that transfer syntax; mapdr deliveries --reason compression-refused"
            yield _item("uncompressed", "warn", f"{text}: {why}")


ATTENTION: tuple[Callable[[_Look], Iterable[dict[str, str]]], ...] = (
    _index,
    _store,
    lambda look: _room(look.facts, look.node),
    _life,
    _down,
    _parked,
    _rejected,
    _hooks,
    _unrouted,
    _held,
    _uncompressed,
)
"""What a person should look at, the worst first: each gives its lines, or none."""
