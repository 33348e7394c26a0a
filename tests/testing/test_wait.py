"""Waiting in tests: by what this process lived through."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mapdr.testing import wait
from mapdr.testing.wait import until


class Machine:
    """One whose clock goes on by `step` seconds with each pause, as if it had stood still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
        self.now = 0.0
        self.step = step
        self.asked = 0
        monkeypatch.setattr(wait, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep))

    def _sleep(self, seconds: float) -> None:
        self.now += max(seconds, self.step)

    def answers(self, at: int) -> bool:
        self.asked += 1
        return self.asked >= at


@pytest.mark.parametrize("step", [0.0, 60.0])
def test_a_machine_that_stands_still_is_waited_for(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    machine = Machine(monkeypatch, step)
    assert until(lambda: machine.answers(3), 2.0)
    assert machine.asked == 3


@pytest.mark.parametrize(("step", "rounds"), [(0.5, 6), (60.0, 6)])
def test_what_does_not_come_true_is_said(monkeypatch: pytest.MonkeyPatch, step: float, rounds: int) -> None:
    machine = Machine(monkeypatch, step)
    with pytest.raises(AssertionError, match=r"the page did not come true within 2\.0 s"):
        until(lambda: machine.answers(100), 2.0, "the page")
    assert machine.asked == rounds
