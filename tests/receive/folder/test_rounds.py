"""How a folder's receiver begins, looks and ends: without its thread, and without waiting for files."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.receive.folder import receiver as module
from mapdr.receive.folder.receiver import STAGE, FolderReceiver, _Waits
from receive.folder.world import World

NOW = 1000.0


@pytest.fixture
def made(world: World, monkeypatch: pytest.MonkeyPatch) -> FolderReceiver:
    """One that was not started, by a clock that stands."""
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: NOW))
    return world.build(quiet=2.0, scan_every=30.0)


def pauses_of(made: FolderReceiver, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it pauses between two tries: not at all."""
    found: list[float] = []
    monkeypatch.setattr(made._stopping, "wait", found.append)
    return found


def test_it_watches_until_it_is_stopped_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.path / "of" / "modalities"
    made = world.build(path=str(path), scan_every=30.0)
    done: list[bool] = []
    pauses = pauses_of(made, monkeypatch)
    made._ended.clear()

    def watch() -> None:
        done.append(path.is_dir())
        if len(done) == 3:
            made._stopping.set()

    monkeypatch.setattr(made, "_watch", watch)
    made._run()
    assert done == [True] * 3, "the folder is made, and those above it"
    assert pauses == [1.0] * 3
    assert made._ended.is_set()
    made._run()
    assert len(done) == 3


