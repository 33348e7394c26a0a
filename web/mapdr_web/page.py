"""The page as a stage of the node: its socket, its server and its threads."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.finding import Finding
from mapdr.kernel.stage import Description, Endpoint, Factory, Settings
from mapdr.net.http.config import is_loopback
from mapdr.net.listen import host_faults, listen
from mapdr.net.renewal import RenewingTls
from mapdr.net.tls import certificates, ending_soon
from mapdr.operate.page import page_url
from mapdr_web.config import WebConfig

if TYPE_CHECKING:
    from mapdr.net.http.server import WebServer
    from mapdr.node.assembly import Node
    from mapdr_web.app import PageApp

log = logging.getLogger("mapdr.web")

THREADS = 4
"""Requests that look into the index at once: a page must not take the disk from the node."""
IDLE, REQUEST, WAITING = 60.0, 3600.0, 128
"""Seconds for a request's head to come, and for a stream to last until the page asks anew; connections
without a request."""
ENDING = 5.0
"""Seconds for what is being answered when the page ends."""


class OperatorsPage:
    """See `mapdr.kernel.page`."""

    def __init__(self, settings: Settings, config: WebConfig, node: Node) -> None:
        self._settings = settings
        self._config = config
        self._node = node
        self._tls: RenewingTls | None = None
        self._listener: socket.socket | None = None
        self._server: WebServer | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._app: PageApp | None = None
        self._port = config.port
        self._ending = threading.Event()

    def describe(self) -> Description:
        """See `mapdr.kernel.page.Page`."""
        server, tls = self._server, self._tls
        if tls is not None:
            tls.look()
        return Description(
            host=self._config.host,
            port=self._port,
            tls=self._config.tls is not None,
            associations=server.connections if server is not None else 0,
            certificates=tls.certificates if tls is not None else (),
            tls_trouble=tls.trouble if tls is not None else "",
        )

    def acquire(self, ending: Sequence[object] = ()) -> None:
        """Take the port and read the TLS files. Raises ConfigurationError, or OSError for the port.

        A page of the same address and port that ends shares its listening socket.
        """
        if self._listener is not None:
            return
        if self._config.tls is not None and self._tls is None:
            try:
                self._tls = RenewingTls("web", self._config.tls)
            except ConfigurationError as error:
                raise ConfigurationError(f"web: {error}") from None
        where = self._config.host, self._config.port
        shared = (
            one._listener
            for one in ending
            if isinstance(one, OperatorsPage) and (one._config.host, one._config.port) == where
        )
        known = next((each for each in shared if each is not None), None)
        self._listener = listen(*where) if known is None else known.dup()
        self._port = int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Listen. Raises as `acquire`."""
        # Here: who only reads the configuration needs no web server.
        from mapdr.net.http.server import Limits, WebServer
        from mapdr_web.app import PageApp

        self.acquire()
        assert self._listener is not None
        self._ending.clear()
        # A cookie is for a host, whatever the port: two nodes of a machine have one each.
        cookie = "__Host-mapdr" if self._config.secure else f"mapdr-{self._port}"
        self._pool = ThreadPoolExecutor(THREADS, "page-request")
        self._app = PageApp(
            self._node, self._config, cookie=cookie, pool=self._pool, stopping=self._ending.is_set
        )
        self._server = WebServer(
            "web",
            self._app.app(),
            self._listener,
            Limits(IDLE, REQUEST, WAITING),
            tls=self._tls.context if self._tls is not None else None,
            watch=self._settings.watch,
        )
        self._server.start()
        log.info("the page is at %s; sign in with: mapdr web open", page_url(self._config, self._port))

    def stop(self, deadline: float) -> None:
        """Take no more requests; what is being answered has ENDING seconds at most."""
        self._ending.set()
        server, self._server = self._server, None
        pool, self._pool = self._pool, None
        app, self._app = self._app, None
        listener, self._listener = self._listener, None
        if server is not None:
            server.stop(min(deadline, time.monotonic() + ENDING))
        if pool is not None:
            pool.shutdown(wait=True)
        if app is not None:
            app.close()
        if listener is not None:
            listener.close()


def _build(settings: Settings, config: WebConfig, node: Node) -> OperatorsPage:
    return OperatorsPage(settings, config, node)


def _listens(config: WebConfig) -> Endpoint:
    return Endpoint(config.host, config.port, "", config.tls is not None)


def _faults(config: WebConfig) -> Iterator[Finding]:
    yield from host_faults(config.host)
    if config.tls is not None:
        yield from config.tls.faults()


def _doubts(config: WebConfig) -> Iterator[Finding]:
    yield from ending_soon(config.tls, time.time())
    if config.behind_proxy and config.tls is None and not is_loopback(config.host):
        what = "is reached without the proxy too, and without TLS: whoever does so may name any address"
        yield Finding(("host",), what, 'write host = "127.0.0.1" if the proxy runs here, or let only it in')


STAGE = Factory(
    "page",
    "web",
    WebConfig,
    _build,
    faults=_faults,
    doubts=_doubts,
    certificates=lambda config: certificates(config.tls),
    listens=_listens,
)
