"""The web application: every route in one table, with what it asks of who calls it."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import compile_path

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.privacy import in_words
from mapdr.net.http.config import is_loopback
from mapdr.net.http.server import App, Receive, Scope, Send
from mapdr.node.assembly import Node
from mapdr.operate.access import LOOKING, access_of
from mapdr.operate.actor import Actor
from mapdr.operate.answer import envelope
from mapdr.operate.audit import Audit
from mapdr.operate.brief import ready
from mapdr.operate.errors import RequestError
from mapdr.operate.signin import Doors, Grant
from mapdr.operate.tried import try_file
from mapdr_web import metrics
from mapdr_web.api import OPERATIONS, Operation
from mapdr_web.config import WebConfig
from mapdr_web.documents import DOCUMENTS, Document
from mapdr_web.gate import CHANGES, Caller, Gate, Needs, Refusal
from mapdr_web.openapi import ROOT, document
from mapdr_web.parameters import identifying, parameters, read
from mapdr_web.sessions import Sessions
from mapdr_web.snapshots import Snapshots
from mapdr_web.static_files import File, read_all
from mapdr_web.throttle import Throttle
from mapdr_web.upload import uploaded

log = logging.getLogger("mapdr.web")

T = TypeVar("T")

PAGES = (
    "/",
    "/studies",
    "/studies/{study}",
    "/images/{image}",
    "/stuck",
    "/reports",
    "/log",
    "/rules",
    "/settings",
    "/about",
)
LONGEST_BODY = 65536
"""Bytes of a request's body ..."""
BODY_SECONDS = 10.0
"""... and seconds for it to come."""
STREAMS = 64
"""Pages that are told of the node's state at once."""
CHECKS = 4
"""Passwords that are checked or wait for it at once."""
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Of every answer; a file that holds no data says its own `cache-control`."""

Handler = Callable[[Request, Caller], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """A path with one method, what it asks of who calls it, and its answer. `person`: see `Gate.admit`."""

    method: str
    path: str
    needs: Needs
    handler: Handler
    person: bool = True


class PageApp:
    """The application of one page. `stopping` says that it ends, and streams come to an end then."""

    def __init__(
        self,
        node: Node,
        config: WebConfig,
        *,
        cookie: str,
        pool: ThreadPoolExecutor,
        stopping: Callable[[], bool],
    ) -> None:
        self._node = node
        self._config = config
        self._pool = pool
        self._stopping = stopping
        self._doors = Doors(node.plan.node.data)
        self._sessions = Sessions()
        self._throttle = Throttle()
        self._gate = Gate(config, self._sessions, self._doors, cookie)
        self._snapshots = Snapshots(node)
        self._files = read_all()
        self._streams = 0
        self._checks = 0
        self.routes = tuple(self._routes())

    def app(self) -> App:
        """The whole application."""
        by_path: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            by_path.setdefault(route.path, {})[route.method] = route
        patterns = [(compile_path(path)[0], found) for path, found in by_path.items()]

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request, found = Request(scope, receive), None
            for pattern, routes in patterns:
                if matched := pattern.match(scope["path"]):
                    scope["path_params"], found = matched.groupdict(), routes
                    break
            response = await self._answer(found, request)
            await response(scope, receive, send)

        return app

    def close(self) -> None:
        """Give the index back."""
        self._snapshots.close()

    # --- letting in ---------------------------------------------------------------------------------------

    async def _answer(self, routes: dict[str, Route] | None, request: Request) -> Response:
        route = routes.get(request.method) if routes else None
        try:
            if route is None or routes is None:
                self._gate.check_host(request)
                if routes is None:
                    raise Refusal(404, "there is nothing here")
                raise Refusal(405, "there is no such method here", headers={"allow": ", ".join(routes)})
            caller = self._gate.admit(request, route.needs, person=route.person)
            return _dressed(await route.handler(request, caller))
        except Refusal as refusal:
            return _refused(refusal)
        except RequestError as error:
            return _refused(Refusal(400, str(error), field=error.field))
        except MapdrError as error:  # the index or the audit cannot be used; the texts hold no value
            return _refused(Refusal(503, str(error)))
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:  # noqa: BLE001  told; it costs this request, and only this one
            log.error("%s could not be answered: %s", route.path if route else "a request", in_words(error))
            return _refused(Refusal(500, "a fault of this node; its log says where"))

    # --- the table ----------------------------------------------------------------------------------------

    def _routes(self) -> list[Route]:
        return [
            *(
                Route("GET", path, "nothing", partial(self._file, self._files["index.html"]))
                for path in PAGES
            ),
            *(
                Route("GET", f"/static/{name}", "nothing", partial(self._file, file))
                for name, file in self._files.items()
            ),
            Route("GET", "/healthz", "nothing", self._healthz),
            Route("GET", "/readyz", "nothing", self._readyz),
            Route("GET", "/metrics", "nothing", self._metrics),
            Route("POST", f"{ROOT}/session", "nothing", self._sign_in),
            Route("GET", f"{ROOT}/session", "nothing", self._whoami),
            Route("DELETE", f"{ROOT}/session", "viewer", self._sign_out),
            Route("GET", f"{ROOT}/stream", "viewer", self._stream, person=False),
            Route("GET", f"{ROOT}/openapi.json", "viewer", self._openapi),
            Route("POST", f"{ROOT}/try", "operator", self._try),
            *self._operations(),
            *(Route("GET", ROOT + each.path, "viewer", partial(self._document, each)) for each in DOCUMENTS),
        ]

    def _operations(self) -> list[Route]:
        found = []
        for operation in OPERATIONS:
            path, handler = ROOT + operation.path, partial(self._operate, operation)
            if not operation.changes:
                found.append(Route("GET", path, "viewer", handler))
            if operation.changes or parameters(operation.function):
                found.append(Route("POST", path, "operator" if operation.changes else "viewer", handler))
        return found

    # --- answers ------------------------------------------------------------------------------------------

    async def _operate(self, operation: Operation, request: Request, caller: Caller) -> Response:
        given = await self._given(request)
        asked = identifying(given)
        if asked and request.method not in CHANGES:
            raise Refusal(
                400, f"send {asked[0]} in a body (POST): addresses are kept by many", field=asked[0]
            )
        arguments = read(operation.function, given)
        if (asked or arguments.get("identify")) and caller.role != "operator":
            raise Refusal(403, "only an operator may see or name who the patients are")
        if operation.of_state:
            snapshot = await self._snapshots.now()
            return self._told(operation, operation.function(snapshot.state))
        return await self._in_pool(self._call, operation, arguments, caller.actor, bool(asked))

    def _call(self, operation: Operation, arguments: dict[str, Any], actor: Actor, named: bool) -> Response:
        """In a thread of the pool. `named`: what is asked for names somebody, which the audit is told."""
        with access_of(
            self._node.plan, busy=LOOKING, actor=actor, config=self._node.file, ends=self._stopping
        ) as opened:
            chosen = arguments.get("chosen")
            if named and chosen is not None and not operation.changes:
                opened.show_who(operation.name, chosen)
            found = operation.function(opened, **arguments)
        return self._told(operation, found)  # here: a long listing takes a while, and others are answered

    async def _document(self, document: Document, request: Request, caller: Caller) -> Response:
        arguments = read(document.function, await self._given(request))
        return await self._in_pool(self._make, document, arguments, caller.actor)

    def _make(self, document: Document, arguments: dict[str, Any], actor: Actor) -> Response:
        """In a thread of the pool."""
        with access_of(self._node.plan, busy=LOOKING, actor=actor) as opened:
            return document.function(opened, **arguments)

    def _told(self, operation: Operation, found: object) -> Response:
        return JSONResponse(envelope(operation.name, self._node.plan.node.name, found))

    async def _given(self, request: Request) -> dict[str, Any]:
        """What a request asks for: by its path, and its query or its body."""
        if request.method not in CHANGES:
            pairs = request.query_params.multi_items()
            if len(dict(pairs)) != len(pairs):
                raise Refusal(400, "a parameter is given twice")
            return {**dict(pairs), **request.path_params}
        if request.query_params:
            raise Refusal(400, "what is asked for stands in the body, and not in the query")
        given = await _body(request)
        if given.keys() & request.path_params.keys():
            raise Refusal(400, "a parameter of the path is given twice")
        return {**given, **request.path_params}

    async def _sign_in(self, request: Request, caller: Caller) -> Response:
        given = await _body(request)
        if given.keys() == {"token"} and isinstance(given["token"], str):
            grant = await self._by_link(given["token"], caller.address)
        elif given.keys() == {"user", "password"} and all(isinstance(each, str) for each in given.values()):
            grant = await self._by_password(given["user"], given["password"], caller.address)
        else:
            raise Refusal(400, "sign in by { token }, or by { user, password }")
        before = request.cookies.get(self._gate.cookie)
        if before:
            self._sessions.end(before)
        cookie, session = self._sessions.begin(grant)
        answer = JSONResponse(self._about(Caller(caller.address, session)))
        answer.set_cookie(
            self._gate.cookie, cookie, path="/", secure=self._config.secure, httponly=True, samesite="strict"
        )
        return answer

    async def _by_link(self, token: str, address: str) -> Grant:
        grant = await self._in_pool(self._doors.take_link, token)
        if grant is None:
            self._slow(address)
            await self._in_pool(partial(self._audit.signed_in, Actor("unknown", address), "link", ok=False))
            raise Refusal(401, "this link was used or is too old; get a new one: mapdr web open")
        await self._in_pool(partial(self._audit.signed_in, Actor(grant.user, address), "link", ok=True))
        return grant

    async def _by_password(self, user: str, password: str, address: str) -> Grant:
        if self._checks >= CHECKS:
            raise Refusal(429, "too many try at once", headers={"retry-after": "1"})
        self._slow(address)
        self._checks += 1
        try:
            grant = await self._in_pool(self._doors.check, user, password)
        finally:
            self._checks -= 1
        told = partial(self._audit.signed_in, Actor(user, address), "password", ok=grant is not None)
        await self._in_pool(told)
        if grant is None:
            raise Refusal(401, "the user or the password is wrong")
        self._throttle.right(address)
        return grant

    def _slow(self, address: str) -> None:
        wait = math.ceil(self._throttle.wait(address))
        if wait:
            raise Refusal(429, f"too many wrong tries; wait {wait} s", headers={"retry-after": str(wait)})

    async def _whoami(self, request: Request, caller: Caller) -> Response:
        return JSONResponse(self._about(caller))

    def _about(self, caller: Caller) -> dict[str, Any]:
        """Who is signed in, and the token for changes; null for nobody, which is no error to be told of."""
        about: dict[str, Any] = {"user": None, "role": None, "csrf": None}
        if caller.session is not None:
            about = {"user": caller.session.grant.user, "role": caller.role, "csrf": caller.session.csrf}
        return envelope("session", self._node.plan.node.name, about)

    async def _sign_out(self, request: Request, caller: Caller) -> Response:
        self._sessions.end(request.cookies.get(self._gate.cookie, ""))
        await self._in_pool(self._audit.signed_out, caller.actor)
        answer = Response(status_code=204)
        answer.delete_cookie(
            self._gate.cookie, path="/", secure=self._config.secure, httponly=True, samesite="strict"
        )
        return answer

    async def _try(self, request: Request, caller: Caller) -> Response:
        """What the rules would do to the file in the body; `calling_ae` in the query says who sends it."""
        given = dict(request.query_params)
        if given.keys() - {"calling_ae"}:
            raise Refusal(400, "only calling_ae may be given beside the file")
        async with uploaded(request, self._node.plan.node.data) as path:
            return await self._in_pool(self._tried, path, given.get("calling_ae", ""), caller.actor)

    def _tried(self, path: Path, calling_ae: str, actor: Actor) -> Response:
        """In a thread of the pool."""
        with access_of(self._node.plan, busy=LOOKING, actor=actor, config=self._node.file) as opened:
            told = try_file(opened, path, calling_ae=calling_ae)
        return JSONResponse(envelope("try", self._node.plan.node.name, told))

    async def _stream(self, request: Request, caller: Caller) -> Response:
        if self._streams >= STREAMS:
            raise Refusal(503, "too many pages are open", headers={"retry-after": "10"})
        self._streams += 1
        return _Stream(self._states(request), self._stream_ended)

    def _stream_ended(self) -> None:
        self._streams -= 1

    async def _states(self, request: Request) -> AsyncIterator[str]:
        """The state as long as the session lasts and the node runs."""
        yield "retry: 2000\n\n"
        async for snapshot in self._snapshots.follow():
            if self._stopping():
                return
            try:
                self._gate.admit(request, "viewer", person=False)
            except (Refusal, MapdrError):  # or nobody can say any more who may
                yield "event: signed-out\ndata: {}\n\n"
                return
            yield f"event: status\ndata: {snapshot.text}\n\n"

    async def _openapi(self, request: Request, caller: Caller) -> Response:
        return JSONResponse(document())

    async def _healthz(self, request: Request, caller: Caller) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readyz(self, request: Request, caller: Caller) -> Response:
        is_ready = ready((await self._snapshots.now()).state)
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)

    async def _metrics(self, request: Request, caller: Caller) -> Response:
        here = is_loopback(caller.address) and not self._config.behind_proxy
        if caller.session is None and not here:
            raise Refusal(401, "sign in, or ask from the node's own machine")
        state = (await self._snapshots.now()).state
        body = metrics.exposition(state, self._node.watch.counters())
        return Response(body, media_type=metrics.CONTENT_TYPE)

    async def _file(self, file: File, request: Request, caller: Caller) -> Response:
        headers = {"etag": file.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.body, media_type=file.type, headers=headers)

    @property
    def _audit(self) -> Audit:
        return Audit(self._node.plan.node)

    async def _in_pool(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(call, *arguments))


class _Stream(StreamingResponse):
    """Server-sent events; `ended` is called when it is over, also if nothing of it could be sent."""

    def __init__(self, content: AsyncIterator[str], ended: Callable[[], None]) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body. Raises Refusal."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "send JSON, with its Content-Type")
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > LONGEST_BODY:
                    raise Refusal(413, "the body is too long")
    except TimeoutError:
        raise Refusal(408, "the body did not come in time") from None
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None
    if not isinstance(given, dict):
        raise Refusal(400, "the body is no JSON object")
    return given


def _refused(refusal: Refusal) -> Response:
    about = {"error": refusal.words} | ({"field": refusal.field} if refusal.field else {})
    return _dressed(JSONResponse(about, refusal.status, headers=refusal.headers))


def _dressed(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
