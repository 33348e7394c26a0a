"""The first steps of every examination of a network peer: its name, TCP, TLS."""

from __future__ import annotations

import errno
import ipaddress
import queue
import socket
import ssl
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from mapdr.kernel.certificate import PEER, Certificate
from mapdr.kernel.examine import Level, PeerFinding
from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.privacy import system_says
from mapdr.kernel.tls_words import TlsCause
from mapdr.net.certificate import certificate_of
from mapdr.net.tls import ClientTls
from mapdr.wire.tls import TlsFailure, TlsSocket

T = TypeVar("T")
Steps = Generator[PeerFinding, None, T]
"""Findings as they are made, and what the next steps go on with."""

MOST = 4
"""Addresses of one name that are tried."""

SLOW_NAME = 1000.0
"""Milliseconds; a look-up that takes longer is waited for by every new connection."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a peer was reached; `milliseconds` is how long a TCP connection took."""

    family: int
    sockaddr: tuple[Any, ...]
    milliseconds: float = 0.0

    def connect(self, seconds: float) -> socket.socket:
        """A connection, which waits `seconds` for anything. Raises OSError."""
        made = socket.socket(self.family, socket.SOCK_STREAM)
        try:
            made.settimeout(seconds)
            made.connect(self.sockaddr)
        except BaseException:
            made.close()
            raise
        return made

    def __str__(self) -> str:
        host, port = self.sockaddr[:2]
        return f"[{host}]:{port}" if self.family == socket.AF_INET6 else f"{host}:{port}"


def reach(host: str, port: int, seconds: float) -> Steps[Address | None]:
    """The name, and a TCP connection to each of its addresses; the first that answers, None if none does."""
    addresses = yield from _look_up(host, port, seconds)
    tried = [(each, *_try(each, seconds)) for each in addresses[:MOST]]
    first = next((place for place, (_, error, _) in enumerate(tried) if error is None), None)
    for place, (address, error, milliseconds) in enumerate(tried):
        if error is None:
            yield PeerFinding("TCP", Level.GOOD, f"{address} takes connections", "", milliseconds)
            continue
        text = f"{address}: {_refusal(error)}"
        if first is None:
            yield PeerFinding("TCP", Level.BAD, text, _cure(error), milliseconds)
        else:
            late = "each connection tries it first" if place < first else "it is tried last"
            cure = "take the address out of the name's records, or name the other one as host"
            yield PeerFinding("TCP", Level.WARN, f"{text}; {late}", cure, milliseconds)
    if first is None:
        return None
    address, _, milliseconds = tried[first]
    return Address(address.family, address.sockaddr, milliseconds)


def _look_up(host: str, port: int, seconds: float) -> Steps[list[Address]]:
    part = "name"
    try:
        ipaddress.ip_address(host)
        literal = True
    except ValueError:
        literal = False
    found, milliseconds = _resolved(host, port, seconds)
    if isinstance(found, str):
        cure = "correct host, or have the name entered where this machine looks names up"
        yield PeerFinding(part, Level.BAD, f"{host}: {found}", cure, milliseconds)
        return []
    if literal:
        yield PeerFinding(part, Level.GOOD, f"{host} is an address: there is no name to look up")
        return found
    shown = ", ".join(str(each.sockaddr[0]) for each in found[:MOST])
    slow = milliseconds > SLOW_NAME
    yield PeerFinding(
        part,
        Level.WARN if slow else Level.GOOD,
        f"{host} is {shown}",
        "each new connection waits for that: look after the name server, or name the address" if slow else "",
        milliseconds,
    )
    return found


def _resolved(host: str, port: int, seconds: float) -> tuple[list[Address] | str, float]:
    """The addresses of a name, or why there are none, and the milliseconds that took.

    The system's resolver knows no time limit: it is asked in a thread, which is left behind if it hangs.
    """
    answers: queue.SimpleQueue[list[Address] | str] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            unique = dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found)
            answers.put([Address(int(family), sockaddr) for family, sockaddr in unique])
        except UnicodeError:
            answers.put("is no host name")
        except OSError as error:
            answers.put(f"the name cannot be looked up ({system_says(error)})")

    started = time.perf_counter()
    GuardedThread(ask, "look-up", goes_on=lambda: False).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        answer = f"the name was not found within {seconds:g} s"
    return answer, _since(started)


