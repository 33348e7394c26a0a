"""A STOW-RS client that sends whatever a test wants, and reads what is answered."""

from __future__ import annotations

import base64
import io
import json
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any

from mapdr.testing.generator import GeneratedImage
from peers.processes import LOOPBACK

BOUNDARY = "b0undary"
TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'

PATHS = (
    "/studies",
    "/studies/",
    "//studies",
    "/dicom-web/studies",
    "/dicom-web/studies/",
    "/dicom-web//studies",
)
"""Each way to write where instances are stored."""


@dataclass
class Answer:
    """An answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def module(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    def named(self, tag: str) -> list[str]:
        """SOP Instance UIDs of the items of a sequence."""
        return [item["00081155"]["Value"][0] for item in self.module.get(tag, {}).get("Value", ())]

    @property
    def stored(self) -> list[str]:
        return self.named("00081199")

    @property
    def failed(self) -> dict[str, int]:
        """Failure reasons by SOP Instance UID."""
        items = self.module.get("00081198", {}).get("Value", ())
        return {item["00081155"]["Value"][0]: item["00081197"]["Value"][0] for item in items}

    @property
    def others(self) -> list[int]:
        """Failure reasons of parts without a name."""
        return [item["00081197"]["Value"][0] for item in self.module.get("0008119A", {}).get("Value", ())]


def part(data: bytes, content_type: str = "application/dicom") -> bytes:
    return f"--{BOUNDARY}\r\nContent-Type: {content_type}\r\n\r\n".encode() + data + b"\r\n"


def body(parts: Iterable[bytes | GeneratedImage]) -> bytes:
    """A whole body."""
    return b"".join(map(_part, parts)) + END


def _part(one: bytes | GeneratedImage) -> bytes:
    return part(one if isinstance(one, bytes) else one.part10())


END = f"--{BOUNDARY}--\r\n".encode()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def request(
    port: int,
    data: bytes | Iterator[bytes] = b"",
    *,
    path: str = "/studies",
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    timeout: float = 30,
) -> Answer:
    """One request on a connection of its own; data in pieces goes chunked."""
    connection = (
        HTTPSConnection(LOOPBACK, port, timeout=timeout, context=tls)
        if tls
        else HTTPConnection(LOOPBACK, port, timeout=timeout)
    )
    try:
        connection.request(method, path, data, {"Content-Type": TYPE, **(headers or {})})
        return _answer(connection.getresponse())
    finally:
        connection.close()


def store(port: int, parts: Iterable[bytes | GeneratedImage], **options: Any) -> Answer:
    """STOW-RS of these parts."""
    return request(port, body(parts), **options)


def _answer(response: HTTPResponse) -> Answer:
    return Answer(
        response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    )


class _Answers(io.BufferedReader):
    """What a connection brought: what was read beyond one answer begins the next."""

    def close(self) -> None:
        """Stays open: `HTTPResponse` closes its file when it has read one answer."""


class Raw:
    """A connection for bytes that no client would send."""

    def __init__(self, port: int, timeout: float = 10) -> None:
        self.socket = socket.create_connection((LOOPBACK, port), timeout)
        self._answers = _Answers(self.socket.makefile("rb", buffering=0))

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Both ends of the wrapping: a socket whose file is open stays open."""
        self._answers.raw.close()
        self.socket.close()

    def makefile(self, mode: str) -> io.BufferedReader:
        """The file that `HTTPResponse` reads an answer from."""
        return self._answers

    def send(self, *data: bytes) -> Raw:
        for each in data:
            self.socket.sendall(each)
        return self

    def head(self, *lines: str, path: str = "/studies") -> Raw:
        """A POST with these headers."""
        text = "\r\n".join((f"POST {path} HTTP/1.1", "Host: localhost", *lines, "", ""))
        return self.send(text.encode("latin-1"))

    def post(self, data: bytes, *lines: str, length: int | None = None) -> Raw:
        """STOW-RS of a body `data`, which is said to have `length` bytes (None: its own)."""
        said = len(data) if length is None else length
        return self.head(f"Content-Type: {TYPE}", f"Content-Length: {said}", *lines).send(data)

    def answer(self) -> Answer:
        """The answer to the last request."""
        response = HTTPResponse(self, method="POST")
        response.begin()
        return _answer(response)

    def at_end(self) -> bool:
        """Whether the peer closes, with nothing more to say."""
        try:
            return self._answers.read(1) == b""
        except ConnectionError:
            return True
