"""What the index refused is tried again once a minute, all of it, until it is entered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.store import set_aside
from mapdr.store.set_aside import SetAside


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1000.0]
    monkeypatch.setattr(set_aside, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    return moment


def arrival(id_: str) -> Any:
    return SimpleNamespace(id=id_)


def test_all_are_due_once_a_minute_from_the_first_on(now: list[float]) -> None:
    aside, one, two = SetAside(), arrival("1"), arrival("2")
    assert (aside.patience, aside.due(), len(aside)) == (None, [], 0)
    assert aside.add(one)
    assert aside.patience == 60.0
    now[0] += 50
    assert aside.add(two)
    assert not aside.add(one), "it is told once"
    now[0] += 9.9
    assert aside.due() == []
    now[0] += 0.1
    assert aside.due() == [one, two]
    now[0] += 59.9
    assert aside.due() == []
    aside.entered(one)
    aside.entered(arrival("never seen"))
    now[0] += 0.1
    assert aside.due() == [two]
    aside.entered(two)
    assert (aside.patience, len(aside)) == (None, 0)


def test_no_more_are_kept_in_memory_than_there_may_be_and_all_are_counted(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_aside, "_MOST", 2)
    aside = SetAside()
    assert [aside.add(arrival(str(number))) for number in range(4)] == [True] * 4
    now[0] += 60
    assert [each.id for each in aside.due()] == ["0", "1"]
    assert len(aside) == 4
