"""Which files and folders of a node are its images, and whether its disk is believed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mapdr.kernel.errors import ConfigurationError, Refused
from mapdr.store.spool.folder import PART, SpoolFolder
from mapdr.store.spool.ids import hour_of, id_floor
from mapdr.store.spool.trust import DiskTrust

FIRST, SECOND, LATER = id_floor(1000.0), id_floor(1000.5), id_floor(8000.0)


@pytest.fixture
def folder(tmp_path: Path) -> SpoolFolder:
    made = SpoolFolder(tmp_path, "node")
    for id_ in (LATER, SECOND, FIRST):
        made.path(id_).parent.mkdir(parents=True, exist_ok=True)
        made.path(id_).touch()
    return made


def test_only_hours_are_looked_through(folder: SpoolFolder, tmp_path: Path) -> None:
    (folder.folder / "journal").mkdir()
    (folder.folder / "2026112301").write_text("a file")
    assert folder.hours() == [hour_of(FIRST), hour_of(LATER)]
    assert SpoolFolder(tmp_path, "other").hours() == []
    assert SpoolFolder(tmp_path, "other").newest("") == ""


def test_only_what_has_an_id_and_the_ending_is_a_file_of_it(folder: SpoolFolder) -> None:
    hour = hour_of(FIRST)
    for name in ("note.dcm", f"{FIRST}.damaged", f"{SECOND}.part", f"{FIRST}x.dcm", f"{LATER[:31]}.dcm"):
        (folder.folder / hour / name).touch()
    assert list(folder.files(hour)) == [FIRST, SECOND]
    assert list(folder.files(hour, PART)) == [SECOND]


def test_the_newest_file_counts_finished_or_not(folder: SpoolFolder) -> None:
    assert folder.newest("") == LATER
    assert folder.newest("f" * 32) == "f" * 32
    folder.path(LATER).rename(folder.path(LATER).with_suffix(PART))
    assert folder.newest("") == LATER
    folder.path(LATER).with_suffix(PART).unlink()
    assert folder.newest("") == SECOND, "an hour without a file has none"


def test_a_file_is_discarded_once(folder: SpoolFolder) -> None:
    assert folder.discard(FIRST) is True
    assert not folder.path(FIRST).exists()
    assert folder.discard(FIRST) is False
    assert folder.path(SECOND).exists()


def test_a_path_is_that_of_the_node_which_has_the_image(folder: SpoolFolder, tmp_path: Path) -> None:
    assert folder.path(FIRST) == tmp_path / "spool" / "node" / hour_of(FIRST) / f"{FIRST}.dcm"
    assert folder.path(FIRST, "north") == tmp_path / "spool" / "north" / hour_of(FIRST) / f"{FIRST}.dcm"


@pytest.mark.parametrize("name", ["a", "clinic-north_2", "a.b"])
def test_names_that_a_folder_can_have(tmp_path: Path, name: str) -> None:
    made = SpoolFolder(tmp_path, name)
    assert (made.data, made.node, made.folder) == (tmp_path, name, tmp_path / "spool" / name)


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a.", "a/b", "ä", "-_-"])
def test_names_that_no_folder_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        SpoolFolder(tmp_path, name)


def test_trust_is_lost_once_and_told_to_who_waits_each_time(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    trust = DiskTrust(lambda: told.append(trust.lost))
    trust.check()
    trust.lose("a flush failed")
    assert len(caplog.records) == 1
    trust.lose("another one")
    assert told == ["a flush failed: nothing is taken until a restart"] * 2
    assert [(each.levelno, each.getMessage().partition(":")[0]) for each in caplog.records] == [
        (logging.ERROR, "a flush failed")
    ]
    with pytest.raises(Refused, match="a flush failed") as caught:
        trust.check()
    assert caught.value.status == 0xA700
