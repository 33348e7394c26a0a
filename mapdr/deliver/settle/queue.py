"""Writes into the ledger what became of rows: many in a transaction, none kept in memory for long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mapdr.deliver.backoff import Backoff
from mapdr.kernel.errors import LocalProtocolError
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.pace import Pace
from mapdr.kernel.privacy import in_words
from mapdr.kernel.watch import Watch
from mapdr.store.queue.settle import Settlement

log = logging.getLogger("mapdr.deliver")

ROWS = 256
"""So many waiting rows are written at once ..."""

SECONDS = 0.05
"""... and none waits longer than this for others ..."""

LONGEST = 0.35
"""... nor than this while the processors are busy."""

LARGEST = 1000
"""The most rows in one transaction, so that the intake's writer need not wait long for its turn."""

BACKLOG = 2000
"""More rows than this that could not be written hold up the senders: what is sent must be recorded."""


@dataclass(frozen=True, slots=True)
class Return:
    """A leased row that was not tried."""

    delivery_id: int


Result = Settlement | Return


class SettlingLedger(Protocol):
    """The part of the ledger that is needed here."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Write how attempts ended, in one transaction."""

    def give_back(self, delivery_ids: Iterable[int]) -> None:
        """Leased rows that were not tried become pending again."""


class SettlementQueue:
    """Writes settlements from a thread of its own; tries again until the ledger takes them.

    `on_written` is told the rows of each transaction after its commit.
    """

    def __init__(
        self,
        name: str,
        ledger: SettlingLedger,
        on_written: Callable[[list[Result]], None],
        watch: Watch | None = None,
    ) -> None:
        self._name = name
        self._ledger = ledger
        self._on_written = on_written
        self._watch = watch
        self._changed = threading.Condition()
        self._waiting: list[Result] = []
        self._closing: float | None = None
        self._pace = Pace(SECONDS, LONGEST, rows=ROWS)
        self._thread: threading.Thread | None = None
        self._backoff = Backoff(first=0.1, factor=2.0, cap=5.0)
        self._trouble = Trouble(log)

    def start(self) -> None:
        """Begin to write."""
        # Rows leave `_waiting` only when they are written: called again, it goes on with them.
        self._thread = GuardedThread(
            self._run, f"settle-{self._name}", goes_on=lambda: True, watch=self._watch
        )
        self._thread.start()

    def put(self, results: Sequence[Result]) -> None:
        """Hand over rows; waits while the ledger is far behind, unless it is closing."""
        with self._changed:
            while len(self._waiting) >= BACKLOG and self._closing is None:
                self._changed.wait(1.0)
            before = len(self._waiting)
            self._waiting += results
            if before == 0 or before < ROWS <= len(self._waiting):
                self._changed.notify_all()

    def stop(self, deadline: float) -> bool:
        """Write what is left and end; whether all was written by `deadline`. Safe twice, and before start."""
        with self._changed:
            self._closing = deadline
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()) + 1.0)
        return not self._waiting

    def _run(self) -> None:
        while rows := self._next():
            if not self._write(rows):
                return
            with self._changed:
                del self._waiting[: len(rows)]
                self._changed.notify_all()
            try:
                self._on_written(rows)
            except Exception as error:  # noqa: BLE001  they are written: whoever watches cannot stop the next
                log.error("%s: results could not be told: %s", self._name, in_words(error, places=False))

    def _next(self) -> list[Result]:
        """The rows of the next transaction; they stay in `_waiting` until they are safe. Empty at the end."""
        with self._changed:
            while not self._waiting and self._closing is None:
                self._changed.wait()
            # Counted from the last write: a lone answer is written at once.
            while len(self._waiting) < ROWS and self._closing is None:
                left = self._pace.left
                if not left:
                    break
                self._changed.wait(left)
            return self._waiting[:LARGEST]

    def _write(self, rows: list[Result]) -> bool:
        returned = [row.delivery_id for row in rows if isinstance(row, Return)]
        settled = [row for row in rows if isinstance(row, Settlement)]
        failures = 0
        while returned or settled:
            try:
                if returned:
                    self._ledger.give_back(returned)
                    returned = []
                self._settle(settled)
                settled = []
            except Exception as error:  # noqa: BLE001  shown, and tried again until the ledger takes it
                failures += 1
                self._trouble.tell(
                    f"{self._name}: results not written: {in_words(error, places=False)}; trying again"
                )
                if not self._pause(self._backoff.delay(failures)):
                    return False
        self._pace.ended(len(rows))
        self._trouble.over()
        return True

    def _settle(self, rows: list[Settlement]) -> None:
        try:
            self._ledger.settle(rows)
        except LocalProtocolError:
            if len(rows) == 1:
                # Its row is gone: there is nothing left to be told about.
                log.error("%s: delivery %d cannot be settled", self._name, rows[0].delivery_id)
                return
            for row in rows:
                self._settle([row])

    def _pause(self, seconds: float) -> bool:
        """Wait; whether there is time for another try."""
        with self._changed:
            if self._closing is None:
                self._changed.wait(seconds)
            else:
                # Nobody notifies a closing queue, so this is a plain pause.
                self._changed.wait(min(seconds, max(0.0, self._closing - time.monotonic())))
            return self._closing is None or time.monotonic() < self._closing
