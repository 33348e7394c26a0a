"""Listening sockets that are not there, for tests of what takes a port."""

from __future__ import annotations

from collections.abc import Callable

ANY_PORT = 4104
"""What a listener has that asked for port 0."""


class Socket:
    """A listening socket, or a connection."""

    def __init__(self, host: str = "127.0.0.1", port: int = ANY_PORT) -> None:
        self.name = host, port
        self.closed = False
        self.copies: list[Socket] = []
        self.patience: float | None = None

    def getsockname(self) -> tuple[str, int]:
        if self.closed:
            raise OSError("closed")
        return self.name

    def dup(self) -> Socket:
        self.copies.append(Socket(*self.name))
        return self.copies[-1]

    def settimeout(self, seconds: float) -> None:
        self.patience = seconds

    def close(self) -> None:
        self.closed = True


class Ports:
    """What `listen` gives, and what was asked for; ports in `taken` cannot be had."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.taken: Callable[[str, int], bool] = lambda host, port: False

    def listen(self, host: str, port: int) -> Socket:
        self.asked.append((host, port))
        if self.taken(host, port):
            raise OSError(98, "in use")
        return Socket(host, port or ANY_PORT)
