"""The web application of a DICOMweb receiver: STOW-RS (PS3.18, section 10.5) at `/studies` and
`/studies/{uid}`, below `/` and below `/dicom-web`.

Everything that may wait for a disk runs in `pool`, a thread for each request that is taken: no request waits
for another one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mapdr.kernel.certificate import PEER, Certificate
from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.guard import Trouble
from mapdr.kernel.item import Source, is_uid
from mapdr.kernel.stage import Intake
from mapdr.kernel.watch import Watch
from mapdr.net.certificate import certificate_of
from mapdr.net.http.server import (
    App,
    Message,
    Receive,
    Scope,
    Send,
    connection_of,
)
from mapdr.net.media_type import media_type
from mapdr.net.multipart import boundary
from mapdr.receive.dicomweb.answer import JSON, acceptable, as_json, as_xml, response_module, status_of
from mapdr.receive.dicomweb.config import DicomwebReceiveConfig
from mapdr.receive.dicomweb.login import BAD_LOGIN, NO_LOGIN, OTHER_HOST, Login
from mapdr.receive.dicomweb.parts import PartResult, PartStore
from mapdr.receive.rejections import KEPT, Rejections, cure_by_tls

log = logging.getLogger("mapdr.receive")

ROOTS = ("", "/dicom-web")
RETRY_AFTER = "30"
"""Seconds after which a sender may ask again where there is no room."""
LOOK = 0.25
"""Seconds between two looks, while a body is waited for, whether the receiver ends."""
TOO_MANY = "rejected for now: too many requests at once"
_TYPES = 'multipart/related; type="application/dicom"'


class Refusal(Exception):
    """A request that is not taken, or no further: an HTTP status, and what is wrong in words."""

    def __init__(self, status: int, words: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.headers = headers or {}


class _Gone(Exception):
    """The peer has left, or was cut off: nobody waits for an answer."""


class Requests:
    """Which requests are being taken, of whom. Thread-safe."""

    def __init__(self, most: int, most_per_peer: int) -> None:
        self._most = most
        self._most_per_peer = most_per_peer
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many there are now."""
        return self._open.total()

    @contextmanager
    def one_of(self, address: str) -> Iterator[bool]:
        """One more while the context lasts, if there is room: whether there is."""
        with self._lock:
            room = self._open.total() < self._most and self._open[address] < self._most_per_peer
            self._open[address] += room
        try:
            yield room
        finally:
            with self._lock:
                self._open[address] -= room
                self._open += Counter()  # drops those without any


