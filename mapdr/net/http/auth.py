"""What a request logs in with: nothing, basic, bearer, or OAuth 2 client credentials (RFC 7617, 6750, 6749).

One object serves all threads of a destination. Secrets are read for each request, so that a file that changed
counts from the next one on; neither they nor tokens are in any error.
"""

from __future__ import annotations

import base64
import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote_plus, urlencode

from mapdr.config.secret import Secret
from mapdr.kernel.errors import ConfigurationError, LocalProtocolError, OwnFault, Temporary
from mapdr.net.http.config import AuthConfig
from mapdr.net.http.trouble import HttpTrouble, NoToken

AHEAD = 60.0
"""Seconds before its end that a token is renewed; a tenth of its life if that is less."""

PAUSE = 5.0
"""Seconds after a token server's failure in which it is not asked again, whoever wants a token."""

_ERRORS = frozenset(
    {
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
"""RFC 6749, section 5.2: the only words of a token server that are repeated."""


class Credentials(Protocol):
    """What a destination logs in with."""

    def header(self) -> str:
        """The value of `Authorization` for the next request; empty for none.

        Raises ConfigurationError (a secret cannot be read or sent), and Temporary (no token could be had).
        """

    def renew(self, refused: str) -> bool:
        """A request with the header `refused` was answered 401: whether `header` may give another one now."""


class Stored:
    """Credentials that are kept in secrets: none, basic, or bearer."""

    def __init__(self, config: AuthConfig | None) -> None:
        self._config = config

    def header(self) -> str:
        """See `Credentials`."""
        config = self._config
        if config is None:
            return ""
        if config.token is not None:
            return f"Bearer {sendable(config.token)}"
        assert config.password is not None
        return _basic(config.user or "", config.password.reveal())

    def renew(self, refused: str) -> bool:
        """See `Credentials`: the file of the secret may have changed meanwhile."""
        return self.header() != refused


@dataclass(frozen=True, slots=True)
class Reply:
    """What a token server answered."""

    status: int
    body: bytes


Post = Callable[[str, dict[str, str], bytes], Reply]
"""POSTs a body with headers to a URL. Raises Temporary."""


@dataclass(frozen=True, slots=True)
class _Token:
    """A token as it is sent; the times are `clock`'s."""

    header: str
    renew_at: float
    ends_at: float


class ClientCredentials:
    """OAuth 2 client credentials: one token for all threads, renewed before it ends and when it is refused.

    While it is renewed ahead of its end, the other threads go on with the old one.
    """

    def __init__(self, config: AuthConfig, post: Post, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._post = post
        self._clock = clock
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._failure = ""
        self._failed_until = -math.inf

    def header(self) -> str:
        """See `Credentials`."""
        token, now = self._token, self._clock()
        if token is not None and now < token.renew_at:
            return token.header
        usable = token is not None and now < token.ends_at
        if not self._lock.acquire(blocking=not usable):
            assert token is not None
            return token.header
        try:
            return self._renewed()
        finally:
            self._lock.release()

    def renew(self, refused: str) -> bool:
        """See `Credentials`."""
        with self._lock:
            if self._token is not None and self._token.header == refused:
                self._token = None
        return True

    def _renewed(self) -> str:
        """With the lock: what another thread got meanwhile, a new token, or the old one while it holds."""
        token, now = self._token, self._clock()
        if token is not None and now < token.renew_at:
            return token.header
        usable = token is not None and now < token.ends_at
        if now >= self._failed_until:
            try:
                self._token = token = self._fetch()
                return token.header
            except OwnFault:
                if not usable:
                    raise
            except (Temporary, ConfigurationError) as error:
                self._failure, self._failed_until = str(error), self._clock() + PAUSE
        if usable:
            assert token is not None
            return token.header
        raise NoToken(self._failure)

    def _fetch(self) -> _Token:
        config = self._config
        assert config.token_url is not None
        assert config.client_secret is not None
        form = {"grant_type": "client_credentials"} | ({"scope": config.scope} if config.scope else {})
        headers = {
            # Section 2.3.1: both are encoded as in a form first. Every server has to take this way.
            "authorization": _basic(
                quote_plus(config.client_id or ""), quote_plus(config.client_secret.reveal())
            ),
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        }
        asked_at = self._clock()
        try:
            reply = self._post(config.token_url, headers, urlencode(form).encode())
        except (HttpTrouble, LocalProtocolError) as error:
            raise NoToken(f"no token: {error}") from None
        found = _json_object(reply.body)
        if reply.status != 200:
            word = found.get("error")
            told = f" ({word})" if isinstance(word, str) and word in _ERRORS else ""
            raise NoToken(f"no token: the token server answered {reply.status}{told}")
        text, kind = found.get("access_token"), found.get("token_type", "Bearer")
        if not isinstance(text, str) or not _is_token(text) or str(kind).lower() != "bearer":
            raise NoToken("no token: the token server's answer holds none (RFC 6749, section 5.1)")
        seconds = _seconds(found.get("expires_in"))
        return _Token(f"Bearer {text}", asked_at + max(seconds * 0.9, seconds - AHEAD), asked_at + seconds)


def credentials(config: AuthConfig | None, post: Post) -> Credentials:
    """What `config` asks for; `post` reaches the token server."""
    if config is not None and config.token_url is not None:
        return ClientCredentials(config, post)
    return Stored(config)


def sendable(secret: Secret) -> str:
    """The secret's value as a token. Raises ConfigurationError, as `reveal`, and if no header can hold it."""
    value = secret.reveal()
    if not _is_token(value):
        raise ConfigurationError(
            f"the secret {secret.place} is no token: it holds blanks or control characters"
        )
    return value


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _json_object(body: bytes) -> dict[str, object]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(value: object) -> float:
    """`expires_in`, which some servers send as text; infinity without one: until the token is refused."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.inf
    return max(0.0, seconds) if math.isfinite(seconds) else math.inf
