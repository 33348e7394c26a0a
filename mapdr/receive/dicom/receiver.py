"""The DIMSE receiver: C-ECHO and C-STORE for every storage SOP class, one thread per association."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mapdr.kernel import tls_words
from mapdr.kernel.address import peer_address
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.finding import Finding
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.privacy import system_says
from mapdr.kernel.stage import Description, Endpoint, Factory, Intake, Rejection, Settings
from mapdr.net.listen import Connections, host_faults, listen
from mapdr.net.renewal import RenewingTls
from mapdr.net.tls import certificates, ending_soon
from mapdr.receive.dicom.config import DimseReceiveConfig
from mapdr.receive.dicom.doorkeeper import ALLOWED, CAUSES, Address, Doorkeeper, cure
from mapdr.receive.dicom.session import Session
from mapdr.receive.rejections import Rejections
from mapdr.receive.shown import ShownCertificates
from mapdr.wire import acceptor, pdu

log = logging.getLogger("mapdr.receive")

ACCEPT_TICK = 0.1
"""Seconds between looks at connections that are late and not gone yet, and for how long `accept` may wait for
one that another receiver of the same socket has taken."""
SPARE = 16
"""Connections beyond the limits that may wait for an association: they are told that there are too many."""
LATE = 1.0
"""Seconds beyond `acse_timeout` after which a connection without an association is cut from here."""
TOLD_EVERY = 60.0
"""Seconds between two warnings that one address holds too many connections."""


class DimseReceiver:
    """A listening socket and its associations."""

    def __init__(self, settings: Settings, config: DimseReceiveConfig, intake: Intake) -> None:
        self._settings = settings
        self._config = config
        self._intake = intake
        self._doorkeeper = Doorkeeper(config)
        self._tls: RenewingTls | None = None
        self._shown = ShownCertificates()
        self._listener: socket.socket | None = None
        self._connections: Connections | None = None
        self._deafened: DimseReceiver | None = None
        self._before: DimseReceiver | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._sessions: dict[Session, threading.Thread] = {}
        self._serial = 0
        self._told_at = -TOLD_EVERY
        self._rejections = Rejections()
        self._stopping = threading.Event()

    @property
    def port(self) -> int:
        """The TCP port in use, once started; the configured one before and after."""
        listener = self._listener  # another thread may be closing it
        try:
            return int(listener.getsockname()[1]) if listener is not None else self._config.port
        except OSError:
            return self._config.port

    @property
    def associations(self) -> int:
        """How many connections are open."""
        with self._lock:
            return len(self._sessions)

    def describe(self) -> Description:
        """See `mapdr.kernel.stage.Receiver`; `associations` counts connections, with or without one."""
        tls = self._tls
        if tls is not None:
            tls.look()
        return Description(
            host=self._config.host,
            port=self.port,
            ae_title=self._config.ae_title,
            tls=self._config.tls is not None,
            associations=self.associations,
            rejected=self._rejections.all(),
            certificates=(
                *(tls.certificates if tls is not None else ()),
                *self._shown.ending_soon(time.time()),
            ),
            tls_trouble=tls.trouble if tls is not None else "",
        )

    def acquire(self, ending: Sequence[object] = ()) -> None:
        """Take the port and read the TLS files. Raises ConfigurationError for a TLS file that cannot be used,
        OSError for the port.

        A receiver of the same port that ends shares its listening socket, so that no connection is refused
        between its end and this one's start. From one at another address of this port it is taken over. Whom
        the one of the same name did not let in, or else that of the port, is known here from the start on.
        """
        if self._listener is not None:
            return
        pdu.load()
        if self._config.tls is not None and self._tls is None:
            try:
                self._tls = RenewingTls(f"receive.{self._settings.name}", self._config.tls)
            except ConfigurationError as error:
                raise ConfigurationError(f"receive.{self._settings.name}.tls: {error}") from None
        host, port = self._config.host, self._config.port
        others = [one for one in ending if isinstance(one, DimseReceiver) and one._config.port == port]
        before = next((one for one in others if one._listener is not None), None)
        named = (
            one
            for one in ending
            if isinstance(one, DimseReceiver) and one._settings.name == self._settings.name
        )
        self._before = next(named, before)
        if before is not None and before._listener is not None and before._config.host == host:
            self._listener = before._listener.dup()
            return
        try:
            self._listener = listen(host, port)
        except OSError:
            if before is None:
                raise
            self._listener = self._take_over(before)

    def _take_over(self, before: DimseReceiver) -> socket.socket:
        """The port from a receiver that holds it at another address: they cannot have it both."""
        before._deafen()
        try:
            listener = listen(self._config.host, self._config.port)
        except OSError:
            before.start()
            raise
        self._deafened = before
        return listener

    def start(self) -> None:
        """Listen. Raises as `acquire`."""
        self.acquire()
        assert self._listener is not None
        self._deafened = None
        before, self._before = self._before, None
        if before is not None:
            known = [self._rejected_still(one, before._config) for one in before._rejections.all()]
            self._rejections.carry_over([one for one in known if one is not None])
        self._stopping.clear()
        listener = self._listener
        listener.settimeout(ACCEPT_TICK)
        connections = self._connections = Connections(listener)
        self._thread = GuardedThread(
            lambda: self._accept(listener, connections),
            f"{self._settings.name}-listener",
            goes_on=lambda: not self._stopping.is_set(),
            watch=self._settings.watch,
        )
        self._thread.start()

    def _rejected_still(self, known: Rejection, before: DimseReceiveConfig) -> Rejection | None:
        """What the configuration `before` rejected, as this one would say it; None for whom it lets in."""
        if known.cause == CAUSES[acceptor.LIMIT_EXCEEDED]:
            here, there = self._config, before
            raised = here.max_associations > there.max_associations
            return (
                None if raised or here.max_associations_per_peer > there.max_associations_per_peer else known
            )
        if tls_words.TLS in known.cause:
            return known if self._config.tls == before.tls else None
        if known.cause not in ALLOWED:
            return known
        who = known.calling_ae, known.called_ae
        address = peer_address(known.address)
        objection = self._doorkeeper.objection(address, *who)
        if objection is None:
            return None
        line = cure(objection, *who, self._settings.name, address)
        return replace(known, cause=CAUSES[objection], cure=line)

    def stop(self, deadline: float) -> None:
        """Take no more associations; let messages that are under way end; at `deadline`, end all."""
        self._deafen()
        before, self._deafened = self._deafened, None
        if before is not None:
            before.start()  # this one never began: who gave up the port for it has it back
        with self._lock:
            sessions = dict(self._sessions)
        for session in sessions:
            session.interrupt()
        for thread in sessions.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        for session, thread in sessions.items():
            if thread.is_alive():
                session.kill()
                thread.join(1.0)

    def _deafen(self) -> None:
        """Take no more connections, and give the port back."""
        self._stopping.set()
        if self._connections is not None:
            self._connections.wake()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._connections is not None:
            self._connections.close()
            self._connections = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket, connections: Connections) -> None:
        trouble = Trouble(log)
        looked = time.monotonic()
        while True:
            connections.wait(self._patience())
            if self._stopping.is_set():
                return
            try:
                sock, address = listener.accept()
            except TimeoutError:
                self._cut_late()
                continue
            except OSError as error:
                trouble.tell(f"{self._settings.name}: cannot accept a connection: {system_says(error)}")
                self._stopping.wait(1.0)
                continue
            if time.monotonic() - looked > ACCEPT_TICK:
                looked = time.monotonic()
                self._cut_late()
            self._admit(sock, address[0])

    def _admit(self, sock: socket.socket, host: str) -> None:
        address = peer_address(host)
        self._serial += 1
        session = Session(
            sock,
            address,
            serial=self._serial,
            receiver=self._settings.name,
            intake=self._intake,
            doorkeeper=self._doorkeeper,
            limits=self._config.limits,
            tls=self._tls.context() if self._tls is not None else None,
            watch=self._settings.watch,
            has_room=self._has_room,
            rejections=self._rejections,
            shown=self._shown.note,
        )
        thread = GuardedThread(
            lambda: self._run(session),
            f"{self._settings.name}-{self._serial}",
            goes_on=lambda: False,  # an association that failed has ended
            watch=self._settings.watch,
        )
        with self._lock:
            self._sessions[session] = thread
            count = len(self._sessions)
        self._settings.watch.level(f"receive.{self._settings.name}.open", count)
        self._make_room(address)
        try:
            thread.start()
        except RuntimeError:
            log.error("%s: %s: closed at once: no more threads", self._settings.name, address)
            with self._lock:
                del self._sessions[session]
            sock.close()

    def _has_room(self, session: Session) -> bool:
        """Whether one more association may be; then it is counted. Called by the session's thread."""
        with self._lock:
            open_ = [each for each in self._sessions if each.associated]
            here = sum(each.address == session.address for each in open_)
            room = (
                len(open_) < self._config.max_associations and here < self._config.max_associations_per_peer
            )
            session.associated = room
        return room

    def _make_room(self, address: Address) -> None:
        """Cut what has waited longest for its association, where too many do: a new peer always gets in.

        Connections without an association count against their address first, then against all.
        """
        with self._lock:
            waiting = [each for each in self._sessions if not (each.associated or each.expired)]
        here = [each for each in waiting if each.address == address]
        if len(here) > self._config.max_associations_per_peer + SPARE:
            victims = here
        elif len(waiting) > self._config.max_associations + SPARE:
            count = Counter(each.address for each in waiting)
            most = max(count.values())
            victims = [each for each in waiting if count[each.address] == most]
        else:
            return
        victim = victims[0]  # the oldest: sessions stand in the order of their connections
        now = time.monotonic()
        if now > self._told_at + TOLD_EVERY:
            self._told_at = now
            log.warning(
                "%s: %s holds too many connections without an association: the oldest are closed",
                self._settings.name,
                victim.address,
            )
        victim.expire("closed for a newer connection: it asked for no association")

    def _patience(self) -> float | None:
        """Seconds until a connection is late that has no association yet; None without one."""
        with self._lock:
            oldest = min((each.since for each in self._sessions if not each.associated), default=None)
        if oldest is None:
            return None
        return max(ACCEPT_TICK, oldest + self._config.acse_timeout + LATE - time.monotonic())

    def _cut_late(self) -> None:
        """ARTIM (PS3.8, section 9.1.5) over all that comes before an association, TLS and slow bytes too."""
        end = time.monotonic() - self._config.acse_timeout - LATE
        with self._lock:
            late = [each for each in self._sessions if each.since < end and not each.associated]
        for session in late:
            session.expire("no association was asked for in time")

    def _run(self, session: Session) -> None:
        try:
            session.run()
        finally:
            with self._lock:
                del self._sessions[session]
                count = len(self._sessions)
            self._settings.watch.level(f"receive.{self._settings.name}.open", count)


def _build(settings: Settings, config: DimseReceiveConfig, intake: Intake) -> DimseReceiver:
    return DimseReceiver(settings, config, intake)


def _listens(config: DimseReceiveConfig) -> Endpoint:
    return Endpoint(config.host, config.port, config.ae_title, config.tls is not None)


def _faults(config: DimseReceiveConfig) -> Iterator[Finding]:
    yield from host_faults(config.host)
    if config.tls is not None:
        yield from config.tls.faults()


STAGE = Factory(
    "receive",
    "dicom",
    DimseReceiveConfig,
    _build,
    faults=_faults,
    doubts=lambda config: ending_soon(config.tls, time.time()),
    certificates=lambda config: certificates(config.tls),
    listens=_listens,
)
