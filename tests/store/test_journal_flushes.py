"""What the journal flushes, and in which order: each flush that is left out loses an image with the power."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.kernel.errors import Refused
from mapdr.store.spool.folder import SpoolFolder
from mapdr.store.spool.journal import journal as journal_module
from mapdr.store.spool.journal import keeper as keeper_module
from mapdr.store.spool.journal import record, segment
from mapdr.store.spool.journal import replay as replay_module
from mapdr.store.spool.journal.journal import Journal
from mapdr.store.spool.journal.keeper import Files, _syncfs
from mapdr.store.spool.journal.record import Image
from store.segments import image
from store.test_journal import SMALL, World, held

POSIX = pytest.mark.skipif(os.name == "nt", reason="of POSIX")


class Calls:
    """What was flushed of files (by their inode) and folders, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Any] = []
        self.open: list[int] = []
        monkeypatch.setattr(keeper_module, "flush_data", self.data)
        monkeypatch.setattr(keeper_module, "sync_folder", self.made.append)

    def data(self, file: int) -> None:
        self.open.append(file)
        self.made.append(os.fstat(file).st_ino)


def some_files(folder: Path) -> list[Path]:
    """Four paths in two folders; the second is no file any more."""
    paths = [folder / "one" / "1", folder / "one" / "gone", folder / "two" / "2", folder / "one" / "3"]
    for path in (paths[0], *paths[2:]):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"some")
    return paths


def is_closed(file: int) -> bool:
    try:
        os.fstat(file)
    except OSError:
        return True
    return False


def test_each_file_that_is_there_is_flushed_and_then_each_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, calls, files = some_files(tmp_path), Calls(monkeypatch), Files(tmp_path)
    try:
        files.flush(paths)
    finally:
        files.close()
    there = [path.stat().st_ino for path in paths if path.exists()]
    assert calls.made == [*there, tmp_path / "one", tmp_path / "two"]
    assert all(map(is_closed, calls.open))


def test_a_folder_that_is_gone_keeps_no_other_from_its_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, calls, files = some_files(tmp_path), Calls(monkeypatch), Files(tmp_path)

    def flush(folder: Path) -> None:
        if folder.name == "one":
            raise FileNotFoundError
        calls.made.append(folder)

    monkeypatch.setattr(keeper_module, "sync_folder", flush)
    try:
        files.flush(paths)
    finally:
        files.close()
    assert calls.made[-1] == tmp_path / "two"


@POSIX
def test_many_are_flushed_with_their_file_system_where_that_can_be_relied_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, calls, asked = some_files(tmp_path), Calls(monkeypatch), []
    answer = [0]

    def syncfs(file: int) -> int:
        asked.append(os.fstat(file).st_ino)
        return answer[0]

    monkeypatch.setattr(keeper_module, "_syncfs", lambda folder: syncfs)
    monkeypatch.setattr(keeper_module, "_FEW", len(paths))
    files = Files(tmp_path)
    try:
        files.flush(paths)
        assert (asked, len(calls.made)) == ([], 5), "few: one by one"
        files.flush([*paths, paths[0]])
        assert (asked, len(calls.made)) == ([tmp_path.stat().st_ino], 5)
        answer[0] = -1
        monkeypatch.setattr(keeper_module.ctypes, "get_errno", lambda: errno.EIO)
        with pytest.raises(OSError, match="syncfs") as caught:
            files.flush([*paths, paths[0]])
        assert caught.value.errno == errno.EIO
        folder = files._folder
    finally:
        files.close()
    assert is_closed(folder)
    files.close()


