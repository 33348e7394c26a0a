"""Counters and observers: who watches cannot stop the data.

Counter names are dotted words, labels are configuration names or status codes, never values of an image.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mapdr.kernel.privacy import in_words

log = logging.getLogger("mapdr.watch")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, `at` seconds since the epoch.

    `facts` hold internal ids, names from the configuration and numbers.
    """

    kind: str
    facts: Mapping[str, object] = field(default_factory=dict)
    at: float = 0.0


Observer = Callable[[Event], None]

FOLD = 30.0
"""Seconds within which the same event again is one that happened several times."""

SUMMED = frozenset({"images", "bytes"})
"""Facts that add up when an event comes again; the others tell two events apart."""


def same(one: Event, other: Event) -> bool:
    """Whether two events differ in nothing but their time and in what adds up."""
    return one.kind == other.kind and _told(one) == _told(other)


def joined(one: Event, other: Event) -> Event:
    """Two events that are the `same`, as one that happened `times` times."""
    facts: dict[str, object] = dict(other.facts)
    facts["times"] = _number(one, "times", 1) + _number(other, "times", 1)
    facts |= {key: _number(one, key, 0) + _number(other, key, 0) for key in SUMMED & facts.keys()}
    return Event(other.kind, facts, other.at)


def _told(event: Event) -> dict[str, object]:
    return {key: value for key, value in event.facts.items() if key not in SUMMED and key != "times"}


def _number(event: Event, key: str, otherwise: int) -> int:
    value = event.facts.get(key, otherwise)
    return value if isinstance(value, int) else otherwise


class Watch:
    """Thread-safe counters, the last events, and any number of observers.

    An observer that raises is counted and logged; it stops neither the data nor the other observers.
    """

    def __init__(self, keep: int = 200, fold: float = FOLD) -> None:
        self._fold = fold
        self._lock = threading.Lock()
        self._counters: dict[str, float] = {}
        self._observers: list[Observer] = []
        self._recent: deque[Event] = deque(maxlen=keep)

    def count(self, name: str, amount: float = 1) -> None:
        """Add `amount` to the counter `name`."""
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + amount

    def level(self, name: str, value: float) -> None:
        """Set the counter `name` to `value`."""
        with self._lock:
            self._counters[name] = value

    def observe(self, observer: Observer) -> None:
        """Call `observer` with every later event."""
        with self._lock:
            self._observers.append(observer)

    def emit(self, kind: str, **facts: object) -> None:
        """Tell every observer that something happened."""
        event = Event(kind, facts, time.time())
        with self._lock:
            self._keep(event)
            observers = tuple(self._observers)
        for observer in observers:
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001  told and counted; the others are told as well
                self.count("observer.errors")
                log.error("an observer of %s failed: %s", kind, in_words(error))

    def counters(self) -> dict[str, float]:
        """A copy of every counter."""
        with self._lock:
            return dict(self._counters)

    def recent(self) -> list[Event]:
        """The last events, oldest first; one that came again soon is kept once, with `times` and sums."""
        with self._lock:
            return list(self._recent)

    def _keep(self, event: Event) -> None:
        """Keep it in place of the same one of a moment ago, so that no trouble pushes out the rest."""
        for known in reversed(self._recent):
            if event.at - known.at > self._fold:
                break
            if same(known, event):
                self._recent.remove(known)
                event = joined(known, event)
                break
        self._recent.append(event)
