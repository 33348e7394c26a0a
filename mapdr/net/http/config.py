"""The keys that every stage has that speaks HTTP: `auth`, `tls`, `proxy`, `http2`, times."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from mapdr.config.secret import Secret
from mapdr.config.units import Duration
from mapdr.kernel.finding import Finding
from mapdr.kernel.stage import StageConfig
from mapdr.net.tls import ClientTls, ending_soon


def check_url(text: str) -> str:
    """`text` if it is an absolute http or https URL without a password or a fragment.

    Raises ValueError with the cure, without the text: a URL may hold a token.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL; write https://host/path") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("is not a URL; write https://host/path")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("holds characters that no URL has; write them as %XX, a host as xn--...")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or a password; move them to auth (of a proxy: proxy_auth)")
    if parts.fragment:
        raise ValueError("holds a fragment, which no server gets to see; leave out # and what follows")
    return text


def _service_root(text: str) -> str:
    if urlsplit(check_url(text)).query:
        raise ValueError("holds a query, and paths are added to it; leave out ? and what follows")
    return text.rstrip("/")


def _proxy(text: str) -> str:
    if urlsplit(check_url(text)).path not in ("", "/"):
        raise ValueError("is not a proxy; write http://host:port")
    return text


HttpUrl = Annotated[str, AfterValidator(check_url)]
"""A field that holds a URL."""

ServiceRoot = Annotated[str, AfterValidator(_service_root)]
"""A field that holds a URL to which paths are added; without a `/` at its end."""


def is_loopback(host: str | None) -> bool:
    """Whether what is sent to `host` stays on this machine; by what is written, nothing is looked up."""
    if not host or host.lower() == "localhost":
        return bool(host)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def plain_http(url: str) -> bool:
    """Whether what is sent to `url` crosses a network unencrypted."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname)


class AuthConfig(StageConfig):
    """The table `auth`: `{ user, password }` (basic), `{ token }` (bearer), or
    `{ token_url, client_id, client_secret, scope }` (OAuth 2 client credentials, RFC 6749 section 4.4).
    """

    user: str | None = Field(default=None, min_length=1)
    password: Secret | None = None
    token: Secret | None = None
    token_url: HttpUrl | None = None
    client_id: str | None = Field(default=None, min_length=1)
    client_secret: Secret | None = None
    scope: str = ""

    @model_validator(mode="after")
    def _one_way(self) -> AuthConfig:
        basic = {"user": self.user, "password": self.password}
        bearer = {"token": self.token}
        oauth2 = {
            "token_url": self.token_url,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }
        used = [each for each in (basic, bearer, oauth2) if any(value is not None for value in each.values())]
        if len(used) != 1:
            raise ValueError(
                "is not one way to log in; write { user, password }, { token } "
                "or { token_url, client_id, client_secret }"
            )
        missing = [key for key, value in used[0].items() if value is None]
        if missing:
            raise ValueError(f"lacks {' and '.join(missing)}; add {missing[0]} = ...")
        if self.scope and used[0] is not oauth2:
            raise ValueError("has a scope without token_url; leave out scope")
        if self.user is not None and ":" in self.user:
            raise ValueError("has a user with a colon, which HTTP cannot send; use another user")
        if self.token_url is not None and plain_http(self.token_url):
            raise ValueError("has a token_url without TLS (RFC 6749, section 3.2); write https://...")
        return self


class HttpConfig(StageConfig):
    """The keys for the way to a server. The stage adds its `url`, and asks `doubts` and `faults` for it.

    Proxies that the environment names (`HTTPS_PROXY`, `NO_PROXY`, `.netrc`) are not used: where images go
    does not hang on who started the program. `proxy_auth` is the secret `user:password`.

    `http2`: "auto" lets the server choose (ALPN), true insists on HTTP/2, false (the default) offers none.
    Bodies went out over HTTP/1.1 at three times the rate of HTTP/2 (240 MB/s and 85 MB/s over TLS to the same
    server), and one connection has one request at a time here: there is nothing that HTTP/2 would save.
    `timeout` is for each step of sending and answering, and for the answer as a whole once it has begun.
    """

    auth: AuthConfig | None = None
    tls: ClientTls = ClientTls()
    proxy: Annotated[str, AfterValidator(_proxy)] | None = None
    proxy_auth: Secret | None = None
    http2: Literal["auto", True, False] = False
    connect_timeout: Duration = Field(default=10.0, gt=0)
    timeout: Duration = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _proxied(self) -> HttpConfig:
        if self.proxy_auth is not None and self.proxy is None:
            raise ValueError("has proxy_auth without proxy; add proxy = ...")
        if self.tls.name is not None and self.proxy is not None:
            raise ValueError("has a tls.name, which no proxy can be told; leave out one of them")
        return self

    def faults(self) -> Iterator[Finding]:
        """What is wrong with the TLS files, at `tls`. They are read, nothing else is done."""
        return self.tls.faults()

    def doubts(self, url: str, key: str = "url", *, sent: str = "the images") -> Iterator[Finding]:
        """What may be meant as it is written, but hardly is; `url` stands at `key`, and `sent` goes there."""
        if plain_http(url):
            what = f"sends without TLS: who sits on the way reads {sent}"
            if self.auth is not None:
                what += " and what it logs in with"
            yield Finding((key,), what, "write https://..., unless that network is as safe as this machine")
        if urlsplit(url).scheme == "http" and self.tls != ClientTls():
            yield Finding(("tls",), f"is not used: {key} says http", f"write https://... as {key}")
        else:
            yield from ending_soon(self.tls, time.time())
