"""TLS contexts that follow their files: a certificate is renewed without a restart.

A connection keeps the context that it was made with. So a new one is made when a file has changed, and no
association notices. Files that do not work, such as a new certificate that is there before its key, leave the
old context in use, and that is said until they do.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mapdr.kernel.certificate import Certificate
from mapdr.kernel.errors import ConfigurationError
from mapdr.net.tls import ClientTls, ServerTls, certificates

log = logging.getLogger("mapdr.tls")

LOOK_EVERY = 1.0
"""Seconds between two looks at the files."""

_Stamp = tuple[tuple[int, int, int] | None, ...]


class RenewingTls:
    """The context of one stage; thread-safe. Raises ConfigurationError if the files cannot be used now."""

    def __init__(
        self, stage: str, tls: ClientTls | ServerTls, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`stage` is how the log names it, such as "receive.modalities"."""
        self._stage = stage
        self._tls = tls
        self._clock = clock
        self._files = [path for path in (tls.cert, tls.key, tls.ca) if path is not None]
        self._lock = threading.Lock()
        self._trouble = ""
        self._seen = self._stamp()
        self._context = tls.context()
        self._certificates = tuple(certificates(tls))
        self._looked_at = clock()

    @property
    def trouble(self) -> str:
        """Why the changed files are not in use; empty if what is on disk is."""
        return self._trouble

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificates in use."""
        return self._certificates

    def context(self) -> ssl.SSLContext:
        """The context for a new connection."""
        self.look()
        return self._context

    def look(self) -> None:
        """Take changed files into use, if they can be; at most every LOOK_EVERY seconds."""
        if self._clock() - self._looked_at < LOOK_EVERY or not self._lock.acquire(blocking=False):
            return
        try:
            self._looked_at = self._clock()
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._renew()
        finally:
            self._lock.release()

    def _renew(self) -> None:
        try:
            context = self._tls.context()
        except ConfigurationError as error:
            self._trouble = f"{error}; the certificate from before stays in use"
            log.error("%s: changed TLS files are not taken into use: %s", self._stage, self._trouble)
            return
        self._context, self._certificates, self._trouble = context, tuple(certificates(self._tls)), ""
        log.info("%s: changed TLS files are in use", self._stage)

    def _stamp(self) -> _Stamp:
        """By which a changed file is known; a file that is replaced is another one."""
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
