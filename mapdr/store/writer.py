"""The writer: one thread that enters arrivals into the index, a batch per transaction.

    receivers ── submit ──▶ waiting ── linger (40 to 160 ms, or a full batch) ──▶ transaction ──▶ on_commit
                   │           │                                              │
                   └ blocks ◀──┘ 2,000 are not yet there                      └ fails: tried again, nothing
                                                                                is lost: files are safe

Images that were taken in runs (`mapdr.store.spool.runs`) wait in a queue of their own, which nobody is woken
for: the writer gathers it every 40 ms as long as an association has a lane (every 10 ms in its first quarter
of a second), and before each `submit`. Who comes more than 40 ms after the last transaction waits for no
other. While the node takes all processors for other work, the linger grows to 160 ms (`mapdr.kernel.pace`).

`submit` returns before the row is written: the file is safe already, and a crash in between is what
recovery is for. A batch that cannot be written (no room, another process holds the index, its file is gone)
is tried again until it can; meanwhile nothing is taken: who pushes is refused with 0xA700 (`failing`). An
arrival that the index refuses by itself is found by halving the batch, and set aside: its file stays, it is
counted and logged, and tried again every minute and by recovery at the next start. After ten refusals in a
row the fault is taken to lie in the index or in MAPDR: nothing is taken then until an arrival is entered, or
all that waited was tried and five seconds are over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from mapdr._fast import RunQueue
from mapdr.kernel.errors import Refused
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.item import Arrival
from mapdr.kernel.pace import Pace
from mapdr.kernel.privacy import place
from mapdr.kernel.status import OUT_OF_RESOURCES
from mapdr.kernel.watch import Watch
from mapdr.store.index.fault import IndexFault, fault_of_the_index
from mapdr.store.queue.ingest import Entered, Ingest, Route
from mapdr.store.set_aside import SetAside
from mapdr.store.spool.runs import gather

log = logging.getLogger("mapdr.store")

LINGER_SECONDS = 0.04
LONGEST_LINGER_SECONDS = 0.16
LOOK_SECONDS = 0.01
FIRST_LOOKS = 25
"""So many times runs are looked at every LOOK_SECONDS once an association has its lane, then every
LINGER_SECONDS."""
BATCH = 1000
PATIENCE = 20.0
"""Seconds: how long Success is delayed at most; then the peer is told to come again."""
_RETRY_SECONDS = 1.0
_SYSTEMIC_SECONDS = 5.0  # without an image, where none can be entered; then the next one shows it
_SYSTEMIC = 10  # so many that fail one after the other are not at fault themselves
_KEPT_ROUTES = 8


class Writer:
    """Takes arrivals from `submit` and from `runs`, and enters them into the index.

    `discard` unlinks the file of an absorbed repeat, after its row is committed. `ready` is asked before each
    transaction; it may raise IndexFault. `on_commit` hears which destinations have new work. `watch` counts
    what the last guard of the thread catches.
    """

    def __init__(
        self,
        ingest: Ingest,
        discard: Callable[[str], object],
        runs: RunQueue,
        *,
        ready: Callable[[], None] = lambda: None,
        on_commit: Callable[[frozenset[str]], None] = lambda destinations: None,
        watch: Watch | None = None,
    ) -> None:
        self.written = 0
        self._ingest = ingest
        self._discard = discard
        self._runs = runs
        self._ready = ready
        self._on_commit = on_commit
        self._watch = watch
        self._routes: dict[str, Route] = {}
        self._waiting: deque[Arrival] = deque()
        self._aside = SetAside()
        self._in_a_row = 0
        # A quarter of a batch: far from what would make those wait who hand over more.
        self._pace = Pace(LINGER_SECONDS, LONGEST_LINGER_SECONDS, rows=BATCH // 4)
        self._state = threading.Condition()
        self._looks = 0  # that are left of FIRST_LOOKS
        self._busy: list[Arrival] = []  # in hand
        self._following = False  # a batch is written, and not all that it leads to is done
        self._open = False
        self._deadline = 0.0  # of the end, once it is closed
        self._thread: threading.Thread | None = None
        self._failing = ""
        self._trouble = Trouble(log)

    @property
    def waiting(self) -> int:
        """Arrivals that are safe and not yet in the index, but for those that were set aside."""
        return len(self._waiting) + len(self._busy) + self._runs.waiting

    @property
    def set_aside(self) -> int:
        """Arrivals that are safe and that the index does not take."""
        return len(self._aside)

    @property
    def failing(self) -> str:
        """Why nothing can be written, and therefore nothing is taken; empty when it can."""
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
                self._thread = GuardedThread(
                    self._run, "mapdr-writer", goes_on=lambda: True, watch=self._watch
                )
                self._thread.start()

    def stop(self, deadline: float) -> None:
        """Take no more, write what waits, end by `deadline` (time.monotonic()). Safe twice, unstarted."""
        self._runs.close()
        with self._state:
            self._open = False
            self._deadline = deadline
            thread, self._thread = self._thread, None
            self._state.notify_all()
        if thread is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
            left = self.waiting + self.set_aside
            if left:
                log.warning("%d images are not yet indexed; the next start does it", left)

    def submit(self, arrival: Arrival) -> None:
        """Hand over an object that is safe. Blocks while too many wait.

        Raises Refused(0xA700) when stopped, while nothing can be written, and when the index has made no
        room within PATIENCE.
        """
        until = time.monotonic() + PATIENCE
        with self._state:
            while self._open and not self._failing and not self._runs.admit():
                if not self._state.wait(max(0.0, until - time.monotonic())) and time.monotonic() >= until:
                    raise Refused(OUT_OF_RESOURCES, "the index is too far behind")
            if not self._open:
                raise Refused(OUT_OF_RESOURCES, "the node is stopping")
            if self._failing:
                raise Refused(OUT_OF_RESOURCES, f"the index cannot be written: {self._failing}")
            self._gather()
            self._waiting.append(arrival)
            self._tell_backlog()
            if len(self._waiting) == 1 or len(self._waiting) >= BATCH:
                self._state.notify_all()

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until all that was submitted is written; whether it was within `seconds`."""
        with self._state:
            return self._state.wait_for(lambda: not self.waiting and not self._following, seconds)

    def check(self) -> None:
        """Look at the index where no arrival does: before one is taken that cannot be written."""
        try:
            self._ready()
        except IndexFault as error:
            self._fails(str(error))
            return
        with self._state:
            idle = not self._busy and not self._waiting
            if self._failing and idle and self._in_a_row < _SYSTEMIC:
                self._recovers()

    def wake(self) -> None:
        """An association may take images in runs from now on: look for them."""
        with self._state:
            self._looks = FIRST_LOOKS
            self._state.notify_all()

    def _run(self) -> None:
        # What is in hand stays in `_busy`: after a failure that nobody foresaw the next call goes on with it.
        while self._busy or self._next_batch():
            if not self._enter():
                return
            with self._state:
                self._tell_backlog()
                self._state.notify_all()
                systemic = self._failing and self._in_a_row >= _SYSTEMIC and not self._waiting
            if systemic and self._open:
                self._pause(_SYSTEMIC_SECONDS)
                self._recovers()

    def _next_batch(self) -> bool:
        """Take the next batch in hand; False when there is none and the node stops."""
        with self._state:
            while not self._gather() and self._open:
                self._state.wait(self._patience())
                self._waiting += self._aside.due()
            if self._open and len(self._waiting) < BATCH:
                # The first image after a pause waits for no other.
                linger = self._pace.pause if self._pace.left else 0.0
                self._state.wait_for(lambda: not self._open or len(self._waiting) >= BATCH, linger)
                self._gather()
            uids: set[str] = set()
            while self._waiting and len(self._busy) < BATCH:
                uid = self._waiting[0].sop_instance_uid
                if uid in uids:
                    break  # a repeat is compared with what is committed: it opens the next batch
                uids.add(uid)
                self._busy.append(self._waiting.popleft())
            self._tell_backlog()
            self._state.notify_all()
            return bool(self._busy)

    def _patience(self) -> float | None:
        """How long to wait for arrivals before something else is to be looked at."""
        if self._runs.in_use:
            if self._looks:
                self._looks -= 1
                return LOOK_SECONDS
            return LINGER_SECONDS
        return self._aside.patience

    def _gather(self) -> int:
        """Take over what runs took; how many arrivals wait then."""
        self._waiting += gather(self._runs)
        return len(self._waiting)

    def _tell_backlog(self) -> None:
        self._runs.backlog = len(self._waiting) + len(self._busy)

    def _enter(self) -> bool:
        """Enter what is in hand, in ever smaller parts where one of it is at fault; False: the node stops."""
        size = len(self._busy)
        while self._busy:
            some = self._busy[:size]
            try:
                self._ready()
                entered = self._ingest.enter(some, self._routes)
            except Exception as error:  # noqa: BLE001  whatever it is, the arrivals are safe and stay in hand
                cause = fault_of_the_index(error)
                if cause:
                    self._fails(cause)
                    if not self._pause(_RETRY_SECONDS):
                        return False
                elif len(some) > 1:
                    size = len(some) // 2
                else:
                    self._put_aside(some[0], place(error))
                    size = 2
                continue
            size *= 2
            with self._state:
                self._following = True
                del self._busy[: len(some)]
                for arrival in some:
                    self._aside.entered(arrival)
            self._pace.ended(len(some))
            self._succeeds(len(some))
            try:
                self._follow(entered)
            finally:
                self._following = False
        return True

    def _follow(self, entered: Entered) -> None:
        """What a committed batch leads to."""
        for id_ in entered.absorbed:
            try:
                self._discard(id_)
            except OSError as error:
                log.warning("%s: its file could not be removed (%s)", id_, error.strerror)
        if entered.destinations:
            self._on_commit(entered.destinations)

    def _put_aside(self, arrival: Arrival, cause: str) -> None:
        """The index does not take this one: it stays in the spool, in sight."""
        with self._state:
            self._busy.remove(arrival)
            if not self._aside.add(arrival):
                return  # what was tried before says nothing new of the index
            log.error("%s: set aside, the index refused it (%s)", arrival.id, cause)
            self._in_a_row += 1
            if self._in_a_row >= _SYSTEMIC:
                self._fails(f"no image can be entered ({cause})")

    def _succeeds(self, number: int) -> None:
        self.written += number
        self._in_a_row = 0
        if self._failing:
            self._recovers()
        self._trouble.over("the index can be written again")

    def _fails(self, cause: str) -> None:
        """Nothing can be written: take nothing."""
        self._trouble.tell(f"the index cannot be written: {cause}; images are refused until it can")
        with self._state:
            self._failing = cause
            self._runs.close()
            self._state.notify_all()

    def _recovers(self) -> None:
        """Take images again."""
        with self._state:
            self._failing = ""
            if self._open:
                self._runs.open()
            self._state.notify_all()

    def _pause(self, seconds: float) -> bool:
        """Wait before the next try; whether there is to be one. Who stops goes on until his deadline."""
        with self._state:
            if self._open:
                self._state.wait_for(lambda: not self._open, seconds)
            else:
                self._state.wait(min(seconds, max(0.0, self._deadline - time.monotonic())))
            return self._open or time.monotonic() < self._deadline
