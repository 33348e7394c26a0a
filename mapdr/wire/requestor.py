"""The side of an association that asks: connects, sends objects, waits for their status, releases."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NoReturn

from mapdr._fast import send_run
from mapdr._fast._send_run_py import Message
from mapdr._fast.pdata_signals import EndOfStream, OtherPdu, Signal
from mapdr.kernel.errors import (
    LocalProtocolError,
    OwnFault,
    Permanent,
    RemoteProtocolError,
    Temporary,
    is_own_fault,
)
from mapdr.kernel.item import Payload, Verdict, total_length
from mapdr.kernel.privacy import system_says
from mapdr.kernel.uids import VERIFICATION
from mapdr.wire import dimse, pdu, status
from mapdr.wire.association import Event, Tell
from mapdr.wire.link import Limits, Link, LinkLost
from mapdr.wire.paced import Pace
from mapdr.wire.tls import TlsFailure, TlsSocket
from mapdr.wire.words import rejection

SLOWEST_STORE = 1_000_000
"""Bytes per second: a receiver may take this long for an object, beyond the DIMSE time-out, to store it."""


@dataclass(frozen=True, slots=True)
class StoreResponse:
    """The receiver's answer to a C-STORE; `status.outcome` says what it means."""

    status: int
    comment: str


class Requestor(Link):
    """The SCU side: `connect`, then `c_store` and `c_echo`, then `release` or `abort`. For one thread."""

    def __init__(self, sock: socket.socket, limits: Limits, pace: Pace | None = None) -> None:
        super().__init__(sock, limits, acceptor=False, pace=pace)
        self._certificate = sock.peer_certificate if isinstance(sock, TlsSocket) else None
        self.accepted: Mapping[tuple[str, str], int] = {}
        self.rejected: dict[tuple[str, str], int] = {}
        self._message_id = 0

    @classmethod
    def connect(
        cls,
        host: str,
        port: int,
        *,
        calling_ae: str,
        called_ae: str,
        proposals: Sequence[tuple[str, tuple[str, ...]]],
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        expected: str | None = None,
        pace: Pace | None = None,
    ) -> Requestor:
        """Open an association that proposes one context for each (abstract syntax, transfer syntaxes).

        With `tls`, the peer's certificate has to name `expected`, which is `host` where it is not given. What
        is sent on it keeps to `pace`, if there is one.
        Raises Temporary when there is no connection, no answer, or a rejection for now, OwnFault when this
        side has no files or memory left for one; Permanent(reason="association-rejected") when the peer
        rejects for good; ValueError for more than 128 proposals or a title or UID that is not one.
        """
        limits = limits or Limits()
        if not 0 < len(proposals) <= pdu.MAX_CONTEXTS:
            raise ValueError(f"an association proposes 1 to 128 contexts, not {len(proposals)}")
        contexts = tuple(
            pdu.Context(2 * index + 1, abstract, tuple(syntaxes))
            for index, (abstract, syntaxes) in enumerate(proposals)
        )
        request = pdu.AssociateRequest(calling_ae, called_ae, contexts, limits.max_pdu)
        encoded = pdu.encode_request(request)
        requestor = cls(_open(host, port, limits, tls, expected), limits, pace)
        try:
            requestor._negotiate(encoded, request)
        except RemoteProtocolError as error:
            raise Temporary(f"{host}:{port}: {error}") from error
        except BaseException:
            requestor.close()
            raise
        return requestor

    @property
    def peer_certificate(self) -> bytes | None:
        """The certificate that the peer has shown, in DER; None without TLS."""
        return self._certificate

    @property
    def alive(self) -> bool:
        """Whether messages can be sent, as far as can be seen without waiting.

        An end that the peer has announced while the association was idle is taken note of here.
        """
        if self.machine.established and self.channel.readable:
            with contextlib.suppress(LinkLost, RemoteProtocolError):
                self.handle(self._idle_signal())
        return self.machine.established

    def c_store(self, payload: Payload) -> StoreResponse:
        """Send one object and wait for the receiver's final status.

        Raises LocalProtocolError when the payload's SOP class and transfer syntax were not accepted;
        LinkLost, RemoteProtocolError when the association is over and the status is not known; OSError,
        EOFError or Permanent when the payload cannot be read (then `alive` says whether the association
        survived).
        """
        message = self._message(payload)
        self._listen()
        with self._sending():
            self.channel.send_message(
                message.context, message.command, message.parts, message.length, self.max_send
            )
        return self._store_response(message)

    def c_store_run(
        self, payloads: Sequence[Payload], seconds: float, answers: list[tuple[StoreResponse, float]]
    ) -> None:
        """Send objects one after the other, and append each answer, with the seconds it took, to `answers`.

        The first is always sent; none is begun after `seconds`, nor after a status that gives reason to
        think (`_fast.send_run`), so that those behind may be left. Raises as `c_store`, of the payload
        after those in `answers`.
        """
        messages = [self._message(payloads[0])]
        for payload in payloads[1:]:
            with contextlib.suppress(LocalProtocolError, ValueError):  # raised again when it is the first
                messages.append(self._message(payload))
                continue
            break
        plain: list[tuple[int, float]] = []
        self._listen()
        began = time.perf_counter()
        try:
            with self._sending():
                unread = send_run(self.channel, messages, self.max_send, seconds, plain)
        finally:
            answers += [(_without_comment(status), took) for status, took in plain]
        if unread:
            began += sum(took for _, took in plain)
            response = self._store_response(messages[len(plain)])
            answers.append((response, time.perf_counter() - began))

    def c_echo(self) -> int:
        """Ask whether the peer is there; its status. Raises as `c_store`."""
        context = next((id_ for (uid, _), id_ in self.accepted.items() if uid == VERIFICATION), None)
        if context is None:
            raise LocalProtocolError("no context was accepted for Verification")
        message_id = self._next_message_id()
        self.send_command(context, dimse.echo_request(message_id))
        return self._response(context, message_id, dimse.C_ECHO_RSP, self.limits.dimse_timeout).status

    def release(self) -> None:
        """End the association in order: A-RELEASE and its reply, or A-ABORT when that fails. Safe twice."""
        if not self.machine.established:
            self.channel.close()
            return
        try:
            self.machine.fire(Event.RELEASE)
            self.channel.send(pdu.RELEASE_RQ_BYTES)
            while not self.machine.over:
                self._release_step(self.channel.read_head(self.limits.acse_timeout))
        except RemoteProtocolError as error:
            self.punish(error)
        except (Signal, LinkLost):
            self._abort_now(linger=0)
        self.channel.close()

    def _release_step(self, head: bytes) -> None:
        """Take one PDU after A-RELEASE-RQ: late P-DATA is ignored (AR-6), a collision answered (AR-8)."""
        if head[0] == pdu.P_DATA:
            length = int.from_bytes(head[2:6], "big")
            if length > self.limits.max_pdu or self.machine.fire(Event.DATA_RECEIVED).send is not None:
                raise RemoteProtocolError("a P-DATA came when it may not", abort_reason=2)
            self.channel.read_body(length)
            return
        action, _ = self.receive_pdu(head)
        if action.tell is Tell.COLLISION:
            self.machine.fire(Event.RELEASE_REPLY)
            self.channel.send(pdu.RELEASE_RP_BYTES)

    def _negotiate(self, encoded: bytes, request: pdu.AssociateRequest) -> None:
        self.machine.fire(Event.REQUEST)
        self.machine.fire(Event.TRANSPORT_OPEN)
        try:
            self.channel.send(encoded)
            action, answer = self.receive_pdu(self._acse_head())
        except EndOfStream as signal:
            wants = "expect TLS" if self._certificate is None else "want a TLS certificate that it trusts"
            self.lose(EndOfStream(f"{signal} without an answer: it may {wants}, or not know this address"))
        except Signal as signal:
            self.lose(signal)
        except RemoteProtocolError as error:
            self.punish(error)
            raise
        if action.tell is Tell.REJECTED and isinstance(answer, pdu.AssociateReject):
            self.channel.close()
            _raise_rejection(answer)
        if isinstance(answer, pdu.AssociateAccept):
            self._take_answer(answer, request)

    def _acse_head(self) -> bytes:
        head = self.channel.read_head(self.limits.acse_timeout)
        if head[0] == pdu.P_DATA:
            raise RemoteProtocolError("a P-DATA came when it may not", abort_reason=2)
        return head

    def _take_answer(self, answer: pdu.AssociateAccept, request: pdu.AssociateRequest) -> None:
        proposed = {context.id: context for context in request.contexts}
        accepted: dict[tuple[str, str], int] = {}
        for result in answer.results:
            context = proposed.get(result.id)
            # A transfer syntax that was not proposed cannot be used: as good as a refusal of the context.
            if context and result.result == 0 and result.transfer_syntax in context.transfer_syntaxes:
                accepted.setdefault((context.abstract_syntax, result.transfer_syntax), result.id)
                self.contexts[result.id] = (context.abstract_syntax, result.transfer_syntax)
            elif context and result.result:
                self.rejected |= {
                    (context.abstract_syntax, each): result.result for each in context.transfer_syntaxes
                }
        self.accepted = MappingProxyType(accepted)
        try:
            self.agree_on_length(answer.max_length)
        except RemoteProtocolError as error:
            self.punish(error)
            raise

    def _message(self, payload: Payload) -> Message:
        context = self.accepted.get((payload.sop_class_uid, payload.transfer_syntax_uid))
        if context is None:
            raise LocalProtocolError("no context was accepted for this SOP class and transfer syntax")
        if total_length(payload.parts) != payload.length:
            raise ValueError("a payload's parts do not add up to its length")
        message_id = self._next_message_id()
        command = dimse.store_request(message_id, payload.sop_class_uid, payload.sop_instance_uid)
        return Message(
            context,
            message_id,
            command,
            payload.parts,
            payload.length,
            payload.sop_class_uid.encode("ascii"),
            payload.sop_instance_uid.encode("ascii"),
        )

    def _listen(self) -> None:
        """Read what the peer has sent before an object goes out: its release or abort, and never a response.

        Raises LinkLost with `unasked` set if the association is over by that.
        """
        why = "the association has ended"
        try:
            if self.machine.established and self.channel.readable:
                self.handle(self._idle_signal())
        except (LinkLost, RemoteProtocolError) as error:
            why = str(error)
        if not self.machine.established:
            raise LinkLost(why, unasked=True)

    @contextlib.contextmanager
    def _sending(self) -> Iterator[None]:
        """Translate what goes wrong while messages are sent, and end the association where it cannot go on.

        A payload that cannot be read ends it only if part of its message is out already. Raises as `c_store`.
        """
        try:
            yield
        except Signal as signal:
            self._lose_with_last_words(signal)
        except (OSError, EOFError, Permanent):
            if self.channel.unfinished:
                self.abort()
            raise

    def _store_response(self, message: Message) -> StoreResponse:
        timeout = self.limits.dimse_timeout + message.length / SLOWEST_STORE
        response = self._response(message.context, message.id, dimse.C_STORE_RSP, timeout)
        if response.sop_class.rstrip(b"\0 ") not in (b"", message.sop_class):
            self._disbelieve("the peer's answer names another SOP class")
        if response.sop_instance.rstrip(b"\0 ") not in (b"", message.sop_instance):
            self._disbelieve("the peer's answer names another SOP instance")
        if self.channel.spoke_early and status.verdict(response.status) is Verdict.DELIVERED:
            self._disbelieve("the peer confirmed an object before it had been sent")
        return StoreResponse(response.status, _comment(response.comment))

    def _disbelieve(self, why: str) -> NoReturn:
        """Abort the association for a response that cannot be one to the request: RemoteProtocolError."""
        error = RemoteProtocolError(why)
        self.punish(error)
        raise error

    def _next_message_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def _response(self, context: int, message_id: int, field: int, timeout: float) -> dimse.Command:
        message = self.read_message(timeout)
        if message is None:
            raise LinkLost("the peer released the association instead of answering")
        answered, command = message
        if command.field != field or command.message_id != message_id:
            self._disbelieve("the peer answered something that was not asked")
        if answered != context:
            self._disbelieve("the peer answered in another presentation context")
        if command.has_data_set:
            self.skip_data(context)
        return command

    def _lose_with_last_words(self, signal: Signal) -> None:
        """Sending failed: the peer's A-ABORT, if one came before the end, is the better explanation."""
        if isinstance(signal, EndOfStream):
            with contextlib.suppress(Signal, RemoteProtocolError):
                head = self.channel.read_head(0)
                if head[0] == pdu.ABORT:
                    self.receive_pdu(head)
        self.lose(signal)

    def _idle_signal(self) -> Signal:
        """What the peer sent while nothing was asked of it. Raises RemoteProtocolError for a message."""
        try:
            head = self.channel.read_head(self.limits.acse_timeout)
        except Signal as signal:
            return signal
        if head[0] == pdu.P_DATA:
            error = RemoteProtocolError("the peer sent a message that nobody asked for", abort_reason=2)
            self.punish(error)
            raise error
        return OtherPdu(head)


