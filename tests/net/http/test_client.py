"""The client of all HTTP stages, against scripted servers: what it logs in with, follows, takes and tells."""

from __future__ import annotations

import base64
import errno
import gzip
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from mapdr.config.secret import Secret
from mapdr.kernel.errors import ConfigurationError, LocalProtocolError, OwnFault, Permanent, Temporary
from mapdr.kernel.status import HttpStatus
from mapdr.net import renewal
from mapdr.net.http.auth import ClientCredentials, Reply
from mapdr.net.http.client import MOST, Answer, Body, HttpClient, Server, followed
from mapdr.net.http.config import AuthConfig, HttpConfig
from mapdr.net.http.trouble import HttpTrouble, NoToken, trouble
from mapdr.net.tls import ClientTls
from peers.httpd import Asked, Said, certificate, server_tls, serving, serving_http2
from peers.processes import free_port

SECRET = "s3cr3t-and-more"


@pytest.fixture
def made() -> Iterator[Callable[..., HttpClient]]:
    """Makes clients from keys of the configuration, and closes them."""
    clients: list[HttpClient] = []

    def make(**keys: Any) -> HttpClient:
        clients.append(Server(HttpConfig(**{"timeout": 5, **keys}), "egress.test").client())
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def ok(asked: Asked) -> Said:
    return Said(200, b"fine")


def test_a_body_is_streamed_with_its_length_and_nothing_is_expected(made: Callable[..., HttpClient]) -> None:
    with serving(ok) as server:
        client = made()
        body = Body([b"a" * 100_000, b"b", b""], 100_001)
        for _ in range(2):  # on one connection
            answer = client.request("POST", server.url + "/x?y=1", headers={"Accept": "a/b"}, body=body)
        assert (answer.status, answer.body, answer.whole) == (200, b"fine", True)
        assert server.connections == 1
        asked = server.asked[1]
        assert (asked.method, asked.path, len(asked.body)) == ("POST", "/x?y=1", 100_001)
        assert asked.headers["content-length"] == "100001"
        assert asked.headers["accept"] == "a/b"
        assert not {"expect", "transfer-encoding", "authorization"} & asked.headers.keys()


@pytest.mark.parametrize("length", [3, 5])
def test_a_body_of_another_length_is_a_fault_of_ours(made: Callable[..., HttpClient], length: int) -> None:
    with serving(ok) as server, pytest.raises(LocalProtocolError):
        made(timeout=1).request("POST", server.url, body=Body([b"four"], length))


