"""Starting and stopping: downstream first, upstream first.

A receiver that runs before its destinations would take images that nobody is there to move; a destination
that stops before its receivers would leave them behind. One rule for both, in one place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import Stage

log = logging.getLogger("mapdr.run")


class Lifecycle:
    """Parts in the order of the flow, upstream first, each with a name for the log."""

    def __init__(self, parts: Sequence[tuple[str, Stage]]) -> None:
        self._parts = list(parts)
        self._started: list[tuple[str, Stage]] = []
        self._lock = threading.Lock()  # between a part that is added and the end
        self._ended = False

    @property
    def parts(self) -> list[tuple[str, Stage]]:
        """Those that run, upstream first."""
        return list(self._started)

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
        """Stop every running part by `deadline` (time.monotonic()), upstream first; none is added any more.

        Safe twice.

        A part that fails to stop is logged and does not keep the others from stopping.
        """
        with self._lock:
            self._ended = True
            ending, self._started = self._started, []
        for name, part in ending:
            _stop(name, part, deadline)

    def add(self, name: str, part: Stage, *, before: str = "") -> None:
        """Start one more part, in its place: upstream of the part named `before`, or of all of them.

        Raises what the part raises, and ConfigurationError if all end; the part is stopped and forgotten
        then.
        """
        names = [known for known, _ in self._started]
        self._begin(names.index(before) if before in names else 0, name, part)

    def remove(self, part: Stage, deadline: float) -> None:
        """Stop one part, whatever it says to that, and forget it; one that does not run is ignored."""
        with self._lock:
            ending = [entry for entry in self._started if entry[1] is part]
            self._started = [entry for entry in self._started if entry[1] is not part]
        for name, known in ending:
            _stop(name, known, deadline)

    def replace(self, name: str, old: Stage, part: Stage, deadline: float) -> None:
        """Stop `old` and start `part` in its place. Raises like `add`; neither runs then."""
        index = next((i for i, (_, known) in enumerate(self._started) if known is old), len(self._started))
        self.remove(old, deadline)
        self._begin(index, name, part)

    def _begin(self, index: int, name: str, part: Stage) -> None:
        try:
            with self._lock:
                if self._ended:
                    raise ConfigurationError("the node ends")
                part.start()
                self._started.insert(index, (name, part))
        except BaseException:
            _stop(name, part, time.monotonic())  # it may have acquired something
            raise


def _stop(name: str, part: Stage, deadline: float) -> None:
    try:
        part.stop(deadline)
    except Exception as error:  # noqa: BLE001  said; the others have to be stopped as well
        log.error("%s could not be stopped: %s", name, in_words(error))
