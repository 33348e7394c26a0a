"""The store at work, crashed at any moment: every image that was answered Success is there, whole and once.

The short profile belongs to the suite; `make crash` tries MAPDR_CRASHES times as many moments and states,
every moment of the record among them, with a seed of each day.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from crash.disk import Model
from crash.record import Call
from crash.simulator import Failure, Recorded, Simulator, record
from mapdr import _fast

SCENARIOS = {
    "two senders": ("ordinary",),
    "runs": ("runs",),
    "killed before a flush": ("killed_before_the_flush", "again"),
    "killed in a new hour": ("killed_in_a_new_hour", "again"),
    "a journal": ("ordinary_journal",),
    "a journal, files flushed together": ("ordinary_together",),
    "runs into a journal": ("runs_journal",),
    "a journal, killed": ("killed_before_the_flush_of_a_segment_journal", "again_journal"),
    "a journal that is turned off": ("killed_before_the_flush_of_a_segment_journal", "again"),
}
MODELS: tuple[Model, ...] = ("weak", "ordered")
Records = Callable[..., Recorded]

if not _fast.RunReceiver.possible:
    del SCENARIOS["runs"], SCENARIOS["runs into a journal"]


def none(found: list[Failure], folder: Path) -> None:
    """Fail with the first of these failures, kept for `replay.py`."""
    if found:
        kept = folder / "state.json"
        found[0].save(kept)
        pytest.fail(f"{found[0]}\nagain: python tests/crash/replay.py {kept}", pytrace=False)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_lost(
    recorded: Records, simulator: Simulator, tmp_path: Path, scenario: str, model: Model
) -> None:
    made = recorded(*SCENARIOS[scenario])
    none(list(islice(simulator.failures(made, model, moments=24, each=9), 1)), tmp_path)
    assert simulator.checked > 125
    assert simulator.recovered > 15


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("corner", [0, 2], ids=["nothing", "all bytes"])
def test_nothing_is_lost_within_recovery(
    recorder: Path,
    recorded: Records,
    simulator: Simulator,
    in_memory: Path,
    tmp_path: Path,
    corner: int,
    model: Model,
) -> None:
    """A crash within the recovery of a crash: it has lost all that was not flushed but names, or nothing."""
    made = recorded("ordinary")
    moment = [number for number, event in enumerate(made.events, 1) if event.call is Call.RENAME][2]
    again = made_again(recorder, in_memory / f"within-{model}-{corner}", made, model, moment, corner)
    none(list(islice(simulator.failures(again, model, moments=10, each=8), 1)), tmp_path)


def made_again(
    recorder: Path, folder: Path, made: Recorded, model: Model, moment: int, corner: int
) -> Recorded:
    """The record of the recovery on what a crash has left of another record."""
    left = made.crashed(model, moment, corner)
    return record(recorder, folder, "recovers", on=left, earlier=made.events[:moment])


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_ever_lost(
    recorded: Records, simulator: Simulator, tmp_path: Path, scenario: str, model: Model
) -> None:
    made = recorded(*SCENARIOS[scenario])
    seed = int(os.environ.get("MAPDR_CRASH_SEED", time.strftime("%Y%m%d")))
    each = int(os.environ.get("MAPDR_CRASHES", "300"))
    found = simulator.failures(made, model, moments=len(made.events) + 1, each=each, seed=seed)
    none(list(islice(found, 1)), tmp_path)
    print(f"{scenario}, {model}, seed {seed}: {simulator.checked} states, {simulator.recovered} recovered on")
