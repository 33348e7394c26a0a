"""Why there was no answer, in words without anything of the URL, of a secret or of what the peer sent."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import h11
import httpx

from mapdr.kernel import tls_words
from mapdr.kernel.errors import LocalProtocolError, OwnFault, Temporary, is_own_fault

BROKE = "the connection broke before an answer"

_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionRefusedError, "connection refused"),
    (socket.gaierror, "its host name is not known"),
    (ConnectionError, BROKE),
    (httpx.RemoteProtocolError, "the connection ended without an answer"),
    (httpx.UnsupportedProtocol, "its URL is not http or https"),
)
"""What keeps a request from being answered, the most special first."""

_NOTHING_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


_OURS = (httpx.InvalidURL, h11.LocalProtocolError)
"""What this side alone can have done. In HTTP/2 httpx tells a server's breach of the protocol as one of ours:
there it is the server's."""


class HttpTrouble(Temporary):
    """There was no answer, or none that can be used. `begun` is false when nothing of the body went out."""

    def __init__(self, message: str, *, begun: bool = True) -> None:
        super().__init__(message)
        self.begun = begun


class NoToken(HttpTrouble):
    """There is nothing to log in with: the token server gave no token. Nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, begun=False)


def trouble(
    error: Exception, *, begun: bool = True, only_http2: bool = False
) -> Temporary | LocalProtocolError:
    """What to raise for an error of httpx: OwnFault where this side lacks files or memory, LocalProtocolError
    where its request is none of HTTP, else HttpTrouble.

    `begun`: something of the body was asked for. `only_http2`: a server that speaks no HTTP/2 ends the
    connection, in words that tell nothing of it.
    """
    if any(is_own_fault(each) for each in _chain(error)):
        return OwnFault("this side has no files, memory or buffers left for a connection")
    if any(isinstance(each, _OURS) for each in _chain(error)):
        return LocalProtocolError("this side made a request that is none of HTTP")
    reached = not isinstance(error, _NOTHING_SENT)
    text = in_words(error)
    if only_http2 and reached and not isinstance(error, httpx.TimeoutException):
        text += "; does it speak HTTP/2, on which http2 = true insists?"
    return HttpTrouble(text, begun=begun and reached)


def in_words(error: BaseException) -> str:
    """Why a request was not answered."""
    if isinstance(error, httpx.ConnectTimeout):
        return "timed out while connecting"
    if isinstance(error, httpx.TimeoutException):
        return "connected, but timed out without an answer"
    if isinstance(error, httpx.ProxyError):
        status = str(error)[:3]  # "407 Proxy Authentication Required"; the rest is the proxy's own text
        return f"the proxy answered {status}" if status.isdigit() else "the proxy could not be used"
    if isinstance(error, httpx.RemoteProtocolError) and "illegal status line" in str(error):
        return "it does not answer in HTTP; is it https://?"
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLEOFError) and not isinstance(error, httpx.ConnectError):
            return BROKE
        if isinstance(cause, ssl.SSLError):
            no_tls = "it does not speak TLS there; is it http://?"
            return no_tls if tls_words.is_no_tls(cause) else tls_words.explain(cause)[1]
        for kind, text in _CAUSES:
            if isinstance(cause, kind):
                return text
    return f"no answer ({type(error).__name__})"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from; httpx and httpcore each wrap the system's."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
