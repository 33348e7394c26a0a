"""A RIS for tests and the demo: an HTTP endpoint on loopback that keeps what webhooks tell it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

LOOK_SECONDS = 0.05
"""How often the server looks whether it is to end; `stop` waits for that."""


@dataclass(frozen=True, slots=True)
class Call:
    """One webhook: its path, headers (names in lower case), raw body and what was answered."""

    path: str
    headers: dict[str, str]
    body: bytes
    answer: int

    @property
    def json(self) -> Any:
        """The body, parsed. Raises ValueError if it is not JSON."""
        return json.loads(self.body)


@dataclass
class Ris:
    """An endpoint that answers POST; `with Ris() as ris: ... ris.url`.

    `answer` is the HTTP status, or a function of the call's number (from 0).
    """

    answer: int | Callable[[int], int] = 204
    calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where to POST to. Raises RuntimeError before `start`."""
        if self._server is None:
            raise RuntimeError("the RIS is not started")
        return f"http://127.0.0.1:{self._server.server_address[1]}/hooks/mapdr"

    def start(self) -> None:
        """Listen on a free port of loopback."""
        ris = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if len(body) < length:  # whoever called was cut off: he has told nothing
                    self.close_connection = True
                    return
                answer = ris._take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(LOOK_SECONDS,), name="ris", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening. Safe twice."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Ris:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def answered(self) -> list[Call]:
        """The calls that were answered with a 2xx status, oldest first."""
        with self._lock:
            return [call for call in self.calls if 200 <= call.answer < 300]

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        with self._lock:
            answer = self.answer(len(self.calls)) if callable(self.answer) else self.answer
            self.calls.append(Call(path, headers, body, answer))
        return answer
