from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mapdr.store.spool import durable
from mapdr.store.spool.durable import make_folder, refusal


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c", "power-loss", within=tmp_path)
    make_folder(tmp_path / "a" / "b" / "c", "power-loss", within=tmp_path / "not" / "there")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_what_is_within_no_folder_of_ours_is_made_all_the_same(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b", "power-loss", within=tmp_path / "not" / "there")
    assert (tmp_path / "a" / "b").is_dir()
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o750


def test_a_folder_is_safe_with_all_names_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are there as well: who has made them may have died before he flushed them."""
    flushed: list[Path] = []
    monkeypatch.setattr(durable, "sync_folder", flushed.append)
    spool = tmp_path / "data" / "spool"
    names = [tmp_path, tmp_path / "data", spool]
    make_folder(spool / "node", "process-crash", within=tmp_path)
    assert flushed == []
    for _ in range(2):
        make_folder(spool / "node", "power-loss", within=tmp_path)
        assert flushed == names
        flushed.clear()
    make_folder(spool / "node", "power-loss", within=spool / "node")
    assert flushed == [], "the data folder itself is nobody's of ours"
    make_folder(spool / "node" / "hour", "power-loss", within=tmp_path / "data")
    assert flushed == [tmp_path / "data", spool, spool / "node"]


def test_a_folder_that_another_thread_makes_first_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.mkdir

    def mkdir(self: Path, **options: Any) -> None:
        real(self)
        real(self, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    make_folder(tmp_path / "hour", "power-loss", within=tmp_path)
    assert (tmp_path / "hour").is_dir()


def test_a_refusal_says_why_without_a_path() -> None:
    refused = refusal(OSError(errno.ENOSPC, "No space left", "/secret/NAME"))
    assert refused.status == 0xA700
    assert "disk is full" in refused.comment
    refused = refusal(OSError(errno.EIO, "io", "/secret/NAME"))
    assert refused.status == 0xA700
    assert os.strerror(errno.EIO) in refused.comment
    assert "NAME" not in str(refused)
