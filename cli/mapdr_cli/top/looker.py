"""The thread of `mapdr top` that looks and acts: nothing that takes time is done where it is drawn."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mapdr.kernel.privacy import in_words
from mapdr.operate import words
from mapdr.operate.access import Access
from mapdr.operate.model import EventText, NodeState
from mapdr_cli.top.act import Acting, Outcome, act
from mapdr_cli.top.found import Found, Row, event_key, gather
from mapdr_cli.top.place import Action, Place

SHARE = 0.006
"""The part of a core that looking up the rows of a view may take: what costs much is done less often."""

EVENTS = 1000
"""Events that are kept while one looks."""

Answer = Outcome | str
"""What became of an action, or why nothing did."""


@dataclass(frozen=True, slots=True)
class _Asked:
    action: Action
    dry_run: bool


class Looker:
    """Looks at a node again and again in a thread of its own, for the place that is wanted.

    `look` gives the state and raises nothing; `opened` is used by this thread alone, and closed at its end.
    What was found last is `found`, None before the first look. Answers to actions come out of `answers`.
    """

    def __init__(
        self,
        look: Callable[[], NodeState],
        opened: Access,
        acting: Acting,
        *,
        seconds: float,
        identify: bool = False,
    ) -> None:
        self._look = look
        self._opened = opened
        self._acting = acting
        self._seconds = seconds
        self._identify = identify
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._wanted: Place | None = None
        self._woken = threading.Event()
        self._ended = threading.Event()
        self._events: deque[EventText] = deque(maxlen=EVENTS)
        self._rows: tuple[Row, ...] = ()
        self._rows_of: Place | None = None
        self._rows_due = 0.0
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="looker", daemon=True)
        self.found: Found | None = None
        self.failure: BaseException | None = None
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End, after what is under way; not later than in so many seconds."""
        self._ended.set()
        self._woken.set()
        self._thread.join(seconds)

    def want(self, place: Place) -> None:
        """Look there from now on; at once, if it is another query than before."""
        if self._wanted != place.query:
            self._wanted = place.query
            self._woken.set()

    def ask(self, action: Action, *, dry_run: bool) -> None:
        """Do an action, or say how many it concerns; the outcome is put into `answers`."""
        self._asked.put(_Asked(action, dry_run))
        self._woken.set()

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._woken.clear()
                self._answer()
                self._find()
                self._woken.wait(self._seconds)
        except BaseException as error:  # noqa: BLE001  raised again where it is drawn
            self.failure = error
        finally:
            self._opened.close()

    def _answer(self) -> None:
        while not self._ended.is_set():
            try:
                asked = self._asked.get_nowait()
            except queue.Empty:
                return
            try:
                self.answers.put(act(self._acting, asked.action, dry_run=asked.dry_run))
                self._rows_due = 0.0  # what it has changed is shown at once
            except Exception as error:  # noqa: BLE001  said to who asked for it
                self.answers.put(words.plain(in_words(error)))

    def _find(self) -> None:
        query = self._wanted
        state = self._look()
        if query is None:
            return
        if self._rows_of != query or time.monotonic() >= self._rows_due:
            began = time.thread_time()
            self._look_up(query)
            self._rows_due = time.monotonic() + (time.thread_time() - began) / SHARE
        known = {event_key(one) for one in self._events}
        self._events += [one for one in state.events if event_key(one) not in known]
        self.found = Found(query, state, self._rows, self._trouble, tuple(self._events), self._identify)

    def _look_up(self, query: Place) -> None:
        """The rows of a view, or why they cannot be had."""
        self._rows, self._trouble, self._rows_of = (), "", query
        try:
            with self._opened.named():
                self._rows = tuple(gather(self._opened, query, identify=self._identify))
        except Exception as error:  # noqa: BLE001  shown in the view; the next look tries again
            self._trouble = words.plain(in_words(error))
            self._opened.close()  # the index may have been replaced
