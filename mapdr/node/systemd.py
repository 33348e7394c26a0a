"""What a node tells systemd that runs it as a service with `Type=notify` (sd_notify(3), systemd.service(5)).

A line to a datagram socket that the environment names; without it nothing is told, and nothing here does
anything. No library: it would be one function.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Mapping

from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.privacy import in_words
from mapdr.kernel.watch import Watch

log = logging.getLogger("mapdr.node")

SPARE = 60.0
"""Seconds beyond those of its drain until systemd kills a node that ends."""


class Systemd:
    """The service manager that has started this process, if it was systemd."""

    def __init__(self, watch: Watch, environ: Mapping[str, str] = os.environ) -> None:
        self._watch = watch
        # "@" is how the environment writes the null byte of an abstract name.
        self._socket = environ.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        whose = environ.get("WATCHDOG_PID", str(os.getpid()))
        microseconds = environ.get("WATCHDOG_USEC", "")
        self._watchdog = (
            int(microseconds) / 1e6 if microseconds.isdigit() and whose == str(os.getpid()) else 0.0
        )
        self._ended = threading.Event()

    def ready(self) -> None:
        """The node runs; from now on the watchdog is fed twice as often as it asks for, up to `ended`."""
        self._tell("READY=1")
        if self._socket and self._watchdog:
            GuardedThread(
                self._feed, "systemd", goes_on=lambda: not self._ended.is_set(), watch=self._watch
            ).start()

    def stopping(self, seconds: float) -> None:
        """The node drains, and has so many seconds for it."""
        self._tell(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int((seconds + SPARE) * 1e6)}")

    def ended(self) -> None:
        """Nothing more is told. Safe twice."""
        self._ended.set()

    def _feed(self) -> None:
        while not self._ended.wait(self._watchdog / 2):
            self._tell("WATCHDOG=1")

    def _tell(self, lines: str) -> None:
        """Send to systemd; that it cannot be told ends no node."""
        if sys.platform == "win32" or not self._socket:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.connect(self._socket)
                sender.send(lines.encode("ascii"))
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", lines.partition("\n")[0], in_words(error))
