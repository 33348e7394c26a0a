"""The P-DATA path in plain Python: the reference and the documentation of its compiled twin.

A `Channel` owns one connected socket (TCP or TLS) and moves DIMSE messages through it (PS3.8, section 9.3.5
and annex E): command sets come out whole, data sets go straight to a `write` function or come straight from
files. It never holds more of a data set than its buffer. Anything that is not P-DATA is a `Signal` for the
caller, who owns the state machine; wrong bytes raise RemoteProtocolError and nothing else.

Time: a blocked call wakes every `tick` seconds to look at its deadline and at `interrupt`. Between messages
the peer may be silent for `idle` seconds. A message that has begun must come at MIN_RATE at least, measured
over windows of `grace` seconds, and each write must go at that rate after the same grace: this bounds the
peer that sends, or reads, a byte a second.
"""

from __future__ import annotations

import io
import mmap
import os
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from mapdr._fast.pdata_signals import (
    LENGTH_TOLERANCE,
    MAX_COMMAND,
    MAX_EMPTY,
    MIN_RATE,
    P_DATA,
    EndOfStream,
    Interrupted,
    OtherPdu,
    TimedOut,
)
from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.proof import Proof, unreadable

BACKEND = "python"
BUFFER = 1 << 18
"""Bytes: the send buffer of a connection."""
INBOX = 1 << 20
"""Bytes: its receive buffer, which takes memory as far as it is used. A CT slice or a colour ultrasound image
that fits as a whole is taken in a run (`_receive_run_py`)."""
TLS_RECORD = 1 << 14

TOO_MANY_EMPTY = f"a data set has more than {MAX_EMPTY} PDVs without a byte"

_PDU_HEADER = struct.Struct(">BxL")
_PDV_HEADER = struct.Struct(">LBB")
_HEADERS = struct.Struct(">BxLLBB")
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)

Write = Callable[[memoryview | bytes], object]


