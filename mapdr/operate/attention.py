"""What a person should look at, the worst first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mapdr.kernel.certificate import ending
from mapdr.kernel.errors import OWN_FAULT
from mapdr.kernel.proof import SPOILED
from mapdr.license.told import needs_attention
from mapdr.node.certificates import ending_soon, troubles
from mapdr.operate import words
from mapdr.operate.facts import LOST, Facts
from mapdr.operate.license_words import license_said
from mapdr.operate.model import Attention, Destination
from mapdr.store.messages import HookQueue
from mapdr.store.spool.room import DiskStep

if TYPE_CHECKING:
    from mapdr.config.model import NodeConfig
    from mapdr.node.outline import NodeOutline

REJECTED = 3
"""How many rejected peers of a receiver are said; `mapdr sources` shows all."""


def _hook_trouble(hook: HookQueue, now: float) -> str:
    due = hook.next_try or now
    again = f"next try in {words.duration(due - now)}" if due > now else "next try now"
    return f"webhook {hook.hook}: {hook.trouble}, {words.count(hook.waiting)} waiting, {again}"


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is to judge what needs attention by."""

    facts: Facts
    destinations: Sequence[Destination]
    state: str
    node: NodeConfig | NodeOutline


_DISK = {
    DiskStep.LOW: "the disk is nearly full",
    DiskStep.PURGING: "the disk is filling, and what was delivered is purged before its time",
    DiskStep.NO_BULK: "bulk images are REFUSED",
    DiskStep.STAT_ONLY: "all images but stat ones are REFUSED",
    DiskStep.FULL: "images are REFUSED",
}


def _room(look: _Look) -> Iterable[Attention]:
    """What keeps images from being kept, or soon will."""
    facts, node = look.facts, look.node
    if not facts.writable:
        text = f"images are REFUSED: {node.data} cannot be written to"
        yield Attention("spool", "bad", text)
    free = facts.disk_free
    if free is None:
        return
    told = _told_step(look)
    # Nobody purges and refuses by steps where no node runs.
    full, low = free < node.min_free, free < node.low
    step = told if told is not None else DiskStep.FULL if full else DiskStep.LOW if low else DiskStep.ENOUGH
    if step is not DiskStep.ENOUGH:
        text = f"{_DISK[step]}: {words.size(free)} free, {words.size(node.min_free)} kept in reserve"
        yield Attention("disk", "bad" if step >= DiskStep.NO_BULK else "warn", text)


def _told_step(look: _Look) -> DiskStep | None:
    """The step that the running node is at; None where it says none."""
    beat = look.facts.heartbeat
    if beat is None or look.state not in ("running", "draining"):
        return None
    word = beat.counters.get("store", {}).get("disk")
    return next((step for step in DiskStep if step.word == word), None)


def _index(look: _Look) -> Iterable[Attention]:
    facts = look.facts
    if facts.trouble:
        known = f"counts are those of {words.clock(facts.as_of)}" if facts.as_of else "no counts are known"
        yield Attention("index", "bad", f"the index cannot be read: {known}")
        yield Attention("index", "bad", facts.trouble)
    elif facts.lost:
        yield Attention("index", "bad", LOST)


def _store(look: _Look) -> Iterable[Attention]:
    """What keeps images from coming in or from leaving that is the node's own (`Store.health`)."""
    beat = look.facts.heartbeat
    lives = look.state in ("running", "draining")
    health = beat.counters.get("store", {}) if beat is not None and lives else {}
    if health.get("refusing"):
        yield Attention("store", "bad", f"images are REFUSED: {health['refusing']}")
    if health.get("set_aside"):
        what = words.many(health["set_aside"], "image is", "images are")
        yield Attention(
            "aside", "bad", f"{what} safe in the spool, but the index does not take them; see the log"
        )
    yield from (Attention("journal", "warn", text) for text in without_journal({"store": health}))
    spoiled: Counter[str] = Counter()
    for row in look.destinations:
        spoiled.update({reason: row.parked_reasons.get(reason, 0) for reason in SPOILED})
    if spoiled.total():
        text = ", ".join(f"{reason} ({number})" for reason, number in sorted(spoiled.items()) if number)
        yield Attention(
            "spool", "bad", f"the spool does NOT hold what was received: {text}; push these images again"
        )