@pytest.mark.parametrize("error", [Permanent("damaged", reason="damaged"), OSError(errno.EIO, "no")])
def test_what_reading_the_body_raises_is_no_fault_of_the_server(
    made: Callable[..., HttpClient], error: Exception
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"some"
        raise error

    with serving(ok) as server, pytest.raises(type(error)) as caught:
        made(timeout=1).request("POST", server.url, body=Body(chunks(), 100))
    assert caught.value is error


def test_an_answer_is_read_within_bounds(made: Callable[..., HttpClient]) -> None:
    with serving(lambda asked: Said(200, bytes(MOST + 1))) as server:
        client = made()
        answer = client.request("GET", server.url, most=10)
        # The headers are the answer's own: another answer's would have another second in its Date.
        assert answer == Answer(200, answer.headers, bytes(10), whole=False)
        assert answer.headers["content-length"] == str(MOST + 1)
        assert not client.request("GET", server.url).whole


def test_an_answer_that_is_compressed_is_inflated_within_bounds(made: Callable[..., HttpClient]) -> None:
    bomb = gzip.compress(bytes(50 << 20))
    bodies = {"/small": gzip.compress(b"small"), "/bomb": bomb, "/broken": b"not gzip"}
    with serving(lambda asked: Said(200, bodies[asked.path], {"Content-Encoding": "gzip"})) as server:
        client = made()
        assert client.request("GET", server.url + "/small").body == b"small"
        answer = client.request("GET", server.url + "/bomb")
        assert (len(answer.body), answer.whole) == (MOST, False)
        with pytest.raises(HttpTrouble, match="compressed"):
            client.request("GET", server.url + "/broken")
        assert server.asked[0].headers["accept-encoding"] == "identity"


def test_a_long_answer_is_handed_on_as_it_comes(made: Callable[..., HttpClient]) -> None:
    body = bytes(range(256)) * 100_000  # more than an answer holds
    bodies = {"/long": Said(200, body), "/no": Said(404, b"nothing"), "/cut": Said(200, body, cut=1_000_000)}
    bodies["/packed"] = Said(200, gzip.compress(b"x"), {"Content-Encoding": "gzip"})
    pieces: list[bytes] = []
    with serving(lambda asked: bodies[asked.path]) as server:
        client = made(timeout=5)
        answer = client.request("GET", server.url + "/long", taken=lambda headers, data: pieces.append(data))
        assert b"".join(pieces) == body
        assert max(map(len, pieces)) < len(body) // 10
        assert (answer.status, answer.body) == (200, b"")
        pieces.clear()
        refused = client.request("GET", server.url + "/no", taken=lambda headers, data: pieces.append(data))
        assert (refused.status, refused.body, pieces) == (404, b"nothing", [])
        for path in ("/cut", "/packed"):
            with pytest.raises(HttpTrouble):
                client.request("GET", server.url + path, taken=lambda headers, data: pieces.append(data))
        with pytest.raises(Permanent, match="ours"):
            client.request("GET", server.url + "/long", taken=_fail)


def _fail(headers: object, data: bytes) -> None:
    raise Permanent("ours", reason="test")


def test_an_answer_that_drips_ends(made: Callable[..., HttpClient]) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not over.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        with pytest.raises(HttpTrouble, match="did not end in time"):
            made(timeout=0.3).request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/")
    finally:
        over.set()
        thread.join()
        listener.close()


HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def babbling(begin: bytes, again: bytes) -> Iterator[str]:
    """The URL of a server that answers with `begin`, and `again` for as long as somebody listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def babble() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(begin)
            while not over.wait(0.05):
                connection.sendall(again)

    thread = threading.Thread(target=babble)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        over.set()
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
        (HEAD + b"X: ", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    ],
    ids=["continue", "hints", "head", "chunk", "trailers"],
)
@pytest.mark.parametrize("body", [None, Body([b"x"], 1)], ids=["empty", "body"])
def test_an_answer_that_never_comes_to_its_end_ends(
    made: Callable[..., HttpClient], begin: bytes, again: bytes, body: Body | None
) -> None:
    with babbling(begin, again) as url:
        client = made(timeout=0.3, connect_timeout=0.3)
        watch = threading.Timer(10, client.close)  # lest the test itself waits for ever
        watch.start()
        with pytest.raises(HttpTrouble, match=r"timed out|did not end in time"):
            client.request("POST", url, body=body)
        assert not client.closed
        watch.cancel()


def test_a_proxy_that_never_comes_to_an_end_is_given_up(made: Callable[..., HttpClient]) -> None:
    with babbling(HEAD + b"X: ", b"x") as url:
        client = made(timeout=0.3, connect_timeout=0.3, proxy=url.rstrip("/"))
        watch = threading.Timer(10, client.close)
        watch.start()
        with pytest.raises(HttpTrouble, match="timed out") as caught:
            client.request("POST", "https://pacs.example/", body=Body([b"x"], 1))
        assert not client.closed
        assert not caught.value.begun
        watch.cancel()


def test_two_answers_to_a_request_are_not_one_to_the_next(made: Callable[..., HttpClient]) -> None:
    """As a gateway gives them that answers for a server, and then passes on what that says."""
    again = HEAD + b"Content-Length: 0\r\n\r\n"
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def serve() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                while data := connection.recv(1 << 16):
                    asked.append(data)
                    if len(asked) == 1:
                        connection.sendall(again + again)
                    elif b"second" not in data:
                        connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    client = made()
    try:
        assert client.request("PUT", url + "first").status == 200
        with pytest.raises(HttpTrouble, match="before it was asked"):
            client.request("PUT", url + "second", body=Body([b"x"], 1))
        assert client.request("PUT", url + "third", body=Body([b"x"], 1)).status == 500  # on another one
    finally:
        client.close()
        listener.close()
        thread.join(10)


def test_nobody_there_is_told_and_nothing_was_begun(made: Callable[..., HttpClient]) -> None:
    with pytest.raises(HttpTrouble, match="connection refused") as caught:
        made().request("POST", f"http://127.0.0.1:{free_port()}/?token={SECRET}", body=Body([b"x"], 1))
    assert not caught.value.begun
    assert SECRET not in repr(caught.value)


def test_a_server_that_hangs_up_may_have_taken_it(made: Callable[..., HttpClient]) -> None:
    with serving(lambda asked: Said(body=None)) as server, pytest.raises(HttpTrouble) as caught:
        made().request("POST", server.url, body=Body([b"x"], 1))
    assert caught.value.begun


def test_an_answer_that_ends_early_is_none(made: Callable[..., HttpClient]) -> None:
    with serving(lambda asked: Said(200, b"x" * 100, cut=50)) as server, pytest.raises(HttpTrouble):
        made().request("GET", server.url)


@pytest.fixture
def hasty() -> Iterator[int]:
    """The port of a server that answers 413 to the head of a request, and reads on until the peer is done."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 20):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    thread.join()
    listener.close()


def test_an_answer_that_comes_before_the_body_s_end_is_read(
    made: Callable[..., HttpClient], hasty: int
) -> None:
    client = made()
    pieces = [bytes(1 << 18)] * 100
    answer = client.request("POST", f"http://127.0.0.1:{hasty}/", body=Body(pieces, 100 << 18))
    client.close()
    assert answer.status == 413


@pytest.mark.parametrize("status", [b"200 OK", b"202 Accepted"])
def test_success_before_the_body_s_end_is_none(made: Callable[..., HttpClient], status: bytes) -> None:
    """A gateway that answers without its server: nobody can have what was not sent."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
            connection.shutdown(socket.SHUT_RD)  # so that the peer's next bytes are answered with a reset
            connection.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with pytest.raises(HttpTrouble, match=r"before it had all|connection broke") as caught:
            made().request(
                "PUT",
                f"http://127.0.0.1:{listener.getsockname()[1]}/",
                body=Body([bytes(1 << 18)] * 400, 400 << 18),
            )
        assert caught.value.begun
    finally:
        thread.join()
        listener.close()


def test_a_connection_that_is_cut_within_the_body_is_the_peer_s_fault(
    made: Callable[..., HttpClient],
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with pytest.raises(HttpTrouble) as caught:
            made().request(
                "POST",
                f"http://127.0.0.1:{listener.getsockname()[1]}/",
                body=Body([bytes(1 << 18)] * 100, 100 << 18),
            )
        assert caught.value.begun
    finally:
        thread.join()
        listener.close()


def test_a_closed_client_says_so(made: Callable[..., HttpClient]) -> None:
    client = made()
    client.close()
    client.close()
    assert client.closed
    with pytest.raises(HttpTrouble, match="closed") as caught:
        client.request("GET", "http://127.0.0.1:1/")
    assert not caught.value.begun


def test_what_went_out_before_a_close_is_told(made: Callable[..., HttpClient]) -> None:
    with serving(ok) as server:
        client = made()

        def chunks() -> Iterator[bytes]:
            yield b"x"
            client.close()
            raise RuntimeError  # as httpx says that it is closed

        with pytest.raises(HttpTrouble, match="closed") as caught:
            client.request("POST", server.url, body=Body(chunks(), 2))
    assert client.closed
    assert caught.value.begun


def test_no_files_left_is_a_fault_of_this_side() -> None:
    error = httpx.ConnectError("no")
    error.__cause__ = OSError(errno.EMFILE, "too many open files")
    assert isinstance(trouble(error), OwnFault)


@pytest.mark.parametrize(("path", "header"), [("/", f"a\n{SECRET}"), ("/" + SECRET * 5000, "a")])
def test_a_request_that_is_none_of_http_is_a_fault_of_this_side(
    made: Callable[..., HttpClient], path: str, header: str
) -> None:
    with serving(ok) as server:
        with pytest.raises(LocalProtocolError) as caught:
            made().request("POST", server.url + path, headers={"x": header}, body=Body([b"x"], 1))
        assert SECRET not in repr(caught.value)
        assert not server.asked


def test_a_token_request_that_is_none_of_http_lets_the_destination_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def post(url: str, headers: dict[str, str], body: bytes) -> Reply:
        raise LocalProtocolError("this side made a request that is none of HTTP")

    monkeypatch.setenv("CLIENT", SECRET)
    auth = AuthConfig(token_url="https://t.example/", client_id="me", client_secret=Secret("env:CLIENT"))
    with pytest.raises(NoToken):
        ClientCredentials(auth, post).header()


def test_a_redirect_to_what_cannot_be_asked_for_is_not_followed() -> None:
    there = {"location": "https://pacs.example/" + "x" * 70_000}
    assert followed("https://pacs.example/", Answer(HttpStatus(307), there)) is None


def test_a_connection_that_ends_is_told_apart_from_a_handshake_that_fails() -> None:
    for kind, words in (
        (httpx.ReadError, "broke before an answer"),
        (httpx.ConnectError, "the TLS handshake"),
    ):
        error = kind("no")
        error.__cause__ = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")
        assert words in str(trouble(error))


def test_the_environment_names_no_proxy_for_us(
    made: Callable[..., HttpClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with serving(ok) as server:
        assert made().request("GET", server.url).status == 200


def test_a_proxy_is_asked_with_its_own_password(
    made: Callable[..., HttpClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXY", f"me:{SECRET}")
    with serving(lambda asked: Said(407 if asked.method == "CONNECT" else 200)) as proxy:
        client = made(proxy=proxy.url, proxy_auth=Secret("env:PROXY"))
        assert client.request("GET", "http://pacs.example/x").status == 200
        assert proxy.asked[0].path == "http://pacs.example/x"
        expected = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
        assert proxy.asked[0].headers["proxy-authorization"] == expected
        with pytest.raises(HttpTrouble, match="the proxy answered 407") as caught:
            client.request("GET", "https://pacs.example/x")
        assert not caught.value.begun


# --- what it logs in with -----------------------------------------------------------------------------------


def test_basic(made: Callable[..., HttpClient], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "pä:ss")
    with serving(ok) as server:
        made(auth=AuthConfig(user="me", password=Secret("env:PASSWORD"))).request("GET", server.url)
        expected = "Basic " + base64.b64encode("me:pä:ss".encode()).decode()
        assert server.asked[0].headers["authorization"] == expected


def test_a_token_s_file_counts_as_it_is_now(made: Callable[..., HttpClient], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")

    def script(asked: Asked) -> Said:
        if asked.path == "/turn":
            file.write_text("three")  # while the request is under way
        return Said(200 if asked.headers["authorization"] in ("Bearer two", "Bearer three") else 401)

    with serving(script) as server:
        client = made(auth=AuthConfig(token=Secret(f"file:{file}")))
        assert client.request("GET", server.url).status == 401
        assert len(server.asked) == 1  # the same token is not tried twice
        file.write_text("two")
        assert client.request("GET", server.url).status == 200
        file.write_text("expired")
        assert client.request("POST", server.url + "/turn", body=Body([b"body"], 4)).status == 200
        assert [asked.body for asked in server.asked[-2:]] == [b"body", b"body"]


@pytest.mark.parametrize("value", ["with blank", "new\nline", "\u00e4", "\x00"])
def test_a_token_that_no_header_can_hold_is_not_sent(
    made: Callable[..., HttpClient], tmp_path: Path, value: str
) -> None:
    file = tmp_path / "token"
    file.write_text(value + SECRET, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        made(auth=AuthConfig(token=Secret(f"file:{file}")))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "auth",
    [
        {"token": "env:NOT_THERE"},
        {"user": "me", "password": "env:NOT_THERE"},
        {"token_url": "https://id.example/", "client_id": "me", "client_secret": "env:NOT_THERE"},
    ],
)
def test_a_secret_that_is_not_there_is_told_before_anything_is_sent(auth: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="NOT_THERE"):
        Server(HttpConfig(auth=AuthConfig.model_validate(auth)), "egress.test").acquire()


def oauth2(url: str) -> AuthConfig:
    return AuthConfig(
        token_url=url + "/token", client_id="cl:ient", client_secret=Secret("env:CLIENT"), scope="dicom write"
    )


def test_client_credentials_get_a_token_and_another_after_401(
    made: Callable[..., HttpClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT", "a b&c")
    given: list[str] = []

    def script(asked: Asked) -> Said:
        if asked.path == "/token":
            given.append(f"t{len(given)}")
            return Said(200, json.dumps({"access_token": given[-1], "expires_in": 3600}).encode())
        return Said(200 if asked.headers["authorization"] == f"Bearer {good}" else 401)

    good = "t0"
    with serving(script) as server:
        client = made(auth=oauth2(server.url))
        for _ in range(3):
            assert client.request("GET", server.url).status == 200
        assert given == ["t0"]
        form = server.asked[0]
        assert parse_qs(form.body.decode()) == {
            "grant_type": ["client_credentials"],
            "scope": ["dicom write"],
        }
        assert base64.b64decode(form.headers["authorization"].split()[1]) == b"cl%3Aient:a+b%26c"
        good = "t1"  # the server has forgotten the first
        assert client.request("POST", server.url, body=Body([b"x"], 1)).status == 200
        assert given == ["t0", "t1"]
        good = "never"
        assert client.request("GET", server.url).status == 401
        assert given == ["t0", "t1", "t2"]  # once for a request


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Tokens:
    """A token server; `answers` are taken one after the other, the last one again and again."""

    def __init__(self, *answers: Reply | Exception) -> None:
        self.answers = list(answers)
        self.calls = 0

    def __call__(self, url: str, headers: dict[str, str], body: bytes) -> Reply:
        self.calls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def token(text: str, **more: object) -> Reply:
    return Reply(200, json.dumps({"access_token": text, "token_type": "bearer", **more}).encode())


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> AuthConfig:
    monkeypatch.setenv("CLIENT", SECRET)
    return oauth2("https://id.example")


def test_a_token_is_renewed_before_it_ends(config: AuthConfig) -> None:
    clock, tokens = Clock(), Tokens(token("a", expires_in="600"), token("b", expires_in=50), token("c"))
    held = ClientCredentials(config, tokens, clock)
    assert held.header() == "Bearer a"
    clock.now += 539
    assert held.header() == "Bearer a"
    clock.now += 1  # a minute before its end
    assert held.header() == "Bearer b"
    clock.now += 44
    assert held.header() == "Bearer b"
    clock.now += 1  # nine tenths of a short life
    assert held.header() == "Bearer c"
    clock.now += 1e9  # no end was named: until it is refused
    assert held.header() == "Bearer c"
    assert tokens.calls == 3


def test_a_token_that_holds_outlives_a_token_server_that_is_away(config: AuthConfig) -> None:
    away = HttpTrouble("connection refused", begun=False)
    clock, tokens = Clock(), Tokens(token("a", expires_in=600), away)
    held = ClientCredentials(config, tokens, clock)
    assert held.header() == "Bearer a"
    clock.now += 599
    for _ in range(10):
        assert held.header() == "Bearer a"
    assert tokens.calls == 2  # and it is not asked for each image
    clock.now += 2
    for _ in range(10):
        with pytest.raises(Temporary, match="no token: connection refused"):
            held.header()
    assert tokens.calls == 2
    clock.now += 5
    with pytest.raises(Temporary):
        held.header()
    assert tokens.calls == 3


def test_no_files_left_for_a_token_is_a_fault_of_this_side(config: AuthConfig) -> None:
    clock, tokens = Clock(), Tokens(token("a", expires_in=600), OwnFault("no files"))
    held = ClientCredentials(config, tokens, clock)
    assert held.header() == "Bearer a"
    clock.now += 590
    assert held.header() == "Bearer a"
    clock.now += 20
    with pytest.raises(OwnFault):
        held.header()


def test_many_threads_renew_one_token_once(config: AuthConfig) -> None:
    asked, go = threading.Event(), threading.Event()
    calls: list[str] = []

    def post(url: str, headers: dict[str, str], body: bytes) -> Reply:
        calls.append(url)
        asked.set()
        assert go.wait(10)
        return token(f"t{len(calls)}", expires_in=600)

    clock = Clock()
    held = ClientCredentials(config, post, clock)
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(held.header())) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert asked.wait(10)
    go.set()
    for thread in threads:
        thread.join()
    assert got == ["Bearer t1"] * 8
    assert len(calls) == 1
    # Ahead of its end one thread renews it; the others do not wait for that.
    clock.now += 550
    asked.clear()
    go.clear()
    first = threading.Thread(target=lambda: got.append(held.header()))
    first.start()
    assert asked.wait(10)
    assert held.header() == "Bearer t1"
    go.set()
    first.join()
    assert got[-1] == "Bearer t2"
    # A late 401 for the old token takes nothing from the new one.
    assert held.renew("Bearer t1")
    assert held.header() == "Bearer t2"
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(401, b'{"error": "invalid_client"}'), r"answered 401 \(invalid_client\)$"),
        (Reply(400, f'{{"error": "{SECRET}"}}'.encode()), r"answered 400$"),
        (Reply(500, b"<html>"), r"answered 500$"),
        (Reply(200, b"<html>"), "holds none"),
        (Reply(200, b"[" * 100_000), "holds none"),
        (Reply(200, b"[]"), "holds none"),
        (Reply(200, b'{"access_token": 5}'), "holds none"),
        (Reply(200, b'{"access_token": "two words"}'), "holds none"),
        (Reply(200, b'{"access_token": "a", "token_type": "mac"}'), "holds none"),
    ],
)
def test_a_token_server_s_trouble_is_told_in_our_words(config: AuthConfig, reply: Reply, words: str) -> None:
    with pytest.raises(HttpTrouble, match=words) as caught:
        ClientCredentials(config, Tokens(reply)).header()
    assert not caught.value.begun
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, "x", None, 1e400, [], True])
def test_any_end_of_a_token_is_taken(config: AuthConfig, seconds: object) -> None:
    text = json.dumps({"access_token": "a", "expires_in": seconds}).encode()
    assert ClientCredentials(config, Tokens(Reply(200, text))).header() == "Bearer a"


# --- redirects ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://pacs.example/there", "https://pacs.example/there"),
        ("https://PACS.example:8443/there", "https://PACS.example:8443/there"),
        ("/there", "https://pacs.example/there"),
        ("//pacs.example/there", "https://pacs.example/there"),
        ("http://pacs.example/there", None),
        ("https://other.example/there", None),
        ("https://pacs.example.evil/there", None),
        ("https://pacs.example@evil/there", None),
        ("//evil/there", None),
        ("https:///there", "https://pacs.example/there"),
        ("https://[", None),
        ("javascript:1", None),
        ("", "https://pacs.example/here"),
    ],
)
def test_a_redirect_is_followed_to_the_same_host_over_https_alone(location: str, target: str | None) -> None:
    assert followed("https://pacs.example/here", Answer(307, {"location": location})) == target


def test_other_statuses_are_no_redirects() -> None:
    there = {"location": "https://pacs.example/there"}
    assert followed("http://pacs.example/here", Answer(308, there))  # from http to https
    for status in (200, 201, 303, 304, 300):
        assert followed("https://pacs.example/here", Answer(status, there)) is None
    assert followed("https://pacs.example/here", Answer(307)) is None


def test_a_redirect_gets_the_same_request_again(made: Callable[..., HttpClient], tmp_path: Path) -> None:
    files = certificate(tmp_path)

    def script(asked: Asked) -> Said:
        if asked.path == "/round":
            return Said(307, headers={"Location": "/round"})
        return Said(301, headers={"Location": "/studies/"}) if asked.path == "/studies" else Said(200)

    with serving(script, server_tls(files)) as server:
        client = made(tls=ClientTls(ca=files[0]))
        assert client.request("POST", server.url + "/studies", body=Body([b"x"], 1)).status == 200
        assert [(each.method, each.path, each.body) for each in server.asked] == [
            ("POST", "/studies", b"x"),
            ("POST", "/studies/", b"x"),
        ]
        assert client.request("POST", server.url + "/round", body=Body([b"x"], 1)).status == 307
        assert len(server.asked) < 10


def test_a_redirect_elsewhere_is_the_answer(made: Callable[..., HttpClient]) -> None:
    with serving(ok) as other, serving(lambda asked: Said(308, headers={"Location": other.url})) as server:
        assert made().request("POST", server.url, body=Body([b"x"], 1)).status == 308
        assert not other.asked


# --- TLS and HTTP/2 -----------------------------------------------------------------------------------------


def test_a_client_certificate_is_shown(made: Callable[..., HttpClient], tmp_path: Path) -> None:
    files, own = certificate(tmp_path), certificate(tmp_path, "router")
    with serving(ok, server_tls(files, ca=own[0])) as server:
        client = made(tls=ClientTls(ca=files[0], cert=own[0], key=own[1]))
        assert client.request("GET", server.url).status == 200
        with pytest.raises(HttpTrouble):
            made(tls=ClientTls(ca=files[0])).request("GET", server.url)


def test_why_a_certificate_is_not_taken_is_told(made: Callable[..., HttpClient], tmp_path: Path) -> None:
    good, other = certificate(tmp_path), certificate(tmp_path, "pacs.example")
    old = certificate(tmp_path, days=(-3, -2))
    for files, ca, words in (
        (good, other[0], "its TLS certificate is not trusted"),
        (other, other[0], "its TLS certificate does not name this address"),
        (old, old[0], "its TLS certificate has expired"),
    ):
        with serving(ok, server_tls(files)) as server, pytest.raises(HttpTrouble, match=words) as caught:
            made(tls=ClientTls(ca=ca)).request("GET", server.url)
        assert not caught.value.begun


def test_a_certificate_may_name_what_tls_name_says(made: Callable[..., HttpClient], tmp_path: Path) -> None:
    files = certificate(tmp_path, "pacs.example")
    with serving(ok, server_tls(files)) as server:
        named = made(tls=ClientTls(ca=files[0], name="pacs.example"))
        assert named.request("GET", server.url).status == 200
        with pytest.raises(HttpTrouble, match="its TLS certificate"):
            made(tls=ClientTls(ca=files[0], name="ris.example")).request("GET", server.url)


def test_a_certificate_that_is_renewed_is_shown_by_the_next_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "LOOK_EVERY", 0.0)
    files, known, new = certificate(tmp_path), certificate(tmp_path, "known"), certificate(tmp_path, "new")
    shown, key = tmp_path / "own.pem", tmp_path / "own.key"
    made = Server(HttpConfig(timeout=5, tls=ClientTls(ca=files[0], cert=shown, key=key)), "egress.test")
    with serving(ok, server_tls(files, ca=known[0])) as server:
        for pair in (new, known):
            for source, target in zip(pair, (shown, key), strict=True):
                target.write_bytes(source.read_bytes())
            client = made.client()
            with closing(client), nullcontext() if pair is known else pytest.raises(HttpTrouble):
                assert client.request("GET", server.url).status == 200
    assert made.tls is not None
    assert [each.name for each in made.tls.certificates][:1] == ["known"]


def test_https_at_a_plain_port_and_the_reverse_are_told(
    made: Callable[..., HttpClient], tmp_path: Path
) -> None:
    with serving(ok) as plain, pytest.raises(HttpTrouble, match="is it http://"):
        made().request("GET", plain.url.replace("http:", "https:"))
    files = certificate(tmp_path)
    with serving(ok, server_tls(files)) as secured, pytest.raises(HttpTrouble):
        made().request("GET", secured.url.replace("https:", "http:"))


@pytest.mark.parametrize("http2", ["auto", True])
def test_http2_streams_a_body(made: Callable[..., HttpClient], tmp_path: Path, http2: bool | str) -> None:
    files = certificate(tmp_path)
    with serving_http2(ok, server_tls(files)) as (url, asked):
        client = made(tls=ClientTls(ca=files[0]), http2=http2)
        pieces = [bytes([number]) * 50_000 for number in range(20)]
        for _ in range(2):
            answer = client.request("POST", url + "/x", body=Body(pieces, 1_000_000))
            assert (answer.status, answer.body, answer.version) == (200, b"fine", "HTTP/2")
        client.close()
        assert [each.body for each in asked] == [b"".join(pieces)] * 2
        assert asked[0].headers["content-length"] == "1000000"


@contextmanager
def odd_http2(tls: ssl.SSLContext, answer: Callable[[H2Connection, int], None]) -> Iterator[str]:
    """The URL of a server of HTTP/2 that calls `answer` over and over from the first request's head on, and
    lets no more of a body go than the first 64 kB."""
    tls.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with suppress(OSError), tls.wrap_socket(connection, server_side=True) as secured:
            state = H2Connection(H2Configuration(client_side=False, validate_outbound_headers=False))
            state.initiate_connection()
            stream = 0
            while not over.wait(0.02):
                secured.sendall(state.data_to_send())
                if not stream:
                    for event in state.receive_data(secured.recv(1 << 16)):
                        stream = event.stream_id if isinstance(event, RequestReceived) else stream
                if stream:
                    answer(state, stream)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        thread.join()
        listener.close()


@pytest.mark.parametrize("status", ["abc", "", "9" * 30, "-200", "20"])
def test_a_status_of_http2_that_is_none_is_the_server_s_fault(
    made: Callable[..., HttpClient], tmp_path: Path, status: str
) -> None:
    """It was taken for a fault of the image, or was too large a number for the index."""
    answered: list[int] = []

    def answer(state: H2Connection, stream: int) -> None:
        if not answered:
            state.send_headers(stream, [(":status", status)], end_stream=True)
        answered.append(stream)

    files = certificate(tmp_path)
    with odd_http2(server_tls(files), answer) as url, pytest.raises(HttpTrouble, match="none of HTTP"):
        made(tls=ClientTls(ca=files[0]), http2=True).request("POST", url, body=Body([b"x"], 1))


def test_a_value_error_of_the_body_stays_our_own(made: Callable[..., HttpClient]) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"some"
        raise ValueError("no image")

    with serving(ok) as server, pytest.raises(ValueError, match="no image"):
        made(timeout=1).request("POST", server.url, body=Body(chunks(), 100))


def test_pings_without_end_keep_no_body_waiting(made: Callable[..., HttpClient], tmp_path: Path) -> None:
    files = certificate(tmp_path)
    with odd_http2(server_tls(files), lambda state, stream: state.ping(bytes(8))) as url:
        client = made(tls=ClientTls(ca=files[0]), http2=True, timeout=0.2)
        watch = threading.Timer(20, client.close)  # lest the test itself waits for ever
        watch.start()
        with pytest.raises(HttpTrouble, match="timed out"):
            client.request("POST", url, body=Body([bytes(1 << 18)], 1 << 18))
        assert not client.closed
        watch.cancel()


def test_a_server_s_cookies_are_not_kept(made: Callable[..., HttpClient]) -> None:
    """One that invents another with each answer had all of them back, until its next request had no room."""
    numbers = iter(range(100))
    with serving(lambda asked: Said(200, b"", {"Set-Cookie": f"c{next(numbers)}=x; Path=/"})) as server:
        client = made()
        for _ in range(3):
            client.request("GET", server.url)
        assert not any("cookie" in asked.headers for asked in server.asked)


def test_auto_takes_a_server_of_old(made: Callable[..., HttpClient], tmp_path: Path) -> None:
    files = certificate(tmp_path)
    with serving(ok, server_tls(files)) as server:
        client = made(tls=ClientTls(ca=files[0]), http2="auto")
        assert client.request("GET", server.url).version == "HTTP/1.1"


def test_a_server_without_http2_is_told_where_it_is_insisted_on(
    made: Callable[..., HttpClient], tmp_path: Path
) -> None:
    files = certificate(tmp_path)
    with serving(ok, server_tls(files)) as server:
        client = made(tls=ClientTls(ca=files[0]), http2=True)
        with pytest.raises(HttpTrouble, match="http2 = true insists"):
            client.request("GET", server.url)


def test_http2_is_left_out_unless_it_is_asked_for(made: Callable[..., HttpClient], tmp_path: Path) -> None:
    files = certificate(tmp_path)
    with serving_http2(ok, server_tls(files)) as (url, _), pytest.raises(HttpTrouble):
        made(tls=ClientTls(ca=files[0]), timeout=2).request("GET", url)


def test_nothing_is_logged_that_is_secret(
    made: Callable[..., HttpClient],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TOKEN", SECRET)
    files = certificate(tmp_path)
    with serving_http2(ok, server_tls(files)) as (url, _):
        client = made(tls=ClientTls(ca=files[0]), auth=AuthConfig(token=Secret("env:TOKEN")), http2=True)
        assert client.request("GET", url + "/?key=" + SECRET).status == 200
        client.close()
    assert SECRET not in caplog.text


def test_building_a_server_does_nothing(tmp_path: Path) -> None:
    config = HttpConfig(tls=ClientTls(ca=tmp_path / "nowhere.pem"), auth=AuthConfig(token=Secret("env:NO")))
    server = Server(config, "egress.test")
    with pytest.raises(ConfigurationError, match=r"nowhere\.pem"):
        server.client()


def test_a_wait_is_read_from_the_answer() -> None:
    now = "Fri, 27 Nov 2026 10:00:00 GMT"
    headers = {"retry-after": "Fri, 27 Nov 2026 10:00:30 GMT", "date": now}
    assert Answer(503, headers).wait == 30
    assert Answer(503).wait == 0


def test_the_context_is_the_least_that_is_safe(tmp_path: Path) -> None:
    assert ClientTls().context().minimum_version >= ssl.TLSVersion.TLSv1_2
