from __future__ import annotations

import errno
from pathlib import Path

from mapdr.store.spool.durable import make_folder, refusal


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c", "power-loss", within=tmp_path)
    make_folder(tmp_path / "a" / "b" / "c", "power-loss", within=tmp_path / "not" / "there")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_refusal_says_why_without_a_path() -> None:
    refused = refusal(OSError(errno.ENOSPC, "No space left", "/secret/NAME"))
    assert refused.status == 0xA700
    assert "disk is full" in refused.comment
    assert "NAME" not in str(refusal(OSError(errno.EIO, "io", "/secret/NAME")))