def without_journal(counters: Mapping[str, Any]) -> Iterable[str]:
    """What is to be said of a configured journal that is not in use, by a sign of life."""
    if why := counters.get("store", {}).get("without_journal"):
        yield f"the journal is not in use, and each image is flushed alone, which takes longer: {why}"


def _life(look: _Look) -> Iterable[Attention]:
    """What is to be said of a node that says nothing."""
    facts, beat = look.facts, look.facts.heartbeat
    if beat is None or facts.trouble or beat.counters.get("state") == "stopped":
        return
    if look.state == "stopped":
        seen = words.day_and_clock(beat.at)
        yield Attention(
            "silent", "bad", f"the node ended without a word (last seen {seen}); start it: mapdr run"
        )
    elif look.state == "silent" and facts.alive:
        full = facts.disk_free is not None and facts.disk_free < look.node.min_free
        why = "its index cannot be written, for the disk is full" if full else "its log says why"
        if facts.unwritable:
            why = f"its index cannot be written ({facts.unwritable})"
        yield Attention("silent", "bad", f"the node is there, but gives no sign of life: {why}")
    elif look.state == "silent":
        yield Attention("silent", "bad", "the node gives no sign of life; is it running?")


def _license(look: _Look) -> Iterable[Attention]:
    """Forwarding pauses, or soon will, for want of a license."""
    beat = look.facts.heartbeat
    told = beat.counters.get("license", {}) if beat is not None else {}
    if look.state in ("running", "draining") and needs_attention(told, look.facts.at):
        level = "bad" if told["kind"] == "over" else "warn"
        yield Attention("license", level, license_said(told, look.facts.at))


def _down(look: _Look) -> Iterable[Attention]:
    for row in look.destinations:
        if row.state == "down":
            waiting = f" ({words.many(row.queue, 'image')} waiting)" if row.queue else ""
            yield Attention("down", "bad", f"{row.name} is down: {row.comment}{waiting}")
        elif row.reason == OWN_FAULT:
            yield Attention("own-fault", "bad", f"{row.name} waits {row.comment}")


def _failing(look: _Look) -> Iterable[Attention]:
    """Destinations whose own program raises instead of sending."""
    for row in look.destinations:
        if row.fault and row.queue:
            text = f"{row.name}: sending failed by a fault of this destination's program ({row.fault})"
            yield Attention("failing", "bad", f"{text}: {words.many(row.queue, 'image')} waiting")


def _parked(look: _Look) -> Iterable[Attention]:
    for row in look.destinations:
        if row.parked:
            reasons = ", ".join(f"{word} ({number})" for word, number in sorted(row.parked_reasons.items()))
            text = f"{words.many(row.parked, 'image')} parked for {row.name}"
            yield Attention("parked", "bad", f"{text}: {reasons}" if reasons else text)


def _hooks(look: _Look) -> Iterable[Attention]:
    for hook in look.facts.webhooks:
        if hook.trouble:
            yield Attention("webhook", "bad", _hook_trouble(hook, look.facts.at))
        if hook.parked:
            text = f"webhook {hook.hook}: {words.many(hook.parked, 'message')} given up"
            yield Attention("webhook", "bad", f"{text}; mapdr retry --webhooks tries again")


def _unrouted(look: _Look) -> Iterable[Attention]:
    if look.facts.unrouted:
        it = "it" if look.facts.unrouted == 1 else "them"
        text = f"{words.many(look.facts.unrouted, 'image')} unrouted: no rule takes {it}"
        yield Attention("unrouted", "warn", text)
        yield from _expiring(look)


def _expiring(look: _Look) -> Iterable[Attention]:
    """Unrouted images that will be purged soon, as the node counted them last."""
    beat = look.facts.heartbeat
    told = beat.counters.get("store", {}).get("expiring", {}) if beat is not None else {}
    if told.get("images"):
        what = words.many(told["images"], "unrouted image")
        when = words.day_and_clock(told["at"])
        text = f"{what} will be purged, the first on {when}"
        yield Attention("expiring", "warn", f"{text}; correct the rules, then mapdr reroute --state unrouted")


