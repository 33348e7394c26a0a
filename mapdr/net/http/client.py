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
from urllib.parse import urljoin, urlsplit

import httpx

from mapdr.kernel.errors import ConfigurationError, LocalProtocolError
from mapdr.kernel.status import HttpStatus
from mapdr.net.http.auth import Credentials, Reply, credentials, sendable
from mapdr.net.http.config import HttpConfig, check_url
from mapdr.net.http.status import retry_after
from mapdr.net.http.trouble import HttpTrouble, trouble
from mapdr.net.rate import Throttle

KEEP_ALIVE = 4.0
"""Seconds after which a resting connection is not used again: less than the 5 that Apache and uvicorn keep
one, so that a request does not meet the server's hanging up."""

MOST = 4 << 20
"""Bytes of an answer that are read; a STOW-RS answer for a thousand images has a tenth of it."""

CHUNK = 1 << 16
"""Bytes of a long answer that are handed on at once."""

HOPS = 3
"""Redirects that are followed for one request."""

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
    """A request body that can be sent again: `chunks` anew each time, `length` bytes together."""

    def __init__(self, chunks: Iterable[bytes], length: int) -> None:
        self._chunks = chunks
        self.length = length
        self.begun = False

    def __iter__(self) -> Iterator[bytes]:
        self.begun = True
        left = self.length
        for chunk in self._chunks:
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise LocalProtocolError("a request body has another length than it was said to have")


class Server:
    """A server as configured: makes clients for it. Building it does nothing."""

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self._tls: ssl.SSLContext | None = None
        self._credentials = credentials(config.auth, self._post)

    def acquire(self) -> None:
        """Read the TLS files and look at the secrets. Raises ConfigurationError that names what is wrong."""
        _hush()
        self._tls = self._config.tls.context()
        auth = self._config.auth
        for secret in () if auth is None else (auth.password, auth.client_secret):
            if secret is not None:
                secret.reveal()
        if auth is not None and auth.token is not None:
            sendable(auth.token)
        self._proxy(self._tls)

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
        plain = self._plain(self._config.http2, self._tls)
        return HttpClient(plain, self._credentials, self._config.timeout, throttle)

    def _plain(self, http2: bool | str, tls: ssl.SSLContext) -> httpx.Client:
        return httpx.Client(
            http1=http2 is not True,
            http2=http2 is not False,
            verify=tls,
            trust_env=False,
            proxy=self._proxy(tls),
            follow_redirects=False,
            timeout=httpx.Timeout(self._config.timeout, connect=self._config.connect_timeout),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE),
            headers={"user-agent": "MAPDR", "accept-encoding": "identity"},
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
        with self._plain(False, self._config.tls.context()) as plain:
            answer = _exchange(
                plain,
                "POST",
                url,
                headers=headers,
                body=Body((body,), len(body)),
                timeout=self._config.timeout,
                most=1 << 16,
            )
        return Reply(answer.status, answer.body)


class HttpClient:
    """Sends one request after the other over a connection that is kept."""

    def __init__(
        self, plain: httpx.Client, credentials: Credentials, timeout: float, throttle: Throttle | None
    ) -> None:
        self._plain = plain
        self._credentials = credentials
        self._timeout = timeout
        self._throttle = throttle

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

        Raises HttpTrouble without an answer, OwnFault, ConfigurationError of a secret, and what reading the
        body raises as it is.
        """
        header, renewed = self._credentials.header(), False
        for _ in range(HOPS + 2):
            answer = _exchange(
                self._plain,
                method,
                url,
                headers=dict(headers or {}) | ({"authorization": header} if header else {}),
                body=body,
                timeout=self._timeout,
                most=most,
                throttle=self._throttle,
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
        if self._throttle is not None:
            self._throttle.end()
        self._plain.close()


def followed(url: str, answer: Answer) -> str | None:
    """Where a redirect of `url` leads if it may be followed: to the same host, over https."""
    if answer.status not in _REDIRECTS or "location" not in answer.headers:
        return None
    try:
        target = check_url(urljoin(url, answer.headers["location"]))
    except ValueError:
        return None
    there = urlsplit(target)
    same = there.hostname == urlsplit(url).hostname
    return target if same and there.scheme == "https" else None


def _exchange(
    plain: httpx.Client,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: Body | None,
    timeout: float,
    most: int,
    throttle: Throttle | None = None,
    taken: Taken | None = None,
) -> Answer:
    sent = dict(headers)
    if body is not None:
        body.begun = False
        sent["content-length"] = str(body.length)
    content = body if body is None or throttle is None else _paced(body, throttle)
    try:
        request = plain.build_request(method, url, headers=sent, content=content)
        if throttle is not None:
            throttle(_head_size(request))
        with closing(plain.send(request, stream=True)) as response:
            found = {name.lower(): value for name, value in response.headers.items()}
            if taken is not None and response.is_success:
                for chunk in response.iter_raw(CHUNK):
                    taken(found, chunk)
                return Answer(HttpStatus(response.status_code), found, version=response.http_version)
            data, whole = _read(response, most, time.monotonic() + timeout)
            return Answer(HttpStatus(response.status_code), found, data, whole, response.http_version)
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
        raise trouble(error, begun=body is not None and body.begun) from None
    except RuntimeError:
        if plain.is_closed:
            raise HttpTrouble("the client is closed", begun=False) from None
        raise


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
    for chunk in response.iter_raw():
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


def _hush() -> None:
    """httpx logs every URL, httpcore and hpack every header: a token may be in both."""
    for name in ("httpx", "httpcore", "hpack", "h2"):
        logging.getLogger(name).setLevel(logging.WARNING)
