"""The side of an association that is asked: waits for a request, accepts or rejects it, receives messages."""

from __future__ import annotations

import socket

from mapdr._fast.pdata_signals import Signal
from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.uids import APPLICATION_CONTEXT
from mapdr.wire import pdu
from mapdr.wire.association import Event
from mapdr.wire.contexts import ACCEPTANCE, answer_roles, negotiate
from mapdr.wire.link import Limits, Link, LinkLost

PERMANENT, TRANSIENT = 1, 2
BY_USER, BY_ACSE, BY_PRESENTATION = 1, 2, 3
CALLED_AE_UNKNOWN = pdu.AssociateReject(PERMANENT, BY_USER, 7)
CALLING_AE_UNKNOWN = pdu.AssociateReject(PERMANENT, BY_USER, 3)
NO_REASON = pdu.AssociateReject(PERMANENT, BY_USER, 1)
CONTEXT_NAME_UNKNOWN = pdu.AssociateReject(PERMANENT, BY_USER, 2)
VERSION_UNKNOWN = pdu.AssociateReject(PERMANENT, BY_ACSE, 2)
LIMIT_EXCEEDED = pdu.AssociateReject(TRANSIENT, BY_PRESENTATION, 2)
"""The rejections that MAPDR gives (PS3.8, table 9-21)."""


class Acceptor(Link):
    """The SCP side: `wait`, then `accept` or `reject`, then `read_message` and its like. For one thread."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        super().__init__(sock, limits, acceptor=True)
        self.machine.fire(Event.TRANSPORT_INDICATION)

    def wait(self) -> pdu.AssociateRequest:
        """The peer's association request. Raises LinkLost, RemoteProtocolError."""
        try:
            head = self.channel.read_head(self.limits.acse_timeout)
            if head[0] == pdu.P_DATA:
                self.machine.fire(Event.DATA_RECEIVED)
                raise RemoteProtocolError("a P-DATA came before an association was requested", abort_reason=2)
            _, request = self.receive_pdu(head)
        except Signal as signal:
            self.lose(signal)
        except RemoteProtocolError as error:
            self.punish(error)
            raise
        if not isinstance(request, pdu.AssociateRequest):
            raise LinkLost("the peer ended the association before it began")
        return request

    def objection(self, request: pdu.AssociateRequest) -> pdu.AssociateReject | None:
        """The rejection that the protocol itself asks for, if any: the version, the application context."""
        if not request.protocol_version & 1:
            return VERSION_UNKNOWN
        if request.application_context != APPLICATION_CONTEXT:
            return CONTEXT_NAME_UNKNOWN
        return None

    def accept(self, request: pdu.AssociateRequest) -> int:
        """Accept, with Verification and all storage contexts; how many contexts were accepted.

        Raises LinkLost, RemoteProtocolError.
        """
        results = negotiate(request.contexts)
        abstract = {context.id: context.abstract_syntax for context in request.contexts}
        self.contexts = {
            result.id: (abstract[result.id], result.transfer_syntax)
            for result in results
            if result.result == ACCEPTANCE
        }
        answer = pdu.AssociateAccept(
            request.calling_ae, request.called_ae, results, self.limits.max_pdu, answer_roles(request.roles)
        )
        try:
            self.agree_on_length(request.max_length)
            encoded = pdu.encode_accept(answer)
            self.machine.fire(Event.ACCEPT)
            self.channel.send(encoded)
        except Signal as signal:
            self.lose(signal)
        except RemoteProtocolError as error:
            self.punish(error)
            raise
        return len(self.contexts)

    def reject(self, rejection: pdu.AssociateReject) -> None:
        """Send the A-ASSOCIATE-RJ, and close the connection once the peer has, or after `Limits.linger`."""
        self.machine.fire(Event.REJECT)
        self.channel.send_last(pdu.encode_reject(rejection))
        self.close_politely()
