"""The certificates that the peers of a receiver have shown, so that their ends can be warned about."""

from __future__ import annotations

import threading

from mapdr.kernel.certificate import Certificate

KEPT = 50
"""Systems whose last certificate is remembered."""


class ShownCertificates:
    """Thread-safe; the last one of each system."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Certificate] = {}

    def note(self, certificate: Certificate) -> None:
        """A peer has shown it."""
        with self._lock:
            self._known.pop(certificate.name, None)
            self._known[certificate.name] = certificate
            if len(self._known) > KEPT:
                del self._known[next(iter(self._known))]

    def ending_soon(self, now: float) -> list[Certificate]:
        """Those that end soon (seconds since the epoch)."""
        with self._lock:
            return [each for each in self._known.values() if each.ends_soon(now)]
