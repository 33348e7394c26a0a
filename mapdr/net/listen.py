"""Where a receiver listens: the socket, the wait for connections, and whether its host is of this machine."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Iterator

from mapdr.kernel.address import own_host
from mapdr.kernel.finding import Finding

BACKLOG = 128
"""Connections that wait to be accepted."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at `host` (empty: everywhere) and `port` (0: any free one). Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # On Windows SO_REUSEADDR would let another program take the port over.
        exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
        option = socket.SO_REUSEADDR if exclusive is None or os.name != "nt" else exclusive
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


class Connections:
    """Waits for connections at a listening socket. `wait` is for one thread, `wake` for any.

    It is woken by a byte to a socket of its own: on Windows nothing else ends a wait for sockets.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        for one in (self._woken, self._waker):
            one.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def wait(self, seconds: float | None) -> None:
        """Come back when a connection waits, after `seconds` (None: never), or when woken.

        That none is there to be accepted then is possible: another who shares the socket may have it.
        """
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(64)

    def wake(self) -> None:
        """End the wait, or the next one. Safe after `close`."""
        with contextlib.suppress(OSError):  # full: then it is woken already
            self._waker.send(b"\0")

    def close(self) -> None:
        """Give back what it waits with, not the listener. Once nobody waits; safe twice."""
        self._selector.close()
        self._woken.close()
        self._waker.close()


def host_faults(host: str) -> Iterator[Finding]:
    """Whether nothing can listen at `host` here, at the key `host`."""
    if host and not any(own_host(address) for address in _addresses(host)):
        what = "is not an address of this machine"
        yield Finding(("host",), what, 'write one of its own, or "0.0.0.0" for all of them')


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()
