"""Why there was no answer, in words without anything of the URL, of a secret or of what the peer sent."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

from mapdr.kernel.errors import OwnFault, Temporary, is_own_fault

_CERTIFICATE = {
    9: "its TLS certificate is not valid yet",
    10: "its TLS certificate has expired",
    62: "its TLS certificate is for another host name",
    64: "its TLS certificate is for another address",
}
"""OpenSSL's verification codes (X509_V_ERR_...) that have another cure than a `ca`."""

_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionRefusedError, "connection refused"),
    (socket.gaierror, "its host name is not known"),
    (ssl.SSLCertVerificationError, "its TLS certificate is not trusted"),
    (ssl.SSLError, "no TLS connection could be made"),
    (ConnectionError, "the connection broke before an answer"),
    (httpx.RemoteProtocolError, "the connection ended without an answer"),
    (httpx.UnsupportedProtocol, "its URL is not http or https"),
)
"""What keeps a request from being answered, the most special first."""

_REASONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS there; is it http://?",
    "HTTP_REQUEST": "it does not speak TLS there; is it http://?",
    "PACKET_LENGTH_TOO_LONG": "it does not speak TLS there; is it http://?",
    "RECORD_LAYER_FAILURE": "it does not speak TLS there; is it http://?",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of this node; set tls.cert and tls.key",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it agreed to no TLS version or cipher, or wants a certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the certificate of this node",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the certificate of this node has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept the certificate of this node",
}
"""OpenSSL's reasons that a person can do something about."""

_NOTHING_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


class HttpTrouble(Temporary):
    """There was no answer, or none that can be used. `begun` is false when nothing of the body went out."""

    def __init__(self, message: str, *, begun: bool = True) -> None:
        super().__init__(message)
        self.begun = begun


class NoToken(HttpTrouble):
    """There is nothing to log in with: the token server gave no token. Nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, begun=False)


def trouble(error: Exception, *, begun: bool = True, only_http2: bool = False) -> Temporary:
    """What to raise for an error of httpx: OwnFault where this side lacks files or memory, else HttpTrouble.

    `begun`: something of the body was asked for. `only_http2`: a server that speaks no HTTP/2 ends the
    connection, in words that tell nothing of it.
    """
    if any(is_own_fault(each) for each in _chain(error)):
        return OwnFault("this side has no files, memory or buffers left for a connection")
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
        if isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code in _CERTIFICATE:
            return _CERTIFICATE[cause.verify_code]
        if isinstance(cause, ssl.SSLError) and cause.reason in _REASONS:
            return _REASONS[cause.reason]
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
