"""The models of the disk, by hand: what may be lost, and what may not."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from crash.disk import Disk, Kept, Model, Tree
from crash.record import Call, Event, read_record
from crash.states import states

ROOT, FOLDER, FILE, OTHER = 1, 2, 3, 4


def after(model: Model, *events: Event) -> Disk:
    """A disk that had an empty folder "d"."""
    disk = Disk(model, {"": (ROOT, None), "d": (FOLDER, None)})
    for number, event in enumerate(events):
        disk.apply(number, event)
    return disk


def trees(disk: Disk) -> list[Tree]:
    return [disk.state(kept) for kept in states(disk, 7, 400)]


def create(name: str, inode: int = FILE) -> Event:
    return Event(Call.CREATE, inode, path=f"d/{name}")


def write(data: bytes, at: int = 0, inode: int = FILE) -> Event:
    return Event(Call.WRITE, inode, at, data=data)


def rename(name: str, to: str) -> Event:
    return Event(Call.RENAME, FILE, path=f"d/{name}", other=f"d/{to}")


def flush(inode: int) -> Event:
    return Event(Call.FSYNC, inode)


def test_names_and_bytes_come_through_as_they_like() -> None:
    seen = [tree.get("d/a") for tree in trees(after("weak", create("a"), write(b"x" * 1024)))]
    assert {None, b"", b"x" * 1024, bytes(1024), b"x" * 512 + bytes(512), bytes(512) + b"x" * 512} <= set(
        seen
    )


def test_a_flush_of_a_file_keeps_no_name_but_on_an_ordered_journal() -> None:
    events = (create("a"), write(b"x"), rename("a", "b"), flush(FILE))
    assert {"d": None} in trees(after("weak", *events))
    assert trees(after("ordered", *events)) == [{"d": None, "d/b": b"x"}]
    assert trees(after("weak", *events, flush(FOLDER))) == [{"d": None, "d/b": b"x"}]


def test_a_flush_of_a_folder_keeps_no_bytes() -> None:
    for model in ("weak", "ordered"):
        seen = trees(after(model, create("a"), write(b"x"), flush(FOLDER)))
        assert all("d/a" in tree for tree in seen)
        assert {tree["d/a"] for tree in seen} >= {b"", b"x"}


def test_a_rename_is_whole() -> None:
    for model in ("weak", "ordered"):
        for tree in trees(after(model, create("a"), flush(FOLDER), rename("a", "b"))):
            assert ("d/a" in tree) != ("d/b" in tree)


def test_an_ordered_journal_keeps_names_in_their_order() -> None:
    events = (create("a"), create("b", OTHER))
    assert any("d/b" in tree and "d/a" not in tree for tree in trees(after("weak", *events)))
    assert not any("d/b" in tree and "d/a" not in tree for tree in trees(after("ordered", *events)))


def test_on_an_ordered_journal_a_new_end_is_never_before_its_bytes() -> None:
    data = bytes(range(1, 251)) * 41
    seen = {
        tree.get("d/a") for tree in trees(after("ordered", create("a"), write(data), write(b"yy", len(data))))
    }
    whole = data + b"yy"
    assert all(each is None or whole.startswith(each) for each in seen)
    assert {len(each) for each in seen if each is not None} >= {0, 4096, 8192, len(data), len(whole)}


def test_what_is_written_over_is_torn_by_sectors_in_any_order() -> None:
    events = (create("a"), write(b"x" * 1024), flush(FILE), flush(FOLDER), write(b"y" * 1024), write(b"z", 3))
    for model in ("weak", "ordered"):
        seen = {tree["d/a"] for tree in trees(after(model, *events))}
        assert {b"x" * 1024, b"y" * 512 + b"x" * 512, b"xxxz" + b"x" * 508 + b"y" * 512} <= seen


def test_what_was_flushed_before_an_unfinished_unlink_may_come_back() -> None:
    gone = Event(Call.UNLINK, FILE, path="d/a")
    for model in ("weak", "ordered"):
        seen = trees(after(model, create("a"), write(b"x"), flush(FILE), flush(FOLDER), gone))
        assert {tree.get("d/a") for tree in seen} == {None, b"x"}


def test_what_fdatasync_leaves_out() -> None:
    for model in ("weak", "ordered"):
        disk = after(model, create("a"), write(b"x"), Event(Call.FDATASYNC, FILE), rename("a", "b"))
        disk.apply(9, Event(Call.FDATASYNC, FILE))
        assert any("d/b" not in tree for tree in trees(disk)), "a name is none of its data"


@pytest.mark.parametrize("model", ["weak", "ordered"])
def test_a_file_keeps_the_length_that_was_flushed_unless_it_is_cut(model: Model) -> None:
    grown = (create("a"), write(b"x" * 20_000), flush(FILE), flush(FOLDER))
    disk = after(model, *grown, write(b"y" * 100), write(b"y" * 6_000, 20_000))
    lengths = {len(tree["d/a"] or b"") for tree in trees(disk)}
    assert min(lengths) == 20_000
    assert max(lengths) == 26_000
    cut = after(model, *grown, Event(Call.LENGTH, FILE, 5_000), write(b"y" * 100, 5_000))
    lengths = {len(tree["d/a"] or b"") for tree in trees(cut)}
    assert min(lengths) == 5_000


def test_a_state_is_what_was_kept() -> None:
    disk = after("weak", create("a"), write(b"x" * 10), create("b", OTHER), write(b"y" * 10, 0, OTHER))
    kept = Kept(frozenset({2}), {3: ((2, 4),)}, {}, stale=True)
    assert disk.state(kept) == {"d": None, "d/b": b"\xa5\xa5yy"}
    assert disk.volatile() == disk.state(disk.everything())


CALLS = """
import os, sys
root = sys.argv[1]
os.chdir(root)
os.mkdir("m")
one = os.open("m/one", os.O_RDWR | os.O_CREAT, 0o600)
os.write(one, b"0123456789")
os.pwrite(one, b"ab", 4)
os.writev(one, [b"cd", b"ef"])
os.ftruncate(one, 12)
os.posix_fallocate(one, 0, 20)
os.fsync(one)
os.close(one)
two = os.open("m/two", os.O_RDWR | os.O_CREAT | os.O_DSYNC, 0o600)
os.write(two, b"sync")
os.close(two)
folder = os.open("m", os.O_RDONLY)
three = os.open("three", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600, dir_fd=folder)
os.write(three, b"x")
os.write(three, b"y")
os.link("m/three", "m/four")
os.rename("m/two", "m/five")
os.unlink("three", dir_fd=folder)
os.mkdir("gone")
os.rmdir("gone")
with open("m/six", "w") as file:
    file.write("text")
os.truncate("m/six", 2)
os.close(os.open("m/five", os.O_WRONLY | os.O_TRUNC))
os.fdatasync(folder)
"""


def test_the_record_tells_what_a_process_did(recorder: Path, tmp_path: Path) -> None:
    root, made = tmp_path / "root", tmp_path / "record"
    root.mkdir()
    env = {"LD_PRELOAD": str(recorder), "MAPDR_RECORD": str(made), "MAPDR_RECORD_ROOT": str(root)}
    subprocess.run([sys.executable, "-c", CALLS, root], env=env, check=True)
    disk = Disk("weak", {"": (root.stat().st_ino, None)})
    events = read_record(made.read_bytes())
    for number, event in enumerate(events):
        disk.apply(number, event)
    assert disk.volatile() == {
        path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
    }
    assert disk.volatile()["m/one"] == b"0123ab6789cd" + bytes(8)
    assert [event.call for event in events].count(Call.FDATASYNC) == 2, "O_DSYNC is one"
    with pytest.raises(struct.error):
        read_record(made.read_bytes()[:-1])