def _rejected(look: _Look) -> Iterable[Attention]:
    """Peers that were not let in since the node started, with the line that lets them in."""
    if look.state not in ("running", "draining") or look.facts.heartbeat is None:
        return
    for name, told in look.facts.heartbeat.counters.get("receivers", {}).items():
        for one in told.get("rejected", ())[:REJECTED]:
            title = words.plain(one["calling_ae"]) or ("(no title)" if told.get("ae_title") else "")
            who = f"{title} at {words.plain(one['address'])}" if title else words.plain(one["address"])
            times = f", {one['times']} times" if one["times"] > 1 else ""
            cure = f"; {words.plain(one['cure'])}" if one["cure"] else ""
            yield Attention("rejected", "warn", f"{name}: {who} was {one['cause']}{times}{cure}")


def _certificates(look: _Look) -> Iterable[Attention]:
    """Certificates that end soon, and changed files that are not in use."""
    if look.state not in ("running", "draining") or look.facts.heartbeat is None:
        return
    told, now = look.facts.heartbeat.counters, look.facts.at
    for stage, trouble in troubles(told):
        text = f"{words.plain(stage)}: changed TLS files are not in use: {words.plain(trouble)}"
        yield Attention("certificate", "bad", text)
    for stage, one in ending_soon(told, now):
        days = one.days_left(now)
        text = f"{words.plain(stage)}: {ending(one.whose, words.plain(one.name), days)}"
        yield Attention("certificate", "warn" if days > 0 else "bad", text)


def _silent(look: _Look) -> Iterable[Attention]:
    """Sources that normally send and have sent nothing for long."""
    if look.state not in ("running", "draining") or look.facts.heartbeat is None:
        return
    for one in silent(look.facts.heartbeat.counters):
        yield Attention("source-silent", "bad", one)


def silent(counters: Mapping[str, Any]) -> Iterable[str]:
    """What is to be said of each source that is silent, by a sign of life."""
    for facts in counters.get("silent", ()):
        last = datetime.fromisoformat(str(facts["last_at"])).timestamp()
        who = f"{words.plain(facts['receiver'])}: {words.plain(facts['peer'])}"
        yield f"{who} is silent: its last image came {words.weekday_and_clock(last)} ({words.date(last)})"


def _held(look: _Look) -> Iterable[Attention]:
    for row in look.destinations:
        if row.state == "held" or row.held:
            text = row.comment if row.state == "held" else f"{words.many(row.held, 'image')} on hold"
            yield Attention("held", "warn", f"{row.name}: {text}")


def _configuration(look: _Look) -> Iterable[Attention]:
    if look.facts.misconfigured:
        yield Attention("configuration", "warn", "the configuration file has problems: mapdr check")


def _uncompressed(look: _Look) -> Iterable[Attention]:
    for row in look.destinations:
        if row.uncompressed:
            text = f"{words.many(row.uncompressed, 'image')} sent without the compression of the rule"
            why = f"{row.name} refuses that transfer syntax; mapdr deliveries --reason compression-refused"
            yield Attention("uncompressed", "warn", f"{text}: {why}")


_LOOKS: tuple[Callable[[_Look], Iterable[Attention]], ...] = (
    _index,
    _store,
    _room,
    _life,
    _license,
    _down,
    _failing,
    _silent,
    _parked,
    _certificates,
    _configuration,
    _rejected,
    _hooks,
    _unrouted,
    _held,
    _uncompressed,
)
"""Each gives its lines, or none; the worst first."""


def needing_attention(
    facts: Facts, destinations: Sequence[Destination], state: str, node: NodeConfig | NodeOutline
) -> list[Attention]:
    """What needs attention; `state` is the node's own (`model.NodeInfo`)."""
    look = _Look(facts, destinations, state, node)
    return [item for lines in _LOOKS for item in lines(look)]
