"""One decoder process and the pipe to it, without either: what goes, what comes, and how it ends."""

from __future__ import annotations

import json
import multiprocessing
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.transform.codecs.foreign import _Worker
from mapdr.transform.codecs.worker import REPACKED, Repacking, serve

from .test_decoder_pool import FORM, JOB, REPACKS


class Pipe:
    """One end of a pipe: what was sent, and what is received."""

    def __init__(self, *received: bytes, answers: bool = True) -> None:
        self.sent: list[Any] = []
        self.waited: list[float] = []
        self.limits: list[int] = []
        self._received = list(received)
        self._answers = answers
        self.closed = False

    def send(self, what: Any) -> None:
        self.sent.append(what)

    send_bytes = send

    def poll(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return self._answers

    def recv_bytes(self, most: int) -> bytes:
        self.limits.append(most)
        return self._received.pop(0)

    def close(self) -> None:
        self.closed = True


def started(monkeypatch: pytest.MonkeyPatch, pipe: Pipe) -> tuple[_Worker, list[Any]]:
    """A `_Worker`, and what was done with its process."""
    done: list[Any] = []
    theirs = Pipe()

    class System:
        def Pipe(self) -> tuple[Pipe, Pipe]:  # noqa: N802  its name in multiprocessing
            return pipe, theirs

        def Process(self, **about: Any) -> Any:  # noqa: N802
            assert about == {"target": serve, "args": (theirs,), "name": "mapdr-decoder", "daemon": True}
            names = ("start", "kill", "close")
            methods: dict[str, Any] = {name: lambda name=name: done.append(name) for name in names}
            return SimpleNamespace(**methods, join=lambda *most: done.append(("join", *most)), exitcode=3)

    monkeypatch.setattr(multiprocessing, "get_context", lambda how: System() if how == "spawn" else None)
    worker = _Worker(serve)
    assert theirs.closed
    assert not pipe.closed
    return worker, done


def test_a_job_and_its_stream_go_and_an_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe(json.dumps({"ok": ""}).encode(), b"cell")
    worker, done = started(monkeypatch, pipe)
    assert worker.ask(JOB, b"stream", 3.0) == ({"ok": ""}, b"cell")
    assert (pipe.sent, pipe.waited, pipe.limits) == ([JOB, b"stream"], [3.0], [1 << 12, JOB.size])
    assert worker.exit_code() == 3
    worker.end()
    assert done == ["start", ("join", 0.2), "kill", ("join",), "close"]
    assert pipe.closed


def test_no_cells_follow_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for said in ({"mismatch": "depth"}, {"error": "ValueError"}, {"memory": ""}):
        pipe = Pipe(json.dumps(said).encode())
        job = Repacking(REPACKS, FORM, 10)
        assert started(monkeypatch, pipe)[0].ask(job, b"stream", 3.0) == (said, b"")
        assert pipe.limits == [1 << 12]
    pipe = Pipe(b'{"ok": ""}', b"packed")
    started(monkeypatch, pipe)[0].ask(Repacking(REPACKS, FORM, 10), b"stream", 3.0)
    assert pipe.limits[1] == 10 + REPACKED


def test_no_answer_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, _ = started(monkeypatch, Pipe(answers=False))
    with pytest.raises(TimeoutError):
        worker.ask(JOB, b"stream", 3.0)