class StoreInstances:
    """The endpoint. One for each receiver; `stopping` says that it ends, and requests come to an end then."""

    def __init__(
        self,
        receiver: str,
        config: DicomwebReceiveConfig,
        intake: Intake,
        *,
        pool: ThreadPoolExecutor,
        requests: Requests,
        rejections: Rejections,
        shown: Callable[[Certificate], object],
        watch: Watch,
        stopping: Callable[[], bool],
    ) -> None:
        self._name = receiver
        self._config = config
        self._intake = intake
        self._pool = pool
        self._requests = requests
        self._rejections = rejections
        self._shown = shown
        self._watch = watch
        self._stopping = stopping
        self._login = Login(receiver, config)
        self._told: dict[tuple[str, str], Trouble] = {}

    def app(self) -> App:
        """The whole application: who is not let in gets no further than this, whatever it asks for."""
        roots = [
            root + slash for root in ROOTS for slash in ("/", "//")
        ]  # "//": of a root given with a slash
        paths = [f"{root}studies{rest}" for root in roots for rest in ("", "/", "/{study}", "/{study}/")]
        routes = [Route(path, self._store, methods=["POST"]) for path in paths]
        handlers = {404: _in_words, 405: _in_words}
        inner = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
        inner.router.redirect_slashes = False

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                scope["state"]["credential"] = self._admitted(scope)
            except Refusal as refusal:
                await _refused(refusal)(scope, receive, send)
                return
            await inner(scope, receive, send)

        return app

    def _admitted(self, scope: Scope) -> str:
        """What the peer has proved to be. Raises Refusal, and notes it for people to look at."""
        connection, headers = connection_of(scope), Headers(scope=scope)
        if self._login.foreign(headers.get("host", "")):
            self._rejected(connection.address, OTHER_HOST, "")
            raise Refusal(403, "this receiver takes images from this machine only: call it by localhost")
        authorization = headers.getlist("authorization")
        credential = self._login.credential(authorization, self._proved(connection.certificate))
        if credential is None:
            cause = BAD_LOGIN if authorization else NO_LOGIN
            self._rejected(connection.address, cause, f"see tokens and users of [receive.{self._name}]")
            challenge = {"WWW-Authenticate": ", ".join(self._login.challenges)}
            raise Refusal(401, cause.removeprefix("rejected: "), challenge)
        return credential

    def _proved(self, certificate: bytes) -> str:
        """Who the peer has proved to be by its certificate; empty if it was not asked for one."""
        if not certificate:
            return ""
        try:
            found = certificate_of(certificate, PEER)
        except ValueError:  # OpenSSL is content with it, and somebody has signed it
            return ""
        self._shown(found)
        return found.credential

    def _rejected(self, address: str, cause: str, cure: str) -> None:
        self._rejections.note(address, "", "", cause, cure)
        self._watch.count(f"receive.{self._name}.rejected")
        # A request costs a stranger nothing: one line and one event a minute of each, all are counted.
        key = (address, cause)
        if key not in self._told and len(self._told) >= KEPT:
            address, key = "others", ("", cause)
        told = self._told.setdefault(key, Trouble(log, level=logging.WARNING))
        if told.tell(f"{self._name}: {address}: {cause}"):
            self._watch.emit("association.rejected", receiver=self._name, peer=address, cause=cause)

    def refused_early(self, address: str, cause: str) -> None:
        """A peer came no further than its first bytes: TLS, or no HTTP at all."""
        self._rejected(address, cause, cure_by_tls(cause, self._name))

    async def _store(self, request: Request) -> Response:
        try:
            name, study, kind = self._understood(request)
        except Refusal as refusal:
            return _refused(refusal)
        connection = connection_of(request.scope)
        credential = str(request.scope["state"]["credential"])
        source = Source(self._name, "", "", connection.address, "dicomweb", credential)
        with self._requests.one_of(connection.address) as room:
            if not room:
                keys = "max_requests or max_requests_per_peer"
                self._rejected(connection.address, TOO_MANY, f"raise {keys} of [receive.{self._name}]")
                again = {"Retry-After": RETRY_AFTER}
                return _refused(Refusal(503, "too many requests at once: try again later", again))
            self._watch.level(f"receive.{self._name}.open", self._requests.count)
            parts = PartStore(self._intake, source, name, study)
            return await self._answered(request, parts, source, kind)

    def _understood(self, request: Request) -> tuple[bytes, str, str]:
        """The boundary of its parts, its study, and the media type of the answer. Raises Refusal."""
        headers = request.headers
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            words = "the body has a Content-Encoding: send it without one"
            raise Refusal(415, words, {"Accept-Encoding": "identity"})
        try:
            content_type = media_type(headers.get("content-type", ""))
        except RemoteProtocolError as error:
            raise Refusal(400 if "content-type" in headers else 415, f"{error}; send {_TYPES}") from None
        inner = content_type.parameters.get("type", "application/dicom").lower()
        if content_type.essence != "multipart/related" or inner != "application/dicom":
            raise Refusal(415, f"the body is not of a type that is taken here: send {_TYPES}")
        try:
            name = boundary(content_type)
        except RemoteProtocolError as error:
            raise Refusal(400, str(error)) from None
        kind = acceptable(", ".join(headers.getlist("accept")))
        if not kind:
            raise Refusal(406, f"the answer can be had as {JSON} or as application/dicom+xml")
        study = str(request.path_params.get("study", ""))
        if study and not is_uid(study):
            raise Refusal(400, "the path names a study, but no UID")
        return name, study, kind

    async def _answered(self, request: Request, parts: PartStore, source: Source, kind: str) -> Response:
        trouble: Refusal | None = None
        try:
            await self._take(request, parts)
        except Refusal as refusal:
            trouble = refusal
        except _Gone:
            self._told_once("association.lost", source, "the connection broke within a request")
            return PlainTextResponse("", 400)  # to nobody
        finally:
            words = trouble.words if trouble else ""
            await asyncio.get_running_loop().run_in_executor(self._pool, parts.close, words)
            self._count(parts.results, source)
        if not parts.results:
            return _refused(trouble or Refusal(400, "the body holds no part"))
        return _module(parts.results, trouble, kind)

    async def _take(self, request: Request, parts: PartStore) -> None:
        """Feed the body to `parts`. Raises Refusal where it comes to no good end, and _Gone."""
        connection, loop = connection_of(request.scope), asyncio.get_running_loop()
        deadline = time.monotonic() + self._config.request_timeout
        more = True
        try:
            while more:
                message = await self._next(request, parts, deadline)
                if message["type"] != "http.request":
                    raise _Gone
                if message.get("body"):
                    await loop.run_in_executor(self._pool, parts.feed, message["body"])
                more = message.get("more_body", False)
            parts.end()
        except RemoteProtocolError as error:
            words = (
                "the body is not what HTTP says of it, or ended early" if connection.broken else str(error)
            )
            raise Refusal(400, words) from None

    async def _next(self, request: Request, parts: PartStore, deadline: float) -> Message:
        """The next piece of the body. Raises Refusal if it does not come in time, or if the receiver ends."""
        until = min(time.monotonic() + self._config.idle_timeout, deadline)
        while True:
            if self._stopping() and parts.between_parts:
                raise Refusal(503, "this receiver ends: send the rest again", {"Retry-After": RETRY_AFTER})
            left = until - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, min(left, LOOK))):
                    return await request.receive()
            except TimeoutError:
                if left <= LOOK:
                    raise Refusal(408, "the body did not come in time") from None

    def _count(self, results: list[PartResult], source: Source) -> None:
        stored = [each for each in results if each.reason is None]
        refused = len(results) - len(stored)
        for what, number in (("stored", len(stored)), ("refused", refused)):
            if number:
                self._watch.count(f"receive.{self._name}.{what}", number)
        if stored:
            self._watch.count(f"receive.{self._name}.bytes", sum(each.size for each in stored))
        self._watch.level(f"receive.{self._name}.open", self._requests.count - 1)
        # A full disk refuses thousands: the first of a request is said, all are counted.
        for code, words in {each.reason: each.words for each in reversed(results)}.items():
            if code is not None:
                self._watch.emit(
                    "images.refused", receiver=self._name, peer=_peer(source), status=code, cause=words
                )
                log.warning(
                    "%s: an object of %s was refused: 0x%04X %s", self._name, _peer(source), code, words
                )

    def _told_once(self, kind: str, source: Source, cause: str) -> None:
        self._watch.count(f"receive.{self._name}.lost")
        if not self._stopping():
            self._watch.emit(kind, receiver=self._name, peer=_peer(source), cause=cause)
            log.warning("%s: %s: %s", self._name, _peer(source), cause)


