"""The HTTP server at rest: it wakes for nobody, and still says what time it is."""

from __future__ import annotations

import socket
import struct
import sys
import time
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

from mapdr.net.http import server
from mapdr.net.http.server import Limits, Message, Receive, Scope, Send, WebServer, connection_of
from mapdr.net.listen import listen
from mapdr.testing.wait import until


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"5"), (b"connection", b"close")]
    start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b"hello"})


class Counted(WebServer):
    """Counts the looks at its connections."""

    looks = 0

    def _date(self) -> None:
        self.looks += 1
        super()._date()

    def rest(self) -> int:
        """How many looks come in the time of thirty."""
        before = self.looks
        self._thread.join(30 * server.TICK)
        return self.looks - before


@pytest.mark.skipif(sys.platform != "linux", reason="what a reset leaves to be read differs")
def test_a_peer_that_is_gone_before_it_is_looked_at_has_its_address() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(connection_of(scope).address)
        await hello(scope, receive, send)

    listener = listen("127.0.0.1", 0)
    made = WebServer("web", app, listener, Limits(idle=5.0, request=5.0, waiting=9))
    with socket.create_connection(listener.getsockname()[:2]) as gone:
        gone.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end is a reset
    made.start()
    try:
        until(lambda: seen, 10, "the request")
    finally:
        assert made.stop(time.monotonic() + 5)
    assert seen == ["127.0.0.1"]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Counted, int]]:
    """A server that runs, and its port."""
    monkeypatch.setattr(server, "TICK", 0.01)
    listener = listen("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    made = Counted("web", hello, listener, Limits(idle=5.0, request=5.0, waiting=9))
    made.start()
    yield made, port
    assert made.stop(time.monotonic() + 5)


def test_without_a_connection_nothing_is_looked_at(served: tuple[Counted, int]) -> None:
    web, port = served
    assert web.rest() == 0
    with socket.create_connection(("127.0.0.1", port)):
        until(lambda: web.looks > 10, 10, "looks whether the connection is late")
    until(lambda: web.connections == 0, 10, "its end")
    until(lambda: web.rest() == 0, 10, "an end of the looks")


def test_after_a_rest_an_answer_has_the_time_of_now(served: tuple[Counted, int]) -> None:
    web, port = served
    web.rest()
    asked = time.time()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert answer.read() == b"hello"
        said = parsedate_to_datetime(answer.headers["date"]).timestamp()
    assert int(asked) <= said <= time.time()
