"""One association for who wants to know what a peer is: its whole answer, and how long it takes.

`requestor.Requestor` is for images: it takes what it needs of an answer and ends an association that is of no
use. Here nothing the peer says is an error, and writes can be made in the ways that meet Nagle's algorithm.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass

from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.privacy import system_says
from mapdr.kernel.tls_words import TlsCause
from mapdr.kernel.uids import VERIFICATION
from mapdr.wire import dimse, pdu
from mapdr.wire.tls import TlsFailure

MOST = 1 << 18
"""Bytes of a P-DATA that are read."""

_PDV = struct.Struct(">LBB")
_HEAD = struct.Struct(">BxL")
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came in answer to an A-ASSOCIATE-RQ.

    `said` is the peer's PDU; None where there was none that can be read, and `trouble` says why then.
    `silent` is whether nothing came in time, `closed` whether the peer closed the connection without a word.
    `software` and `software_uid` are what it calls itself (PS3.7, annex D.3.3.2), `window` the operations
    that it lets be invoked and would perform at a time (0: without limit), None if it says nothing of that.
    `failure` is that of TLS, if that broke: in TLS 1.3 a certificate is refused behind the handshake.
    """

    said: pdu.Pdu | None = None
    trouble: str = ""
    silent: bool = False
    closed: bool = False
    software: str = ""
    software_uid: str = ""
    window: tuple[int, int] | None = None
    milliseconds: float = 0.0
    failure: TlsFailure | None = None


