"""The HTTP client of MAPDR's stages: HTTP/1.1 and HTTP/2, streamed bodies of a known length, bounded answers.

A client is used by one thread at a time: httpx's HTTP/2 mixes up the streams of several threads. What a
destination's clients share (credentials, the TLS context) stands in `Server`.
"""

from __future__ import annotations

import logging
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urljoin, urlsplit

import httpx

from mapdr.kernel.errors import ConfigurationError, LocalProtocolError
from mapdr.kernel.status import HttpStatus
from mapdr.net.http.auth import Credentials, Reply, credentials, sendable
from mapdr.net.http.config import HttpConfig, check_url
from mapdr.net.http.line import Line, transport
from mapdr.net.http.status import retry_after
from mapdr.net.http.trouble import HttpTrouble, trouble
from mapdr.net.rate import Throttle
from mapdr.net.renewal import RenewingTls

KEEP_ALIVE = 4.0
"""Seconds after which a resting connection is not used again: less than the 5 that Apache and uvicorn keep
one, so that a request does not meet the server's hanging up."""

MOST = 4 << 20
"""Bytes of an answer that are read; a STOW-RS answer for a thousand images has a tenth of it."""

CHUNK = 1 << 16
"""Bytes of a long answer that are handed on at once."""

HOPS = 3
"""Redirects that are followed for one request."""

CREEPING = 10
"""So many times as long as for an answer is waited, with HTTP/2, until a server lets a piece of a body go."""

_REDIRECTS = frozenset({301, 302, 307, 308})
"""Those after which the same method is asked again. 303 means another request (RFC 9110, section 15.4.4)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Names of headers are in lower case; of one that came twice the values are joined by commas. `whole` is
    false where the body was longer than was asked for.
    """

    status: HttpStatus
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = True
    version: str = "HTTP/1.1"

    @property
    def wait(self) -> float:
        """Seconds that the server asks to be left alone; 0 if it does not."""
        return retry_after(self.headers.get("retry-after", ""), self.headers.get("date", ""))


Taken = Callable[[Mapping[str, str], bytes], object]
"""Takes a long answer's body as it comes, with the answer's headers; their names are in lower case."""


class Body:
    """A request body that can be sent again: `chunks` anew each time, `length` bytes together.

    `begun` and `whole` say of the last time whether any of it, and whether all of it was asked for and sent,
    `broken` whether `chunks` raised.
    """

    def __init__(self, chunks: Iterable[bytes], length: int) -> None:
        self._chunks = chunks
        self.length = length
        self.begun = False
        self.whole = False
        self.broken = False

    def __iter__(self) -> Iterator[bytes]:
        self.begun, self.whole, self.broken = True, False, False
        left = self.length
        try:
            for chunk in self._chunks:
                left -= len(chunk)
                if left < 0:
                    break
                yield chunk
        except Exception:
            self.broken = True
            raise
        if left:
            raise LocalProtocolError("a request body has another length than it was said to have")
        self.whole = True


