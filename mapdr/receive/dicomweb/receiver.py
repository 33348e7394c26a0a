"""The DICOMweb receiver: a web server that takes STOW-RS, as a stage."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.finding import Finding
from mapdr.kernel.stage import Description, Endpoint, Factory, Intake, Settings
from mapdr.net.http.config import is_loopback
from mapdr.net.listen import host_faults, listen
from mapdr.net.renewal import RenewingTls
from mapdr.net.tls import certificates, ending_soon
from mapdr.receive.dicomweb.config import DicomwebReceiveConfig
from mapdr.receive.rejections import Rejections
from mapdr.receive.shown import ShownCertificates

if TYPE_CHECKING:
    from mapdr.net.http.server import WebServer

SPARE = 16
"""Connections beyond `max_requests` that may be open without a request."""


class DicomwebReceiver:
    """A listening socket, its web server, and the threads that store what comes in."""

    def __init__(self, settings: Settings, config: DicomwebReceiveConfig, intake: Intake) -> None:
        self._settings = settings
        self._config = config
        self._intake = intake
        self._tls: RenewingTls | None = None
        self._shown = ShownCertificates()
        self._listener: socket.socket | None = None
        self._before: DicomwebReceiver | None = None
        self._server: WebServer | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._port = config.port
        self._rejections = Rejections()
        self._ending = threading.Event()

    @property
    def port(self) -> int:
        """The TCP port in use, once it is taken; the configured one before and after."""
        return self._port if self._listener is not None else self._config.port

    def describe(self) -> Description:
        """See `mapdr.kernel.stage.Receiver`; `associations` counts connections."""
        server, tls = self._server, self._tls
        if tls is not None:
            tls.look()
        own = tls.certificates if tls is not None else ()
        return Description(
            host=self._config.host,
            port=self.port,
            tls=self._config.tls is not None,
            associations=server.connections if server is not None else 0,
            rejected=self._rejections.all(),
            certificates=(*own, *self._shown.ending_soon(time.time())),
            tls_trouble=tls.trouble if tls is not None else "",
        )

    def acquire(self, ending: Sequence[object] = ()) -> None:
        """Take the port, read TLS files and secrets. Raises ConfigurationError, or OSError for the port.

        A receiver of the same address and port that ends shares its listening socket, so that no connection
        is refused between its end and this one's start.
        """
        if self._listener is not None:
            return
        self._read_secrets()
        others = [one for one in ending if isinstance(one, DicomwebReceiver)]
        self._before = next((one for one in others if one._settings.name == self._settings.name), None)
        where = self._config.host, self._config.port
        shared = (one._listener for one in others if (one._config.host, one._config.port) == where)
        known = next((each for each in shared if each is not None), None)
        self._listener = listen(*where) if known is None else known.dup()
        self._port = int(self._listener.getsockname()[1])

    def _read_secrets(self) -> None:
        try:
            if self._config.tls is not None and self._tls is None:
                self._tls = RenewingTls(f"receive.{self._settings.name}", self._config.tls)
            for secret in (*self._config.tokens.values(), *self._config.users.values()):
                secret.reveal()
        except ConfigurationError as error:
            raise ConfigurationError(f"receive.{self._settings.name}: {error}") from None

    def start(self) -> None:
        """Listen. Raises as `acquire`."""
        # Here: who only reads the configuration needs no web server.
        from mapdr.net.http.server import Limits, WebServer
        from mapdr.receive.dicomweb.app import Requests, StoreInstances

        self.acquire()
        assert self._listener is not None
        before, self._before = self._before, None
        if before is not None and _lets_in(before._config) == _lets_in(self._config):
            self._rejections.carry_over(before._rejections.all())
        self._ending.clear()
        name, config = self._settings.name, self._config
        pool = self._pool = ThreadPoolExecutor(config.max_requests, f"{name}-request")
        stow = StoreInstances(
            name,
            config,
            self._intake,
            pool=pool,
            requests=Requests(config.max_requests, config.max_requests_per_peer),
            rejections=self._rejections,
            shown=self._shown.note,
            watch=self._settings.watch,
            stopping=self._ending.is_set,
        )
        self._server = WebServer(
            f"{name}-web",
            stow.app(),
            self._listener,
            Limits(config.idle_timeout, config.request_timeout, config.max_requests + SPARE),
            tls=self._tls.context if self._tls is not None else None,
            on_refused=stow.refused_early,
            watch=self._settings.watch,
        )
        self._server.start()

    def stop(self, deadline: float) -> None:
        """Take no more connections; let parts that are on their way end; at `deadline`, end all."""
        self._ending.set()
        server, self._server = self._server, None
        pool, self._pool = self._pool, None
        listener, self._listener = self._listener, None
        ended = server is None or server.stop(deadline)
        if pool is not None:
            pool.shutdown(wait=ended)  # then its threads are idle
        if listener is not None:
            listener.close()


def _lets_in(config: DicomwebReceiveConfig) -> object:
    return config.tokens, config.users, config.tls


def _build(settings: Settings, config: DicomwebReceiveConfig, intake: Intake) -> DicomwebReceiver:
    return DicomwebReceiver(settings, config, intake)


def _listens(config: DicomwebReceiveConfig) -> Endpoint:
    return Endpoint(config.host, config.port, "", config.tls is not None)


def _faults(config: DicomwebReceiveConfig) -> Iterator[Finding]:
    yield from host_faults(config.host)
    if config.tls is not None:
        yield from config.tls.faults()


def _doubts(config: DicomwebReceiveConfig) -> Iterator[Finding]:
    yield from ending_soon(config.tls, time.time())
    if config.tls is None and not is_loopback(config.host):
        what = "takes images without TLS: who sits on the way reads them, and what peers log in with"
        yield Finding(("host",), what, "add tls = { cert = ..., key = ... }")


STAGE = Factory(
    "receive",
    "dicomweb",
    DicomwebReceiveConfig,
    _build,
    faults=_faults,
    doubts=_doubts,
    certificates=lambda config: certificates(config.tls),
    listens=_listens,
)
