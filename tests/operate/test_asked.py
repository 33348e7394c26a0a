"""A node that rests is asked for a sign of life by who looks at it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mapdr.operate import access as module
from mapdr.operate.access import OLD, Access
from mapdr.store.index.commands import Heartbeat


class Asked(Access):
    """The access to a node that lives, whose sign of life is `sign`, and `answer` once it was waited for."""

    def __init__(self, sign: Heartbeat) -> None:
        super().__init__(cast(Any, SimpleNamespace(node=SimpleNamespace(data="data", name="node"))))
        self.sign = sign
        self.answer: Heartbeat | None = None
        self.waited = 0
        self.dies_after = 1000

    @property
    def alive(self) -> bool | None:
        return self.waited < self.dies_after

    def last_beat(self) -> Heartbeat | None:
        return self.sign

    def pause(self, seconds: float) -> None:
        self.waited += 1
        self.sign = self.answer or self.sign


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked(Heartbeat("node", time.time() - 60, 0.0, 7, {"state": "running"}))
    monkeypatch.setattr(module, "running_file", lambda data, name: os.devnull)
    monkeypatch.setattr(module, "os", SimpleNamespace(utime=lambda path: None))
    monkeypatch.setattr(module, "time", SimpleNamespace(time=time.time, monotonic=_ticks(), sleep=made.pause))
    return made


def _ticks() -> Any:
    """A clock that goes on by a second with each look at it."""
    now = [0.0]

    def monotonic() -> float:
        now[0] += 1.0
        return now[0]

    return monotonic


def test_who_was_late_once_is_waited_for_again_as_soon_as_there_is_a_later_sign(asked: Asked) -> None:
    """Else a node that is looked at every minute would be silent for ever: each answer is a minute old."""
    first = asked.sign
    assert asked.running() is None, "it did not answer"
    assert asked.waited > 1
    waited = asked.waited
    assert asked.running() is None
    assert asked.waited == waited, "nobody waits a second time"
    asked.sign = replace(first, at=time.time() - OLD - 20)  # it has answered, after we had gone
    asked.answer = replace(first, at=time.time())
    assert asked.running() == asked.answer


def test_who_may_not_ask_goes_by_what_the_last_sign_tells(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str) -> None:
        raise PermissionError

    monkeypatch.setattr(module, "os", SimpleNamespace(utime=refused))
    asked.sign = replace(asked.sign, counters={"state": "running", "rests": 300.0})
    assert asked.running() == asked.sign
    assert asked.waited == 0
    asked.sign = replace(asked.sign, at=time.time() - 320)
    assert asked.running() is None, "its next one is overdue"


def test_nobody_waits_for_a_node_that_ends_while_it_is_asked(asked: Asked) -> None:
    asked.dies_after = 2
    assert asked.running() is None
    assert asked.waited == 2