def test_a_folder_that_is_looked_through_more_often_is_tried_as_often(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world.build(scan_every=0.25)
    pauses = pauses_of(made, monkeypatch)
    monkeypatch.setattr(made, "_watch", made._stopping.set)
    made._run()
    assert pauses == [0.25]


def test_a_fault_ends_a_try_and_not_the_receiver(
    made: FolderReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread tries again: the next receiver of the folder must not begin beside it."""

    def watch() -> None:
        raise ValueError("a fault of ours")

    made._ended.clear()
    monkeypatch.setattr(made, "_watch", watch)
    with pytest.raises(ValueError, match="ours"):
        made._run()
    assert not made._ended.is_set()


class Before:
    """The end of the receiver before, which comes after so many looks."""

    def __init__(self, looks: int, made: FolderReceiver | None = None) -> None:
        self.looks, self.made, self.looked = looks, made, 0

    def wait(self, seconds: float) -> bool:
        self.looked += 1
        if self.made is not None and self.looked == 2:
            self.made._stopping.set()
        return self.looked >= self.looks


def test_two_receivers_never_work_in_one_folder(
    made: FolderReceiver, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = Before(3)
    other = world.build()
    other._ended = ends  # type: ignore[assignment]
    made.acquire(["another kind", other])
    looked: list[int] = []

    def watch() -> None:
        looked.append(ends.looked)
        made._stopping.set()

    monkeypatch.setattr(made, "_watch", watch)
    made._run()
    assert looked == [3]
    assert made._before is None
    made._stopping.clear()
    ends = other._ended = Before(99, made)  # type: ignore[assignment]
    made.acquire([other])
    made._run()
    assert (looked, ends.looked) == ([3], 2), "stopped before its turn came"
    assert made._ended.is_set()


class Thread:
    """In the place of its thread."""

    def __init__(self, run: Any, name: str, *, goes_on: Any, watch: Any) -> None:
        self.run, self.name, self.goes_on = run, name, goes_on
        self.started = False
        self.joined: list[tuple[float, bool]] = []
        self.made: FolderReceiver | None = None

    def start(self) -> None:
        self.started = True

    def join(self, seconds: float) -> None:
        assert self.made is not None
        self.joined.append((seconds, self.made._aborting.is_set()))


@pytest.mark.parametrize(("left", "waits"), [(5.0, (5.0, 5.0)), (0.25, (0.25, 0.5)), (-3.0, (0.0, 0.5))])
def test_a_stop_lets_the_file_in_hand_end_until_its_time_is_over(
    made: FolderReceiver, monkeypatch: pytest.MonkeyPatch, left: float, waits: tuple[float, float]
) -> None:
    monkeypatch.setattr(module, "GuardedThread", Thread)
    for event in (made._stopping, made._aborting, made._ended):
        event.set()
    made.start()
    assert not any(event.is_set() for event in (made._stopping, made._aborting, made._ended))
    thread: Any = made._thread
    thread.made = made
    assert (thread.started, thread.name, thread.run, thread.goes_on()) == (
        True,
        "drop-folder",
        made._run,
        True,
    )
    made.stop(NOW + left)
    assert thread.joined == [(waits[0], False), (waits[1], True)]
    assert not thread.goes_on()
    made.stop(NOW + left)
    assert len(thread.joined) == 2, "once"


class Watched:
    """What a watch of the folder does; `looks` is what each look through it gives."""

    def __init__(self, made: FolderReceiver, monkeypatch: pytest.MonkeyPatch, *told: list[Path]) -> None:
        self.made, self.told, self.done = made, told, list[Any]()
        self.looks: list[bool] = [True]
        self.ticks: list[float] = []
        monkeypatch.setattr(module, "changes", self._changes)
        monkeypatch.setattr(made, "_scan", self._scan)
        monkeypatch.setattr(made, "_take_due", lambda: self.done.append("take"))
        made._files = SimpleNamespace(  # type: ignore[assignment]
            begin=lambda: self.done.append("begin"), changed=self.done.append, more=False, all={}
        )

    def _changes(self, path: Path, stop: threading.Event, tick: float, told: Any) -> Iterator[list[Path]]:
        assert (path, stop) == (self.made._config.path, self.made._stopping)
        self.ticks.append(tick)
        yield from self.told

    def _scan(self) -> bool:
        self.done.append("scan")
        return self.looks.pop(0)


def test_what_changes_is_noted_and_what_is_due_is_taken(
    made: FolderReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made._next_scan = NOW + 1
    a, b = Path("a"), Path("b")
    watched = Watched(made, monkeypatch, [a, b], [], [b])
    made._watch()
    assert watched.done == ["begin", "scan", a, b, "take", "take", b, "take"]
    assert watched.ticks == [0.5], "a quarter of the quiet that it waits for"


@pytest.mark.parametrize(
    ("next_scan", "more", "left", "scans"),
    [
        (NOW, False, {}, True),
        (NOW + 1, True, {}, True),
        (NOW + 1, True, {"a": 1}, False),
        (NOW + 1, False, {}, False),
    ],
)
def test_the_folder_is_looked_through_when_it_is_time_or_more_than_was_noted_is_there(
    made: FolderReceiver,
    monkeypatch: pytest.MonkeyPatch,
    next_scan: float,
    more: bool,
    left: dict[str, Any],
    scans: bool,
) -> None:
    made._next_scan = next_scan
    watched = Watched(made, monkeypatch, [])
    files: Any = made._files
    files.more, files.all = more, left
    watched.looks = [True, True]
    made._watch()
    assert watched.done == ["begin", "scan", *["scan"] * scans, "take"]


def test_a_folder_that_is_gone_is_watched_anew_and_nothing_is_taken(
    made: FolderReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(made, monkeypatch, [Path("a")])
    watched.looks = [False]
    made._watch()
    assert watched.done == ["begin", "scan"]
    watched.looks = [True, False]
    made._watch()
    assert watched.done[2:] == ["begin", "scan", Path("a"), "scan"]
    made._stopping.set()
    watched.looks = [True]
    made._watch()
    assert watched.done[6:] == ["begin", "scan"], "it stops"


def test_a_medium_waits_for_a_file_that_no_look_has_found_yet_or_that_came_again(
    made: FolderReceiver, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("IMG1")
    with pytest.raises(_Waits):
        made._missing("DICOMDIR", [("IMG1",)])
    assert made._missing("DICOMDIR", [("IMG2",)]) == "1 of 1 files that the DICOMDIR names are not there"
    monkeypatch.setattr(made._place, "accounted", lambda name: True)
    assert made._missing("DICOMDIR", [("IMG1",)]) == ""
    made._files.all["IMG1"] = object()  # type: ignore[assignment]
    with pytest.raises(_Waits):
        made._missing("DICOMDIR", [("IMG1",)])


def test_what_is_said_of_its_configuration(
    made: FolderReceiver, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made.describe().host == str(world.path)
    may = {os.R_OK, os.X_OK, os.W_OK}

    def access(path: Path, mode: int) -> bool:
        return all(each in may for each in (os.R_OK, os.W_OK, os.X_OK) if mode & each)

    monkeypatch.setattr(os, "access", access)

    def said(path: Path, **options: Any) -> list[str]:
        return [each.what.split(":")[0] for each in STAGE.faults(STAGE.config(path=path, **options))]

    file = tmp_path / "file"
    file.write_bytes(b"")
    assert said(world.path) == said(tmp_path / "later") == []
    assert said(file) == ["is not a folder"]
    may.remove(os.W_OK)
    assert said(world.path) == ["cannot be written to"]
    assert said(world.path, taken="keep") == []
    may.remove(os.X_OK)
    assert said(world.path) == ["cannot be read"]
    assert said(tmp_path / "later") == []
