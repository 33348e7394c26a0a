"""The events of a node, one after the other, for who follows them; the node may go away and come back.

They come by the sign of life, which holds the last fifty and is written within a second: an event of the same
kind that comes again soon is told again with `times`. What cannot be followed is told as well: `node.away`
and `node.here` when the node is not heard any more and is heard again, `events.missed` when more came than it
holds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mapdr.kernel.finding import instead
from mapdr.kernel.privacy import in_words
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.operate.events import SENTENCES, event_line
from mapdr.store.index.commands import Heartbeat
from mapdr.store.index.fault import index_named

HELD = 50
"""Events that a sign of life holds."""

_OWN = {
    "node.away": ("bad", "the node is not heard: "),
    "node.here": ("good", "the node is heard"),
    "events.missed": ("warn", "more events came than could be followed: some are not told here"),
}
"""Kinds of events that are told here alone: level and words."""


@dataclass(frozen=True, slots=True)
class FollowedEvent:
    """An event: when, its kind, level and words, and what it tells beside, which identifies no patient."""

    at: float
    kind: str
    level: str
    text: str
    facts: Mapping[str, Any]


class EventFeed:
    """What is new of a node's events, look after look; `kinds` (`images.*` too) narrows it, if there are any.

    Raises RequestError for a kind that there is not.
    """

    def __init__(self, opened: Access, kinds: Sequence[str] = ()) -> None:
        known = {*SENTENCES, *_OWN}
        for kind in kinds:
            if kind not in known and not any(mark in kind for mark in "*?["):
                raise RequestError(
                    f'there is no kind of events "{kind}"; {instead(kind, known, "kinds")}', field="kind"
                )
        self._access = opened
        self._kinds = tuple(kinds)
        self._beat: Heartbeat | None = None
        self._seen: set[str] = set()
        self._away: str | None = None

    def look(self) -> list[FollowedEvent]:
        """The events since the last look, the oldest first; the first look tells none of the past."""
        first, before = self._away is None, self._beat
        beat, away = self._ask()
        found: list[FollowedEvent] = []
        if away and away != self._away:
            found.append(self._own("node.away", away))
        elif not away and self._away:
            found.append(self._own("node.here"))
        self._away = away
        if beat is not None:
            found += self._new(beat, before, first)
            self._beat = beat
        return [one for one in found if self._wanted(one.kind)]

    def _ask(self) -> tuple[Heartbeat | None, str]:
        """The last sign of life, and why the node is not heard, empty if it is."""
        node = self._access.plan.node
        try:
            with index_named(node.database_url(), node.data):
                if self._access.store is None:
                    return None, "it has not run yet"
                beat = self._access.running()
                if beat is not None:
                    return beat, ""
                beat = self._access.last_beat()
        except Exception as error:  # noqa: BLE001  told, and tried again with the next look
            # The file may have been replaced: the next look opens it anew.
            self._access.close()
            return None, in_words(error)
        stopped = beat is None or beat.counters.get("state") == "stopped"
        return beat, "it is stopped" if stopped else "it gives no sign of life"

    def _new(self, beat: Heartbeat, before: Heartbeat | None, first: bool) -> list[FollowedEvent]:
        events = beat.counters.get("events", ())
        texts = [json.dumps(event, sort_keys=True) for event in events]
        new = [event for event, text in zip(events, texts, strict=True) if text not in self._seen]
        # A node that was started anew has events of its own, all since the last look.
        same = before is not None and before.process == beat.process and before.started_at == beat.started_at
        missed = same and bool(self._seen) and len(new) >= HELD
        self._seen = set(texts)
        if first:
            return []
        return ([self._own("events.missed")] if missed else []) + [_followed(event) for event in new]

    def _own(self, kind: str, why: str = "") -> FollowedEvent:
        level, text = _OWN[kind]
        return FollowedEvent(time.time(), kind, level, text + why, {"reason": why} if why else {})

    def _wanted(self, kind: str) -> bool:
        return not self._kinds or any(fnmatchcase(kind, one) for one in self._kinds)


def _followed(event: Mapping[str, Any]) -> FollowedEvent:
    said = event_line(event)
    facts = {key: value for key, value in event.items() if key not in ("at", "kind")}
    return FollowedEvent(said.at or 0.0, said.kind, said.level, said.text, facts)
