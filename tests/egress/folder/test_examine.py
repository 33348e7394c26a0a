"""The examination of a folder: is it there, can files be written and named, is there room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mapdr.egress.folder.destination import FolderEgress, FolderEgressConfig
from mapdr.kernel.examine import Examination, Examines, Level, PeerFinding
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.testing.marked import PATIENT_ID, marked_image


def found(path: Path, *, image: bool = False) -> dict[str, PeerFinding]:
    settings = Settings("out", "north", path, bytes(32), Watch())
    stage = FolderEgress(settings, FolderEgressConfig(path=path))
    assert isinstance(stage, Examines)
    findings = list(stage.examine(Examination(images=marked_image() if image else ())))
    assert all(each.cure for each in findings if each.level in (Level.WARN, Level.BAD))
    return {each.part: each for each in findings}


def test_a_sound_folder_is_left_as_it_was(tmp_path: Path) -> None:
    findings = found(tmp_path)
    assert list(findings) == ["folder", "room", "writing", "case"]
    assert not [each for each in findings.values() if each.level is Level.BAD]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_not_made(tmp_path: Path) -> None:
    findings = found(tmp_path / "a" / "b")
    assert findings["folder"].level is Level.WARN
    assert "the first image makes it" in findings["folder"].text
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    assert found(tmp_path / "out")["folder"].level is Level.BAD


@pytest.mark.skipif(os.name == "nt", reason="rights are told another way")
def test_a_folder_that_nobody_may_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **more: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mapdr.egress.folder.examine.os.open", refuse)
    told = found(tmp_path)["writing"]
    assert (told.level, told.text) == (Level.BAD, "a file cannot be written: Permission denied")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_a_folder_in_which_nothing_can_be_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, *args: object) -> None:
        os.close(file)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("mapdr.egress.folder.examine.publish_new", refuse)
    told = found(tmp_path)["writing"]
    assert (told.level, "given its name" in told.text) == (Level.BAD, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("free", "level"), [(0, Level.BAD), (10**9, Level.WARN), (10**12, Level.GOOD)])
def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    class Usage:
        total = 2 * 10**12

    Usage.free = free  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage)
    assert found(tmp_path)["room"].level is level


def test_a_test_image_becomes_a_file(tmp_path: Path) -> None:
    told: Any = found(tmp_path, image=True)["test image"]
    assert told.level is Level.GOOD
    (file,) = tmp_path.rglob("*.dcm")
    assert PATIENT_ID.encode() in file.read_bytes()
