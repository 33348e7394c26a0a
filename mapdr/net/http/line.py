"""What an HTTP client reads from its connection: within a time as a whole, and only after it has asked.

httpx bounds each read alone: a server that sends a byte now and then, or `100 Continue` without end, would
keep a thread for ever. And it takes what a server has sent beyond its last answer for the answer to the next
request.
"""

from __future__ import annotations

import ssl
import time
from typing import Any

import httpcore
import httpx


class Line:
    """The connection of one client, over all of its requests. For one thread."""

    def __init__(self) -> None:
        self.heard = False
        """Whether anything was read since `ask`."""
        self._until = time.monotonic()

    def ask(self, seconds: float) -> None:
        """A request begins; `seconds` as for `expect`."""
        self.heard = False
        self.expect(seconds)

    def expect(self, seconds: float) -> None:
        """What is read from now on has to come within so many seconds, all together."""
        self._until = time.monotonic() + seconds

    def left(self, timeout: float | None) -> float | None:
        """Seconds for the next read. Raises httpcore.ReadTimeout if there are none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout
        return left if timeout is None else min(left, timeout)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, line: Line) -> None:
        self._stream = stream
        self._line = line

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, self._line.left(timeout))
        self._line.heard = True
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            self._stream.write(buffer, timeout)
        except httpcore.WriteError:
            # httpcore reads the answer now that a server may have given before it hung up.
            self._line.expect(timeout or 0.0)
            raise

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._line)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def __init__(self, line: Line) -> None:
        self._line = line

    def connect_tcp(self, *args: Any, **keys: Any) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(*args, **keys), self._line)


def transport(line: Line, **keys: Any) -> httpx.HTTPTransport:
    """A transport of httpx, made from `keys`, whose connections are read by `line`."""
    made = httpx.HTTPTransport(**keys)
    # httpx has no other way to say so; tests/net/http/test_client.py fails where this one has no effect.
    made._pool._network_backend = _Backend(line)
    return made
