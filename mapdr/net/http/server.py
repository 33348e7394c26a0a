"""An ASGI application on a socket that listens, in a thread of its own: uvicorn's HTTP/1.1, and its bounds.

Connections are accepted here and not by uvicorn's own server, so that a handshake that fails has an address,
one socket may be shared by two servers during a reload, and a peer that asks for nothing, or sends its
request a byte at a time, is cut off while all others are served. An application finds the connection of a
request by `connection_of`.

uvicorn's loggers are silent: what it would say quotes the peer; what is to be known is told by `on_refused`
and by the application.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from typing import Any, Protocol, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from mapdr.kernel import tls_words
from mapdr.kernel.address import peer_address
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.privacy import in_words, system_says
from mapdr.kernel.watch import Watch

log = logging.getLogger("mapdr.http")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LONGEST_HEAD = 32768
"""Bytes of a request's line and headers."""
_STEP = 8192
HANDSHAKE = 15.0
"""Seconds for a TLS handshake."""
TICK = 0.25
"""Seconds between two looks for connections that are late, while there are any."""
LATE = 10.0
"""Seconds beyond `Limits.request` after which a request is cut: the application has answered by then."""
LINGER = 5.0
"""Seconds for which the rest of a request is read over, once it has been answered ..."""
LINGER_BYTES = 64 << 20
"""... and bytes: a peer that sends without listening has its answer then, and not a broken connection."""

