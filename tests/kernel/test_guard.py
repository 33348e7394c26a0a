from __future__ import annotations

import ast
import logging
import threading
from pathlib import Path

import pytest

import mapdr
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.watch import Watch

LOG = logging.getLogger("mapdr.test")


def test_work_that_raises_is_called_again(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OverflowError("SECRET^NAME")

    watch = Watch()
    thread = GuardedThread(work, "worker", goes_on=lambda: True, watch=watch)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert len(calls) == 3
    assert watch.counters()["threads.failed"] == 2
    (event,) = watch.recent()
    assert (event.kind, event.facts["thread"], event.facts["times"]) == ("thread.failed", "worker", 2)
    assert "OverflowError at" in caplog.text
    assert "worker" in caplog.text
    assert "SECRET" not in caplog.text + str(event)


def test_a_thread_that_shall_end_ends_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        raise MemoryError

    thread = GuardedThread(work, "worker", goes_on=lambda: False)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert "it ends" in caplog.text


def test_a_trouble_is_told_at_its_beginning_at_its_change_and_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    trouble = Trouble(LOG, every=60, clock=lambda: now[0])
    trouble.over("never told")
    for second in range(600):
        now[0] = second * 0.1
        trouble.tell("locked")
    assert [record.getMessage() for record in caplog.records] == ["locked"]
    trouble.tell("full")
    trouble.tell("full")
    now[0] = 121
    trouble.tell("full")
    trouble.over("it works again")
    trouble.over("it works again")
    trouble.tell("full")
    assert [record.getMessage() for record in caplog.records[1:]] == [
        "full",
        "full (2 times since the last line)",
        "it works again",
        "full",
    ]


def test_work_goes_on_where_not_even_its_failure_can_be_told(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OverflowError

    class Full(Watch):
        def emit(self, kind: str, **facts: object) -> None:
            raise MemoryError("SECRET")

    def unsure() -> bool:
        if len(calls) < 2:
            raise MemoryError("SECRET")
        return True

    thread = GuardedThread(work, "worker", goes_on=unsure, watch=Full())
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert len(calls) == 3
    assert caplog.text.count("worker: MemoryError while its failure was told") == 2
    assert "SECRET" not in caplog.text


def test_every_thread_of_the_product_is_guarded() -> None:
    found = [
        f"{path.name}:{node.lineno}"
        for path in Path(mapdr.__file__).parent.rglob("*.py")
        if path.parent.name != "testing" and path.name != "guard.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("Thread", "Timer")
    ]
    assert found == []


def test_threads_are_daemons() -> None:
    assert GuardedThread(threading.Event().wait, "x", goes_on=lambda: False).daemon
