"""A scripted web server, HTTP/1.1 or HTTP/2, plain or with TLS; and certificates for it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Asked:
    """One request: names of headers in lower case, `body` as it came (chunks put together)."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    version: str = "HTTP/1.1"


@dataclass
class Said:
    """An answer; `body` None hangs up without one, `cut` after so many bytes of it."""

    status: int = 200
    body: bytes | None = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


Script = Callable[[Asked], Said]


class Httpd:
    """Answers by `script`; `asked` has every request, `connections` counts them."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                with outer._lock:
                    outer.connections += 1
                super().setup()

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                headless = self.command in ("POST", "PUT") and "Content-Length" not in self.headers
                if headless or len(body) < length:  # it was cut, which http.server does not mind in a head
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body)
                with outer._lock:
                    outer.asked.append(asked)
                said = script(asked)
                if said.body is None:
                    self.close_connection = True
                    return
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(said.body[: said.cut])
                if said.cut is not None:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                return

        for method in ("GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "CONNECT"):
            setattr(Handler, f"do_{method}", Handler.answer)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self) -> tuple[socket.socket, object]:
                connection, address = super().get_request()
                if tls is not None:
                    connection.settimeout(10)
                    connection = tls.wrap_socket(connection, server_side=True)
                return connection, address

            def handle_error(self, request: object, client_address: object) -> None:
                return

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.port = self._server.server_port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def serving(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[Httpd]:
    """A server that ends with the block."""
    server = Httpd(script, tls)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def serving_http2(script: Script, tls: ssl.SSLContext) -> Iterator[tuple[str, list[Asked]]]:
    """A server that speaks nothing but HTTP/2; its URL and what it was asked. One connection at a time."""
    tls.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    over = threading.Event()
    asked: list[Asked] = []

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(10)
            try:
                with tls.wrap_socket(connection, server_side=True) as secured:
                    _converse(secured, script, asked)
            except (OSError, h2.exceptions.ProtocolError):
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        over.set()
        thread.join()
        listener.close()


def _converse(secured: ssl.SSLSocket, script: Script, asked: list[Asked]) -> None:
    state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    state.initiate_connection()
    heads: dict[int, dict[str, str]] = {}
    bodies: dict[int, bytearray] = {}
    while True:
        secured.sendall(state.data_to_send())
        data = secured.recv(1 << 16)
        if not data:
            return
        for event in state.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                heads[event.stream_id] = {str(name): str(value) for name, value in event.headers}
                bodies[event.stream_id] = bytearray()
            elif isinstance(event, h2.events.DataReceived):
                bodies[event.stream_id] += event.data
                state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                head = heads[event.stream_id]
                request = Asked(
                    head[":method"], head[":path"], head, bytes(bodies[event.stream_id]), "HTTP/2"
                )
                asked.append(request)
                said = script(request)
                state.send_headers(event.stream_id, [(":status", str(said.status)), *said.headers.items()])
                state.send_data(event.stream_id, said.body or b"", end_stream=True)


def certificate(
    folder: Path, name: str = "127.0.0.1", *, days: tuple[float, float] = (-1, 1)
) -> tuple[Path, Path]:
    """A self-signed certificate for `name` and its key, as files; valid between these days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    try:
        other: x509.GeneralName = x509.IPAddress(ip_address(name))
    except ValueError:
        other = x509.DNSName(name)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([other]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / f"{name}.{days[1]}.cert.pem", folder / f"{name}.{days[1]}.key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_path, key_path


def server_tls(files: tuple[Path, Path], ca: Path | None = None) -> ssl.SSLContext:
    """A server's context; with `ca`, clients must show a certificate of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    if ca is not None:
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
