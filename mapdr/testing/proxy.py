"""A bad network for tests: a TCP proxy on loopback that cuts, holds back and splits what passes through it.

`with Proxy(receiver.port, plan) as proxy: ... proxy.port`. A plan says what each connection meets, its
*fate*, by the connection's number: the same plan does the same at the same byte every time. `seeded` makes
one by chance.

One thread moves the bytes of all connections; it never waits for a peer that does not read.
"""

from __future__ import annotations

import errno
import os
import random
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import TracebackType

READ = 1 << 16
"""The most bytes of one read."""

BUFFERED = 1 << 20
"""The most bytes that are kept of one direction while they may not pass, or nobody reads them."""

PIECES = 64
"""So many writes of one connection at a time, before the others have their turn."""

NO_LINGER = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
"""Option SO_LINGER by which a close is a reset; its numbers are short ones on Windows."""

UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0))
"""What connecting without waiting says if nothing is wrong."""


class What(StrEnum):
    """What a connection meets."""

    NOTHING = "nothing"
    FIN = "fin"
    """Both ends are closed in order, as by a program that ends."""
    RESET = "reset"
    """Both ends are reset, as by a firewall that has forgotten the connection."""
    HALF_CLOSE = "half-close"
    """The end of the stream is told in the fate's direction; the other direction goes on."""
    STALL = "stall"
    """Nothing more passes in the fate's direction, for its seconds or until `Proxy.release`."""
    SWALLOW = "swallow"
    """The bytes pass; the first that comes back after them does not: both ends are reset in its place. Who
    sent them cannot know whether they have arrived."""
    DEAF = "deaf"
    """The connection is accepted, and leads nowhere."""


