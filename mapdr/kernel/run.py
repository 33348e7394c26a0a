"""Starting and stopping: downstream first, upstream first.

A receiver that runs before its destinations would take images that nobody is there to move; a destination
that stops before its receivers would leave them behind. One rule for both, in one place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from mapdr.kernel.stage import Stage

log = logging.getLogger("mapdr.run")


class Run:
    """Parts in the order of the flow, upstream first, each with a name for the log."""

    def __init__(self, parts: Sequence[tuple[str, Stage]]) -> None:
        self._parts = list(parts)
        self._started: list[tuple[str, Stage]] = []

    def start(self) -> None:
        """Start every part, downstream first. If one fails, those that run are stopped and it raises."""
        for name, part in reversed(self._parts):
            try:
                part.start()
            except BaseException:
                log.error("%s could not be started", name)
                self.stop(time.monotonic() + 5.0)
                raise
            self._started.insert(0, (name, part))

    def stop(self, deadline: float) -> None:
        """Stop every running part by `deadline` (time.monotonic()), upstream first. Safe twice.

        A part that fails to stop is logged and does not keep the others from stopping.
        """
        while self._started:
            name, part = self._started.pop(0)
            try:
                part.stop(deadline)
            except Exception as error:
                log.exception("%s could not be stopped (%s)", name, type(error).__name__)

    def add(self, name: str, part: Stage, *, upstream: bool) -> None:
        """Start one more part and keep it at the upstream or downstream end of those that run."""
        part.start()
        self._started.insert(0 if upstream else len(self._started), (name, part))

    def remove(self, name: str, deadline: float) -> None:
        """Stop one part and forget it; unknown names are ignored."""
        for entry in [entry for entry in self._started if entry[0] == name]:
            self._started.remove(entry)
            entry[1].stop(deadline)
