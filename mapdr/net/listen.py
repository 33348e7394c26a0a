"""Where a receiver listens: the socket, and whether its host is one of this machine."""

from __future__ import annotations

import os
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
