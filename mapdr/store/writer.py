"""The writer: one thread that enters arrivals into the index, a batch per transaction.

    receivers ── submit ──▶ waiting ── linger (40 ms, or a full batch) ──▶ transaction ──▶ on_commit
                   │           │                                              │
                   └ blocks ◀──┘ 2,000 are not yet there                      └ fails: tried again, nothing
                                                                                is lost: files are safe

What runs took (`mapdr.store.runs`) waits in a queue of their own and is gathered here, before whatever comes
after it; as long as any association has a lane the writer looks every 40 ms.

`submit` returns before the row is written: the file is safe already, and a crash in between is what
recovery is for. A batch that cannot be written (no room, another process holds the index) is tried again
until it can; meanwhile the queue fills and delays Success, which is how the peers come to know. An arrival
that the database refuses for its own sake is entered alone, and if that fails it is set aside in sight: its
file stays, it is counted, and recovery tries again at the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from mapdr._fast import Shared
from mapdr.kernel.errors import Refused
from mapdr.kernel.item import Arrival
from mapdr.store.durable import OUT_OF_RESOURCES
from mapdr.store.enrol import Enrolment, Route
from mapdr.store.runs import gather

log = logging.getLogger("mapdr.store")

LINGER_SECONDS = 0.04
BATCH = 1000
PATIENCE = 20.0
"""Seconds: how long Success is delayed at most; then the peer is told to come again."""
_RETRY_SECONDS = 1.0
_KEPT_ROUTES = 8


class Writer:
    """Takes arrivals, gives rows. `on_commit` hears which destinations have new work.

    `discard` unlinks the file of an absorbed repeat, after its row is committed.
    """

    def __init__(self, enrolment: Enrolment, discard: Callable[[str], object], runs: Shared) -> None:
        self.on_commit: Callable[[frozenset[str]], None] = lambda destinations: None
        self.set_aside = 0
        self.written = 0
        self._enrolment = enrolment
        self._discard = discard
        self._runs = runs
        self._routes: dict[str, Route] = {}
        self._waiting: deque[Arrival] = deque()
        self._state = threading.Condition()
        self._busy = 0
        self._open = False
        self._thread: threading.Thread | None = None
        self._failing = ""

    @property
    def waiting(self) -> int:
        """Arrivals that are safe and not yet in the index."""
        return len(self._waiting) + self._busy + self._runs.waiting

    @property
    def failing(self) -> str:
        """Why the last batch could not be written; empty when it could."""
        return self._failing

    def use(self, revision: str, route: Route) -> None:
        """Route arrivals of a configuration revision so; earlier revisions stay for those under way."""
        with self._state:
            routes = {**self._routes}
            routes.pop(revision, None)
            routes[revision] = route
            self._routes = dict(list(routes.items())[-_KEPT_ROUTES:])

    def start(self) -> None:
        """Begin to write."""
        with self._state:
            if self._thread is None:
                self._open = True
                self._runs.open()
                self._thread = threading.Thread(target=self._run, name="mapdr-writer", daemon=True)
                self._thread.start()

    def stop(self, deadline: float) -> None:
        """Take no more, write what waits, end by `deadline` (time.monotonic()). Safe twice, unstarted."""
        self._runs.close()
        with self._state:
            self._open = False
            thread, self._thread = self._thread, None
            self._state.notify_all()
        if thread is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
            if self.waiting:
                log.warning("%d images are not yet indexed; the next start does it", self.waiting)

    def submit(self, arrival: Arrival) -> None:
        """Hand over an object that is safe. Blocks while too many wait.

        Raises Refused(0xA700) when stopped, and when the index has made no room within PATIENCE.
        """
        until = time.monotonic() + PATIENCE
        with self._state:
            while self._open and not self._runs.admit():
                if not self._state.wait(max(0.0, until - time.monotonic())) and time.monotonic() >= until:
                    raise Refused(OUT_OF_RESOURCES, "the index is too far behind")
            if not self._open:
                raise Refused(OUT_OF_RESOURCES, "the node is stopping")
            self._waiting += gather(self._runs)
            self._waiting.append(arrival)
            self._tell_backlog()
            if len(self._waiting) == 1 or len(self._waiting) >= BATCH:
                self._state.notify_all()

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until all that was submitted is written; whether it was within `seconds`."""
        with self._state:
            return self._state.wait_for(lambda: not self.waiting, seconds)

    def _run(self) -> None:
        while batch := self._next_batch():
            self._enter(batch)
            with self._state:
                self._busy = 0
                self._tell_backlog()
                self._state.notify_all()

    def _next_batch(self) -> list[Arrival]:
        with self._state:
            while not self._gather() and self._open:
                self._state.wait(LINGER_SECONDS if self._runs.in_use else None)
            if self._open and len(self._waiting) < BATCH:
                self._state.wait_for(lambda: not self._open or len(self._waiting) >= BATCH, LINGER_SECONDS)
                self._gather()
            batch: list[Arrival] = []
            uids: set[str] = set()
            while self._waiting and len(batch) < BATCH:
                uid = self._waiting[0].sop_instance_uid
                if uid in uids:
                    break  # a repeat is compared with what is committed: it opens the next batch
                uids.add(uid)
                batch.append(self._waiting.popleft())
            self._busy = len(batch)
            self._tell_backlog()
            self._state.notify_all()
            return batch

    def look(self) -> None:
        """There may be runs from now on."""
        with self._state:
            self._state.notify_all()

    def _gather(self) -> int:
        """Take over what runs took; how many arrivals wait then."""
        self._waiting += gather(self._runs)
        return len(self._waiting)

    def _tell_backlog(self) -> None:
        self._runs.backlog = len(self._waiting) + self._busy

    def _enter(self, batch: list[Arrival]) -> None:
        while batch:
            try:
                self._write(batch)
            except OperationalError as error:
                self._fails(error)
                if not self._pause():
                    return
            except (SQLAlchemyError, ValueError, TypeError) as error:
                if len(batch) > 1:
                    for arrival in batch:
                        self._enter([arrival])
                    return
                self.set_aside += 1
                log.error("%s: set aside, the index refused it (%s)", batch[0].id, type(error).__name__)
                return
            else:
                return

    def _write(self, batch: list[Arrival]) -> None:
        routes: Mapping[str, Route] = self._routes
        enrolled = self._enrolment.enrol(batch, routes)
        self._failing = ""
        self.written += len(batch)
        for id_ in enrolled.absorbed:
            try:
                self._discard(id_)
            except OSError as error:
                log.warning("%s: its file could not be removed (%s)", id_, error.strerror)
        if enrolled.destinations:
            self.on_commit(enrolled.destinations)

    def _fails(self, error: DBAPIError) -> None:
        # The driver's own words ("database or disk is full") hold no values; SQLAlchemy's would.
        reason = str(error.orig)
        if reason != self._failing:
            log.error("the index cannot be written: %s; Success waits until it can", reason)
        self._failing = reason

    def _pause(self) -> bool:
        """Wait before the next try; whether there is to be one."""
        with self._state:
            self._state.wait_for(lambda: not self._open, _RETRY_SECONDS)
            return self._open
