"""The alarms of a node, told to webhooks: each once when it begins and once when it ends.

| event               | when                                                                                |
|---------------------|-------------------------------------------------------------------------------------|
| `destination.waits` | a destination takes nothing: it is away, rejects this node, or asks for a pause     |
| `destination.back`  | it has answered an image again                                                      |
| `disk.low`          | free space fell to a step at which something is done about it, or to another step   |
| `disk.back`         | there is room again                                                                 |
| `source.silent`     | a source has sent nothing for its `silent_after`                                    |
| `source.back`       | it has sent again                                                                   |
| `certificate.ends`  | a certificate ends in 30 days; again 7 days and one day before, and when it has     |
| `images.expiring`   | unrouted images will be purged                                                      |
| `license.ends`      | forwarding pauses for want of a license, or soon will                               |
| `license.holds`     | a license holds again: images go out                                                |

What holds is kept in the index with what is told of it, so that it is told once however often the node looks
and restarts. No event has a value of an image.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

from mapdr.kernel.alarm import Alarm, AlarmKind, Fact
from mapdr.kernel.watch import Watch
from mapdr.notify.events import Told, fill
from mapdr.store.alarms import Raised, RaisedAlarms
from mapdr.store.messages import OutboxEntry


class Alarms:
    """Tells the alarms of the node `node`. Thread-safe; each call raises what the index does, and is then to
    be made again."""

    def __init__(
        self, kept: RaisedAlarms, hooks: Callable[[], Mapping[str, Told]], watch: Watch, *, node: str
    ) -> None:
        """`hooks` gives the webhooks that are in use, by name."""
        self._kept = kept
        self._hooks = hooks
        self._watch = watch
        self._node = node
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Raised] | None = None

    def begin(self, alarm: Alarm, now: float) -> bool:
        """`alarm` holds now; whether that was told: it began, or has another level than before."""
        kind, key = alarm.kind, (alarm.kind.begins, alarm.subject)
        with self._lock:
            before = self._raised().get(key)
            if before is not None and before.level == alarm.level:
                return False
            since = now if before is None else before.since
            raised = Raised(kind.begins, alarm.subject, alarm.level, since, dict(alarm.facts))
            self._kept.keep(raised, self._entries(kind.begins, raised, alarm.facts, now), now)
            self._raised()[key] = raised
        if kind.emits:
            self._watch.emit(kind.begins, **alarm.facts)
        return True

    def end(self, kind: AlarmKind, subject: str, now: float, **facts: Fact) -> bool:
        """The alarm holds no more, with the facts of its end but for `seconds`; whether it did before."""
        with self._lock:
            before = self._raised().get((kind.begins, subject))
            if before is None:
                return False
            if "seconds" in kind.end_facts:
                facts["seconds"] = round(max(0.0, now - before.since), 1)
            told = self._entries(kind.ends, before, facts, now) if kind.ends else []
            self._kept.remove(before, told, now)
            del self._raised()[kind.begins, subject]
        if kind.emits and kind.ends:
            self._watch.emit(kind.ends, **facts)
        return True

    def forget(self, kind: AlarmKind, subject: str, now: float) -> None:
        """The alarm is of something that the configuration has no more: nobody is told."""
        with self._lock:
            before = self._raised().get((kind.begins, subject))
            if before is not None:
                self._kept.remove(before, [], now)
                del self._raised()[kind.begins, subject]

    def holding(self, kind: AlarmKind) -> dict[str, Raised]:
        """The alarms of a kind that hold, by subject and in the order of subjects."""
        with self._lock:
            known = sorted(self._raised().items())
            return {subject: raised for (event, subject), raised in known if event == kind.begins}

    def _raised(self) -> dict[tuple[str, str], Raised]:
        if self._known is None:
            self._known = {(raised.event, raised.subject): raised for raised in self._kept.all()}
        return self._known

    def _entries(
        self, event: str, raised: Raised, facts: Mapping[str, Fact], now: float
    ) -> list[OutboxEntry]:
        """One outbox row for each webhook that is told of `event`; those of one alarm keep their order."""
        turn = -1 - crc32(f"{self._node} {raised.event} {raised.subject}".encode())
        entries = []
        for name, hook in self._hooks().items():
            if event in hook.on:
                key = f"{event}:{self._node}:{raised.subject}:{raised.level}:{now!r}:{name}"
                told = body(event, hook.payload, facts, self._node, now)
                entries.append(OutboxEntry(key, name, event, told, study=turn, shown=told))
        return entries


def body(
    event: str, payload: Mapping[str, Any], facts: Mapping[str, Fact], node: str, now: float
) -> dict[str, Any]:
    """What a webhook with this `payload` is told of a node; without one, as docs/events/ has it."""
    names = {**facts, "event": event, "state": event.rpartition(".")[2]}
    if payload:
        return fill(payload, lambda path: "", names, {})
    return {
        "type": event,
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        "data": {"node": node, **facts, "state": names["state"]},
    }
