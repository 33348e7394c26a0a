"""Keeps what transforms have found of images, before these are sent: of many images in one transaction.

A commit of its own for each image costs the interpreter's lock as much as all else that is done for one, and
threads that encode would queue on the index for it. So a thread of its own writes what has come together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mapdr.kernel.pace import Pace
from mapdr.kernel.step import Memory, SeriesMemory
from mapdr.store.index.fault import fault_of_the_index

SECONDS = 0.1
"""How long facts wait for those of other images, counted from the last write: a lone image waits for none."""

LONGEST = 0.35
"""As much while the processors are busy ..."""

ROWS = 16
"""... but not as long as more images than this would take: their payloads are held meanwhile."""

Facts = Mapping[str, Any]
Kept = Sequence[tuple[Any, Facts]]
"""Facts, and before them the memory that they are for."""
Then = Callable[[Exception | None], None]


class Noted:
    """Implements `mapdr.kernel.step.Memory` for one preparation: what is kept is noted here, and to be
    written before the payload is handed out."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.facts: Facts | None = None

    def recall(self) -> Facts | None:
        """What was kept last, here or before."""
        return self.memory.recall() if self.facts is None else self.facts

    def of_series(self) -> Sequence[Facts]:
        """What was kept of other images of the series, where that is known."""
        return self.memory.of_series() if isinstance(self.memory, SeriesMemory) else ()

    def keep(self, facts: Facts) -> None:
        """Note them."""
        self.facts = facts


@dataclass(frozen=True, slots=True)
class _Waiting:
    memory: Memory
    facts: Facts
    then: Then


class FactsWriter:
    """Writes facts by `write`, which raises if none of what it was given is safe. Thread-safe."""

    def __init__(self, write: Callable[[Kept], None]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._closing = False
        self._at_once = threading.Event()
        self._pace = Pace(SECONDS, LONGEST, rows=ROWS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="facts")

    def now(self, noted: Noted) -> None:
        """Write what was noted, if anything was. Raises what `write` does."""
        if noted.facts is not None:
            self._write([(noted.memory, noted.facts)])

    def soon(self, noted: Noted, then: Then, *, last: bool = False) -> None:
        """Have what was noted written, and call `then` with what `write` has raised for it, or with None.

        `last`: no other image is at work, whose facts it might wait for. Where nothing was noted, `then` is
        called at once; with CancelledError where it is closed first. Raises RuntimeError once it is closed.
        """
        if noted.facts is None:
            then(None)
            if last:
                self._hurry()
            return
        with self._lock:
            if self._closing:
                raise RuntimeError("nothing is written any more")
            self._waiting.append(_Waiting(noted.memory, noted.facts, then))
            if last:
                self._at_once.set()
            if len(self._waiting) > 1:
                return  # who came first has the thread write
            try:
                self._thread.submit(self._gathered)
            except RuntimeError:
                self._waiting.clear()
                raise

    def close(self) -> None:
        """Begin to write no more; what waits is not handed out."""
        with self._lock:
            self._closing = True
            waiting, self._waiting = self._waiting, []
        self._at_once.set()
        self._thread.shutdown(wait=False, cancel_futures=True)
        _tell(waiting, CancelledError())

    def _hurry(self) -> None:
        with self._lock:
            if self._waiting:
                self._at_once.set()

    def _gathered(self) -> None:
        self._at_once.wait(self._pace.left)
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._at_once.clear()
        if waiting:
            self._written(waiting)
        self._pace.ended(len(waiting))

    def _written(self, waiting: Sequence[_Waiting]) -> None:
        if self._closing:
            _tell(waiting, CancelledError())
            return
        try:
            self._write([(each.memory, each.facts) for each in waiting])
        except Exception as error:  # noqa: BLE001  told to who asked for it
            if len(waiting) == 1 or fault_of_the_index(error):
                _tell(waiting, error)
                return
            for each in waiting:  # it may be by one of them
                self._written([each])
            return
        _tell(waiting, None)


def _tell(waiting: Sequence[_Waiting], error: Exception | None) -> None:
    for each in waiting:
        each.then(error)
