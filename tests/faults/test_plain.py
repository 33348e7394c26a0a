"""Calls of the ordinary way that fail, within this process: refused, and nothing is left of the image."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mapdr.kernel.errors import Refused
from mapdr.kernel.item import Arrival
from mapdr.store.spool.files import Spool
from store.world import CT, EXPLICIT, SOURCE, data_set


def take(spool: Spool) -> None:
    incoming = spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)
    incoming.write(data_set("1.2.3.4"))
    incoming.commit()


@pytest.mark.parametrize("removable", [True, False])
@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["open", "write", "lseek", "rename", "fsync", "close"])
def test_a_call_that_fails_refuses_and_leaves_no_image(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
    error: int,
    removable: bool,
) -> None:
    told: list[Arrival] = []
    spool = Spool(tmp_path, "node", submit=told.append)
    take(spool)  # the hour's folder is there
    real = getattr(os, call)

    def fails(*args: object, **options: object) -> object:
        if call == "close":
            real(*args)
        raise OSError(error, os.strerror(error))

    def stays(*args: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        if not removable:
            patch.setattr(os, "unlink", stays)
        with pytest.raises(Refused) as refused:
            take(spool)
    assert refused.value.status == 0xA700
    assert len(told) == 1
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path != spool.path(told[0].id)]
    assert not removable or not left
    assert all(path.stat().st_size == 0 for path in left), "a refused image is still in its file"
    assert all(path.stem in caplog.text for path in left)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("which", ["file", "folder", "hour"])
def test_after_a_flush_that_failed_nothing_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, error: int
) -> None:
    """The next flush may answer well of bytes that the system has thrown away; not so for want of room."""
    told: list[Arrival] = []
    spool = Spool(tmp_path, "node", submit=told.append)
    if which != "hour":
        take(spool)
    real, seen = os.fsync, []

    def fails(file: int) -> None:
        seen.append(1)
        if len(seen) == (2 if which == "folder" else 1):
            raise OSError(error, os.strerror(error))
        real(file)

    monkeypatch.setattr(os, "fsync", fails)
    before = len(told)
    with pytest.raises(Refused):
        take(spool)
    if error == errno.ENOSPC:
        take(spool)
        assert not spool.trust.lost
        return
    for _ in range(3):
        with pytest.raises(Refused, match="a flush to the disk failed") as refused:
            take(spool)
        assert refused.value.status == 0xA700
    assert len(told) == before
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == before
    again = Spool(tmp_path, "node", submit=told.append)
    take(again)
    assert len(told) == before + 1


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Arrival] = []
    spool = Spool(tmp_path, "node", submit=told.append)
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, bytes(data)[: max(1, len(data) // 2)]))
    take(spool)
    monkeypatch.undo()
    assert spool.path(told[0].id).read_bytes()[told[0].data_offset :] == data_set("1.2.3.4")