class Way(Enum):
    """Up: from who has called to who is called; down: back."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Fate:
    """`what` a connection meets when `after` bytes have passed in the direction `way`.

    `seconds` is how long a stall lasts, 0 for until it is released. `piece`: no write is longer, both ways
    (0: any length).
    """

    what: What = What.NOTHING
    way: Way = Way.UP
    after: int = 0
    seconds: float = 0.0
    piece: int = 0


CLEAN = Fate()

Plan = Callable[[int], Fate]
"""The fate of a connection by its number, from 0."""


def clean(number: int) -> Fate:
    """A good network."""
    return CLEAN


def seeded(
    seed: object,
    *,
    troubled: int,
    upto: int,
    whats: Sequence[What] = tuple(What),
    pieces: Sequence[int] = (0, 0, 0, 1460, 100, 7),
    share: float = 1.0,
) -> Plan:
    """A plan by chance: of the first `troubled` connections a `share` meets something, the others are clean.

    `upto` is the most bytes that pass before, in either direction; half of them are much fewer, so that
    what is small is cut, too. The fate of a connection hangs on `seed` and its number alone.
    """

    def fate(number: int) -> Fate:
        chance = random.Random(f"{seed}/{number}")
        if number >= troubled or chance.random() >= share:
            return CLEAN
        what, way = chance.choice(whats), chance.choice(list(Way))
        after = chance.randrange(upto + 1) if chance.random() < 0.5 else chance.randrange(min(upto, 1500) + 1)
        seconds = chance.choice((0.0, 0.05, 0.3))
        return Fate(what, way, after, seconds, chance.choice(pieces))

    return fate


@dataclass
class _Flow:
    """One direction of a connection: what was read of `source` and not yet written to `sink`."""

    source: socket.socket
    sink: socket.socket
    limit: int | None = None
    """So many bytes may pass at present; None: all."""
    held_until: float | None = None
    passed: int = 0
    buffer: bytearray = field(default_factory=bytearray)
    ended: bool = False
    """`source` has no more."""
    closed: bool = False
    """`sink` was told so."""

    @property
    def ready(self) -> int:
        """How many bytes can be written now."""
        have = len(self.buffer)
        return have if self.limit is None else min(have, self.limit - self.passed)


class _Connection:
    """One connection through the proxy, for the proxy's thread."""

    def __init__(self, caller: socket.socket, fate: Fate, tell: Callable[[What], None]) -> None:
        """`tell` is called with what is met, when it is."""
        self.over = False
        self._caller = caller
        self._target: socket.socket | None = None
        self._connected = False
        self._fate = fate
        self._tell = tell
        self._flows: dict[Way, _Flow] = {}
        self._met = False
        self._closing = False
        self._swallows = False

    def begin(self, port: int) -> None:
        """Begin to connect to the target, unless the connection leads nowhere. Raises OSError."""
        if self._fate.what is What.DEAF:
            self._tell(What.DEAF)
            return
        self._target = socket.socket()
        self._target.setblocking(False)
        error = self._target.connect_ex(("127.0.0.1", port))
        if error not in UNDER_WAY:
            raise OSError(error, "the target cannot be reached")
        up, down = _Flow(self._caller, self._target), _Flow(self._target, self._caller)
        self._flows = {Way.UP: up, Way.DOWN: down}
        if self._fate.what is not What.NOTHING:
            self._flows[self._fate.way].limit = self._fate.after

    @property
    def ends(self) -> list[socket.socket]:
        """The sockets that are open."""
        return [self._caller] if self._target is None else [self._caller, self._target]

    @property
    def due(self) -> float | None:
        """When a stall ends by itself (time.monotonic())."""
        return next((flow.held_until for flow in self._flows.values() if flow.held_until is not None), None)

    def wanted(self, end: socket.socket) -> int:
        """What the selector is to tell of one end."""
        if end is self._target and not self._connected:
            return selectors.EVENT_WRITE
        if not self._flows or self._closing:
            return selectors.EVENT_READ
        events = 0
        for flow in self._flows.values():
            if flow.source is end and not flow.ended and len(flow.buffer) < BUFFERED:
                events |= selectors.EVENT_READ
            if flow.sink is end and flow.ready and self._connected:
                events |= selectors.EVENT_WRITE
        return events

    def step(self, end: socket.socket, events: int) -> None:
        """Do what one end is ready for. Raises OSError where the connection is to be reset."""
        if end is self._target and not self._connected:
            self._connect(end)
        elif not self._flows:
            self.over = not end.recv(READ)
        elif self._closing:
            if end.recv(READ):
                raise OSError("something was sent to who has closed")
            self.over = True
        else:
            for flow in self._flows.values():
                if flow.source is end and events & selectors.EVENT_READ:
                    self._read(flow)
                if flow.sink is end and events & selectors.EVENT_WRITE:
                    self._write(flow)

    def _connect(self, target: socket.socket) -> None:
        error = target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, "the target cannot be reached")
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connected = True

    def _read(self, flow: _Flow) -> None:
        data = flow.source.recv(READ)
        if self._swallows and data and flow is not self._flows[self._fate.way]:
            self._tell(What.SWALLOW)
            raise OSError("the answer is swallowed")
        flow.ended = not data
        if not flow.closed:
            flow.buffer += data

    def _write(self, flow: _Flow) -> None:
        for _ in range(PIECES):
            length = min(flow.ready, self._fate.piece or READ)
            if not length:
                break
            sent = flow.sink.send(flow.buffer[:length])
            flow.passed += sent
            del flow.buffer[:sent]

    def settle(self, now: float) -> None:
        """Meet the fate if it is time, and pass on the ends of streams. Raises OSError as `step`."""
        if not self._connected or self._closing:
            return
        flow = self._flows[self._fate.way]
        if not self._met and flow.limit is not None and flow.passed >= flow.limit:
            self._met = True
            self._meet(flow, now)
        elif self._met and flow.limit is not None:
            if flow.held_until is not None and now >= flow.held_until:
                self.release()
            elif flow.ended and flow.held_until is None:
                raise OSError("who was held back has left")
        if not self._closing:
            for each in self._flows.values():
                if each.ended and not each.closed and not each.buffer:
                    each.closed = True
                    each.sink.shutdown(socket.SHUT_WR)
            self.over = all(each.ended and each.closed for each in self._flows.values())

    def _meet(self, flow: _Flow, now: float) -> None:
        if self._fate.what is not What.SWALLOW:
            self._tell(self._fate.what)
        match self._fate.what:
            case What.RESET:
                raise OSError("reset as planned")
            case What.FIN:
                # As the kernel does for a program that has closed: what still comes is answered with a reset.
                self._closing = True
                for end in self.ends:
                    end.shutdown(socket.SHUT_WR)
            case What.HALF_CLOSE:
                flow.buffer.clear()
                flow.closed, flow.limit = True, None
                flow.sink.shutdown(socket.SHUT_WR)
            case What.SWALLOW:
                flow.limit, self._swallows = None, True
            case What.STALL if self._fate.seconds:
                flow.held_until = now + self._fate.seconds

    def release(self) -> None:
        """What is held back passes."""
        for flow in self._flows.values():
            if self._met:
                flow.limit = flow.held_until = None


