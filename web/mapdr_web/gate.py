"""Which requests are let in, before anything is looked up: by host, by session, by role, by origin and token.

a foreign Host                                400   (DNS rebinding)
no session, or one that has ended             401
a change from another origin, or without
the session's token                           403   (CSRF)
what the role may not                         403
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from mapdr.kernel.address import peer_address
from mapdr.net.http.server import connection_of
from mapdr.operate.actor import Actor
from mapdr.operate.signin import Doors, Role
from mapdr_web.config import WebConfig
from mapdr_web.sessions import Session, Sessions

Needs = Literal["nothing", "viewer", "operator"]
"""What a route asks of who calls it."""

CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
CSRF = "x-csrf-token"
UNATTENDED = "x-unattended"
"""The header of what a page asks by itself, which keeps nobody signed in."""


class Refusal(Exception):
    """A request that is not obeyed: an HTTP status and words. `field` names what of it is wrong."""

    def __init__(
        self, status: int, words: str, *, field: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.field = field
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the address that it came from, and the session if there is one."""

    address: str
    session: Session | None = None

    @property
    def actor(self) -> Actor:
        """Who it is, for the audit; there must be a session."""
        assert self.session is not None
        return Actor(self.session.grant.user, self.address)

    @property
    def role(self) -> Role:
        """What the session allows; there must be one."""
        assert self.session is not None
        return self.session.grant.role


class Gate:
    """One for the page."""

    def __init__(self, config: WebConfig, sessions: Sessions, doors: Doors, cookie: str) -> None:
        self._config = config
        self._sessions = sessions
        self._doors = doors
        self.cookie = cookie

    def admit(self, request: Request, needs: Needs, *, person: bool = True) -> Caller:
        """Who may send this request. `person`: it is something that a person did, and no stream that goes on
        by itself. Raises Refusal."""
        self.check_host(request)
        address = self.address(request)
        person = person and UNATTENDED not in request.headers
        if needs == "nothing":
            if request.method in CHANGES:
                self.check_origin(request)
            return Caller(address, self._session(request, person=person))
        session = self._session(request, person=person)
        if session is None:
            raise Refusal(401, "sign in: mapdr web open")
        if request.method in CHANGES:
            self.check_origin(request)
            if not session.proves(request.headers.get(CSRF, "")):
                raise Refusal(403, f"the header {CSRF} is not this session's token")
        if needs == "operator" and session.grant.role != "operator":
            raise Refusal(403, "only an operator may do that")
        return Caller(address, session)

    def check_host(self, request: Request) -> None:
        """Raise Refusal unless the request names this page, and names it once."""
        given = request.headers.getlist("host")
        if len(given) != 1 or _name(given[0]) not in self._config.names:
            raise Refusal(400, "this page is not called by that name; see `hosts` of [web]")

    def check_origin(self, request: Request) -> None:
        """Raise Refusal for a request that a browser sends for a page from elsewhere. Who is no browser need
        not name an origin."""
        origin = request.headers.get("origin")
        if origin is not None:
            scheme = "https" if self._config.secure else "http"
            if origin.lower() != f"{scheme}://{request.headers['host'].lower()}":
                raise Refusal(403, "the request comes from another page")
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refusal(403, "the request comes from another page")

    def address(self, request: Request) -> str:
        """Whom the request came from: behind a proxy, who that says it was."""
        address = connection_of(request.scope).address
        if not self._config.behind_proxy:
            return address
        forwarded = ",".join(request.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
        try:
            return str(peer_address(forwarded))
        except ValueError:
            return address

    def _session(self, request: Request, *, person: bool) -> Session | None:
        cookie = request.cookies.get(self.cookie, "")
        session = self._sessions.find(cookie, used=person) if cookie else None
        if session is not None and not self._doors.holds(session.grant):
            self._sessions.end(cookie)
            return None
        return session


def _name(host: str) -> str:
    """The name in a `Host`, without its port."""
    host = host.strip().lower()
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