class Server:
    """A server as configured: makes clients for it. Building it does nothing.

    `stage` is how the log names whose it is, such as "egress.cloud".
    """

    def __init__(self, config: HttpConfig, stage: str) -> None:
        self._config = config
        self._stage = stage
        self._tls: RenewingTls | None = None
        self._credentials = credentials(config.auth, self._post)

    def acquire(self) -> None:
        """Read the TLS files and look at the secrets. Raises ConfigurationError that names what is wrong."""
        _hush()
        self._tls = RenewingTls(self._stage, self._config.tls)
        auth = self._config.auth
        for secret in () if auth is None else (auth.password, auth.client_secret):
            if secret is not None:
                secret.reveal()
        if auth is not None and auth.token is not None:
            sendable(auth.token)
        self._proxy(self._tls.context())

    @property
    def tls(self) -> RenewingTls | None:
        """The TLS files in use; None before `acquire`."""
        return self._tls

    def log_in(self) -> bool:
        """Whether requests carry credentials; they are got now, a token from its server too.

        Raises NoToken, OwnFault, ConfigurationError.
        """
        return bool(self._credentials.header())

    def client(self, throttle: Throttle | None = None) -> HttpClient:
        """A client, for one thread at a time, that keeps to `throttle` and ends it when it is closed.

        Raises as `acquire`, which comes first if it was not called.
        """
        if self._tls is None:
            self.acquire()
        assert self._tls is not None
        line = Line()
        return HttpClient(
            self._plain(self._config.http2, self._tls.context(), line),
            line,
            self._credentials,
            self._config.timeout,
            throttle,
            named=self._config.tls.name or "",
            only_http2=self._config.http2 is True,
        )

    def _plain(self, http2: bool | str, tls: ssl.SSLContext, line: Line) -> httpx.Client:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE)
        return httpx.Client(
            transport=transport(
                line,
                http1=http2 is not True,
                http2=http2 is not False,
                verify=tls,
                trust_env=False,
                proxy=self._proxy(tls),
                limits=limits,
            ),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(self._config.timeout, connect=self._config.connect_timeout),
            headers={"user-agent": "MAPDR", "accept-encoding": "identity"},
            cookies=CookieJar(
                DefaultCookiePolicy(allowed_domains=())
            ),  # a server may invent them without end
        )

    def _proxy(self, tls: ssl.SSLContext) -> httpx.Proxy | None:
        if self._config.proxy is None:
            return None
        secret, auth = self._config.proxy_auth, None
        if secret is not None:
            user, colon, password = secret.reveal().partition(":")
            if not colon:
                raise ConfigurationError(f"the secret {secret.place} is not user:password")
            auth = (user, password)
        secured = self._config.proxy.startswith("https:")
        return httpx.Proxy(self._config.proxy, auth=auth, ssl_context=tls if secured else None)

    def _post(self, url: str, headers: dict[str, str], body: bytes) -> Reply:
        """One POST to the token server, on a connection of its own: that is once an hour."""
        # With a context of its own: httpx writes into a context which versions of HTTP are offered.
        line = Line()
        with self._plain(False, self._config.tls.context(), line) as plain:
            answer = _exchange(
                plain,
                line,
                "POST",
                url,
                headers=headers,
                body=Body((body,), len(body)),
                timeout=self._config.timeout,
                most=1 << 16,
            )
        return Reply(answer.status, answer.body)


class HttpClient:
    """Sends one request after the other over a connection that is kept.

    `named` is what the server's certificate has to name; empty for the host of the URL.
    """

    def __init__(
        self,
        plain: httpx.Client,
        line: Line,
        credentials: Credentials,
        timeout: float,
        throttle: Throttle | None,
        *,
        named: str = "",
        only_http2: bool,
    ) -> None:
        self._plain = plain
        self._line = line
        self._credentials = credentials
        self._timeout = timeout
        self._throttle = throttle
        self._named = named
        self._only_http2 = only_http2

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._plain.is_closed

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        most: int = MOST,
        taken: Taken | None = None,
    ) -> Answer:
        """The server's answer, whatever its status, with up to `most` bytes of its body.

        With `taken` the body of an answer of 2xx goes there, however long it is, and not into the answer;
        what it raises is raised as it is.

        After a 401 it is asked once more if there are other credentials; redirects are followed to the same
        host over https alone, with the same method and body, and else are the answer.

        Raises HttpTrouble without an answer, OwnFault, LocalProtocolError for a request that is none of HTTP,
        ConfigurationError of a secret, and what reading the body raises as it is.
        """
        header, renewed = self._credentials.header(), False
        for _ in range(HOPS + 2):
            answer = _exchange(
                self._plain,
                self._line,
                method,
                url,
                headers=dict(headers or {}) | ({"authorization": header} if header else {}),
                body=body,
                timeout=self._timeout,
                most=most,
                throttle=self._throttle,
                named=self._named,
                only_http2=self._only_http2,
                taken=taken,
            )
            if answer.status == 401 and not renewed and self._credentials.renew(header):
                header, renewed = self._credentials.header(), True
                continue
            target = followed(url, answer)
            if target is None:
                break
            url = target
        return answer

    def close(self) -> None:
        """Give the connection back. Safe twice; a request under way ends with HttpTrouble."""
        self._plain.close()
        if self._throttle is not None:
            self._throttle.end()  # behind it: what is left of a request would go out at full speed


def followed(url: str, answer: Answer) -> str | None:
    """Where a redirect of `url` leads if it may be followed: to the same host, over https."""
    if answer.status not in _REDIRECTS or "location" not in answer.headers:
        return None
    try:
        target = check_url(urljoin(url, answer.headers["location"]))
        httpx.URL(target)
    except (ValueError, httpx.InvalidURL):
        return None
    there = urlsplit(target)
    same = there.hostname == urlsplit(url).hostname
    return target if same and there.scheme == "https" else None