class Slice(Protocol):
    """A slice of a file (`mapdr.kernel.item.FileSlice`)."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def offset(self) -> int:
        """Where the slice begins."""

    @property
    def length(self) -> int:
        """Its bytes."""

    @property
    def proof(self) -> Any:
        """Its `mapdr.kernel.proof.Proof`, or None."""


class Channel:
    """P-DATA both ways over `sock`. One thread uses it; `interrupt` and `kill` may come from another.

    `max_receive` is the P-DATA length that was offered to the peer. `grace` and `tick` are seconds.
    """

    def __init__(
        self, sock: socket.socket, *, max_receive: int, grace: float, tick: float = 0.25, buffer: int = INBOX
    ) -> None:
        self._sock = sock
        self._max_receive = max_receive + LENGTH_TOLERANCE
        self._grace = grace
        self._buffer: bytearray | mmap.mmap = mmap.mmap(-1, max(buffer, 4096))
        self._view = memoryview(self._buffer)
        self._at = 0
        self._end = 0
        self._pdu_left = 0
        self._pdv_left = 0
        self._pdv_last = False
        self._pdv_command = False
        self._pdv_context = 0
        self._began = 0.0
        self._received = 0
        self._idle_until: float | None = None
        self._interrupted = False
        self._killed = False
        self._broken: OSError | None = None
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._unfinished = False
        self._spoke_early = False
        self._out = bytearray()
        self._quick_ack = _QUICK_ACK is not None and isinstance(sock, socket.socket)
        self._plain = os.name == "posix" and type(sock) is socket.socket
        set_tick(sock, tick)

    # --- in -----------------------------------------------------------------------------------------------

    def read_command(self, idle: float) -> tuple[int, bytes]:
        """The next message's presentation context id and whole command set.

        Raises OtherPdu, EndOfStream, TimedOut (after `idle` seconds of silence), Interrupted,
        RemoteProtocolError.
        """
        self._expect(idle)
        self._begin_pdv()
        context = self._pdv_context
        fragments: list[bytes] = []
        weight = 0
        while True:
            if not self._pdv_command:
                raise RemoteProtocolError("a data set came where a command set was due", abort_reason=5)
            if self._pdv_context != context:
                raise RemoteProtocolError("a command set changes its presentation context", abort_reason=5)
            weight += self._pdv_left + 6
            if weight > MAX_COMMAND:
                raise RemoteProtocolError(f"a command set exceeds {MAX_COMMAND} bytes", abort_reason=6)
            fragments.append(self._take(self._pdv_left))
            self._pdv_left = 0
            if self._pdv_last:
                return context, fragments[0] if len(fragments) == 1 else b"".join(fragments)
            self._begin_pdv()

    def read_data(self, context: int, write: Write) -> int:
        """Give the data set that follows to `write`, in pieces valid only during the call; return its length.

        Raises what `read_command` raises. When `write` raises, the piece is lost and the call may be repeated
        with another `write` to take the rest.
        """
        total = empty = 0
        pieces: list[memoryview] = []
        while True:
            if not self._pdv_left:
                if pieces and self._end - self._at < 12:
                    total += self._flush(pieces, write)
                self._begin_pdv()
                if self._pdv_command:
                    raise RemoteProtocolError("a command set came inside a data set", abort_reason=5)
                if self._pdv_context != context:
                    raise RemoteProtocolError("a data set changes its presentation context", abort_reason=5)
                empty += not (self._pdv_left or self._pdv_last)
                if empty > MAX_EMPTY:
                    raise RemoteProtocolError(TOO_MANY_EMPTY, abort_reason=6)
            if self._at == self._end and self._pdv_left:
                total += self._flush(pieces, write)
                self._receive()
            size = min(self._pdv_left, self._end - self._at)
            if size:
                pieces.append(self._view[self._at : self._at + size])
                self._at += size
                self._pdv_left -= size
            if not self._pdv_left and self._pdv_last:
                return total + self._flush(pieces, write)

    def read_head(self, idle: float) -> bytes:
        """The six bytes that begin the next PDU, whatever it is; what is left of a P-DATA is skipped.

        Raises EndOfStream, TimedOut, Interrupted.
        """
        self._expect(idle)
        left = self._pdv_left + self._pdu_left
        self._pdv_left = self._pdu_left = 0
        self._take(left)
        return self._take(6)

    def read_body(self, size: int) -> bytes:
        """The next `size` bytes. Raises EndOfStream, TimedOut."""
        return self._take(size)

    def skip_data(self, context: int) -> int:
        """Read what has not been read of a data set and forget it; also after `write` has raised."""
        if self._pdv_last and not self._pdv_left and not self._pdv_command:
            return 0
        return self.read_data(context, len)

    @property
    def readable(self) -> bool:
        """Whether something of the peer waits to be read, be it the end of the stream; never waits.

        Over TLS only what has been decrypted counts: records that carry no data arrive there at any time.
        """
        if self._end > self._at:
            return True
        if self._tls:
            return False
        if sys.platform != "win32":
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([self._sock], [], [], 0)[0])

    @property
    def between_messages(self) -> bool:
        """Whether this is a plain connection whose next byte begins a PDU: then others may read from it."""
        return self._plain and not self._pdu_left and not self._pdv_left

    def took_data(self, context: int) -> None:
        """Another reader has taken a data set as a whole: there is nothing of it to skip."""
        self._pdv_context, self._pdv_command, self._pdv_last = context, False, True

    def broke(self, error: OSError) -> None:
        """Another reader has met the end of the connection: it is told by the next call."""
        self._broken = error

    def _expect(self, idle: float) -> None:
        """Start the clock of what comes next: idle time until its first byte, then its windows."""
        now = time.monotonic()
        self._began = now
        self._received = 0
        self._idle_until = None if self._end > self._at else now + idle

    def _flush(self, pieces: list[memoryview], write: Write) -> int:
        if not pieces:
            return 0
        whole: memoryview | bytes = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        write(whole)
        return len(whole)

    def _begin_pdv(self) -> None:
        """Read the header of the next PDV, and of the P-DATA around it if a new one begins."""
        if not self._pdu_left:
            head = self._take(6)
            if head[0] != P_DATA:
                raise OtherPdu(head)
            length = _PDU_HEADER.unpack(head)[1]
            if not 6 <= length <= self._max_receive:
                most = self._max_receive - LENGTH_TOLERANCE
                raise RemoteProtocolError(
                    f"a P-DATA claims {length} bytes; 6 to {most} were agreed", abort_reason=6
                )
            self._pdu_left = length
        if self._pdu_left < 6:
            raise RemoteProtocolError("a P-DATA ends inside a PDV's header", abort_reason=6)
        length, self._pdv_context, control = _PDV_HEADER.unpack(self._take(6))
        if not 2 <= length <= self._pdu_left - 4:
            raise RemoteProtocolError(f"a PDV claims {length} bytes, its P-DATA has less", abort_reason=6)
        self._pdu_left -= 4 + length
        self._pdv_left = length - 2
        # Bits 2 to 7 are never checked (PS3.8, annex E.2).
        self._pdv_command = bool(control & 1)
        self._pdv_last = bool(control & 2)

    def _take(self, size: int) -> bytes:
        """The next `size` bytes of the stream, a copy."""
        while self._end - self._at < size:
            if self._end == len(self._buffer):
                self._make_room(size)
            self._receive()
        at = self._at
        self._at = at + size
        return bytes(self._view[at : at + size])

    def _make_room(self, size: int) -> None:
        """Move what is unread to the front, or into a larger buffer: all that is taken whole is capped."""
        unread = bytes(self._view[self._at : self._end])
        if size > len(self._buffer):
            self._buffer = bytearray(size)
            self._view = memoryview(self._buffer)
        self._view[: len(unread)] = unread
        self._at, self._end = 0, len(unread)

    def _receive(self) -> None:
        """Get more bytes into the buffer, at least one."""
        if self._broken is not None:
            raise self._lost(self._broken)
        if self._at == self._end:
            self._at = self._end = 0
        if self._idle_until is None and self._quick_ack:
            # A peer with Nagle's algorithm holds back the rest of a message until the beginning is
            # acknowledged; delayed, that takes 40 ms. The option does not last: it is set each time.
            self._acknowledge()
        while True:
            try:
                size = self._sock.recv_into(self._view[self._end :])
            except (BlockingIOError, TimeoutError):
                self._check_receive_time()
                continue
            except OSError as error:
                raise self._lost(error) from None
            if not size:
                clean = self._idle_until is not None and self._at == self._end
                raise EndOfStream("the peer closed the connection", clean=clean)
            now = time.monotonic()
            if self._idle_until is not None:
                self._idle_until = None
                self._began = now
                self._received = 0
            elif now - self._began > self._grace:
                self._check_rate(now)
            self._received += size
            self._end += size
            return

    def _acknowledge(self) -> None:
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK or 0, 1)
        except OSError:
            self._quick_ack = False

    def _check_receive_time(self) -> None:
        self._check_killed()
        now = time.monotonic()
        if self._idle_until is None:
            self._check_rate(now)
        elif self._interrupted:
            raise Interrupted("this side ends the association")
        elif now > self._idle_until:
            raise TimedOut("the peer was silent for too long")

    def _check_rate(self, now: float) -> None:
        elapsed = now - self._began
        if elapsed <= self._grace:
            return
        if self._received < elapsed * MIN_RATE:
            raise TimedOut("the peer stopped, or nearly stopped, in the middle of a message")
        self._began = now
        self._received = 0

    def _check_killed(self) -> None:
        # Windows does not wake a call that waits for data when this side shuts the connection down.
        if self._killed:
            raise EndOfStream("this side ended the connection")

    def _lost(self, error: OSError) -> EndOfStream:
        reason = getattr(error, "reason", None) or type(error).__name__  # ssl.SSLError says why
        return EndOfStream(f"the connection broke ({reason})")

    # --- out ----------------------------------------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`. Raises EndOfStream, TimedOut."""
        sent = 0 if self._tls else self._send_some(data)
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, left: memoryview) -> None:
        began = time.monotonic()
        total = 0
        while left:
            # A TLS write counts for nothing until it is complete, so progress is seen by the record.
            sent = self._send_some(left[:TLS_RECORD] if self._tls else left)
            total += sent
            left = left[sent:]
            if not sent:
                self._check_killed()
            if time.monotonic() - began > self._grace + total / MIN_RATE:
                raise TimedOut("the peer stopped reading")

    def _send_some(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._sock.send(data)
        except (BlockingIOError, TimeoutError):
            return 0
        except OSError as error:
            raise self._lost(error) from None

    def send_command(self, context: int, command: bytes, max_length: int) -> None:
        """Send a message without a data set, as one write. Raises EndOfStream, TimedOut."""
        if len(command) + 6 <= max_length:
            size = len(command)
            self.send(_HEADERS.pack(P_DATA, size + 6, size + 2, context, 3) + command)
        else:
            self.send(b"".join(_fragments(context, command, max_length)))

    def send_message(  # noqa: PLR0917  positional, as its compiled twin is called
        self,
        context: int,
        command: bytes,
        parts: Sequence[bytes | Slice],
        length: int,
        max_length: int,
        pace: Callable[[int], object] | None = None,
    ) -> None:
        """Send a command set and the data set in `parts` (`length` bytes together), in as few writes as fit.

        `max_length` is the longest P-DATA that the peer receives, at least 8. Fragments are even, but for the
        last one of a data set that is odd. `pace` is called with the size of each write before it, and may
        sleep. Raises EndOfStream, TimedOut; OSError, EOFError, Permanent when a part cannot be read: see
        `unfinished`.
        """
        out = self._out
        if not out:
            out = self._out = bytearray(BUFFER)
        view = memoryview(out)
        source = _Source(parts)
        try:
            used = 0
            for fragment in _fragments(context, command, max_length):
                view[used : used + len(fragment)] = fragment
                used += len(fragment)
            most = (min(max_length, len(out) - 6) - 6) & ~1
            left = length
            while True:
                room = (len(out) - used - 12) & ~1
                size = min(left, most)
                if size > room:
                    if pace is not None:
                        pace(used)
                    self._unfinished = True
                    self.send(view[:used])
                    used = 0
                    continue
                left -= size
                _HEADERS.pack_into(out, used, P_DATA, size + 6, size + 2, context, 0 if left else 2)
                source.fill(view[used + 12 : used + 12 + size])
                used += 12 + size
                if not left:
                    if pace is not None:
                        pace(used)
                    self._spoke_early = self._unfinished and self.readable
                    self.send(view[:used])
                    self._unfinished = False
                    return
        finally:
            source.close()

    @property
    def unfinished(self) -> bool:
        """Whether a message was begun and could not be completed: only an abort can follow."""
        return self._unfinished

    @property
    def spoke_early(self) -> bool:
        """Whether the peer had sent something before the last part of the last message went out."""
        return self._spoke_early

    def send_last(self, data: bytes) -> None:
        """Try to send a farewell: one attempt, which a peer that has stopped reading cannot hold up."""
        try:
            self._sock.send(data)
        except OSError:
            return

    # --- ending -------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Let `read_command` raise Interrupted once no message is on its way. From any thread."""
        self._interrupted = True

    def kill(self) -> None:
        """End the connection at once, so that a blocked call returns. From any thread; safe twice."""
        self._killed = True
        try:
            # Not SSLSocket.shutdown: it would take the TLS object away from under a call that is blocked.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            return

    def linger(self, seconds: float) -> None:
        """Wait for the peer to close, so that what was sent last is not lost to a reset; then close."""
        deadline = time.monotonic() + seconds
        try:
            socket.socket.shutdown(self._sock, socket.SHUT_WR)
            while time.monotonic() < deadline:
                try:
                    if not self._sock.recv_into(self._view):
                        break
                except (BlockingIOError, TimeoutError):
                    if self._interrupted:
                        break
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        """Close the socket. Safe twice."""
        self._sock.close()


class _Source:
    """The parts of a payload as one stream of bytes."""

    def __init__(self, parts: Sequence[bytes | Slice]) -> None:
        self._parts = iter(parts)
        self._bytes: memoryview = memoryview(b"")
        self._file: io.FileIO | None = None
        self._file_left = 0
        self._proof: Proof | None = None
        # The first file is opened before a byte is sent: an unreadable one then costs no association.
        self._advance()

    def fill(self, target: memoryview) -> None:
        """Fill `target`. Raises OSError, EOFError, Permanent; see `mapdr.kernel.proof.unreadable`."""
        at = 0
        size = len(target)
        while at < size:
            if self._file is not None:
                got = self._file.readinto(target[at : at + self._file_left])
                if not got:
                    early = EOFError(f"a payload's file ended {self._file_left} bytes early")
                    raise unreadable(early, self._proof)
                self._file_left -= got
                at += got
                if not self._file_left:
                    self._advance()
            elif self._bytes:
                got = min(size - at, len(self._bytes))
                target[at : at + got] = self._bytes[:got]
                self._bytes = self._bytes[got:]
                at += got
            elif not self._advance():
                raise EOFError(f"a payload's parts ended {size - at} bytes early")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _advance(self) -> bool:
        self.close()
        for part in self._parts:
            if isinstance(part, bytes):
                self._bytes = memoryview(part)
            elif part.length:
                if part.proof is not None:
                    part.proof.check()
                self._proof = part.proof
                try:
                    self._file = io.FileIO(part.path)
                except FileNotFoundError as error:
                    raise unreadable(error, part.proof) from None
                self._file_left = part.length
                if part.offset:
                    self._file.seek(part.offset)
            if self._bytes or self._file is not None:
                return True
        return False


def _fragments(context: int, command: bytes, max_length: int) -> list[bytes]:
    """The P-DATA PDUs of a command set."""
    most = (max_length - 6) & ~1
    pdus = []
    for at in range(0, len(command), most):
        piece = command[at : at + most]
        control = 3 if at + most >= len(command) else 1
        pdus.append(_HEADERS.pack(P_DATA, len(piece) + 6, len(piece) + 2, context, control) + piece)
    return pdus


def set_tick(sock: socket.socket, tick: float) -> None:
    """Let blocked calls on `sock` return every `tick` seconds.

    Plain sockets stay blocking with SO_RCVTIMEO and SO_SNDTIMEO: Python's own time-out asks `poll` before
    every call, a second system call. Windows leaves a socket unusable after such a time-out, and the ssl
    module would not return from one.
    """
    if os.name != "posix" or isinstance(sock, ssl.SSLSocket) or not isinstance(sock, socket.socket):
        sock.settimeout(tick)
        return
    sock.settimeout(None)
    value = struct.pack("@ll", int(tick), int(tick % 1 * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
