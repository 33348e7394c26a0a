"""Waiting in tests: poll with a deadline, never sleep and hope."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
MOST = 0.5
"""Seconds that one round counts: where the machine stands still, what is waited for does too."""


def until(predicate: Callable[[], T], seconds: float = 10.0, what: str = "the condition") -> T:
    """The first truthy answer of `predicate`. Raises AssertionError after `seconds`; a round of asking and
    pausing counts as MOST of them at most."""
    left, last = seconds, time.monotonic()
    pause = 0.001
    while True:
        answer = predicate()
        if answer:
            return answer
        now = time.monotonic()
        left, last = left - min(now - last, MOST), now
        if left < 0:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
