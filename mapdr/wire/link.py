"""The blocking driver of an association: a `Channel` for the bytes, the state machine for what may happen.

`Link` is what both sides share; `requestor.Requestor` is the side that sends, `acceptor.Acceptor` the one
that receives. A call ends in one of four ways: it returns; it raises LinkLost (the association is over,
trying again may help), or RemoteProtocolError (the peer broke the protocol and was answered with A-ABORT), or
an error of this side (LocalProtocolError, a payload's OSError). After any end the socket is closed.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from mapdr._fast import Channel
from mapdr._fast.pdata_signals import EndOfStream, Interrupted, OtherPdu, Signal
from mapdr.kernel.errors import RemoteProtocolError, Temporary
from mapdr.wire import dimse, pdu
from mapdr.wire.association import Action, Association, Event, Send, Tell, pdu_event
from mapdr.wire.paced import Pace, PacedChannel
from mapdr.wire.tls import TlsSocket
from mapdr.wire.tls_channel import OverTls, TlsChannel
from mapdr.wire.words import abortion

SHORTEST_PDU = 128
"""Bytes: a peer whose maximum length is shorter than this cannot be talked to (PS3.8 sets no minimum)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Time in seconds, lengths in bytes.

    `max_pdu` is the longest P-DATA that is received, and the cap on what is sent to a peer without a limit.
    `network_timeout`: silence between messages; `acse_timeout`: answers to association requests and releases;
    `pdu_timeout`: the window in which a message must make progress; `dimse_timeout`: a response.
    """

    max_pdu: int = 1 << 18
    connect_timeout: float = 10.0
    network_timeout: float = 60.0
    acse_timeout: float = 30.0
    pdu_timeout: float = 60.0
    dimse_timeout: float = 120.0
    linger: float = 2.0

    @property
    def tick(self) -> float:
        """How often a blocked call looks at the clock."""
        shortest = min(self.network_timeout, self.acse_timeout, self.pdu_timeout, self.dimse_timeout)
        return max(0.01, min(0.25, shortest / 4))


class LinkLost(Temporary):
    """The association is over before its time: closed, aborted by the peer, or timed out.

    `clean` is whether the peer just closed the connection between two messages, `unasked` whether it was over
    before anything of what was to be sent had gone out. `cut`: it ended without an abort or a release of the
    peer, so that the network may have ended it.
    """

    def __init__(
        self, message: str, *, clean: bool = False, unasked: bool = False, cut: bool = False
    ) -> None:
        super().__init__(message)
        self.clean = clean
        self.unasked = unasked
        self.cut = cut


class PacedTlsChannel(OverTls, PacedChannel):
    """A `PacedChannel` over a `TlsSocket`."""


class Link:
    """One side of one association over a connected socket."""

    def __init__(
        self, sock: socket.socket, limits: Limits, *, acceptor: bool, pace: Pace | None = None
    ) -> None:
        """What is sent keeps to `pace`, if there is one."""
        self.limits = limits
        with contextlib.suppress(OSError):  # a socket pair has no Nagle's algorithm to switch off
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        over_tls = isinstance(sock, TlsSocket)
        made: Callable[..., Channel] = TlsChannel if over_tls else Channel
        if pace is not None:
            made = partial(PacedTlsChannel if over_tls else PacedChannel, pace=pace)
        self.channel = made(sock, max_receive=limits.max_pdu, grace=limits.pdu_timeout, tick=limits.tick)
        self.machine = Association(acceptor=acceptor)
        self.max_send = limits.max_pdu
        self.contexts: dict[int, tuple[str, str]] = {}

    def abort(self) -> None:
        """End the association at once (A-ABORT by the service user). Safe in any state."""
        self._abort_now(linger=0)

    def end(self) -> NoReturn:
        """End the association between messages (A-ABORT), so that answers that were sent still arrive.

        Raises LinkLost.
        """
        self.lose(Interrupted("this side ends the association"))

    def close(self) -> None:
        """Close the connection without a word. Safe twice."""
        self.channel.close()

    def agree_on_length(self, peer_max_length: int) -> None:
        """Take the peer's maximum length into account; 0 means that it has none (PS3.8, annex D.1)."""
        if not peer_max_length:
            self.max_send = self.limits.max_pdu
        elif peer_max_length < SHORTEST_PDU:
            raise RemoteProtocolError(
                f"the peer receives at most {peer_max_length} bytes in a PDU, too few for a message",
                abort_reason=6,
            )
        else:
            self.max_send = min(peer_max_length, self.limits.max_pdu)

    def read_message(self, idle: float) -> tuple[int, dimse.Command] | None:
        """The next message's context id and command; None when the peer has released the association.

        `idle` is how many seconds the peer may be silent before. Raises LinkLost, RemoteProtocolError.
        """
        try:
            context, data = self.channel.read_command(idle)
            if context not in self.contexts:
                raise RemoteProtocolError("a message uses a context that was not accepted", abort_reason=6)
            return context, dimse.parse(data)
        except Signal as signal:
            self.handle(signal)
            return None
        except RemoteProtocolError as error:
            self.punish(error)
            raise

    def read_data(self, context: int, write: Callable[[memoryview | bytes], object]) -> int:
        """Give the data set that follows to `write`; return its length. What `write` raises passes through.

        Raises LinkLost, RemoteProtocolError.
        """
        try:
            return self.channel.read_data(context, write)
        except Signal as signal:
            self.handle(signal)
            raise LinkLost("the peer released the association in the middle of a message") from None
        except RemoteProtocolError as error:
            self.punish(error)
            raise

    def skip_data(self, context: int) -> None:
        """Take what is left of the data set that follows, and forget it. Raises as `read_data`."""
        try:
            self.channel.skip_data(context)
        except Signal as signal:
            self.handle(signal)
            raise LinkLost("the peer released the association in the middle of a message") from None
        except RemoteProtocolError as error:
            self.punish(error)
            raise

    def for_run(self) -> Channel:
        """What a lane takes messages from: the channel, or what has been decrypted of it."""
        channel = self.channel
        return channel.decrypted() if isinstance(channel, TlsChannel) else channel

    def send_command(self, context: int, command: bytes) -> None:
        """Send a message without a data set. Raises LinkLost."""
        try:
            self.channel.send_command(context, command, self.max_send)
        except Signal as signal:
            self.handle(signal)

    def send_rest(self, data: bytes) -> None:
        """Send what another sender could not of a message. Raises LinkLost."""
        try:
            self.channel.send(data)
        except Signal as signal:
            self.handle(signal)

    def receive_pdu(self, head: bytes) -> tuple[Action, pdu.Pdu]:
        """Read the rest of a PDU that is not P-DATA, and take its transition. Raises RemoteProtocolError."""
        pdu_type, length = pdu.check_header(head)
        received = pdu.decode(pdu_type, self.channel.read_body(length))
        action = self.machine.fire(pdu_event(pdu_type))
        if action.tell is Tell.ABORTED and isinstance(received, pdu.Abort):
            self.channel.close()
            raise LinkLost(abortion(received))
        if action.send in (Send.PROVIDER_ABORT, Send.USER_ABORT):
            raise RemoteProtocolError(f"a PDU of type 0x{pdu_type:02X} came when it may not", abort_reason=2)
        return action, received

    def handle(self, signal: Signal) -> None:
        """Do what a Signal in Sta6 asks for. Returns if the peer released in order, else raises."""
        try:
            if isinstance(signal, OtherPdu):
                action, _ = self.receive_pdu(signal.head)
                if action.tell is Tell.RELEASE:
                    self.machine.fire(Event.RELEASE_REPLY)
                    self.channel.send(pdu.RELEASE_RP_BYTES)
                    self.close_politely()
                    return
                raise LinkLost("the peer ended the association")
        except RemoteProtocolError as error:
            self.punish(error)
            raise
        except Signal as second:
            signal = second
        self.lose(signal)

    def punish(self, error: RemoteProtocolError) -> None:
        """Answer a breach of the protocol with A-ABORT (PS3.8, actions AA-1, AA-7 and AA-8) and close."""
        action = self.machine.last if self.machine.over else self.machine.fire(Event.INVALID_RECEIVED)
        by_user = action is not None and action.send is Send.USER_ABORT
        farewell = pdu.Abort(0, 0) if by_user else pdu.Abort(2, error.abort_reason)
        self.channel.send_last(pdu.encode_abort(farewell))
        self.close_politely()

    def lose(self, signal: Signal) -> NoReturn:
        """Close the connection, which the peer has closed, or which timed out, and raise LinkLost."""
        if isinstance(signal, EndOfStream):
            if not self.machine.over:
                self.machine.fire(Event.TRANSPORT_CLOSED)
            self.channel.close()
        else:
            self._abort_now(linger=self.limits.linger if isinstance(signal, Interrupted) else 0)
        raise LinkLost(str(signal), clean=isinstance(signal, EndOfStream) and signal.clean, cut=True)

    def _abort_now(self, linger: float) -> None:
        if self.machine.can(Event.ABORT):
            self.machine.fire(Event.ABORT)
            self.channel.send_last(pdu.encode_abort(pdu.Abort(0, 0)))
            if linger:
                self.channel.linger(linger)
        if not self.machine.idle:
            self.machine.fire(Event.TRANSPORT_CLOSED)
        self.channel.close()

    def close_politely(self) -> None:
        """Sta13: wait a little for the peer to close, so that what was sent last arrives; then close."""
        self.channel.linger(self.limits.linger)
        if not self.machine.idle:
            self.machine.fire(Event.TRANSPORT_CLOSED)