def _exchange(
    plain: httpx.Client,
    line: Line,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: Body | None,
    timeout: float,
    most: int,
    throttle: Throttle | None = None,
    named: str = "",
    only_http2: bool = False,
    taken: Taken | None = None,
) -> Answer:
    sent = dict(headers)
    content: Iterable[bytes] | None = None
    if body is not None:
        body.begun = body.whole = body.broken = False
        sent["content-length"] = str(body.length)
        content = _expecting(body if throttle is None else _paced(body, throttle), line, timeout)
    try:
        extensions = {"sni_hostname": named} if named else {}
        request = plain.build_request(method, url, headers=sent, content=content, extensions=extensions)
        if throttle is not None:
            throttle(_head_size(request))
        line.ask((plain.timeout.connect or 0.0) + timeout)
        with closing(_sent(plain, request, body)) as response:
            _check(response, line, body)
            line.expect(timeout)
            found = {name.lower(): value for name, value in response.headers.items()}
            if taken is not None and response.is_success:
                for chunk in _whole(response):
                    taken(found, chunk)
                    line.expect(timeout)  # the next one: to take this one may have lasted
                return Answer(HttpStatus(response.status_code), found, version=response.http_version)
            data, whole = _read(response, most, time.monotonic() + timeout)
            return Answer(HttpStatus(response.status_code), found, data, whole, response.http_version)
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
        raise trouble(error, begun=body is not None and body.begun, only_http2=only_http2) from None
    except RuntimeError:
        if plain.is_closed:
            raise HttpTrouble("the client is closed", begun=body is not None and body.begun) from None
        raise


def _sent(plain: httpx.Client, request: httpx.Request, body: Body | None) -> httpx.Response:
    try:
        return plain.send(request, stream=True)
    except ValueError:  # httpcore reads a status of HTTP/2 with int()
        if body is not None and body.broken:
            raise
        raise HttpTrouble("the server's answer is none of HTTP") from None


def _check(response: httpx.Response, line: Line, body: Body | None) -> None:
    """Raises HttpTrouble for what is no answer to the request, although it looks like one.

    The connection ends with it, since nothing of the answer is read.
    """
    if not line.heard:  # it came together with the answer before it
        raise HttpTrouble("the server answered before it was asked")
    if (
        not 100 <= response.status_code <= 999
    ):  # three digits (RFC 9110, section 15); HTTP/2 is not held to it
        raise HttpTrouble("the server's answer is none of HTTP")
    if body is not None and not body.whole and response.is_success:
        raise HttpTrouble(f"the server answered {response.status_code} before it had all of the request")


def _expecting(chunks: Iterable[bytes], line: Line, seconds: float) -> Iterator[bytes]:
    """The same bytes; when they are sent, the answer's time begins."""
    line.expect(CREEPING * seconds)
    for chunk in chunks:
        line.expect(CREEPING * seconds)  # `chunks` may have waited for its share of the bandwidth
        yield chunk
    line.expect(seconds)


def _paced(chunks: Iterable[bytes], throttle: Throttle) -> Iterator[bytes]:
    """The same bytes, in pieces that each wait for their share of the bandwidth."""
    for chunk in chunks:
        for at in range(0, len(chunk), throttle.piece):
            piece = chunk[at : at + throttle.piece]
            throttle(len(piece))
            yield piece


def _head_size(request: httpx.Request) -> int:
    """Bytes of a request before its body in HTTP/1.1; HTTP/2 writes fewer."""
    line = len(request.method) + len(request.url.raw_path) + len(" HTTP/1.1 \r\n\r\n")
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in request.headers.raw)


def _read(response: httpx.Response, most: int, deadline: float) -> tuple[bytes, bool]:
    """Up to `most` bytes of the body, and whether that was all."""
    inflate = None
    if response.headers.get("content-encoding", "identity").strip().lower() in {"gzip", "x-gzip", "deflate"}:
        # Nobody asked for it; some gateways compress all the same.
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    data = bytearray()
    for chunk in _raw(response):
        if time.monotonic() > deadline:
            raise HttpTrouble("the answer did not end in time")
        room = most + 1 - len(data)
        try:
            data += chunk[:room] if inflate is None else inflate.decompress(chunk, room)
        except zlib.error:
            raise HttpTrouble("the answer is compressed, and broken") from None
        if len(data) > most:
            return bytes(data[:most]), False
    return bytes(data), True


def _whole(response: httpx.Response) -> Iterator[bytes]:
    """A long body as it comes, as long as it goes on coming."""
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HttpTrouble("the answer is compressed, which nobody asked for")
    try:
        yield from response.iter_raw(CHUNK)
    except httpx.ReadTimeout:
        raise HttpTrouble("the answer did not go on") from None


def _raw(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_raw()
    except httpx.ReadTimeout:
        raise HttpTrouble("the answer did not end in time") from None


def _hush() -> None:
    """httpx logs every URL, httpcore and hpack every header: a token may be in both."""
    for name in ("httpx", "httpcore", "hpack", "h2"):
        logging.getLogger(name).setLevel(logging.WARNING)