class Proxy:
    """Passes connections on to `target`, a port of loopback, from a port of its own, from `start` to `stop`.

    `plan` may be changed meanwhile; it holds for the connections that come from then on. `met` counts what
    connections have met, `connections` themselves.
    """

    def __init__(self, target: int, plan: Plan = clean) -> None:
        self.target = target
        self.plan = plan
        self.met: Counter[What] = Counter()
        self.connections = 0
        self._lock = threading.Lock()
        self._orders: list[Callable[[_Connection], None]] = []
        self._stopping = False
        self._open: set[_Connection] = set()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._waker, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def start(self) -> Proxy:
        """Begin to pass connections on."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Reset all that is open, and listen no more."""
        self._stopping = True
        self._wake()
        self._thread.join()
        for each in (self._waker, self._woken):
            each.close()

    def __enter__(self) -> Proxy:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def release(self) -> None:
        """Let pass what is held back at present."""
        self._order(_Connection.release)

    def cut(self) -> None:
        """Reset all connections of now."""
        self._order(self._reset)

    def _order(self, order: Callable[[_Connection], None]) -> None:
        """Have the proxy's thread do something with each connection of now."""
        with self._lock:
            self._orders.append(order)
        self._wake()

    def _wake(self) -> None:
        self._waker.send(b"!")

    def _run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._obey)
        try:
            while not self._stopping:
                dues = [each.due for each in self._open]
                wait = min((due - time.monotonic() for due in dues if due is not None), default=None)
                for key, events in self._selector.select(None if wait is None else max(0.0, wait)):
                    if isinstance(key.data, _Connection):
                        self._step(key.data, key.fileobj, events)  # type: ignore[arg-type]
                    else:
                        key.data()
                self._settle()
        finally:
            for connection in list(self._open):
                self._reset(connection)
            self._selector.close()
            self._listener.close()

    def _obey(self) -> None:
        self._woken.recv(READ)
        with self._lock:
            orders, self._orders = self._orders, []
        for order in orders:
            for connection in list(self._open):
                order(connection)

    def _accept(self) -> None:
        try:
            caller, _ = self._listener.accept()
        except OSError:  # it has left already
            return
        caller.setblocking(False)
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(caller, self.plan(self.connections), self._tell)
        self.connections += 1
        self._open.add(connection)
        try:
            connection.begin(self.target)
        except OSError:
            self._reset(connection)

    def _tell(self, what: What) -> None:
        self.met[what] += 1

    def _step(self, connection: _Connection, end: socket.socket, events: int) -> None:
        if connection not in self._open:
            return  # it ended in this very round
        try:
            connection.step(end, events)
        except BlockingIOError:
            return
        except OSError:
            self._reset(connection)

    def _settle(self) -> None:
        """What is due for each connection, and what the selector is to tell of it from now on."""
        now = time.monotonic()
        for connection in list(self._open):
            try:
                connection.settle(now)
            except OSError:
                self._reset(connection)
                continue
            if connection.over:
                self._close(connection)
                continue
            for end in connection.ends:
                self._watch(connection, end, connection.wanted(end))

    def _watch(self, connection: _Connection, end: socket.socket, events: int) -> None:
        known = self._selector.get_map().get(end)
        if known is None:
            if events:
                self._selector.register(end, events, connection)
        elif not events:
            self._selector.unregister(end)
        elif known.events != events:
            self._selector.modify(end, events, connection)

    def _reset(self, connection: _Connection) -> None:
        for end in connection.ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self._close(connection)

    def _close(self, connection: _Connection) -> None:
        self._open.discard(connection)
        for end in connection.ends:
            if end in self._selector.get_map():
                self._selector.unregister(end)
            end.close()
