"""A journal that a medium, another version or a person has changed: what is whole is used, the rest told."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import xxhash

from mapdr.kernel.durable import FlushFailed
from mapdr.kernel.errors import ConfigurationError, Refused
from mapdr.store.spool.journal import journal, record, segment
from mapdr.store.spool.journal.keeper import Files
from mapdr.store.spool.journal.record import BLOCK
from mapdr.store.spool.journal.replay import replay
from store.test_journal import World, held

IMAGES = 6


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Some images that were acknowledged, of which the power failure has left no file."""
    made = World(tmp_path)
    for number in range(IMAGES):
        made.push(f"1.2.{number}")
    made.close()
    for path in tmp_path.rglob("*.dcm"):
        path.unlink()
    return made


def first(world: World) -> Path:
    return segment.segments(world.journal.folder)[0]


def change(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def without(world: World, *numbers: int) -> dict[str, bytes]:
    """What was answered, but for these, counted from 0."""
    gone = [id_ for number, id_ in enumerate(world.answered) if number in numbers]
    return {id_: data for id_, data in world.answered.items() if id_ not in gone}


class Bad:
    """A file whose bytes from `start` to `stop` cannot be read."""

    def __init__(self, file: Any, start: int, stop: int) -> None:
        self._file, self._start, self._stop = file, start, stop
        self.seek, self.fileno = file.seek, file.fileno

    def read(self, count: int) -> bytes:
        at = self._file.tell()
        if at < self._stop and at + count > self._start:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        data: bytes = self._file.read(count)
        return data


def unreadable(monkeypatch: pytest.MonkeyPatch, name: str, start: int, stop: int) -> None:
    """Have the files of this name (with *) be as on a medium that does not give these bytes."""
    real = Path.open

    @contextmanager
    def opened(path: Path, *args: Any, **options: Any) -> Iterator[Any]:
        with real(path, *args, **options) as file:
            yield Bad(file, start, stop) if path.match(name) else file

    monkeypatch.setattr(Path, "open", opened)


def test_a_damaged_head_costs_its_own_image_alone_and_is_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    change(first(world), 3 * BLOCK + 10, b"\xff")
    assert replay(world.spool) == IMAGES - 1
    assert held(world.path) == without(world, 2)
    assert "1 of the images that came last are not whole in the journal" in caplog.text
    assert replay(world.spool) == 0


def test_what_the_medium_does_not_give_costs_its_own_image_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The start goes on, and the segment is not used again."""
    unreadable(monkeypatch, "*" + segment.ENDING, 3 * BLOCK, 4 * BLOCK)
    assert replay(world.spool) == IMAGES - 1
    monkeypatch.undo()
    assert held(world.path) == without(world, 2)
    assert "it cannot be read wholly" in caplog.text
    assert [path.name for path in world.journal.folder.glob("*.damaged")] == ["001.damaged"]
    again = World(world.path)
    again.push("9.9")
    again.close()
    assert replay(world.spool) == 1


def test_a_segment_that_does_not_begin_as_one_is_set_aside(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Its key is gone, so none of its records can be told from what a peer has sent: a person may look."""
    path = first(world)
    before = path.read_bytes()
    change(path, 9, b"\xff\xfe")
    assert replay(world.spool) == 0
    assert "001.segment is damaged: its first block is not whole" in caplog.text
    assert "images that came last" not in caplog.text, "nobody can tell whether there were any"
    assert path.with_suffix(".damaged").read_bytes()[BLOCK:] == before[BLOCK:]
    again = World(world.path)
    again.push("9.9")
    again.close()
    assert replay(world.spool) == 1


def test_what_the_journal_has_lost_and_the_spool_has_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a node that was killed the files are whole, and may be in the system's cache alone."""
    made = World(tmp_path)
    lost = made.push("1.2.1")
    made.push("1.2.2")
    made.close()
    change(first(made), BLOCK + 10, b"\xff")
    flushed: list[Path] = []
    real = Files.flush

    def flush(files: Files, paths: Sequence[Path]) -> None:
        flushed.extend(paths)
        real(files, paths)

    monkeypatch.setattr(Files, "flush", flush)
    assert replay(made.spool) == 1
    assert made.spool.path(lost) in flushed
    assert held(tmp_path) == made.answered


def test_only_what_came_behind_the_checkpoint_is_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = World(tmp_path)
    made.push("1.2.1")
    made.push("1.2.2")
    made.keeper.keep()
    for number in (3, 4, 5):
        made.push(f"1.2.{number}")
    made.close()
    change(first(made), 4 * BLOCK + 10, b"\xff")  # the fourth of them
    assert replay(made.spool) == 2
    assert "1 of the images that came last are not whole" in caplog.text
    assert segment.read_checkpoint(made.journal.folder).sequence == 5


def test_a_segment_without_a_record_tells_what_came_before_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that hold it are gone: of these images nobody is told otherwise, and their numbers are taken."""
    for path in segment.segments(world.journal.folder):
        path.unlink()
    made = segment.Segment(world.journal.folder / "002.segment", 16 * BLOCK)
    made.begin(IMAGES + 1)
    made.close()
    assert replay(world.spool) == 0
    assert f"{IMAGES} of the images that came last are not whole" in caplog.text
    assert segment.read_checkpoint(world.journal.folder).sequence == IMAGES
    caplog.clear()
    assert replay(world.spool) == 0
    assert not caplog.text


def test_files_of_the_hours_in_which_something_is_missed_are_flushed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the images beside it and the last one, in which the node ended; no others, of a full spool."""
    one = next(iter(world.answered))
    ids = [f"{int(one[:12], 16) + hours * 3_600_000:012x}{one[12:]}" for hours in (-2, 2, 4)]
    for id_ in ids:
        path = world.spool.path(id_)
        path.parent.mkdir()
        path.write_bytes(b"some")
    change(first(world), 3 * BLOCK + 10, b"\xff")
    flushed: list[Path] = []
    monkeypatch.setattr(Files, "flush", lambda self, paths: flushed.extend(paths))
    assert replay(world.spool) == IMAGES - 1
    names = [path.stem for path in flushed]
    assert [id_ in names for id_ in ids] == [False, False, True]
    assert {id_: names.count(id_) for id_ in without(world, 2)} == dict.fromkeys(without(world, 2), 2)


def another_version(block: bytes) -> bytes:
    start = block[:7] + b"2" + block[8:24]
    return start + xxhash.xxh3_128_digest(start)


@pytest.mark.parametrize(("name", "at"), [("001.segment", 0), ("checkpoint", 0), ("checkpoint", BLOCK)])
def test_what_another_version_wrote_is_not_written_over(world: World, name: str, at: int) -> None:
    path = world.journal.folder / name
    if name == "checkpoint":
        path.write_bytes(record.checkpoint_block(1, 2) * 2)
    change(path, at, another_version(path.read_bytes()[at:]))
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another version of MAPDR"):
        replay(world.spool)
    assert path.read_bytes() == before


def cut_checkpoint(path: Path) -> None:
    path.write_bytes(b"")


def later_checkpoint(path: Path) -> None:
    path.write_bytes(record.checkpoint_block(1, 10**6) * 2)


@pytest.mark.parametrize("damage", [cut_checkpoint, later_checkpoint, Path.unlink])
def test_with_a_checkpoint_that_is_not_of_its_segments_all_is_written_anew(
    world: World, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    """A copy of a folder whose node was at work may hold such a pair."""
    damage(world.journal.folder / "checkpoint")
    assert replay(world.spool) == IMAGES
    assert held(world.path) == world.answered
    assert "images that came last" not in caplog.text
    again = World(world.path)
    id_ = again.push("9.9")
    again.close()
    world.spool.path(id_).unlink()
    assert replay(world.spool) == 1
    assert held(world.path) == world.answered | again.answered


def test_a_checkpoint_that_was_cut_goes_on_from_the_block_that_is_whole(tmp_path: Path) -> None:
    """Sequence numbers that began anew would have what other segments hold replayed at each start."""
    checkpoint = segment.Checkpoint(tmp_path)
    checkpoint.write(3)
    checkpoint.write(5)
    assert checkpoint.sequence == 5
    checkpoint.close()
    os.truncate(tmp_path / "checkpoint", BLOCK + 10)
    for sequence in (5, 6):
        again = segment.Checkpoint(tmp_path)
        assert again.sequence == segment.read_checkpoint(tmp_path).sequence == sequence
        again.write(6)
        again.close()
        assert (tmp_path / "checkpoint").stat().st_size == 2 * BLOCK


def test_a_segment_that_is_gone_is_told_by_those_that_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = World(tmp_path)
    for number in range(IMAGES):
        made.push(f"1.2.{number}", pixels=12_000)
    made.close()
    assert made.journal._full
    first(made).unlink()
    assert 0 < replay(made.spool) < IMAGES
    assert "of the images that came last are not whole in the journal" in caplog.text
    assert held(tmp_path) == made.answered


on_posix = pytest.mark.skipif(sys.platform == "win32", reason="what is open stays where it is there")


def moved(folder: Path) -> None:
    folder.rename(folder.with_name("away"))


def removed(folder: Path) -> None:
    shutil.rmtree(folder)


@on_posix
@pytest.mark.parametrize("goes", [moved, removed])
def test_without_its_folder_files_are_flushed_before_success(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    goes: Callable[[Path], None],
) -> None:
    """What is written to a segment that no start finds is not safe by that."""
    monkeypatch.setattr(journal, "LOOK_SECONDS", 0)
    world = World(tmp_path)
    before = world.push("1.2.1")
    assert not world.journal.gone
    goes(world.journal.folder)
    flushed: list[Path] = []
    monkeypatch.setattr(journal, "sync_file", flushed.append)
    monkeypatch.setattr(journal, "sync_folder", flushed.append)
    for uid in ("1.2.2", "1.2.3"):
        path = world.spool.path(world.push(uid))
        assert flushed == [path, path.parent]
        flushed.clear()
    assert caplog.text.count("the journal was removed, or moved away") == 1
    assert "a restart makes another" in world.journal.gone
    _, waiting = world.journal.files()
    assert world.spool.path(before) in waiting
    world.journal.wait_for_more(60, 60)  # not for these: nothing else would find them
    world.keeper.keep()
    assert world.journal.files()[1] == []
    world.close()


@on_posix
def test_a_file_that_cannot_be_flushed_without_the_journal_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise FlushFailed(errno.EIO, os.strerror(errno.EIO))

    world = World(tmp_path)
    removed(world.journal.folder)
    monkeypatch.setattr(journal, "sync_file", fails)
    world.try_to_push("1.2.3")
    assert world.refused == ["1.2.3"]
    assert world.journal.trust.lost.startswith("a flush to the disk failed (Input/output error)")
    world.close()


@on_posix
def test_one_flush_without_the_journal_that_wants_room_refuses_one_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without a journal: the next one may find room."""

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    world = World(tmp_path)
    removed(world.journal.folder)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "sync_file", full)
        with pytest.raises(Refused, match="full"):
            world.push("1.2.3")
    assert not world.journal.trust.lost
    world.push("1.2.4")
    world.close()


def test_a_checkpoint_that_is_gone_is_no_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All was safe: what stood in segments that were used again since is not missed."""
    made = World(tmp_path)
    for number in range(4 * IMAGES):
        made.push(f"1.2.{number}", pixels=12_000)
        made.keeper.keep()
    made.close()
    (made.journal.folder / "checkpoint").unlink()
    assert 0 < replay(made.spool) < 4 * IMAGES
    assert "are not whole" not in caplog.text
    assert held(tmp_path) == made.answered


def test_what_was_being_received_when_the_power_failed_is_no_loss(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind what is whole nothing was acknowledged: no file is flushed for it."""
    last = list(record_places(first(world)))[-1]
    change(first(world), last + 1, b"\xff")
    flushed: list[Path] = []
    monkeypatch.setattr(Files, "flush", lambda files, paths: flushed.extend(paths))
    assert replay(world.spool) == len(flushed) == IMAGES - 1
    assert "are not whole" not in caplog.text


def record_places(path: Path) -> Iterator[int]:
    """Where the data set of each record of a segment is."""
    with segment.reading(path) as (read, length):
        yield from (each.at + each.offset for each in record.records(read, length))


def test_what_a_later_checkpoint_has_written_anew_is_written_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A power failure took the last record, whose file was flushed, and with it the checkpoint, before it."""
    last = segment.Checkpoint(world.journal.folder)
    last.write(IMAGES + 1)
    last.close()
    assert [replay(world.spool) for _ in range(3)] == [IMAGES, 0, 0]
    assert caplog.text.count("is later than its segments") == 1
    assert held(world.path) == world.answered
    after = World(world.path)
    after.push("1.2.9")
    after.close()
    for path in world.path.rglob("*.dcm"):
        path.unlink()
    assert replay(after.spool) == 1
    assert held(world.path) == after.answered


def test_a_damaged_segment_is_not_taken_for_an_earlier_copy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With its numbers gone the checkpoint is later than all others: these were safe long ago."""
    made = World(tmp_path)
    while not made.journal._full:
        made.push(f"1.2.{len(made.answered)}", pixels=12_000)
    made.keeper.keep()
    in_use = made.journal._current._path
    made.close()
    change(in_use, 9, b"\xff\xfe")
    assert replay(made.spool) == 0
    assert "is later than its segments" not in caplog.text
    assert f"{in_use.name} is damaged" in caplog.text


def test_a_checkpoint_that_cannot_be_read_is_as_one_that_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable(monkeypatch, "checkpoint", 0, 2 * BLOCK)
    assert replay(world.spool) == IMAGES
    monkeypatch.undo()
    assert held(world.path) == world.answered
    assert replay(world.spool) == 0


def test_it_is_not_looked_at_with_each_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[segment.Segment] = []
    monkeypatch.setattr(segment.Segment, "is_in_place", lambda one: looks.append(one) or True)
    monkeypatch.setattr(journal, "LOOK_SECONDS", 3600)
    world = World(tmp_path)
    for number in range(3):
        world.push(f"1.2.{number}")
    assert len(looks) == 1
    world.journal._look_at = 0.0
    world.push("1.2.9")
    assert len(looks) == 2
    world.close()