NOT_HTTP = "rejected: it sends what is no request of HTTP"
_BEGINNINGS = {
    b"\x16\x03": f"rejected: {tls_words.SPEAKS_TLS}",
    b"\x01\x00": "rejected: it speaks DICOM (DIMSE) at a port for HTTP",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """`idle` and `request` are seconds: for a request's head to come, and for a request as a whole.

    `waiting` is how many connections may be open without a request, or with one that has been answered: of
    more, the oldest of the address that holds most are closed.
    """

    idle: float
    request: float
    waiting: int


class _Peer(Protocol):
    address: str
    since: float

    def cut(self) -> None: ...


class Connection(H11Protocol):
    """One connection. `certificate` is the one that the peer has shown, in DER form, `broken` says that the
    body of the request ends here because what follows is no HTTP, or because the peer has closed,
    `answered` that only the rest of it is still read over."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, on_refused: Callable[[str, str], None], address: str
    ) -> None:
        """`address` as it was when the connection was accepted: one that was reset since has none."""
        super().__init__(config, state, {"connection": self})
        self.address = address
        self.certificate = b""
        self.broken = False
        self.answered = False
        self.since = time.monotonic()
        self._on_refused = on_refused
        self._begun = b""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self.certificate = (tls.getpeercert(binary_form=True) or b"") if tls is not None else b""

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._begun = self._begun or data[:2]
        # A step at a time, so that a head is found to be too long however much of it comes at once.
        while len(data) > _STEP and self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            super().data_received(data[:_STEP])
            data = data[_STEP:]
        if not self.broken and not self.transport.is_closing():  # otherwise nothing that follows can be read
            super().data_received(data)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """See `asyncio.Protocol`: a peer that has sent all may still wait for the answer."""
        if not self.busy or self.scheme == "https":
            return None
        self.cycle.keep_alive = False
        if self.cycle.more_body:
            self.data_received(b"")
        return True

    def handle_events(self) -> None:
        """See `H11Protocol`; a new request begins its time."""
        known = self.cycle
        super().handle_events()
        if self.cycle is not known:
            self.since = time.monotonic()
            self.answered = False

    def on_response_complete(self) -> None:
        """See `H11Protocol`."""
        super().on_response_complete()
        if not self.busy:
            self.since = time.monotonic()

    def send_400_response(self, msg: str) -> None:
        """See `H11Protocol`: the bytes are no HTTP. A request that is being answered ends with them."""
        if self.busy:
            self.broken = True
            self.cycle.more_body = False
            self.cycle.message_event.set()
            return
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        words = "the request's headers are too long" if status == 431 else "this is no request of HTTP/1.1"
        if status != 431:
            self._on_refused(self.address, _BEGINNINGS.get(self._begun, NOT_HTTP))
        self._refuse(status, words)

    def late(self, now: float, limits: Limits) -> bool:
        """Whether it has been waited for long enough."""
        return now - self.since > (limits.request + LATE if self.busy else limits.idle)

    def cut(self) -> None:
        """End it: with a word if a request has begun and did not come, at once if it is being answered."""
        if not self.busy and self._begun and self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse(408, "the request did not come in time")
        else:
            self.transport.abort()

    def end(self) -> None:
        """End it after the request that is being answered."""
        if self.busy:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _refuse(self, status: int, words: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        body = words.encode("ascii") + b"\n"
        headers = [
            ("content-type", "text/plain"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        answer = (
            h11.Response(status_code=status, headers=headers, reason=b""),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in answer))
        self.transport.close()


class _Arriving:
    """A connection that was accepted and has not finished its TLS handshake, which `task` makes."""

    def __init__(self, address: str, task: asyncio.Task[None]) -> None:
        self.address = address
        self.since = time.monotonic()
        self.task = task

    def cut(self) -> None:
        """End it."""
        self.task.cancel()


class WebServer:
    """Serves `app` on `listener` from `start` to `stop`, which closes it; `tls` is asked for each connection.

    `on_refused(address, cause)` hears of peers that came no further than their first bytes; it is called in
    the server's thread.
    """

    def __init__(
        self,
        name: str,
        app: App,
        listener: socket.socket,
        limits: Limits,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        on_refused: Callable[[str, str], None] = lambda address, cause: None,
        watch: Watch | None = None,
    ) -> None:
        self._name = name
        self._listener = listener
        self._limits = limits
        self._tls = tls
        self._on_refused = on_refused
        self._state = ServerState()
        self._arriving: dict[asyncio.Task[None], _Arriving] = {}
        self._config = uvicorn.Config(
            Lingering(app),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,  # whoever is not the peer may write X-Forwarded-For
            server_header=False,
            timeout_keep_alive=int(limits.idle) + 60,  # `Connection.late` comes first
            h11_max_incomplete_event_size=LONGEST_HEAD,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._busy = asyncio.Event()
        self.stopping = False
        self._thread = GuardedThread(self._run, name, goes_on=lambda: not self.stopping, watch=watch)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._state.connections)

    def start(self) -> None:
        """Accept connections from now on."""
        self._config.load()
        self._listener.setblocking(False)
        self._thread.start()

    def stop(self, deadline: float) -> bool:
        """Accept no more; let requests that are under way be answered; at `deadline`, end all.

        Whether all have ended: the application may be held up by what it waits for.
        """
        self.stopping = True
        if not self._thread.is_alive():
            self._listener.close()
            return True
        self._in_loop(lambda: self._ending.set() if self._ending else None)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._in_loop(self._abort)
            self._thread.join(1.0)
        return not self._thread.is_alive()

    def _in_loop(self, what: Callable[[], None]) -> None:
        loop = self._loop
        try:
            if loop is not None:
                loop.call_soon_threadsafe(what)
        except RuntimeError:  # it has just ended by itself
            return

    def _abort(self) -> None:
        for connection in self._connections():
            connection.transport.abort()

    def _connections(self) -> list[Connection]:
        return [cast(Connection, each) for each in self._state.connections]

    def _run(self) -> None:
        # The same loop on every system: that of Windows cannot share a listening socket.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._state = ServerState()
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._failed)
        self._ending = asyncio.Event()
        self._busy = asyncio.Event()
        if self.stopping:
            self._ending.set()
        tasks = [asyncio.create_task(self._accept()), asyncio.create_task(self._keep_house())]
        await self._ending.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()
        for arriving in list(self._arriving.values()):
            arriving.cut()
        for connection in self._connections():
            connection.end()
        while self._state.connections or self._state.tasks or self._arriving:
            await asyncio.sleep(0.02)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        what = in_words(error) if isinstance(error, Exception) else "something was left undone"
        log.error("%s: a connection failed: %s", self._name, what)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        trouble = Trouble(log)
        while True:
            try:
                sock, peer = await loop.sock_accept(self._listener)
            except OSError as error:
                trouble.tell(f"{self._name}: cannot accept a connection: {system_says(error)}")
                await asyncio.sleep(1.0)
                continue
            address = str(peer_address(peer[0]))
            self._date()
            self._busy.set()
            task = asyncio.create_task(self._admit(sock, address))
            self._arriving[task] = _Arriving(address, task)
            task.add_done_callback(partial(self._arrived, sock))
            await asyncio.sleep(0)  # others are served between two of many that come at once
            self._make_room()

    def _arrived(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        del self._arriving[task]
        if task.cancelled():
            sock.close()

    async def _admit(self, sock: socket.socket, address: str) -> None:
        times: dict[str, Any] = {"ssl_handshake_timeout": HANDSHAKE, "ssl_shutdown_timeout": 2.0}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._config, self._state, self._on_refused, address),
                sock,
                ssl=self._tls() if self._tls else None,
                **(times if self._tls else {}),
            )
        except ssl.SSLError as error:
            self._on_refused(address, f"rejected: {tls_words.of_client(error)}")
        except OSError as error:
            log.debug("%s: %s: lost before its request (%s)", self._name, address, in_words(error))

    def _make_room(self) -> None:
        """Where too many wait without a request, cut the oldest of the address that holds most of them."""
        waiting: list[_Peer] = [each for each in self._arriving.values() if not each.task.cancelling()]
        open_ = [each for each in self._connections() if not each.transport.is_closing()]
        waiting += [each for each in open_ if each.answered or not each.busy]
        if len(waiting) <= self._limits.waiting:
            return
        held = Counter(each.address for each in waiting)
        most = max(held.values())
        min((each for each in waiting if held[each.address] == most), key=lambda each: each.since).cut()

    async def _keep_house(self) -> None:
        while True:
            if not self._state.connections and not self._arriving:
                self._busy.clear()
                await self._busy.wait()
            now = time.monotonic()
            self._date()
            for connection in self._connections():
                if connection.late(now, self._limits):
                    connection.cut()
            await asyncio.sleep(TICK)

    def _date(self) -> None:
        """What answers say of the time."""
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]


class Lingering:
    """An application whose answers reach peers that are still sending: what is left of the request is read
    over for a while before the connection closes (RFC 9112, section 9.6). It also answers for `app` if that
    fails, and refuses a request of two lengths (section 6.3)."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        exchange = _Exchange(scope, receive, send)
        names = exchange.names
        if b"content-length" in names and b"transfer-encoding" in names:
            await exchange.answer(400, "the request has a Content-Length and a Transfer-Encoding: send one")
            return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001  a fault of ours costs this request, and only this one
            log.error("a request could not be answered: %s", in_words(error))
            await exchange.answer(500, "internal error")


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        self.names = headers.keys()
        self._ended = b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0"
        self._waits = b"expect" in headers
        self._started = False
        self._receive = receive
        self._send = send
        self._connection = connection_of(scope)

    async def receive(self) -> Message:
        """The next message of the request."""
        self._waits = False  # who waits for "100 Continue" has it now
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._ended = True
        return message

    async def send(self, message: Message) -> None:
        """The next message of the answer."""
        if message["type"] == "http.response.start":
            self._started = True
            if not self._ended:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        elif not message.get("more_body", False) and not self._ended and not self._waits:
            await self._send({**message, "more_body": True})
            await self._read_over()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def answer(self, status: int, words: str) -> None:
        """Words for a person, unless the answer has begun."""
        if self._started:
            return
        body = words.encode("ascii") + b"\n"
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def _read_over(self) -> None:
        self._connection.answered = True
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER):
                while left > 0 and not self._ended:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


def connection_of(scope: Scope) -> Connection:
    """The connection that a request came over."""
    connection: Connection = scope["state"]["connection"]
    return connection
