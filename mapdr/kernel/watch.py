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


class Watch:
    """Thread-safe counters, the last events, and any number of observers.

    An observer that raises is counted and logged; it stops neither the data nor the other observers.
    """

    def __init__(self, keep: int = 200) -> None:
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
            self._recent.append(event)
            observers = tuple(self._observers)
        for observer in observers:
            try:
                observer(event)
            except Exception:
                self.count("observer.errors")
                log.exception("an observer of %s failed", kind)

    def counters(self) -> dict[str, float]:
        """A copy of every counter."""
        with self._lock:
            return dict(self._counters)

    def recent(self) -> list[Event]:
        """The last events, oldest first."""
        with self._lock:
            return list(self._recent)
