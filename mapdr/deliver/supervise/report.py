"""What is told of one destination: events and counters for those who watch, each attempt for the log."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable

from mapdr.deliver.send.breaker import BreakerState, BreakerView
from mapdr.deliver.settle.queue import Result
from mapdr.kernel.status import code, to_facts
from mapdr.kernel.watch import Watch
from mapdr.store.queue.settle import Settlement

log = logging.getLogger("mapdr.deliver")


class Report:
    """Thread-safe."""

    def __init__(self, destination: str, watch: Watch) -> None:
        self._destination = destination
        self._watch = watch

    def breaker_changed(self, before: BreakerView, after: BreakerView) -> None:
        """The destination begins to wait, waits for another reason, or takes images again."""
        if after.state is BreakerState.CLOSED:
            seconds = round(time.time() - before.since, 1) if before.since is not None else 0.0
            self._watch.emit("destination.back", destination=self._destination, seconds=seconds)
        elif (after.reason, after.status) != (before.reason, before.status):
            facts: dict[str, object] = {"destination": self._destination, "reason": after.reason}
            # With a status the comment is the receiver's, and may quote a value of the image.
            facts |= {"comment": after.comment} if after.status is None else to_facts(after.status)
            self._watch.emit("destination.waits", **facts)

    def written(self, results: Iterable[Result]) -> None:
        """These rows were written into the ledger."""
        settled = [row for row in results if isinstance(row, Settlement)]
        self._tell_parked(settled)
        self._tell_unmet(settled)
        if log.isEnabledFor(logging.DEBUG):
            for row in settled:
                self._log_attempt(row)

    def _tell_parked(self, settled: list[Settlement]) -> None:
        parked = Counter((row.reason, row.status) for row in settled if row.state == "parked")
        for (reason, status), images in parked.items():
            self._watch.emit(
                "images.parked",
                destination=self._destination,
                reason=reason,
                **to_facts(status),
                images=images,
            )

    def _tell_unmet(self, settled: list[Settlement]) -> None:
        """Images that arrived, but not as their rule wanted: the client pays for the longer line."""
        images = sum(1 for row in settled if row.state == "delivered" and row.reason)
        if images:
            self._watch.count(f"deliver.{self._destination}.uncompressed", images)
            self._watch.emit("images.uncompressed", destination=self._destination, images=images)

    def _log_attempt(self, row: Settlement) -> None:
        log.debug(
            "%s: delivery %d: %s%s, %s, %d bytes in %d ms",
            self._destination,
            row.delivery_id,
            row.state,
            f" ({row.reason})" if row.reason else "",
            "no status" if row.status is None else f"status {code(row.status)}",
            row.bytes,
            row.milliseconds,
        )