def _try(address: Address, seconds: float) -> tuple[OSError | None, float]:
    started = time.perf_counter()
    try:
        address.connect(seconds).close()
    except OSError as error:
        return error, _since(started)
    return None, _since(started)


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _refusal(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused: nobody listens there"
    return system_says(error)


def _cure(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "start the receiver there, or correct host and port"
    if isinstance(error, TimeoutError):
        return "switch the machine on, correct host and port, or have the firewall between let them through"
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "look after this machine's network: it has no way there (VPN, route, cable)"
    return "look after this machine's network"


# --- TLS ----------------------------------------------------------------------------------------------------


def speak_tls(
    address: Address, host: str, tls: ClientTls, seconds: float, *, without: str
) -> Steps[bool | TlsFailure]:
    """A handshake as images would be sent with. True; or why not, when images cannot be sent.

    `without` is what in the configuration means that no TLS is spoken.
    """
    expected = str(tls.name or host)
    try:
        context = tls.context()
        with closing(_handshake(address, context, expected, seconds)) as secured:
            yield _agreed(secured)
            der = secured.peer_certificate
    except TlsFailure as failure:
        yield PeerFinding("TLS", Level.BAD, failure.reason, tls_cure(failure, without))
        seen = None if failure.cause is TlsCause.NOT_TLS else certificate_shown(address, host, tls, seconds)
        if seen is not None:
            yield PeerFinding("certificate", Level.INFO, f"it shows one for {_told(seen)}")
        return failure
    except OSError as error:
        timed_out = isinstance(error, TimeoutError)
        text = "no answer to the TLS handshake" if timed_out else f"{_refusal(error)} during the handshake"
        broken = TlsFailure(text, TlsCause.CLOSED)
        busy = "if it serves one association at a time, ask again when it is idle; else " if timed_out else ""
        yield PeerFinding("TLS", Level.BAD, text, busy + tls_cure(broken, without))
        return broken
    if der is not None:
        yield from _certificate(der, checked=tls.check_host, expected=expected)
    return True


def certificate_shown(
    address: Address, host: str, tls: ClientTls | None, seconds: float
) -> Certificate | None:
    """The certificate of a peer that speaks TLS, believed or not; None if it does not speak it."""
    context = (tls or ClientTls()).context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing but the certificate is taken from this connection
    try:
        with closing(_handshake(address, context, host, seconds)) as secured:
            der = secured.peer_certificate
        return None if der is None else certificate_of(der, PEER)
    except (OSError, ValueError):
        return None


def _handshake(address: Address, context: ssl.SSLContext, expected: str, seconds: float) -> TlsSocket:
    return secure(address.connect(seconds), context, expected, seconds)


def secure(plain: socket.socket, context: ssl.SSLContext, expected: str, seconds: float) -> TlsSocket:
    """TLS on a connection, which is closed where it is not agreed on. Raises as `TlsSocket.handshake`."""
    try:
        secured = TlsSocket(plain, context, server_side=False, expected=expected)
    except BaseException:
        plain.close()
        raise
    try:
        secured.handshake(seconds)
    except BaseException:
        secured.close()
        raise
    return secured


def _agreed(secured: TlsSocket) -> PeerFinding:
    version = secured.version.replace("v", " ")
    return PeerFinding("TLS", Level.GOOD, f"{version} with {secured.cipher}")


def _certificate(der: bytes, *, checked: bool, expected: str) -> Iterator[PeerFinding]:
    try:
        found = certificate_of(der, PEER)
    except ValueError:
        yield PeerFinding("certificate", Level.INFO, "it cannot be taken apart, though OpenSSL is content")
        return
    named = f"it is trusted and names {expected}" if checked else "it is trusted; its name is not checked"
    soon = found.ends_soon(time.time())
    yield PeerFinding(
        "certificate",
        Level.WARN if soon else Level.GOOD,
        f"{_told(found)}; {named}",
        "have the receiver's operator renew it" if soon else "",
    )


def _told(found: Certificate) -> str:
    end = datetime.fromtimestamp(found.expires_at)
    return f"{found.name}, SHA-256 {found.fingerprint}, valid until {end:%Y-%m-%d}"


def tls_cure(failure: TlsFailure, without: str) -> str:
    """What to do about a failure of TLS; `without` is what in the configuration means that none is spoken."""
    match failure.cause:
        case TlsCause.NOT_TLS:
            return f"set up TLS at the receiver, or {without}: both sides or neither"
        case TlsCause.CLOSED:
            return f"set up TLS at the receiver, or {without}; its log says why it closes"
        case TlsCause.NOT_VALID_NOW:
            return "have the certificate renewed, or set the clocks right"
        case TlsCause.NOT_TRUSTED:
            return "name the CA's certificate, or the receiver's own (compare its fingerprint), as tls.ca"
        case TlsCause.OTHER_NAME:
            return "name the host as the certificate does, or write the certificate's name as tls.name"
        case TlsCause.OWN_CERTIFICATE:
            return "set tls.cert and tls.key to a pair that the receiver's CA has signed"
        case _:
            return "compare min_version and profile with what the receiver speaks"
