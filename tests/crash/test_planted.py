"""The simulator under test: it finds every fault that is put in on purpose (`planted.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from crash import planted
from crash.record import Call, Event
from crash.simulator import Failure, Recorded, Simulator, record
from mapdr import _fast

TELLING = (Call.MARK, Call.SEND, Call.RENAME)
SEEDS = 20


def first(simulator: Simulator, recorded: Recorded) -> Failure:
    """A failure at one of the moments at which somebody was told something, or a file got its name.

    Which states are drawn depends on how threads took turns when the record was made: where the first six of
    each moment show nothing, others are drawn.
    """
    events = recorded.events
    moments = [number for number, event in enumerate(events, 1) if event.call in TELLING]
    for seed in range(SEEDS):
        for found in simulator.failures(recorded, "weak", moments=[*moments, len(events)], each=6, seed=seed):
            return found
    pytest.fail("not found")


def is_told(found: Failure, simulator: Simulator, folder: Path) -> None:
    """A failure says what is lost, and can be made again from what it leaves."""
    assert "what is lost:" in str(found)
    found.save(folder / "state.json")
    again = Failure.load(folder / "state.json", simulator.folder / "again")
    assert again.broken == found.broken
    assert str(again) == str(found)


@pytest.mark.parametrize("fault", planted.WRITING)
def test_a_fault_of_writing_is_found(
    recorder: Path, simulator: Simulator, in_memory: Path, tmp_path: Path, fault: str
) -> None:
    phases, _ = planted.WRITING[fault]
    found = first(simulator, record(recorder, in_memory / fault, *phases, fault=fault))
    is_told(found, simulator, tmp_path)


@pytest.mark.parametrize("fault", planted.RECOVERY)
def test_a_fault_of_recovery_is_found(
    recorded: Callable[..., Recorded], simulator: Simulator, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    simulator.known = {}
    planted.RECOVERY[fault](monkeypatch.setattr)
    assert first(simulator, recorded("ordinary")).broken


def test_a_journal_that_is_not_replayed_is_found(
    recorded: Callable[..., Recorded], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.known = {}
    planted.nothing_is_replayed(monkeypatch.setattr)
    assert first(simulator, recorded("ordinary_journal")).broken


@pytest.mark.skipif(not _fast.RunReceiver.possible, reason="no compiled runs here")
@pytest.mark.parametrize("fault", planted.RUNS)
def test_a_fault_of_runs_is_found(
    recorded: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, fault: str
) -> None:
    changed: Callable[[Sequence[Event]], list[Event]] = planted.RUNS[fault]
    made = recorded("runs")
    found = first(simulator, replace(made, events=changed(made.events)))
    is_told(found, simulator, tmp_path)
