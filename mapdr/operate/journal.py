"""The log of a node that runs: its events, what needs attention, and its counts once a minute.

An event that comes in numbers (images that are parked) is said at once, and then summed up every so often,
so that a thousand parked images make a few lines.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from mapdr.kernel.watch import Event, joined, same
from mapdr.operate import words
from mapdr.operate.brief import state_line
from mapdr.operate.events import SENTENCES, sentence
from mapdr.operate.model import Attention, NodeState
from mapdr.store.recover import Recovered

log = logging.getLogger("mapdr.run")

SUM_UP = 5.0
"""Seconds between two lines of one destination and reason about images that are parked."""

COUNTS = 60.0
"""Seconds between two lines of counts, if they have changed."""

MANY = {"images.parked": SUM_UP, "images.uncompressed": 60.0}
"""Kinds that are summed up, and the seconds between two lines."""

WATCHED = frozenset({"unrouted", "spool", "index", "aside"})
"""Kinds of what needs attention that no event tells of."""

_LEVELS = {"good": logging.INFO, "info": logging.INFO, "warn": logging.WARNING, "bad": logging.ERROR}


class Journal:
    """An observer of a node's `Watch`. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, Event | None, Event]] = []
        self._known: dict[str, str] = {}
        self._counted = ""
        self._counts_due = clock() + COUNTS

    def __call__(self, event: Event) -> None:
        """Log an event, at once or with others of its kind."""
        known = SENTENCES.get(event.kind)
        if known is not None and not known.logged:
            return
        if event.kind not in MANY or self._first(event):
            _say(*sentence(event.kind, event.facts))

    def flush(self, *, at_once: bool = False) -> None:
        """Log what was summed up and is due; all of it with `at_once`. To be called every second or so."""
        due: list[Event] = []
        with self._lock:
            now, left = self._clock(), []
            for until, gathered, like in self._waiting:
                if until > now and not at_once:
                    left.append((until, gathered, like))
                elif gathered is not None:
                    due.append(gathered)
                    left.append((now + MANY[like.kind], None, like))
            self._waiting = left
        for event in due:
            _say(*sentence(event.kind, event.facts))

    def attention(self, items: Iterable[Attention]) -> None:
        """Log what newly needs attention, and what no longer does."""
        now = {item.kind: item for item in items if item.kind in WATCHED}
        for kind, item in now.items():
            if kind not in self._known:
                _say(item.level, item.text)
        for kind, text in self._known.items():
            if kind not in now:
                _say("good", f"no longer so: {text}")
        self._known = {kind: item.text for kind, item in now.items()}

    def told(self, state: NodeState) -> NodeState:
        """The state itself, once the log has what is new in it and what was summed up."""
        self.flush()
        self.attention(state.attention)
        if self._clock() >= self._counts_due:
            self._counts_due = self._clock() + COUNTS
            text = state_line(state)
            if text != self._counted:
                log.info("%s", text)
            self._counted = text
        return state

    def _first(self, event: Event) -> bool:
        """Whether it is the first of its kind for some seconds; otherwise it is added to those that wait."""
        with self._lock:
            for place, (until, gathered, like) in enumerate(self._waiting):
                if same(like, event):
                    sum_ = event if gathered is None else joined(gathered, event)
                    self._waiting[place] = (until, sum_, like)
                    return False
            self._waiting.append((self._clock() + MANY[event.kind], None, event))
            return True


def _say(level: str, text: str) -> None:
    log.log(_LEVELS.get(level, logging.INFO), "%s", text)


def recovery(found: Recovered) -> list[str]:
    """What the last end of the node left behind and the start put in order, in words."""
    told = (
        (found.parts, "unfinished object was removed", "unfinished objects were removed"),
        (found.leftovers, "file that nobody is owed was removed", "files that nobody is owed were removed"),
        (found.indexed, "image of the spool came into the index", "images of the spool came into the index"),
        (found.unreadable, "file of the spool cannot be read", "files of the spool cannot be read"),
        (found.leases, "delivery was under way", "deliveries were under way"),
    )
    return [f"put in order at start: {words.many(number, *forms)}" for number, *forms in told if number]
