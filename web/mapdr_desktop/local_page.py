"""What a first start asks, and what keeps the program from opening, as a page on loopback with its server.

It lives until the node's own page is shown. The token in its address is taken once, for a cookie; what comes
from another page or under another name is refused, as the node's page does (docs/decisions/0072).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from importlib import resources
from typing import Any, get_type_hints

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

import mapdr
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.privacy import in_words
from mapdr.net.http.server import Limits, Receive, Scope, Send, WebServer
from mapdr.net.listen import listen
from mapdr.operate.errors import RequestError
from mapdr.operate.first import (
    FirstForm,
    echo_first,
    first_license,
    own_addresses,
    port_trouble,
    write_first,
)
from mapdr.operate.license import request
from mapdr_desktop.opening import Opening

LOOPBACK = "127.0.0.1"
LONGEST_BODY = 32768
"""Bytes of a request's body; a license is half of it at most."""
LIMITS = Limits(idle=60.0, request=300.0, waiting=32)
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_FILES = {
    "/": ("mapdr_desktop", "first.html", "text/html; charset=utf-8"),
    "/static/first.css": ("mapdr_desktop", "first.css", "text/css; charset=utf-8"),
    "/static/first.js": ("mapdr_desktop", "first.js", "text/javascript; charset=utf-8"),
    # The looks of the node's own page.
    "/static/page.css": ("mapdr_web", "page.css", "text/css; charset=utf-8"),
    # How it shows a license, and what that needs.
    "/static/license.js": ("mapdr_web", "license.js", "text/javascript; charset=utf-8"),
    "/static/dom.js": ("mapdr_web", "dom.js", "text/javascript; charset=utf-8"),
    "/static/icon.svg": ("mapdr_web", "icon.svg", "image/svg+xml"),
}


class LocalPage:
    """Serves the page from `start` to `stop`. `trouble` is why the node's page is not shown; empty where
    there is no configuration yet."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self.trouble = ""
        self._token = ""
        self._sessions: set[str] = set()
        self._listener = listen(LOOPBACK, 0)
        self._host = f"{LOOPBACK}:{self._listener.getsockname()[1]}"
        self._server = WebServer("desktop", self._app, self._listener, LIMITS)
        self._answers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "/api/first": self._first,
            "/api/port": self._port,
            "/api/echo": self._echo,
            "/api/finish": self._finish,
            "/api/open": self._open,
            "/api/request": lambda given: asdict(request()),
        }

    def start(self) -> None:
        """Serve from now on."""
        self._server.start()

    def stop(self) -> None:
        """Serve no more."""
        self._server.stop(time.monotonic() + 5.0)

    def address(self) -> str:
        """An address that lets in once; those given before let in no more."""
        self._token = secrets.token_urlsafe(32)
        return f"http://{self._host}/#token={self._token}"

    # --- requests -----------------------------------------------------------------------------------------

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            response = Response(status_code=400)
        response.headers.update(_HEADERS)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.headers.getlist("host") != [self._host]:
            return _error(400, "this page is not called by that name")
        if request.method == "GET" and (file := _FILES.get(request.url.path)):
            package, name, kind = file
            return Response((resources.files(package) / "static" / name).read_bytes(), media_type=kind)
        if request.method != "POST":
            return _error(404, "there is nothing here")
        if request.headers.get("origin", f"http://{self._host}") != f"http://{self._host}":
            return _error(403, "the request comes from another page")
        try:
            given = await _body(request)
            if request.url.path == "/api/session":
                return self._sign_in(given)
            if request.cookies.get(self._cookie) not in self._sessions:
                return _error(401, "this address was used; start MAPDR again")
            answer = self._answers.get(request.url.path)
            if answer is None:
                return _error(404, "there is nothing here")
            return JSONResponse(await asyncio.to_thread(answer, given))
        except RequestError as error:
            return _error(400, str(error), error.field)
        except (MapdrError, OSError) as error:
            return _error(503, in_words(error))

    @property
    def _cookie(self) -> str:
        return f"mapdr-first-{self._host.rpartition(':')[2]}"

    def _sign_in(self, given: Mapping[str, Any]) -> Response:
        known, self._token = self._token, ""
        if not known or not secrets.compare_digest(str(given.get("token", "")).encode(), known.encode()):
            return _error(401, "this address was used; start MAPDR again")
        session = secrets.token_urlsafe(32)
        self._sessions.add(session)
        answer = JSONResponse({})
        answer.set_cookie(self._cookie, session, path="/", httponly=True, samesite="strict")
        return answer

    # --- what is asked, each in a thread of its own --------------------------------------------------------

    def _first(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "is_new": self._opening.where.is_new,
            "trouble": self.trouble,
            "file": str(self._opening.where.config),
            "addresses": own_addresses(),
            "version": mapdr.__version__,
            "license": asdict(first_license(self._opening.where.config))
            if self._opening.where.is_new
            else None,
        }

    def _port(self, given: Mapping[str, Any]) -> dict[str, Any]:
        port = given.get("port")
        return {"trouble": port_trouble(port if isinstance(port, int) else -1)}

    def _echo(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return asdict(echo_first(_form(given), self._opening.where.config))

    def _finish(self, given: Mapping[str, Any]) -> dict[str, Any]:
        token = given.get("token", "")
        if not isinstance(token, str):
            raise RequestError("is no text", field="token")
        problems = write_first(_form(given), self._opening.where.config, token)
        if problems:
            return {"problems": [asdict(each) for each in problems]}
        return self._open(given)

    def _open(self, given: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {"url": self._opening.url()}
        except (MapdrError, OSError) as error:
            self.trouble = in_words(error)
            raise


def _error(status: int, words: str, field: str = "") -> Response:
    return JSONResponse({"error": words, "field": field}, status)


async def _body(request: Request) -> Mapping[str, Any]:
    """The object in the body. Raises RequestError."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY:
            raise RequestError("the request is too long")
    try:
        given = json.loads(body or b"{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise RequestError("the request is no object of JSON")
    return given


def _form(given: Mapping[str, Any]) -> FirstForm:
    """Raises RequestError for what is missing or no value of its kind, with its field."""
    kinds = get_type_hints(FirstForm)
    for field in fields(FirstForm):
        kind = {int: (int,), float: (int, float)}.get(kinds[field.name], (str,))
        value = given.get(field.name)
        if not isinstance(value, kind) or isinstance(value, bool):
            words = "enter a number" if kinds[field.name] in (int, float) else "is missing"
            raise RequestError(words, field=field.name)
    return FirstForm(**{field.name: given[field.name] for field in fields(FirstForm)})
