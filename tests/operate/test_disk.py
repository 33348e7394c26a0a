"""`mapdr doctor --disk`: what a disk takes is measured, and one that is not to be relied on is told."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NoReturn

import pytest

from mapdr.operate import disk
from mapdr.operate.disk import Disk, examine_disk
from mapdr.store.spool.filesystem import file_system, of_mounts

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /srv rw - nfs4 server:/share rw
31 30 8:2 / /srv/data\\040one rw master:1 shared:2 - xfs /dev/sdb rw
32 22 0:41 / /srv/data rw - tmpfs tmpfs rw
33 22 8:3 / /srv/data rw - btrfs /dev/sdc rw
"""


@pytest.fixture(autouse=True)
def shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image a writer at least, and hardly more, on a file system that is known."""
    monkeypatch.setattr(disk, "MOST_SECONDS", 0.001)
    monkeypatch.setattr(disk, "SIZES", (9_000,))
    monkeypatch.setattr(disk, "SEGMENT", 1 << 18)
    monkeypatch.setattr(disk, "file_system", lambda folder: "ext4")


def told(found: Disk, name: str) -> tuple[str, str]:
    """Level and text of the finding of this name."""
    (one,) = [each for each in found.findings if each.name == name]
    return one.level, one.text


def test_each_way_is_measured_and_nothing_stays(tmp_path: Path) -> None:
    found = examine_disk(tmp_path)
    assert [(each.way, each.writers) for each in found.measured] == [
        ("file", 1),
        ("journal", 1),
        ("file", 8),
        ("journal", 8),
    ]
    assert all(each.per_second > 0 for each in found.measured)
    assert found.flush_seconds is not None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("seconds", "level"), [(1e-6, "bad"), (1e-4, "ok")])
def test_a_device_that_answers_before_it_can_have_written_is_told(
    seconds: float, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_shortest_flush", lambda folder: seconds)
    found = told(examine_disk(tmp_path), "flushes")
    assert found[0] == level
    assert ("may lose" in found[1]) == (level == "bad")


@pytest.mark.parametrize(
    ("kind", "level", "text"),
    [("nfs4", "bad", "over a network"), ("tmpfs", "bad", "in memory"), ("", "note", "cannot be found out")],
)
def test_a_file_system_that_does_not_promise_is_told(
    kind: str, level: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "file_system", lambda folder: kind)
    found = told(examine_disk(tmp_path), "file system")
    assert found[0] == level
    assert text in found[1]


@pytest.mark.parametrize("call", ["flush_data", "sync_folder"])
def test_a_flush_that_fails_is_told_and_nothing_stays(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(what: object) -> NoReturn:
        raise OSError(errno.EIO, "io", "/a/NAME")

    monkeypatch.setattr(disk, call, fail)
    found = examine_disk(tmp_path)
    assert found.measured == ()
    level, text = [(each.level, each.text) for each in found.findings][-1]
    assert (level, "cannot be written" in text, "NAME" in text) == ("bad", True, False)
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_not_filled(tmp_path: Path) -> None:
    found = examine_disk(tmp_path, reserve=1 << 60)
    assert found.measured == ()
    assert "too little room" in told(found, "flushes")[1]


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var", "ext4"),
        ("/srv", "nfs4"),
        ("/srvice", "ext4"),
        ("/srv/data one/x", "xfs"),
        ("/srv/data/x", "btrfs"),  # mounted over the one before
    ],
)
def test_the_mount_point_nearest_to_a_folder_says_its_type(folder: str, kind: str) -> None:
    assert of_mounts(MOUNTS, folder) == kind


def test_this_machine_is_asked(tmp_path: Path) -> None:
    assert isinstance(file_system(tmp_path), str)
