"""A web server on loopback that keeps the files that are PUT to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class WebServer:
    """`with WebServer() as server: ... server.url`; `answer` gives the status for a path.

    `files` holds, by path, the bodies that were answered with 201, and `puts` those paths in their order.
    """

    def __init__(self, answer: Callable[[str], int] = lambda path: 201) -> None:
        self.files: dict[str, bytes] = {}
        self.puts: list[str] = []
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    status = answer(self.path)
                    if status == 201:
                        server.files[self.path] = body
                        server.puts.append(self.path)
                self._end(status)

            def do_HEAD(self) -> None:
                self._end(200)

            def _end(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="web server")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
