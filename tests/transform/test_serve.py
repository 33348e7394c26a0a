"""What a decoder process does from its start to its end, done here: jobs and answers, signals, and memory."""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, cast

import pytest

from mapdr.kernel.codec import Mismatch
from mapdr.transform.codecs import worker
from mapdr.transform.codecs.worker import Job, _answer, _be_silent, _can_map, _limited, _Signals, serve


@dataclass
class Task:
    """A job that does what a test says. `work` as of `Job`."""

    done: Callable[[bytes], bytes]
    work: int = 1000


@dataclass
class Parent:
    """The other end of the pipe: what it asks, and what it was answered; then it is gone."""

    asks: list[tuple[Task, bytes]]
    gone: type[Exception] = EOFError
    answered: list[bytes] = field(default_factory=list)
    _streams: list[bytes] = field(default_factory=list)

    def recv(self) -> Task:
        if not self.asks:
            raise self.gone
        task, stream = self.asks.pop(0)
        self._streams.append(stream)
        return task

    def recv_bytes(self) -> bytes:
        return self._streams.pop()

    def send_bytes(self, data: bytes) -> None:
        if self.gone is BrokenPipeError:
            raise self.gone
        self.answered.append(data)


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """What is done on each signal; it becomes silent before, which is noted as 0, and not done."""
    handlers: dict[int, Any] = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(worker, "_be_silent", lambda: handlers.__setitem__(0, None))
    return handlers


def fail(stream: bytes) -> bytes:
    raise Mismatch(f"depth of {len(stream)}")


@pytest.mark.parametrize("gone", [EOFError, OSError])
def test_jobs_are_answered_until_the_parent_goes(signals: dict[int, Any], gone: type[Exception]) -> None:
    parent = Parent(
        [(Task(bytes.upper), b"cell"), (Task(fail), b"xyz"), (Task(lambda stream: b""), b"a")], gone
    )
    serve(cast(Connection, parent))
    said = [json.loads(each) for each in parent.answered if each.startswith(b"{")]
    assert said == [{"ok": ""}, {"mismatch": "depth of 3"}, {"ok": ""}]
    assert parent.answered[1] == b"CELL"
    assert len(parent.answered) == 5, "cells follow where it is ok alone"
    assert parent.answered[4] == b""
    assert list(signals) == [0, signal.SIGINT, signal.SIGTERM]


def test_a_parent_that_goes_in_the_middle_is_no_trouble(signals: dict[int, Any]) -> None:
    serve(cast(Connection, Parent([(Task(bytes.upper), b"cell")], BrokenPipeError)))


def test_who_is_told_to_stop_ends_behind_the_frame(signals: dict[int, Any]) -> None:
    def stopped(stream: bytes) -> bytes:
        signals[signal.SIGTERM]()
        return stream

    parent = Parent([(Task(stopped), b"a"), (Task(stopped), b"b")])
    serve(cast(Connection, parent))
    assert parent.answered[1:] == [b"a"]
    assert len(parent.asks) == 1


def test_between_frames_it_ends_at_once_and_ctrl_c_is_the_parents(signals: dict[int, Any]) -> None:
    found = _Signals()
    assert signals.keys() == {signal.SIGINT, signal.SIGTERM}
    assert signals[signal.SIGINT] == signal.SIG_IGN
    assert not found.busy
    assert not found.leaving
    with pytest.raises(SystemExit):
        signals[signal.SIGTERM](15, None)

    class Idle(Parent):
        def recv(self) -> Task:
            if len(self.asks) < 2:
                signals[signal.SIGTERM](15, None)  # it waits for a job
            return super().recv()

    parent = Idle([(Task(bytes.upper), b"a"), (Task(bytes.upper), b"b")])
    with pytest.raises(SystemExit):
        serve(cast(Connection, parent))
    assert parent.answered[1:] == [b"A"]


def test_it_writes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int]] = []
    monkeypatch.setattr(os, "dup2", lambda fd, to: made.append((os.readlink(f"/proc/self/fd/{fd}"), to)))
    if sys.platform != "linux":
        monkeypatch.setattr(os, "dup2", lambda fd, to: made.append((os.devnull, to)))
    _be_silent()
    assert made == [(os.devnull, 1), (os.devnull, 2)]


# --- Memory


class Limits:
    """In the place of `_limited`: notes what a frame may take, and says whether that is so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_limited: bool, may_map: bool) -> None:
        self.given: list[int] = []
        self.asked: list[int] = []
        self._is_limited, self._may_map = is_limited, may_map
        monkeypatch.setattr(worker, "_limited", self._limit)
        monkeypatch.setattr(worker, "_can_map", self._map)

    @contextlib.contextmanager
    def _limit(self, more: int) -> Iterator[bool]:
        self.given.append(more)
        yield self._is_limited

    def _map(self, amount: int) -> bool:
        self.asked.append(amount)
        return self._may_map


def exhausted(stream: bytes) -> bytes:
    raise MemoryError


@pytest.mark.parametrize(
    ("is_limited", "may_map", "said"),
    [
        (True, True, {"error": "MemoryError"}),  # the stream asks for more than a frame needs
        (True, False, {"memory": ""}),
        (False, True, {"memory": ""}),
        (False, False, {"memory": ""}),
    ],
)
def test_whose_fault_want_of_memory_is(
    is_limited: bool, may_map: bool, said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(monkeypatch, is_limited=is_limited, may_map=may_map)
    assert _answer(cast(Job, Task(exhausted)), b"abc") == (said, None)
    assert limits.given == [1012], "its work, and four times its stream"
    assert limits.asked == ([1012] if is_limited else [])


def test_whether_the_system_has_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []

    class Map:
        def __init__(self, number: int, amount: int) -> None:
            if (number, amount) != (-1, 1 << 20):
                raise OSError(12, "Cannot allocate memory")

        def close(self) -> None:
            closed.append(1)

    monkeypatch.setattr(mmap, "mmap", Map)
    assert [_can_map(1 << 20), _can_map(1 << 40)] == [True, False]
    assert closed == [1]


@pytest.mark.parametrize(
    "where",
    ["win32", pytest.param("darwin", marks=pytest.mark.skipif(sys.platform == "win32", reason="no limits"))],
)
def test_where_nothing_limits_a_frame_it_says_so(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(sys, "platform", where)
    monkeypatch.setattr(worker, "open", absent, raising=False)
    with _limited(1 << 20) as is_limited:
        assert is_limited is False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process maps")
@pytest.mark.parametrize(
    ("before", "most", "limit"), [(-1, -1, 7004096), (6000000, 8000000, 6000000), (8000000, 9000000, 7004096)]
)
def test_a_limit_is_what_is_mapped_and_so_much_more(
    before: int, most: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    made: list[tuple[int, int]] = []
    monkeypatch.setattr(worker, "open", lambda *_: io.BytesIO(b"7000 5 3 2 1 0 0"), raising=False)
    monkeypatch.setattr(resource, "getpagesize", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (before, most))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: made.append(limits))
    limited = _limited(4096)
    assert limited.__enter__() is True
    assert made == [(limit, most)]
    assert not limited.__exit__(MemoryError, MemoryError(), None), "it goes on to who asked"
    assert made[1:] == [(before, most)]
