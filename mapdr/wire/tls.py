"""TLS on a connected TCP socket (RFC 8446, RFC 5246).

Python's `SSLSocket` asks the kernel twice for each record of at most 16 kB, once for its header, and gives
one record a call; a write of many records is a system call for each. Here OpenSSL works on memory: a read
takes as much as the kernel has, up to READ bytes, and decrypts all of it into the caller's buffer; a write of
PIECE bytes goes out in one call. Of 512 kB images that takes a third of the receiver's CPU time, and lets it
write a file in pieces of READ bytes instead of 16 kB.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Any, cast

from mapdr.kernel import tls_words
from mapdr.kernel.tls_words import TlsCause

READ = 1 << 18
"""Bytes that are taken from the kernel in one call."""
PIECE = 1 << 17
"""Bytes that are encrypted for one call of the kernel; they count as sent when all of them are out."""

RECORD = 1 << 14
"""Bytes that a record holds at most."""

_HANDSHAKE = 0x16
_RECORDS = range(0x14, 0x18)
_FATAL_PROTOCOL_VERSION = bytes((0x15, 3, 3, 0, 2, 2, 70))
"""The alert that who does not speak TLS gets (RFC 8446, section 6): other software knows TLS by it."""


class TlsFailure(OSError):
    """TLS was not agreed on, or broke. `reason` says in words what the peer did, with "it" for the peer."""

    def __init__(self, reason: str, cause: TlsCause) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause


class TlsSocket(socket.socket):
    """Takes over a connected socket, which is closed or detached by that. One thread uses it.

    `handshake` comes first. `recv`, `recv_into`, `send`, `sendall` and `close` are those of a socket, over
    TLS; all else is the TCP connection's own.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool, expected: str | None = None
    ) -> None:
        """`expected` is the name or address that a server's certificate has to name.

        Raises ValueError for one that cannot be a name.
        """
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=expected
        )
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._tls = tls
        self._server_side = server_side
        self._raw = memoryview(bytearray(READ))
        self._ahead = b""
        self._ended = False
        self._failed: TlsFailure | None = None
        self._unsent = memoryview(b"")
        self._taken = 0
        self._agreed = False
        self._heard = False

    @property
    def peer_certificate(self) -> bytes | None:
        """The certificate that the peer has shown and that was verified, in DER; None if it showed none."""
        return self._tls.getpeercert(binary_form=True)

    @property
    def version(self) -> str:
        """What was agreed on, such as "TLSv1.3"."""
        return self._tls.version() or ""

    @property
    def cipher(self) -> str:
        """The cipher suite that was agreed on, by OpenSSL's name."""
        agreed = self._tls.cipher()
        return agreed[0] if agreed else ""

    @property
    def heard(self) -> bool:
        """Whether the peer has said anything."""
        return self._heard

    def handshake(self, seconds: float) -> None:
        """Agree on TLS. Raises TlsFailure, TimeoutError when that is not done in time, OSError."""
        try:
            self._agree(time.monotonic() + seconds)
        except ConnectionError:  # a reset: what it did not understand was never read
            raise TlsFailure(tls_words.GONE, TlsCause.CLOSED) from None

    def _agree(self, until: float) -> None:
        while not self._agreed:
            try:
                self._tls.do_handshake()
                self._agreed = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                with contextlib.suppress(OSError):  # the alert that tells the peer why
                    self._write_before(until)
                raise _failure(error) from None
            self._write_before(until)
            if not self._agreed:
                self.settimeout(max(0.001, until - time.monotonic()))
                size = self.fill()
                if not size:
                    raise TlsFailure(tls_words.GONE, TlsCause.CLOSED)
                if not self._heard:
                    self._heard = True
                    self._look_at_first(self._raw[0])

    def _look_at_first(self, byte: int) -> None:
        """The first byte says whether this is TLS; OpenSSL would only say that something is wrong."""
        if self._server_side and byte != _HANDSHAKE:
            with contextlib.suppress(OSError):
                super().send(_FATAL_PROTOCOL_VERSION)
            raise TlsFailure(tls_words.NOT_TLS, TlsCause.NOT_TLS)
        if byte not in _RECORDS:
            raise TlsFailure(tls_words.PLAIN, TlsCause.NOT_TLS)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Fill `buffer` with what is here, at least one byte; 0 at the end. Raises TlsFailure, OSError."""
        if self._failed is not None:
            raise self._failed
        view = memoryview(buffer)
        size = 0
        if self._ahead:
            size = min(len(view), len(self._ahead))
            view[:size] = self._ahead[:size]
            self._ahead = self._ahead[size:]
        read = self._tls.read
        try:
            while size < len(view):
                try:
                    if self._unread:
                        got = cast("int", read(len(view) - size, view[size:]))  # bytes only without a buffer
                        size += got
                        if not got:
                            return size
                        continue
                except ssl.SSLWantReadError:
                    pass
                if size:
                    return size
                if self._outgoing.pending:
                    self._write()
                if not self.fill():
                    return 0
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
            return size
        except ssl.SSLError as error:
            self._failed = _failure(error)
            if not size:
                raise self._failed from None
        return size

    def send(self, data: Any, flags: int = 0) -> int:
        """Send the beginning of `data`; how much of it. Raises TlsFailure, OSError.

        When it raises for want of time, nothing of it counts as sent, and the same `data` has to come again.
        """
        if not self._taken:
            try:
                self._taken = self._tls.write(memoryview(data)[:PIECE])
            except ssl.SSLError as error:
                raise _failure(error) from None
        self._write()
        taken, self._taken = self._taken, 0
        return taken

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """At most `bufsize` bytes; as `recv_into`."""
        buffer = bytearray(bufsize)
        return bytes(buffer[: self.recv_into(buffer)])

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of `data`; as `send`."""
        left = memoryview(data)
        while left:
            left = left[self.send(left) :]

    @property
    def has_input(self) -> bool:
        """Whether decrypted data or the end of the stream waits to be read, as far as is here."""
        if self._ahead or self._ended or self._failed is not None:
            return True
        if not self._unread:
            return False
        try:
            self._ahead = self._tls.read(RECORD)
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
            return True
        except ssl.SSLError as error:
            self._failed = _failure(error)  # for the next read
            return True
        self._ended = not self._ahead
        return True

    @property
    def _unread(self) -> bool:
        """Whether OpenSSL has anything: to ask it in vain raises, which takes as long as half a record."""
        return bool(self._incoming.pending or self._tls.pending())

    def fill(self) -> int:
        """Take bytes from the kernel; how many, 0 at the end of the stream. Raises as a socket."""
        if self._ended:
            return 0
        size = super().recv_into(self._raw)
        if size:
            self._incoming.write(self._raw[:size])
        else:
            self._ended = True
        return size

    def say_goodbye(self) -> None:
        """Tell the peer that no more comes (close_notify), unless that would have to wait. Safe twice."""
        if not self._agreed or self._unsent:
            return
        self._agreed = False
        try:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()  # raises, as the peer's own has not come
            timeout = self.gettimeout()
            self.settimeout(0)
            try:
                self._write()
            finally:
                self.settimeout(timeout)
        except (OSError, ValueError):
            return

    def close(self) -> None:
        """End TLS and the connection. Safe twice."""
        if self.fileno() >= 0:
            self.say_goodbye()
        super().close()

    def _write(self) -> None:
        """Send what OpenSSL has written. Raises as a socket; what is left goes out the next time."""
        if self._outgoing.pending:
            more = self._outgoing.read()
            self._unsent = memoryview(bytes(self._unsent) + more if self._unsent else more)
        while self._unsent:
            self._unsent = self._unsent[super().send(self._unsent) :]

    def _write_before(self, until: float) -> None:
        self.settimeout(max(0.001, until - time.monotonic()))
        self._write()


def _failure(error: ssl.SSLError) -> TlsFailure:
    cause, reason = tls_words.explain(error)
    return TlsFailure(reason, cause)
