"""One association of a DIMSE receiver, from the accepted connection to its end, in one thread.

Success is answered when `Incoming.commit` has returned, and never before: that is where the store makes the
object safe. A lane answers for what it takes itself, by the same rule (`mapdr.store.spool.runs`). An object
that is refused costs one failure status; a connection that breaks costs itself.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable

from mapdr.kernel import status, tls_words
from mapdr.kernel.certificate import PEER, Certificate
from mapdr.kernel.errors import Refused, RemoteProtocolError
from mapdr.kernel.item import Source
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import HasLanes, Intake, Lane
from mapdr.kernel.tls_words import TlsCause
from mapdr.kernel.uids import VERIFICATION
from mapdr.kernel.watch import Watch
from mapdr.net.certificate import certificate_of
from mapdr.receive.dicom.doorkeeper import CAUSES, Address, Doorkeeper, cure
from mapdr.receive.rejections import Rejections, cure_by_tls
from mapdr.wire import acceptor, dimse, pdu
from mapdr.wire.acceptor import Acceptor
from mapdr.wire.link import Limits, LinkLost
from mapdr.wire.tls import TlsFailure, TlsSocket

log = logging.getLogger("mapdr.receive")

LONGEST_RESPONSE = 512
"""Bytes: in a run each response is one P-DATA, which is up to this long. A peer whose maximum length is below
that gets its responses in pieces, so its objects are stored one by one."""
_QUERIES = (dimse.C_FIND_RQ, dimse.C_GET_RQ, dimse.C_MOVE_RQ)


class Session:
    """Serves one connection. `run` in its own thread; `interrupt`, `expire` and `kill` from any other.

    `has_room` is asked once the peer is known: whether there may be one more association. `rejections` hears
    of peers that are not let in, `shown` of the certificates of those that have shown one. `since` is when
    the connection came (time.monotonic()), `associated` whether it has an association, `expired` why it was
    cut.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: Address,
        *,
        serial: int,
        receiver: str,
        intake: Intake,
        doorkeeper: Doorkeeper,
        limits: Limits,
        tls: ssl.SSLContext | None,
        watch: Watch,
        has_room: Callable[[Session], bool],
        rejections: Rejections,
        shown: Callable[[Certificate], object],
    ) -> None:
        self.address = address
        self.since = time.monotonic()
        self.associated = False
        self.expired = ""
        self._sock = sock
        self._name = f"{receiver}-{serial}"
        self._receiver = receiver
        self._intake = intake
        self._doorkeeper = doorkeeper
        self._limits = limits
        self._tls = tls
        self._watch = watch
        self._has_room = has_room
        self._rejections = rejections
        self._shown = shown
        self._link: Acceptor | None = None
        self._stopping = False
        self._told: set[int] = set()
        self._credential = ""
        self._source = Source(receiver, "", "", str(address))

    def run(self) -> None:
        """Serve the connection to its end. Nothing is raised: what went wrong is one line in the log."""
        try:
            self._serve()
        except LinkLost as error:
            if error.clean and not self._source.calling_ae:
                log.debug("%s: %s: connected and closed without a word", self._name, self.address)
            else:
                self._report("lost", str(error))
        except RemoteProtocolError as error:
            if str(error) == pdu.SPEAKS_TLS:
                self._turned_away(tls_words.SPEAKS_TLS)
            self._report("broken", str(error))
        except TlsFailure as error:
            self._without_tls(error)
        except TimeoutError:
            self._report("lost", "the TLS handshake was not done in time")
        except OSError as error:
            self._report("lost", f"the connection broke ({type(error).__name__})")
        except Exception as error:  # noqa: BLE001  a fault of ours ends this association, and only this one
            self._report("failed", in_words(error))
        finally:
            if self._link is not None:
                self._link.abort()
            self._sock.close()

    def interrupt(self) -> None:
        """End the association as soon as no message is on its way."""
        self._stopping = True
        if self._link is not None:
            self._link.channel.interrupt()

    def expire(self, cause: str) -> None:
        """End the connection at once if it has no association; `cause` is what is said of it."""
        if not self.expired and not self.associated:
            self.expired = cause
            self.kill()

    def kill(self) -> None:
        """End the connection at once."""
        if self._link is not None:
            self._link.channel.kill()
        try:
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            return

    def _serve(self) -> None:
        if self._tls is not None:
            tls = TlsSocket(self._sock, self._tls, server_side=True)
            self._sock = tls  # before the handshake, so that `kill` reaches it
            tls.handshake(self._limits.acse_timeout)
            self._credential = self._proved(tls.peer_certificate)
        link = self._link = Acceptor(self._sock, self._limits)
        if self._stopping:
            link.channel.interrupt()
        request = link.wait()
        rejection = self._objection(link, request)
        if rejection is not None:
            self._report("rejected", _rejection(rejection, request))
            self._rejections.note(
                str(self.address),
                request.calling_ae,
                request.called_ae,
                CAUSES[rejection],
                cure(rejection, request.calling_ae, request.called_ae, self._receiver, self.address),
            )
            link.reject(rejection)
            return
        self._source = Source(
            self._receiver,
            request.calling_ae,
            request.called_ae,
            str(self.address),
            credential=self._credential,
        )
        accepted = link.accept(request)
        log.debug(
            "%s: association with %r at %s, %d contexts",
            self._name,
            request.calling_ae,
            self.address,
            accepted,
        )
        lane = None
        if isinstance(self._intake, HasLanes) and link.max_send >= LONGEST_RESPONSE:
            storage = {id_: each for id_, each in link.contexts.items() if each[0] != VERIFICATION}
            lane = self._intake.lane(self._source, storage)
        try:
            self._serve_messages(link, lane)
        finally:
            if lane is not None:
                lane.close()

    def _proved(self, certificate: bytes | None) -> str:
        """Who the peer has proved to be; empty where it was not asked for a certificate (`ServerTls.ca`)."""
        if certificate is None:
            return ""
        try:
            found = certificate_of(certificate, PEER)
        except ValueError:  # OpenSSL is content with it, and somebody has signed it
            return ""
        self._shown(found)
        return found.credential

    def _without_tls(self, error: TlsFailure) -> None:
        """The handshake failed, or TLS broke later."""
        gone = error.cause is TlsCause.CLOSED
        if gone and isinstance(self._sock, TlsSocket) and not self._sock.heard:
            log.debug("%s: %s: connected and closed without a word", self._name, self.address)
            return
        if not gone:
            self._turned_away(error.reason)
        self._report("lost" if gone else "broken", error.reason)

    def _turned_away(self, cause: str) -> None:
        """A peer could not be understood, or not be trusted, before it said its name."""
        words = f"rejected: {cause}"
        self._rejections.note(str(self.address), "", "", words, cure_by_tls(cause, self._receiver))

    def _serve_messages(self, link: Acceptor, lane: Lane | None) -> None:
        while True:
            if lane is not None:
                self._take_runs(link, lane)
            message = link.read_message(self._limits.network_timeout)
            if message is None:
                return
            self._answer(link, *message)
            if self._stopping:  # not before the first message: it may be on its way already
                link.end()

    def _take_runs(self, link: Acceptor, lane: Lane) -> None:
        """Store objects in runs for as long as that goes on, and the one message that a run read and left.

        What follows is read message by message.
        """
        again = True
        while again and not self._stopping:
            run = lane.take(link.for_run())
            again = run.again
            if run.stored:
                self._watch.count(f"receive.{self._receiver}.stored", run.stored)
                self._watch.count(f"receive.{self._receiver}.bytes", run.size)
            if run.unsent:
                link.send_rest(run.unsent)
            if run.unstored is not None:
                context, command, data_set = run.unstored
                self._store(link, context, dimse.parse(command), data_set)

    def _objection(self, link: Acceptor, request: pdu.AssociateRequest) -> pdu.AssociateReject | None:
        objection = link.objection(request) or self._doorkeeper.objection(
            self.address, request.calling_ae, request.called_ae
        )
        if objection is None and (self._stopping or not self._has_room(self)):
            return acceptor.LIMIT_EXCEEDED
        return objection

    def _answer(self, link: Acceptor, context: int, command: dimse.Command) -> None:
        if command.field == dimse.C_STORE_RQ:
            self._store(link, context, command)
            return
        if command.has_data_set:
            link.skip_data(context)
        if command.field & dimse.RESPONSE or command.field == dimse.C_CANCEL_RQ:
            # Nothing was asked of this peer, and there is nothing to cancel: neither has an answer.
            return
        if command.field == dimse.C_ECHO_RQ:
            answer = dimse.response(command, status.SUCCESS)
        elif command.field in _QUERIES:
            answer = dimse.response(command, status.SOP_CLASS_NOT_SUPPORTED, "this is a storage receiver")
        else:
            answer = dimse.response(command, status.UNRECOGNIZED_OPERATION)
        link.send_command(context, answer)

    def _store(
        self, link: Acceptor, context: int, command: dimse.Command, data_set: memoryview | None = None
    ) -> None:
        """Take one object and answer; `data_set` is its data set where that has been read already."""
        code, comment = status.SUCCESS, ""
        try:
            self._take(link, context, command, data_set)
        except Refused as refused:
            code, comment = refused.status, refused.comment
        except (LinkLost, RemoteProtocolError):
            raise
        except Exception as error:  # noqa: BLE001  the object is not safe, so its sender is told to keep it
            code, comment = status.PROCESSING_FAILURE, "internal error"
            log.error("%s: an object could not be kept: %s", self._name, in_words(error))
        if code != status.SUCCESS and command.has_data_set:
            link.skip_data(context)
        link.send_command(context, dimse.response(command, code, comment))
        self._watch.count(f"receive.{self._receiver}.{'refused' if code else 'stored'}")
        if code and code not in self._told:
            # A full disk refuses thousands: the first of an association is said, all are counted.
            self._told.add(code)
            self._watch.emit(
                "images.refused",
                receiver=self._receiver,
                peer=self._peer(),
                status=code,
                cause=comment,
            )
            log.warning("%s: an object of %s was refused: 0x%04X %s", self._name, self._peer(), code, comment)

    def _take(
        self, link: Acceptor, context: int, command: dimse.Command, data_set: memoryview | None
    ) -> None:
        """Move one object from the wire into the store, safely. Raises Refused."""
        abstract_syntax, transfer_syntax = link.contexts[context]
        if not command.has_data_set:
            raise Refused(status.CANNOT_UNDERSTAND, "a C-STORE without a data set")
        if abstract_syntax == VERIFICATION:
            raise Refused(status.SOP_CLASS_NOT_SUPPORTED, "a C-STORE in a context for Verification")
        incoming = self._intake.begin(
            self._source,
            _uid(command, "sop_class_uid", status.NO_SUCH_SOP_CLASS),
            _uid(command, "sop_instance_uid", status.INVALID_SOP_INSTANCE),
            transfer_syntax,
        )
        try:
            if data_set is None:
                size = link.read_data(context, incoming.write)
            else:
                size = len(data_set)
                incoming.write(data_set)
            incoming.commit()
        except BaseException:
            incoming.abort()
            raise
        self._watch.count(f"receive.{self._receiver}.bytes", size)

    def _report(self, outcome: str, cause: str) -> None:
        if self.expired:
            outcome, cause = "lost", self.expired
        self._watch.count(f"receive.{self._receiver}.{outcome}")
        if not self._stopping:
            # Without the association's own name: the same trouble of the same peer is shown once.
            self._watch.emit(
                f"association.{outcome}", receiver=self._receiver, peer=self._peer(), cause=cause
            )
        level = logging.ERROR if outcome == "failed" else logging.WARNING
        if self._stopping or self.expired:  # the listener warns of many, once
            level = logging.DEBUG
        log.log(level, "%s: %s: %s", self._name, self._peer(), cause)

    def _peer(self) -> str:
        """Who is there: its AE title, once it has told it and was accepted, and its address."""
        title = self._source.calling_ae
        return f"{title} at {self.address}" if title else str(self.address)


def _uid(command: dimse.Command, name: str, code: int) -> str:
    try:
        return str(getattr(command, name))
    except RemoteProtocolError:
        raise Refused(code, "a UID in the command set is not one") from None


def _rejection(rejection: pdu.AssociateReject, request: pdu.AssociateRequest) -> str:
    titles = f"calling AE title {request.calling_ae!r}, called AE title {request.called_ae!r}"
    return f"{CAUSES[rejection]} ({titles})"
