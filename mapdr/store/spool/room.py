"""How full the disk is, in steps: the less is free, the less is kept and the less is taken.

    bytes free   low_free                                    min_free
    ────────────────┼────────────┼────────────┼────────────┼───────────┼──────▶ fewer
        enough      │    low     │  purging   │  no-bulk   │ stat-only │ full

The thresholds between lie a quarter of the way apart. A step is entered as soon as less is free than its
threshold, and left when half a step more is free than that: what is written and removed in the ordinary
course does not make it flap.
"""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

MEASURED_FOR = 0.5
"""Seconds for which one measurement of the free space serves."""


class DiskStep(IntEnum):
    """What is done about the disk: each does what those before it do, too."""

    ENOUGH = 0
    LOW = 1  # said
    PURGING = 2  # what was delivered goes before its time
    NO_BULK = 3  # bulk images are refused
    STAT_ONLY = 4  # all images but stat ones are refused
    FULL = 5  # all images are refused

    @property
    def word(self) -> str:
        """The step as events, status and JSON write it."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class DiskFigures:
    """The disk of the data folder: the step, bytes free and in all."""

    step: DiskStep
    free: int
    total: int

    @property
    def share(self) -> float:
        """The part of the disk that is free, 0 to 1."""
        return self.free / self.total if self.total else 0.0


def step_of(free: int, min_free: int, low_free: int) -> DiskStep:
    """The step for so many bytes free, without any memory of what was before."""
    span = max(0, low_free - min_free)
    return DiskStep(sum(free < min_free + span * quarter // 4 for quarter in range(5)))


def next_step(before: DiskStep, free: int, min_free: int, low_free: int) -> DiskStep:
    """The step after `before`: up at once, down only with half a step more than its threshold."""
    band = max((low_free - min_free) // 8, min_free // 32)
    up = step_of(free, min_free, low_free)
    return up if up >= before else min(before, step_of(free - band, min_free, low_free))


class Room:
    """Measures the free space of one disk. Thread-safe."""

    def __init__(self, data: Path, min_free: int, low_free: int) -> None:
        """`low_free` below `min_free` counts as `min_free`: there is nothing between enough and full then."""
        self._data = data
        self._lock = threading.Lock()
        self._kept = (-1, -1)
        self.keep(min_free, low_free)

    def keep(self, min_free: int, low_free: int) -> None:
        """Go by these from the next look on; where they are others, whatever the step was before."""
        wanted = (min_free, max(min_free, low_free))
        with self._lock:
            if wanted == self._kept:
                return
            self._kept = wanted
            self._measured = (float("-inf"), DiskFigures(DiskStep.ENOUGH, 0, 0))

    @property
    def min_free(self) -> int:
        """Bytes that stay free."""
        return self._kept[0]

    @property
    def figures(self) -> DiskFigures:
        """What was measured last."""
        return self._measured[1]

    def look(self, *, afresh: bool = False) -> DiskStep:
        """The step now; measured at most every MEASURED_FOR seconds, or `afresh`. Raises OSError.

        Who waits while another measures goes by that, unless it failed: a slow disk is not asked by each in
        turn.
        """
        if not self._kept[1]:
            return DiskStep.ENOUGH
        if not afresh and (recent := self._recent()) is not None:
            return recent
        with self._lock:
            if not afresh and (recent := self._recent()) is not None:
                return recent
            min_free, low_free = self._kept
            usage = shutil.disk_usage(self._data)
            step = next_step(self.figures.step, usage.free, min_free, low_free)
            self._measured = (time.monotonic(), DiskFigures(step, usage.free, usage.total))
        return step

    def _recent(self) -> DiskStep | None:
        """The step that was measured last, if that serves still."""
        measured_at, figures = self._measured
        return figures.step if time.monotonic() - measured_at <= MEASURED_FOR else None
