"""Waiting in tests: poll with a deadline, never sleep and hope."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(predicate: Callable[[], T], seconds: float = 10.0, what: str = "the condition") -> T:
    """The first truthy answer of `predicate`. Raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
