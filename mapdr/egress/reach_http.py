"""The first steps of examining a web server: the way there (or to its proxy), TLS, and the login."""

from __future__ import annotations

import time
from typing import TypeVar
from urllib.parse import urlsplit

from mapdr.egress.http import HttpEgressConfig, endpoint
from mapdr.egress.reach import Address, Steps, certificate_shown, reach, speak_tls
from mapdr.kernel.errors import ConfigurationError, Temporary
from mapdr.kernel.examine import Level, PeerFinding
from mapdr.net.http.client import Answer, Server
from mapdr.net.http.config import plain_http
from mapdr.net.http.status import meaning
from mapdr.net.http.trouble import NoToken

C = TypeVar("C", bound=HttpEgressConfig)

LOGIN = "login"

_SCHEMES = {"basic": "user and password", "bearer": "a token", "negotiate": "Kerberos", "digest": "Digest",
            "ntlm": "NTLM"}  # fmt: skip
"""What WWW-Authenticate may ask for (RFC 9110, section 11.6.1), as far as it is told."""


def bounded(config: C, seconds: float) -> C:
    """`config` with no time limit longer than `seconds`."""
    times = {key: min(getattr(config, key), seconds) for key in ("connect_timeout", "timeout")}
    return config.model_copy(update=times)


def reach_server(config: HttpEgressConfig, url: str, server: Server, seconds: float) -> Steps[bool]:
    """Name, TCP, TLS and login; whether a request can be made. `server` is one for `config`, bounded."""
    try:
        server.acquire()
    except ConfigurationError as error:
        yield PeerFinding("configuration", Level.BAD, str(error), "put the file or the variable in order")
        return False
    peer = endpoint(url)
    if config.proxy is not None:
        proxy = endpoint(config.proxy)
        yield PeerFinding("proxy", Level.INFO, f"{proxy.host} stands between: name and TCP are the proxy's")
        if (yield from reach(proxy.host, proxy.port, seconds)) is None:
            return False
    else:
        address = yield from reach(peer.host, peer.port, seconds)
        if address is None:
            return False
        if peer.tls:
            secured = yield from speak_tls(
                address, peer.host, config.tls, seconds, without="write http:// (within a safe network)"
            )
            if secured is not True:
                return False
        else:
            yield _without_tls(url)
    return (yield from _log_in(config, server))


def _without_tls(url: str) -> PeerFinding:
    if plain_http(url):
        text = "the URL says http: who sits on the way can read the images, and the login"
        return PeerFinding("TLS", Level.WARN, text, "write https://..., unless that network is a safe one")
    return PeerFinding("TLS", Level.INFO, "the URL says http, which does not leave this machine")


def _log_in(config: HttpEgressConfig, server: Server) -> Steps[bool]:
    auth = config.auth
    if auth is None:
        yield PeerFinding(LOGIN, Level.INFO, "none is configured")
        return True
    started = time.perf_counter()
    try:
        server.log_in()
    except NoToken as error:
        cure = "compare token_url, client_id, client_secret and scope with what the token server knows"
        yield PeerFinding(LOGIN, Level.BAD, f"OAuth 2: {error}", cure)
        return False
    except (Temporary, ConfigurationError) as error:
        yield PeerFinding(LOGIN, Level.BAD, str(error), "put the secret's file or variable in order")
        return False
    if auth.token_url is not None:
        took = (time.perf_counter() - started) * 1000
        yield PeerFinding(LOGIN, Level.GOOD, "OAuth 2: the token server gave a token", "", took)
    else:
        yield PeerFinding(
            LOGIN, Level.INFO, "with a token" if auth.token is not None else "with user and password"
        )
    return True


def not_let_in(answer: Answer, config: HttpEgressConfig) -> PeerFinding:
    """A 401, 403 or 407 in words."""
    if answer.status == 407:
        cure = "correct proxy_auth" if config.proxy_auth is not None else "set proxy_auth"
    elif answer.status == 401:
        scheme = answer.headers.get("www-authenticate", "").partition(" ")[0].lower().rstrip(",")
        wants = f"; the server asks for {_SCHEMES[scheme]}" if scheme in _SCHEMES else ""
        cure = (
            "correct auth: what it holds is not accepted" if config.auth is not None else "set auth"
        ) + wants
    else:
        cure = "have the server allow storing to who logs in, and from this address"
    return PeerFinding(LOGIN, Level.BAD, meaning(answer.status), cure)


def no_answer(error: Exception, config: HttpEgressConfig, url: str, part: str, seconds: float) -> PeerFinding:
    """A request that was not answered in HTTP; a server that speaks TLS where http is written is told so."""
    if config.proxy is None and speaks_tls(url, seconds):
        text = "the server speaks TLS, and the URL says http"
        return PeerFinding(part, Level.BAD, text, "write https://...")
    return PeerFinding(
        part, Level.BAD, str(error), "see whether a web server listens at this port; read its log"
    )


def speaks_tls(url: str, seconds: float) -> bool:
    """Whether what listens where an http URL leads speaks TLS."""
    peer = endpoint(url)
    if peer.tls or urlsplit(url).scheme != "http":
        return False
    import socket

    try:
        found = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)[0]
    except OSError:
        return False
    address = Address(int(found[0]), found[4])
    return certificate_shown(address, peer.host, None, seconds) is not None