def _peer(source: Source) -> str:
    return f"{source.credential} at {source.address}" if source.credential else source.address


def _module(results: list[PartResult], trouble: Refusal | None, kind: str) -> Response:
    """What became of each part; what is wrong with the whole stands in `Warning`, as PS3.18 has it."""
    module = response_module(results)
    status = status_of(results, broken=trouble.status if trouble else 0)
    headers = dict(trouble.headers) if trouble else {}
    if status == 503:
        headers["Retry-After"] = RETRY_AFTER
    said = trouble.words if trouble else next((each.words for each in results if each.words), "")
    if said:
        headers["Warning"] = f'299 - "{_plain(said)}"'
    body = as_json(module) if kind == JSON else as_xml(module)
    return Response(body, status, {**headers, "Content-Type": kind})


def _plain(words: str) -> str:
    """As a quoted text in a header: the system's own words may be in any language."""
    return words.encode("ascii", "replace").decode().replace('"', "'").replace("\\", "/")


def _refused(refusal: Refusal) -> Response:
    return PlainTextResponse(refusal.words + "\n", refusal.status, refusal.headers)


async def _in_words(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        words = "nothing can be asked for here: POST instances to /studies (STOW-RS)"
    else:
        words = "there is nothing here: POST instances to /studies or to /dicom-web/studies (STOW-RS)"
    return PlainTextResponse(words + "\n", error.status_code, error.headers)
