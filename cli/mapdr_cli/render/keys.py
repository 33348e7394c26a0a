"""Keys that are pressed on a terminal, one at a time and without Enter."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

TICK = 0.05
"""Seconds between two looks at a Windows console, which cannot be waited for."""


class Keys:
    """The keys of standard input; none where that is no terminal."""

    def __init__(self, *, there: bool) -> None:
        self._there = there

    def within(self, seconds: float) -> str:
        """The key that is pressed within so many seconds, "" for none; the pause is over with it."""
        if not self._there:
            time.sleep(seconds)
            return ""
        key = _within(seconds)
        self._there = key is not None
        return key or ""


@contextmanager
def keys() -> Iterator[Keys]:
    """The keys, while the block runs; the terminal is as it was afterwards."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield Keys(there=False)
        return
    with _unbuffered():
        yield Keys(there=True)


if sys.platform == "win32":
    import msvcrt

    @contextmanager
    def _unbuffered() -> Iterator[None]:
        """A console gives single keys as it is."""
        yield

    def _within(seconds: float) -> str | None:
        """The key, "" for none, None where there will be none any more."""
        end = time.monotonic() + seconds
        while not msvcrt.kbhit():
            if time.monotonic() >= end:
                return ""
            time.sleep(TICK)
        return msvcrt.getwch()

else:
    import os
    import select
    import termios
    import tty

    @contextmanager
    def _unbuffered() -> Iterator[None]:
        """Single keys, unseen; Ctrl-C stays what it is."""
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal)
        try:
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)

    def _within(seconds: float) -> str | None:
        """The key, "" for none, None where there will be none any more."""
        terminal = sys.stdin.fileno()
        if not select.select([terminal], [], [], seconds)[0]:
            return ""
        return os.read(terminal, 1).decode("latin-1") or None