class Survey:
    """An association over a connected socket, TCP or TLS. `ask`, then `echo`, then `end`. For one thread."""

    def __init__(self, sock: socket.socket, seconds: float, connected: float = 0.0) -> None:
        """Every wait ends after `seconds`. `connected` is how many milliseconds the TCP connection took."""
        self.connected = connected
        self._sock = sock
        self._seconds = seconds
        self._message_id = 0
        self._contexts: dict[int, str] = {}
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: pdu.AssociateRequest) -> Answer:
        """Send the request, and wait for its answer."""
        encoded = pdu.encode_request(request)
        started = time.perf_counter()
        try:
            self._sock.settimeout(self._seconds)
            self._sock.sendall(encoded)
            kind, body = self._read_pdu(started + self._seconds)
            said = pdu.decode(kind, body)
            items = pdu.user_items(body) if isinstance(said, pdu.AssociateAccept) else {}
        except TimeoutError:
            return Answer(trouble=f"no answer within {self._seconds:g} s", silent=True)
        except (EOFError, ConnectionError):
            return Answer(trouble="the peer closed the connection without an answer", closed=True)
        except RemoteProtocolError as error:
            return Answer(trouble=str(error))
        except TlsFailure as failure:
            return Answer(trouble=failure.reason, closed=failure.cause is TlsCause.CLOSED, failure=failure)
        except OSError as error:
            return Answer(trouble=system_says(error))
        if isinstance(said, pdu.AssociateAccept):
            self._contexts = {
                context.id: context.abstract_syntax
                for context, result in _pairs(request, said)
                if result.result == 0
            }
        window = items.get(pdu.WINDOW_ITEM, b"")
        return Answer(
            said,
            software=_text(items.get(pdu.IMPLEMENTATION_VERSION_ITEM, b"")),
            software_uid=_text(items.get(pdu.IMPLEMENTATION_CLASS_ITEM, b"")),
            window=(window[0] << 8 | window[1], window[2] << 8 | window[3]) if len(window) == 4 else None,
            milliseconds=(time.perf_counter() - started) * 1000,
        )

    @property
    def echoes(self) -> bool:
        """Whether Verification was accepted."""
        return VERIFICATION in self._contexts.values()

    def echo(self, *, pieces: bool = False, quick: bool = True) -> tuple[float, int]:
        """A C-ECHO: the milliseconds until its response, and its status.

        With `pieces` the request is written in two small writes with Nagle's algorithm on, as careless
        senders do; without `quick` this side acknowledges as late as its system likes, where that can be
        chosen.
        Raises EOFError, OSError, RemoteProtocolError.
        """
        context = next(id_ for id_, uid in self._contexts.items() if uid == VERIFICATION)
        self._message_id += 1
        command = dimse.echo_request(self._message_id)
        data = _HEAD.pack(pdu.P_DATA, len(command) + 6) + _PDV.pack(len(command) + 2, context, 3) + command
        self._sock.settimeout(self._seconds)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0 if pieces else 1)
        started = time.perf_counter()
        for piece in (data[:12], data[12:]) if pieces else (data,):
            self._sock.sendall(piece)
        response = self._response(started + self._seconds, quick)
        milliseconds = (time.perf_counter() - started) * 1000
        if response.field != dimse.C_ECHO_RSP or response.message_id != self._message_id:
            raise RemoteProtocolError("the peer answered something that was not asked", abort_reason=2)
        return milliseconds, response.status

    def end(self) -> None:
        """Release the association, without waiting long for the reply, and close the connection."""
        try:
            if self._contexts:
                self._sock.settimeout(min(2.0, self._seconds))
                self._sock.sendall(pdu.RELEASE_RQ_BYTES)
                self._read_pdu(time.perf_counter() + min(2.0, self._seconds))
        except (OSError, EOFError, RemoteProtocolError):
            return  # it is over all the same
        finally:
            self._sock.close()

    def _response(self, until: float, quick: bool) -> dimse.Command:
        fragments = b""
        while True:
            kind, body = self._read_pdu(until, quick=quick)
            if kind != pdu.P_DATA:
                said = pdu.decode(kind, body)
                raise RemoteProtocolError(f"the peer ended the association ({type(said).__name__})")
            at = 0
            while at + 6 <= len(body):
                length, _, control = _PDV.unpack_from(body, at)
                fragments += body[at + 6 : at + 4 + length]
                at += 4 + max(length, 2)
                if len(fragments) > dimse.MAX_COMMAND:
                    raise RemoteProtocolError(
                        f"a command set exceeds {dimse.MAX_COMMAND} bytes", abort_reason=6
                    )
                if control & 2:
                    return dimse.parse(fragments)

    def _read_pdu(self, until: float, *, quick: bool = True) -> tuple[int, bytes]:
        head = self._read(6, until, quick)
        if head[0] != pdu.P_DATA:
            kind, length = pdu.check_header(head)
        else:
            kind, length = _HEAD.unpack(head)
            if length > MOST:
                raise RemoteProtocolError("a P-DATA is longer than was agreed on", abort_reason=6)
        return kind, self._read(length, until, quick)

    def _read(self, size: int, until: float, quick: bool) -> bytes:
        data = bytearray()
        while len(data) < size:
            left = until - time.perf_counter()
            if left <= 0:
                raise TimeoutError
            if _QUICK_ACK is not None:
                self._sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, int(quick))
            self._sock.settimeout(left)
            piece = self._sock.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)


CHOOSES_ACKNOWLEDGEMENT = _QUICK_ACK is not None
"""Whether this system lets a program choose when it acknowledges (Linux): `Survey.echo(quick=...)`."""


def _pairs(
    request: pdu.AssociateRequest, accept: pdu.AssociateAccept
) -> list[tuple[pdu.Context, pdu.ContextResult]]:
    proposed = {context.id: context for context in request.contexts}
    return [(proposed[each.id], each) for each in accept.results if each.id in proposed]


def negotiated(
    request: pdu.AssociateRequest, accept: pdu.AssociateAccept
) -> dict[tuple[str, str], int | None]:
    """The result of each (abstract syntax, transfer syntax) that was proposed alone in a context; None where
    the peer says nothing of it, or accepts another transfer syntax than was proposed."""
    found: dict[tuple[str, str], int | None] = {
        (context.abstract_syntax, context.transfer_syntaxes[0]): None for context in request.contexts
    }
    for context, result in _pairs(request, accept):
        usable = result.result != 0 or result.transfer_syntax in context.transfer_syntaxes
        if usable:
            found[context.abstract_syntax, context.transfer_syntaxes[0]] = result.result
    return found


def _text(value: bytes) -> str:
    text = value[:64].decode("ascii", "replace").strip("\0 ")
    return "".join(character if character.isprintable() else "?" for character in text)
