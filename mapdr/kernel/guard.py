"""The last guard of every thread (design, decision 23), and troubles that are told without filling the log.

A thread's work is a loop that keeps its state outside of itself: called again, it goes on where it was. Who
has an item in hand keeps or parks it where that is known; the guard sees to it that the thread goes on, and
that somebody hears of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import TypeVar, TypeVarTuple

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.privacy import place
from mapdr.kernel.watch import Watch

log = logging.getLogger("mapdr.guard")

EVERY = 60.0
"""Seconds between two lines about a trouble that lasts and does not change."""

_SHORTEST, _LONGEST = 0.05, 1.0
_CALM = 10.0  # seconds of work after which a failure counts as the first


Taken = TypeVarTuple("Taken")
Given = TypeVar("Given")


def contained(call: Callable[[*Taken], Given]) -> Callable[[*Taken], Given]:
    """Have `call` raise MapdrError in place of what ends a thread and is no `Exception`: a plug-in, or a
    library in it, called `sys.exit`, or a task in it was cancelled. It is a failure of what was in hand like
    any other.

    A decorator, because it is passed four times an image: it costs 0.05 us each, a context manager 0.3.
    """

    @wraps(call)
    def guarded(*args: *Taken) -> Given:
        try:
            return call(*args)
        except Exception:
            raise
        except BaseException as error:
            raise MapdrError(f"it raised {type(error).__name__}") from error

    return guarded


class Trouble:
    """What fails again and again: a line when it begins or changes, and one a minute. Thread-safe."""

    def __init__(
        self,
        logger: logging.Logger,
        *,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
        level: int = logging.ERROR,
    ) -> None:
        self._log = logger
        self._level = level
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._text = ""
        self._told_at = 0.0
        self._times = 0

    def tell(self, text: str) -> bool:
        """It failed (again); whether a line was written. `text` holds no value of an image."""
        with self._lock:
            now = self._clock()
            self._times += 1
            if text == self._text and now - self._told_at < self._every:
                return False
            times, self._times = self._times if text == self._text else 1, 0
            self._text, self._told_at = text, now
        self._log.log(self._level, "%s%s", text, f" ({times} times since the last line)" if times > 1 else "")
        return True

    def over(self, text: str = "") -> None:
        """It works; `text` says so if it did not."""
        if not self._text:  # the usual case, without the lock
            return
        with self._lock:
            told, self._text, self._times = self._text, "", 0
        if told and text:
            self._log.warning("%s", text)


class GuardedThread(threading.Thread):
    """A daemon thread that calls `work` until it returns, again whenever it raises and `goes_on()`.

    Each failure is logged; with a `watch` it is counted and shown as the event "thread.failed".
    """

    def __init__(
        self,
        work: Callable[[], object],
        name: str,
        *,
        goes_on: Callable[[], bool],
        watch: Watch | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._goes_on = goes_on
        self._watch = watch

    def run(self) -> None:
        """Work until the work is done."""
        trouble = Trouble(log)
        failures = 0
        while True:
            began = time.monotonic()
            try:
                self._work()
                return
            except Exception as error:  # noqa: BLE001  the last guard: told, counted, and the thread goes on
                failure = error
            if not self._shall_go_on(failure, trouble):
                return
            del failure  # its traceback holds what the work had in hand
            failures = failures + 1 if time.monotonic() - began < _CALM else 0
            time.sleep(min(_LONGEST, _SHORTEST * 2 ** min(failures, 10)))

    def _shall_go_on(self, error: Exception, trouble: Trouble) -> bool:
        """Tell of a failure; whether the work is called again. It is, too, where nobody can be told."""
        try:
            goes_on = self._goes_on()
            cause = place(error)
            trouble.tell(f"thread {self.name}: {cause}; it {'goes on' if goes_on else 'ends'}")
            if self._watch is not None:
                self._watch.count("threads.failed")
                self._watch.emit("thread.failed", thread=self.name, cause=cause)
        except Exception as another:  # noqa: BLE001  most likely a MemoryError: no reason to end
            log.error("thread %s: %s while its failure was told", self.name, type(another).__name__)
            return True
        return goes_on