@POSIX
@pytest.mark.parametrize(
    ("platform", "kind", "release", "relied_on"),
    [
        ("linux", "ext4", "5.8.0-generic", True),
        ("linux", "xfs", "6.12.3", True),
        ("linux", "ext4", "5.7.19", False),
        ("linux", "ext4", "unknown", False),
        ("linux", "btrfs", "6.12.3", False),
        ("linux", "nfs4", "6.12.3", False),
        ("linux", "", "6.12.3", False),
        ("darwin", "ext4", "6.12.3", False),
    ],
)
def test_which_systems_say_so_when_a_whole_file_system_could_not_be_flushed(
    monkeypatch: pytest.MonkeyPatch, platform: str, kind: str, release: str, relied_on: bool
) -> None:
    monkeypatch.setattr(keeper_module, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr(keeper_module, "file_system", lambda folder: kind)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    if sys.platform != "linux" and relied_on:
        pytest.skip("of Linux")
    assert (_syncfs(Path()) is not None) is relied_on


@pytest.mark.parametrize("together", [1, 2, 3, 100])
def test_replay_flushes_every_file_before_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    world = World(tmp_path)
    for number in range(5):
        world.push(f"1.2.{number}")
    world.close()
    monkeypatch.setattr(replay_module, "_TOGETHER", together)
    order: list[Any] = []
    monkeypatch.setattr(Files, "flush", lambda self, paths: order.extend(path.stem for path in paths))
    write = segment.Checkpoint.write

    def writes(self: segment.Checkpoint, sequence: int) -> None:
        order.append(sequence)
        write(self, sequence)

    monkeypatch.setattr(segment.Checkpoint, "write", writes)
    assert replay_module.replay(world.spool) == 5
    assert order == [*world.answered, 5]
    assert replay_module.replay(world.spool) == 0
    assert order == [*world.answered, 5], "nothing is said where nothing was done"


def test_a_record_that_the_medium_has_lost_keeps_none_behind_it(tmp_path: Path) -> None:
    """Nor one of an earlier checkpoint in the same segment those that came after it."""
    world = World(tmp_path)
    early = world.push("1.2.1")
    world.keeper.keep()
    ids = [world.push(f"1.2.{number}") for number in (2, 3, 4)]
    world.close()
    (path, *_) = segment.segments(world.journal.folder)
    with segment.reading(path) as (read, length):
        records = list(record.records(read, length))
    assert [each.id for each in records] == [early, *ids]
    whole = bytearray(path.read_bytes())
    whole[records[2].at + records[2].offset + records[2].size - 1] ^= 1
    path.write_bytes(whole)
    for id_ in world.answered:
        world.spool.path(id_).unlink()
    assert replay_module.replay(world.spool) == 2
    assert set(held(tmp_path)) == {ids[0], ids[2]}


def test_where_there_is_no_journal_nothing_is_written(tmp_path: Path) -> None:
    assert replay_module.replay(SpoolFolder(tmp_path, "node")) == 0
    assert list(tmp_path.iterdir()) == []


def test_an_hour_that_is_gone_is_made_again(tmp_path: Path) -> None:
    """A power failure may have taken the folder that was made for the first image of an hour."""
    world = World(tmp_path)
    world.push("1.2.1")
    world.close()
    for folder in {world.spool.path(id_).parent for id_ in world.answered}:
        shutil.rmtree(folder)
    assert replay_module.replay(world.spool) == 1
    assert held(tmp_path) == world.answered


@pytest.mark.parametrize("more", [-record.HEAD - 1, -1, 0, 1, record.HEAD, record.BLOCK])
def test_no_record_is_written_over_the_end_of_the_one_before(tmp_path: Path, more: int) -> None:
    made = segment.Segment(tmp_path / "001.segment", SMALL)
    made.begin(1)
    length = record.BLOCK - record.HEAD + more - len(image(0, b"").before)
    images = [image(number, bytes([number]) * length) for number in range(1, 4)]
    for number, each in enumerate(images, 1):
        made.append(number, each)
    made.close()
    with segment.reading(tmp_path / "001.segment") as (read, size):
        found = list(record.records(read, size))
        assert [each.sequence for each in found] == [1, 2, 3]
        assert all(record.whole(each, read) for each in found)
        assert [b"".join(record.data_set(each, read)) for each in found] == [each.data for each in images]


def test_the_keeper_makes_another_segment_where_none_is_free(tmp_path: Path) -> None:
    world = World(tmp_path, most=6)
    try:
        made = world.journal._made
        while world.journal._free:
            world.push(f"1.2.{len(world.answered)}", pixels=8000)
        world.keeper.keep()
        assert world.journal._made == made + 1
        world.keeper.keep()
        assert world.journal._made == made + 1, "there is one to be had"
    finally:
        world.close()


def test_a_segment_and_a_checkpoint_are_flushed_with_their_names_when_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []
    flushed: list[int] = []
    monkeypatch.setattr(segment, "sync_folder", folders.append)
    monkeypatch.setattr(segment, "flush_to_medium", lambda file: flushed.append(os.fstat(file).st_size))
    path = tmp_path / "001.segment"
    for _ in range(2):
        segment.Segment(path, SMALL).close()
        segment.Checkpoint(tmp_path).close()
    assert folders == [tmp_path] * 2
    assert flushed == [SMALL, 2 * record.BLOCK]
    assert path.read_bytes() == bytes(SMALL)
    segment.Segment(path, 2 * SMALL).close()
    assert path.stat().st_size == 2 * SMALL
    assert len(flushed) == 3, "another size is made anew"


def test_a_checkpoint_that_is_opened_again_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = segment.Checkpoint(tmp_path)
    first.write(3)
    first.write(5)
    first.close()
    flushed: list[int] = []
    monkeypatch.setattr(segment, "flush_data", flushed.append)
    again = segment.Checkpoint(tmp_path)
    assert (again.sequence, segment.read_checkpoint(tmp_path).sequence, flushed) == (5, 5, [])
    again.write(9)
    assert len(flushed) == 1
    again.close()
    whole = bytearray((tmp_path / "checkpoint").read_bytes())
    whole[record.BLOCK] ^= 1  # the third was written over the first
    (tmp_path / "checkpoint").write_bytes(whole)
    assert segment.read_checkpoint(tmp_path).sequence == 5
    assert segment.read_checkpoint(tmp_path / "nowhere").sequence == 0


@POSIX
@pytest.mark.parametrize("most", [1, 7, 4096])
def test_a_system_that_writes_a_part_is_given_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    real = os.write
    monkeypatch.setattr(os, "writev", lambda file, parts: real(file, b"".join(parts)[:most]))
    monkeypatch.setattr(os, "write", lambda file, data: real(file, bytes(data)[:most]))
    with (tmp_path / "file").open("wb") as file:
        segment._write_at(file.fileno(), 3, [b"one", b"", b"three" * 20])
    assert (tmp_path / "file").read_bytes() == bytes(3) + b"one" + b"three" * 20
    monkeypatch.delattr(os, "writev")
    with (tmp_path / "other").open("wb") as file:
        segment._write_at(file.fileno(), 0, [b"one", b"three"])
    assert (tmp_path / "other").read_bytes() == b"onethree"


def test_a_segment_that_could_not_be_begun_takes_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records would be taken for those of the round before, and not be replayed."""
    world = World(tmp_path)
    try:

        def fails(self: segment.Segment, first: int) -> None:
            raise OSError(errno.EIO, "error")

        monkeypatch.setattr(segment.Segment, "begin", fails)
        for number in range(30):
            world.try_to_push(f"1.2.{number}")
        assert world.refused
        assert world.journal.trust.lost
        assert held(tmp_path) == world.answered
    finally:
        world.close()


def test_what_goes_by_the_journal_fits_into_a_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "spool" / "node" / "journal", size=SMALL, most=2)
    try:
        assert journal.largest == SMALL // 2
        data = bytes(journal.largest)
        for number in range(2):
            one = image(number, data)
            journal.append(tmp_path / str(number), Image(one.id, one.before, data, one.digest), patience=0.0)
        with pytest.raises(Refused, match="the journal is full"):
            journal.append(tmp_path / "3", image(3, data), patience=0.0)
        journal.are_safe(1)
        journal.append(tmp_path / "3", image(3, data), patience=0.0)
        journal.make_room()
        assert len(segment.segments(journal.folder)) == 2, "no more than there may be"
        assert journal.files() == (3, [tmp_path / "1", tmp_path / "3"])
        monkeypatch.setattr(journal_module, "LARGEST", 100)
        assert journal.largest == 100
    finally:
        journal.close()
    with pytest.raises(Refused, match="the node ends"):
        journal.check()


def test_the_keeper_is_woken_by_the_first_file_and_not_by_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    try:
        woken: list[int] = []
        monkeypatch.setattr(world.journal._work_came, "notify", lambda: woken.append(len(world.answered)))
        for number in range(3):
            world.push(f"1.2.{number}")
        assert woken == [0]
        world.keeper.keep()
        world.push("1.2.9")
        assert woken == [0, 3]
        monkeypatch.undo()
    finally:
        world.close()


def test_a_checkpoint_that_could_not_be_written_frees_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    try:
        world.push("1.2.1")

        def fails(self: segment.Checkpoint, sequence: int) -> None:
            raise OSError(errno.EIO, "error")

        monkeypatch.setattr(segment.Checkpoint, "write", fails)
        with pytest.raises(OSError, match="error"):
            world.journal.are_safe(1)
        assert world.journal.trust.lost
        assert world.journal.files()[0] == 1
    finally:
        world.close()


def test_who_comes_to_his_flush_after_the_end_gets_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is closed by then, and its number may be another's."""
    world = World(tmp_path)
    try:
        append, flushed = segment.Segment.append, []

        def appends_at_the_end(self: segment.Segment, sequence: int, one: Image) -> None:
            append(self, sequence, one)
            world.journal._over = True

        monkeypatch.setattr(segment.Segment, "append", appends_at_the_end)
        monkeypatch.setattr(segment.Segment, "flush", flushed.append)
        with pytest.raises(Refused, match="the node ends") as caught:
            world.push("1.2.1")
        assert caught.value.status == 0xA700
        assert not flushed
    finally:
        world.close()
