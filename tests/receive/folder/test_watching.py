"""The files of a folder, look by look, without waiting for any."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.receive.folder import watching
from mapdr.receive.folder.places import Keeping, Moving, State
from mapdr.receive.folder.taking import Taken
from mapdr.receive.folder.watching import EMPTY_AFTER, Candidates

REAL = os.scandir


class Clock:
    """`time.monotonic` for the watching, which moves only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(watching.time, "monotonic", lambda: self.now)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    return made


@pytest.fixture
def files(folder: Path) -> Candidates:
    return Candidates(folder, Moving(folder, "node"), quiet=5.0, removes=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def put(folder: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_files_are_due_when_they_are_quiet_and_directories_last(
    files: Candidates, folder: Path, clock: Clock
) -> None:
    put(folder, "b.dcm", "sub/DICOMDIR", "sub/a", "z.dcm", "DICOMDIR")
    files.scan()
    assert files.busy_at == 1000.0
    clock.now = 1004.9
    assert files.due() == []
    clock.now = 1005.0
    assert files.due() == ["b.dcm", "sub/a", "z.dcm", "DICOMDIR", "sub/DICOMDIR"]
    files.all["z.dcm"].not_before = 1005.1
    put(folder, "b.dcm", content=b"more")
    files.scan()
    assert files.busy_at == 1005.0
    assert files.due() == ["sub/a", "DICOMDIR", "sub/DICOMDIR"]
    clock.now = 1009.9
    files.all["b.dcm"].taken = Taken(1)
    assert files.due()[0] == "b.dcm", "what was taken has only to be put away"
    files.again(files.all["b.dcm"], State(9, 9))
    assert "b.dcm" not in files.due()


def test_what_is_gone_is_forgotten_and_what_is_in_hand_is_not(files: Candidates, folder: Path) -> None:
    put(folder, "a", "b", "c", "sub/d")
    files.scan()
    files.all["b"].claimed = True
    (folder / "a").unlink()
    (folder / "b").unlink()
    files.changed("a")
    assert set(files.all) == {"b", "c", "sub/d"}
    files.changed("b")
    (folder / "c").unlink()
    files.scan()
    assert set(files.all) == {"b", "sub/d"}


def test_a_change_is_looked_at_where_it_is(files: Candidates, folder: Path) -> None:
    put(folder, "a", "sub/b", "sub/deep/c", "done/d", ".mapdr/e", "sub/.git/f", "g.part")
    for name in ("sub", "done/d", "done", ".mapdr/e", "sub/.git/f", "g.part", "gone", "gone/too"):
        files.changed(name)
    assert set(files.all) == {"sub/b", "sub/deep/c"}
    files.changed("a")
    assert set(files.all) == {"a", "sub/b", "sub/deep/c"}
    put(folder, "sub/done/h")
    files.scan()
    assert "sub/done/h" in files.all, "done is kept at the top only"


def test_what_a_process_that_is_gone_had_in_hand_is_followed(files: Candidates, folder: Path) -> None:
    put(folder, ".mapdr/node/a/b", "c")
    for _ in range(2):
        files.begin()
        assert [(name, one.claimed) for name, one in files.all.items()] == [("a/b", True)]
        files.all["a/b"].failures = 3
    files.scan()
    assert set(files.all) == {"a/b", "c"}
    assert files.all["a/b"].failures == 3, "it is not begun anew while it is in hand"


@pytest.mark.parametrize("how", ["gone", "unreadable"])
def test_a_folder_within_that_cannot_be_looked_through(
    files: Candidates, folder: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """One that has gone meanwhile is no trouble; of another, all others are seen first."""
    put(folder, "a", "b/c", "d/e")
    files.scan()
    (folder / "a").unlink()
    error = FileNotFoundError() if how == "gone" else PermissionError()

    def scandir(path: Any) -> Any:
        if Path(path).name == "d":
            raise error
        return REAL(path)

    monkeypatch.setattr(watching.os, "scandir", scandir)
    put(folder, "b/f")
    if how == "gone":
        files.scan()
        assert set(files.all) == {"b/c", "b/f"}
    else:
        with pytest.raises(PermissionError):
            files.scan()
        assert set(files.all) == {"a", "b/c", "b/f", "d/e"}, "nothing is gone for being out of sight"


def test_the_folder_itself_that_is_gone_is_told(files: Candidates, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        files.scan()


def test_a_file_that_cannot_be_looked_at_keeps_no_other_from_being_seen(
    files: Candidates, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "a", "b", "c", "d")
    errors = {"a": FileNotFoundError(), "b": PermissionError()}
    real = os.lstat

    def lstat(path: Any) -> os.stat_result:
        if error := errors.get(Path(path).name):
            raise error
        return real(path)

    monkeypatch.setattr(watching.os, "lstat", lstat)
    with pytest.raises(PermissionError):
        files.scan()
    assert set(files.all) == {"c", "d"}
    del errors["b"]
    files.scan()
    assert set(files.all) == {"b", "c", "d"}


def test_no_more_are_followed_than_may_be(
    files: Candidates, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST", 2)
    put(folder, "a", "b")
    files.scan()
    assert not files.more
    put(folder, "c")
    files.scan()
    assert (set(files.all), files.more) == ({"a", "b"}, True)
    (folder / "a").unlink()
    files.scan()
    files.scan()
    assert (set(files.all), files.more) == ({"b", "c"}, False)


@pytest.mark.parametrize("removes", [True, False])
def test_folders_that_are_empty_and_old_go(folder: Path, removes: bool) -> None:
    files = Candidates(folder, Moving(folder, "node"), quiet=5.0, removes=removes)
    for name in ("old", "new", "full"):
        (folder / name).mkdir()
    put(folder, "full/a")
    old = time.time() - EMPTY_AFTER - 10
    for name in ("old", "full", "."):
        os.utime(folder / name, (old, old))
    os.utime(folder / "new", (old + 20, old + 20))
    files.scan()
    assert {each.name for each in folder.iterdir()} == {"new", "full"} | (set() if removes else {"old"})


def test_what_was_dealt_with_is_not_followed_until_it_changes(folder: Path, tmp_path: Path) -> None:
    place = Keeping(folder, tmp_path / "journals", "process-crash")
    files = Candidates(folder, place, quiet=5.0, removes=False)
    files.begin()
    put(folder, "a", "b")
    place.settle("a", State.of(os.lstat(folder / "a")), "")
    files.scan()
    assert set(files.all) == {"b"}
    put(folder, "a", content=b"another")
    files.scan()
    assert set(files.all) == {"a", "b"}


@pytest.mark.parametrize(
    ("mode", "tag", "link"),
    [
        (stat.S_IFDIR, None, False),
        (stat.S_IFREG, 0, False),
        (stat.S_IFLNK, 0, True),
        (stat.S_IFLNK, None, True),
        (stat.S_IFDIR, 0xA0000003, True),
        (stat.S_IFDIR, 0x8000001B, False),
    ],
)
def test_a_link_and_a_junction_lead_elsewhere(mode: int, tag: int | None, link: bool) -> None:
    """Junctions are of Windows, whose other reparse points, such as of a cloud, are folders."""
    found: Any = SimpleNamespace(st_mode=mode, **({} if tag is None else {"st_reparse_tag": tag}))
    assert watching.is_link(found) is link
