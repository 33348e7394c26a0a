"""What is told of a destination whose own program, its egress, raises instead of sending."""

from __future__ import annotations

import logging
import threading

from mapdr.kernel.guard import Trouble
from mapdr.kernel.privacy import in_words

log = logging.getLogger("mapdr.deliver")


class Faults:
    """Shared by the senders of one destination; thread-safe."""

    def __init__(self, destination: str) -> None:
        self._destination = destination
        self._lock = threading.Lock()
        self._troubles: dict[str, Trouble] = {}
        self.last = ""
        """What was raised since something was last sent, in words without values; empty if nothing."""

    def egress(self, error: Exception) -> None:
        """The egress raised: it may do so for every image, so that its line comes once a minute."""
        self.last = in_words(error, places=False)
        self._tell(f"sending failed by a fault of this destination's program ({self.last})")

    def sender(self, error: Exception) -> None:
        """A sender failed, nobody knows by whose fault."""
        self._tell(f"a sender failed: {in_words(error, places=False)}")

    def over(self) -> None:
        """Something was sent. In the log the trouble lasts: another image may meet it at once."""
        self.last = ""

    def _tell(self, text: str) -> None:
        with self._lock:
            trouble = self._troubles.setdefault(text, Trouble(log))
        trouble.tell(f"{self._destination}: {text}")
