"""Events of the node as lines for an operator: plain words, a level, and no value of an image.

The same sentences stand in the dashboard, in `top` and in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mapdr.kernel.certificate import PEER, ending
from mapdr.kernel.errors import OWN_FAULT
from mapdr.kernel.status import from_facts
from mapdr.operate import words
from mapdr.operate.license_words import license_said
from mapdr.operate.model import EventText

EventFacts = Mapping[str, Any]
"""What an event tells beside its kind (`kernel.watch.Event`)."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """How an event reads: its level (good, info, warn, bad) and its words. `logged`: it belongs into the
    log; the others stand there already, said by who met them, or are daily business."""

    level: str
    text: Callable[[EventFacts], str]
    logged: bool = True


def _said(template: str) -> Callable[[EventFacts], str]:
    return lambda facts: template.format_map(_WithGaps(facts))


def _images(facts: EventFacts, *, past: bool = False) -> str:
    number = int(facts.get("images") or 0)
    return words.many(number, "image") + ((" was" if number == 1 else " were") if past else "")


def _destination(facts: EventFacts) -> str:
    return str(facts.get("destination", "?"))


def _cause(facts: EventFacts) -> str:
    """Why, in words: what was found, or what the answered status means, or at least the short reason."""
    status = from_facts(facts)
    if status is not None:
        return f"it answered: {words.answer(status)}"
    return str(facts.get("comment") or facts.get("reason") or "no reason is known")


def _parked(facts: EventFacts) -> str:
    status = from_facts(facts)
    answer = f", {words.answer(status)}" if status else ""
    reason = facts.get("reason") or "unknown"
    return f"{_images(facts, past=True)} parked for {_destination(facts)}: {reason}{answer}"


def _refused(facts: EventFacts) -> str:
    status = facts.get("status")
    code = f" (0x{status:04X})" if isinstance(status, int) else ""
    return _said("{receiver} refused an object of {peer}: {cause}")(facts) + code


def _acted(facts: EventFacts) -> str:
    """What a person did, and to how many."""
    number = int(facts.get("number") or 0)
    what = f" {words.count(number)} {facts.get('of')}" if number else ""
    said = f"{facts.get('by', '?')}: {facts.get('action', '?')}{what}"
    return (
        said
        if facts.get("of") == "images" and not facts.get("to")
        else f"{said}: {facts.get('to') or 'nothing'}"
    )


def _waits(facts: EventFacts) -> str:
    how = "waits by a fault of this node" if facts.get("reason") == OWN_FAULT else "is down"
    return f"{_destination(facts)} {how}: {_cause(facts)}"


def _back(facts: EventFacts) -> str:
    after = f" after {words.duration(facts['seconds'])}" if facts.get("seconds") else ""
    return f"{_destination(facts)} takes images again{after}"


def _ends(facts: EventFacts) -> str:
    said = ending(str(facts.get("whose", PEER)), str(facts.get("name", "?")), float(facts.get("days") or 0))
    return f"{facts.get('stage', '?')}: {said}"


def _silent(facts: EventFacts) -> str:
    return _said("{receiver}: {peer} has sent nothing for ")(facts) + words.duration(facts.get("seconds"))


_DISK = {
    "enough": ("good", "enough of the disk is free again"),
    "low": ("warn", "the disk is nearly full"),
    "purging": ("warn", "the disk is filling: what was delivered is purged before its time"),
    "no-bulk": ("bad", "the disk is filling: bulk images are REFUSED"),
    "stat-only": ("bad", "the disk is filling: all images but stat ones are REFUSED"),
    "full": ("bad", "the disk is full: images are REFUSED"),
}
"""What is done about the disk, by step (`mapdr.store.spool.room`): a level and words."""


def disk_said(step: str) -> tuple[str, str]:
    """Level and words of a step."""
    return _DISK.get(step, ("warn", f"the disk: {step}"))


def _disk(facts: EventFacts) -> str:
    _, said = disk_said(str(facts.get("step")))
    free, share = facts.get("free"), facts.get("share")
    if not isinstance(free, int) or not isinstance(share, int | float):
        return said
    return f"{said}: {words.size(free)} free, {share:.1%} of it"


def _expiring(facts: EventFacts) -> str:
    days = facts.get("days")
    when = f", the first in {words.duration(days * 86400)}" if isinstance(days, int | float) else ""
    return (
        f"{_images(facts)} that no rule takes will be purged{when}; mapdr reroute --state unrouted keeps them"
    )


def _license_ends(facts: EventFacts) -> str:
    until = facts.get("until")
    at = datetime.fromisoformat(str(until)).timestamp() if until else None
    return license_said({"kind": facts.get("standing"), "reason": facts.get("reason"), "until": at})


def _purged(facts: EventFacts) -> str:
    return f"{_images(facts, past=True)} purged: {facts.get('cause', '?')}"


SENTENCES: dict[str, Sentence] = {
    "node.started": Sentence("good", _said("the node started"), logged=False),
    "node.draining": Sentence("warn", _said("the node is draining"), logged=False),
    "node.reloaded": Sentence("good", _said("a changed configuration is in use")),
    "operator.acted": Sentence("info", _acted),
    "association.rejected": Sentence("warn", _said("{receiver}: {peer}: {cause}"), logged=False),
    "association.broken": Sentence(
        "warn", _said("{receiver}: the association of {peer} ended: {cause}"), logged=False
    ),
    "association.lost": Sentence(
        "warn", _said("{receiver}: the association of {peer} was lost: {cause}"), logged=False
    ),
    "association.failed": Sentence(
        "bad", _said("{receiver}: the association of {peer} failed: {cause}"), logged=False
    ),
    "store.refuses": Sentence("bad", _said("images are refused: {cause}"), logged=False),
    "store.takes": Sentence("good", _said("images are taken again"), logged=False),
    "clock.set": Sentence(
        "warn", _said("the clock was set {way} by {seconds} s; what waits moves with it"), logged=False
    ),
    "disk.step": Sentence("warn", _disk),
    "images.expiring": Sentence("warn", _expiring),
    "license.ends": Sentence("bad", _license_ends),
    "license.holds": Sentence("good", _said("a license holds: images go out")),
    "images.purged": Sentence("warn", _purged),
    "thread.failed": Sentence("bad", _said("{thread} failed and goes on: {cause}"), logged=False),
    "certificate.ends": Sentence("warn", _ends, logged=False),
    "source.silent": Sentence("bad", _silent),
    "source.back": Sentence("good", _said("{receiver}: {peer} sends again")),
    "images.refused": Sentence("bad", _refused, logged=False),
    "folder.waits": Sentence("bad", _said("{receiver}: {cause}; it is tried again"), logged=False),
    "folder.back": Sentence("good", _said("{receiver}: files are taken again"), logged=False),
    "images.parked": Sentence("bad", _parked),
    "images.uncompressed": Sentence(
        "warn",
        lambda facts: (
            f"{_images(facts, past=True)} sent to {_destination(facts)} without the compression of the rule:"
            " it refuses that transfer syntax"
        ),
    ),
    "destination.waits": Sentence("bad", _waits),
    "destination.back": Sentence("good", _back),
    "study.received": Sentence("info", lambda facts: f"a study of {_images(facts)} has come", logged=False),
    "study.updated": Sentence(
        "info", lambda facts: f"a study has got late images: {_images(facts)} now", logged=False
    ),
    "study.delivered": Sentence(
        "good",
        lambda facts: f"a study of {_images(facts)} was delivered to {_destination(facts)}",
        logged=False,
    ),
    "delivery.parked": Sentence(
        "bad",
        lambda facts: (
            f"a study is not whole at {_destination(facts)}: {_images(facts)} parked"
            f" ({facts.get('reason') or 'unknown'})"
        ),
        logged=False,
    ),
    "webhook.failed": Sentence("bad", _said("webhook {hook}: {cause}; it is tried again")),
    "webhook.back": Sentence("good", _said("webhook {hook} takes messages again")),
    "webhook.parked": Sentence("bad", _said("webhook {hook}: a message was given up: {cause}")),
}
"""Kinds of events and how they read; kinds that are not here are shown with their facts."""


def event_line(event: Mapping[str, Any]) -> EventText:
    """An event of the heartbeat in words."""
    kind = str(event.get("kind", "event"))
    facts = {key: value for key, value in event.items() if key not in ("at", "kind")}
    level, text = sentence(kind, facts)
    return EventText(event.get("at"), kind, level, text)


def sentence(kind: str, facts: EventFacts) -> tuple[str, str]:
    """Level and words of an event, harmless for a terminal; what came several times says how often."""
    known = SENTENCES.get(kind)
    times = facts.get("times")
    said = known.text(facts) if known else _plain(kind, facts)
    level = known.level if known else "info"
    if kind == "disk.step":
        level, _ = disk_said(str(facts.get("step")))
    if isinstance(times, int) and times > 1 and "images" not in facts:
        said += f" ({times} times)"
    return level, words.plain(said)


def _plain(kind: str, facts: EventFacts) -> str:
    told = ", ".join(f"{key} {value}" for key, value in facts.items() if key != "times")
    return f"{kind}: {told}" if told else kind


class _WithGaps(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"
