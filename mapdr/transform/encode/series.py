"""What becomes of the images of one series by `to = "auto"`: without loss all of them, or with loss.

The first image that tells is encoded without loss. The series goes without loss as long as its images so
far, together, meet the ratio; from the first one with which they would not, it goes with loss to its end. So
it changes over once at most (docs/decisions/0093).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mapdr.kernel.step import Memory, SeriesMemory
from mapdr.transform.encode.plan import Course

LIGHTEST = 0.5
"""Share of what the ratio allows an image that it counts for at least: slices of air do not make up for many
others."""
PATIENCE = 30.0
"""Seconds that an image waits for the first one of its series: that one may be large, or never end."""


@dataclass(slots=True)
class _Course:
    """Bytes of a series' images as native pixels, and what counts for them without loss; `is_lossy` is final.

    Of a series about which nothing is known both are 0.
    """

    native: float = 0.0
    encoded: float = 0.0
    is_lossy: bool = False

    @property
    def is_open(self) -> bool:
        """Whether no image has told yet."""
        return not self.is_lossy and not self.native


class SeriesCourses:
    """The courses of as many series as are kept. Thread-safe; shared by all images of a recipe."""

    def __init__(self, keep: int = 512) -> None:
        self._keep = keep
        self._courses: OrderedDict[Hashable, _Course] = OrderedDict()
        self._asked: set[Hashable] = set()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, key: Hashable) -> Iterator[None]:
        """While an image of the series `key` is encoded: of a series about which nothing is known one at a
        time, so that all others know what the first has told."""
        with self._changed:
            self._changed.wait_for(lambda: key not in self._asked or not self._of(key).is_open, PATIENCE)
            is_first = key not in self._asked and self._of(key).is_open
            if is_first:
                self._asked.add(key)
        try:
            yield
        finally:
            self._answered(key, is_first)

    def _answered(self, key: Hashable, is_first: bool) -> None:
        with self._changed:
            if is_first:
                self._asked.discard(key)
                self._changed.notify_all()

    def is_open(self, key: Hashable) -> bool:
        """Whether no image of the series has told yet."""
        with self._changed:
            return self._of(key).is_open

    def is_lossy(self, key: Hashable) -> bool:
        """Whether the series goes with loss."""
        with self._changed:
            return self._of(key).is_lossy

    def least_ratio(self, key: Hashable, native: int, ratio: float) -> float | None:
        """The ratio that an image of `native` bytes must reach without loss for its series to meet `ratio`
        with it; None where none would do."""
        with self._changed:
            course = self._of(key)
            left = (course.native + native) / ratio - course.encoded
        return native / left if left > 0 else None

    def note(self, key: Hashable, native: int, encoded: int | None, ratio: float) -> None:
        """Note an image of `native` bytes that took `encoded` bytes without loss; None for one with which its
        series would not meet `ratio`."""
        with self._changed:
            course = self._of(key)
            if encoded is None:
                course.is_lossy = True
            else:
                course.native += native
                course.encoded += max(encoded, LIGHTEST * native / ratio)
            self._courses[key] = course
            self._courses.move_to_end(key)
            while len(self._courses) > self._keep:
                self._courses.popitem(last=False)
            self._changed.notify_all()

    def _of(self, key: Hashable) -> _Course:
        return self._courses.get(key) or _Course()


def of_series(memory: Memory, method: str, cells: Sequence[int]) -> Iterator[float | None]:
    """The ratios that other images of a series, of such `cells`, have reached without loss by a method, as it
    was kept; None for one that went with loss."""
    for facts in memory.of_series() if isinstance(memory, SeriesMemory) else ():
        if facts.get("method") != method or facts.get("cells") != list(cells):
            continue
        if facts.get("course") == Course.LOSSY:
            yield None
        elif facts.get("course") == Course.LOSSLESS and not facts.get("reason"):
            yield float(facts.get("ratio", 1))