@lru_cache(maxsize=256)
def _without_comment(status: int) -> StoreResponse:
    return StoreResponse(status, "")


@contextlib.contextmanager
def _connecting(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise Temporary(f"{host}:{port} did not answer in time") from None
    except TlsFailure as error:
        raise Temporary(f"{host}:{port} cannot be reached with TLS: {error.reason}") from None
    except OSError as error:
        reason = system_says(error)
        if is_own_fault(error):
            raise OwnFault(f"no connection can be opened here: {reason}") from None
        raise Temporary(f"{host}:{port} cannot be reached: {reason}") from None


def _open(
    host: str, port: int, limits: Limits, tls: ssl.SSLContext | None, expected: str | None
) -> socket.socket:
    with _connecting(host, port):
        sock = socket.create_connection((host, port), timeout=limits.connect_timeout)
        if tls is None:
            return sock
        try:
            sock = secured = TlsSocket(sock, tls, server_side=False, expected=expected or host)
            secured.handshake(limits.acse_timeout)
        except BaseException:
            sock.close()
            raise
        return secured


def _raise_rejection(reject: pdu.AssociateReject) -> NoReturn:
    text = rejection(reject)
    if reject.result == 1:
        raise Permanent(text, reason="association-rejected")
    raise Temporary(text)


def _comment(value: bytes) -> str:
    """A peer's error comment as one printable line of at most 64 characters (PS3.7, annex C.4)."""
    if not value:
        return ""
    text = value[:64].decode("ascii", "replace").strip(" \0")
    return "".join(character if character.isprintable() else "?" for character in text)
