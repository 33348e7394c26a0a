"""The journal, its keeper and its replay: what was acknowledged is there after a crash, and nothing else."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash

from mapdr.kernel import durable
from mapdr.kernel.errors import Refused
from mapdr.kernel.item import Arrival
from mapdr.store.spool import files
from mapdr.store.spool.files import Spool
from mapdr.store.spool.folder import SpoolFolder
from mapdr.store.spool.headers import INDEX_TAGS
from mapdr.store.spool.ids import Ids
from mapdr.store.spool.journal import journal as journal_module
from mapdr.store.spool.journal import keeper as keeper_module
from mapdr.store.spool.journal import record, segment
from mapdr.store.spool.journal.journal import Journal
from mapdr.store.spool.journal.keeper import Files, Keeper
from mapdr.store.spool.journal.record import Image
from mapdr.store.spool.journal.replay import journal_folder, replay
from mapdr.store.spool.sealed import read_arrival
from store.world import CT, EXPLICIT, SOURCE, data_set

SMALL = 64 << 10
"""Bytes of a segment here: a few images."""


class World:
    """A spool with a journal of small segments, and what was answered Success."""

    def __init__(self, path: Path, *, most: int = 3) -> None:
        self.path = path
        self.arrivals: list[Arrival] = []
        self.spool = Spool(path, "node", submit=self.arrivals.append)
        self.journal = Journal(journal_folder(self.spool), self.spool.trust, size=SMALL, most=most)
        self.keeper = Keeper(self.journal)
        self.spool.journal = self.journal
        self.answered: dict[str, bytes] = {}
        self.refused: list[str] = []
        self.closed = False

    def push(self, uid: str, pixels: int = 600) -> str:
        data = data_set(uid, pixels=pixels)
        incoming = self.spool.begin(SOURCE, CT, uid, EXPLICIT)
        incoming.write(data)
        incoming.commit()
        self.answered[incoming.id] = data
        return incoming.id

    def try_to_push(self, uid: str) -> None:
        try:
            self.push(uid)
        except Refused:
            self.refused.append(uid)

    def wait(self, holds: Callable[[Journal], bool]) -> None:
        until = time.monotonic() + 20
        while not holds(self.journal):
            assert time.monotonic() < until
            threading.Event().wait(0.001)

    def close(self) -> None:
        """As a crash leaves it, unless the keeper was started: what it has not flushed is not flushed."""
        if not self.closed:
            self.closed = True
            self.keeper.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def held(path: Path) -> dict[str, bytes]:
    """The data sets that a spool holds, by id; each must be sealed with the digest of its bytes."""
    found = {}
    for file in path.rglob("*.dcm"):
        arrival = read_arrival(file, file.stem, lambda revision: INDEX_TAGS)
        found[file.stem] = file.read_bytes()[arrival.data_offset :]
    assert not list(path.rglob("*.part"))
    return found


def test_an_image_stands_under_its_name_and_in_the_journal(world: World) -> None:
    id_ = world.push("1.2.3.4")
    assert held(world.path) == world.answered
    (path, *_) = segment.segments(world.journal.folder)
    with segment.reading(path) as (read, length):
        (found,) = record.records(read, length)
        assert found.id == id_
        assert read(found.at, found.offset + found.size) == world.spool.path(id_).read_bytes()


def test_one_flush_is_all_that_success_waits_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.push("1.2.3")
    flushed: list[str] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda file, name=name: flushed.append(name), raising=False)
    world.push("1.2.4")
    assert len(flushed) == 1


def test_large_objects_are_flushed_as_files(world: World) -> None:
    id_ = world.push("1.2.3", pixels=SMALL)
    assert world.journal.files() == (0, [])
    assert world.spool.path(id_).exists()


@pytest.mark.parametrize("seed", range(10))
def test_whatever_a_power_failure_leaves_of_files_they_are_whole_again(tmp_path: Path, seed: int) -> None:
    """Files that were not flushed may be gone, empty, cut or hold other bytes; those before the checkpoint
    are as they were. A second replay finds nothing to do."""
    chance = random.Random(seed)
    world = World(tmp_path)
    for number in range(chance.randrange(1, 40)):
        world.push(f"1.2.{number}", pixels=chance.randrange(2, 8000) * 2)
        if chance.random() < 0.2 or not world.journal._free:  # nobody keeps it here
            world.keeper.keep()
    _, unsafe = world.journal.files()
    for path in unsafe:
        match chance.randrange(5):
            case 0:
                path.unlink()
            case 1:
                os.truncate(path, chance.randrange(path.stat().st_size))
            case 2:
                path.write_bytes(bytes(path.stat().st_size))
            case 3:
                path.rename(path.with_suffix(".part"))
    world.close()
    spool = SpoolFolder(tmp_path, "node")
    assert replay(spool) == len(unsafe)
    assert held(tmp_path) == world.answered
    assert replay(spool) == 0
    again = World(tmp_path)
    again.push("9.9")
    again.close()
    assert replay(spool) == 1
    assert held(tmp_path) == world.answered | again.answered


def test_a_torn_record_that_was_not_acknowledged_is_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.push("1.2.3")
    world.push("1.2.4")
    last = world.push("1.2.5")
    world.close()
    (path, *_) = segment.segments(world.journal.folder)
    whole = bytearray(path.read_bytes())
    whole[2 * record.BLOCK + 2048 + 1024] ^= 1  # of the third one's data set: it was not flushed, say
    path.write_bytes(whole)
    world.spool.path(last).unlink()
    replay(world.spool)
    assert set(held(tmp_path)) <= set(world.answered)


def test_replay_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    for number in range(6):
        world.spool.path(world.push(f"1.2.{number}")).unlink()
    world.close()
    real, calls = os.replace, []

    def third(*args: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "full")
        real(*args)

    monkeypatch.setattr(os, "replace", third)
    with pytest.raises(OSError, match="full"):
        replay(world.spool)
    monkeypatch.undo()
    assert replay(world.spool) == 6
    assert held(tmp_path) == world.answered


class HeldFlush:
    """The journal's flushes, of which the first lasts until it is let go; then it is made, or fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: OSError | None = None) -> None:
        self.files: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._flush, self._error = segment.flush_data, error
        monkeypatch.setattr(segment, "flush_data", self)

    def __call__(self, file: int) -> None:
        self.files.append(file)
        if len(self.files) == 1:
            self.begun.set()
            assert self.go_on.wait(20)
            if self._error is not None:
                raise self._error
        self._flush(file)


def pushing(held: HeldFlush, push: Callable[[str], object], count: int) -> list[threading.Thread]:
    """Threads that push an image each, begun; the first holds the flush."""
    threads = [threading.Thread(target=push, args=(f"1.2.{number}",)) for number in range(count)]
    threads[0].start()
    assert held.begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    return threads


def test_writers_share_flushes_and_none_waits_for_company(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a flush is under way others append; one more flush takes all of them."""
    held_flush = HeldFlush(monkeypatch)
    threads = pushing(held_flush, world.push, 6)
    world.wait(lambda journal: journal._appended == 6)
    assert not world.answered
    held_flush.go_on.set()
    for thread in threads:
        thread.join(20)
    assert len(world.answered) == 6
    assert len(held_flush.files) == 2


def test_success_waits_for_the_keeper_when_all_segments_are_full(world: World) -> None:
    world.keeper.start()
    for number in range(60):
        world.push(f"1.2.{number}", pixels=8000)
    assert len(world.journal._full) + len(world.journal._free) + 1 <= 3
    world.close()
    assert held(world.path) == world.answered
    assert segment.read_checkpoint(world.journal.folder).sequence == 60
    assert replay(world.spool) == 0


def returns_from_waiting(world: World, quiet: float, longest: float) -> threading.Event:
    """Set once the keeper would flush; the thread that waits ends at the world's end."""
    over = threading.Event()

    def wait() -> None:
        world.journal.wait_for_more(quiet, longest)
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    return over


def test_files_are_flushed_behind_once_half_of_the_segments_are_full(tmp_path: Path) -> None:
    world = World(tmp_path, most=4)
    try:
        over = returns_from_waiting(world, 60, 60)
        pushed = 0
        while len(world.journal._full) < 2:
            assert not over.is_set()
            world.push(f"1.2.{pushed}", pixels=8000)
            pushed += 1
        assert over.wait(20)
        assert segment.read_checkpoint(world.journal.folder).sequence == 0
    finally:
        world.close()


@pytest.mark.parametrize(("quiet", "longest"), [(0.01, 60.0), (60.0, 0.01)], ids=["pause", "at the latest"])
def test_files_are_flushed_behind_when_nothing_more_comes_or_after_a_time(
    world: World, quiet: float, longest: float
) -> None:
    world.push("1.2.3")
    assert returns_from_waiting(world, quiet, longest).wait(20)


def test_an_image_that_comes_is_waited_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause counts from the last image."""
    waits: list[float | None] = []

    def comes_twice(holds: Callable[[], bool], seconds: float | None = None) -> bool:
        waits.append(seconds)
        world.journal._appended += len(waits) < 3
        return holds()

    monkeypatch.setattr(world.journal._work_came, "wait_for", comes_twice)
    world.journal.wait_for_more(0.5, 60)
    assert waits == [0.5, 0.5, 0.5]


def test_who_waits_too_long_is_told_to_come_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PATIENCE", 0.05)

    def push_many() -> None:
        for number in range(60):
            world.push(f"1.2.{number}", pixels=8000)

    with pytest.raises(Refused, match="the journal is full") as caught:
        push_many()
    assert caught.value.status == 0xA700
    assert held(world.path) == world.answered
    world.keeper.keep()
    world.push("9.9")


def fails(error: int) -> Callable[..., Any]:
    def raises(*args: Any, **options: Any) -> Any:
        raise OSError(error, os.strerror(error))

    return raises


def test_after_a_flush_that_failed_there_is_no_success(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flush after it would say that all is well: it is not asked."""
    world.push("1.2.3")
    monkeypatch.setattr(segment, "flush_data", fails(errno.EIO))
    with pytest.raises(Refused, match="journal") as caught:
        world.push("1.2.4")
    assert caught.value.status == 0xA700
    monkeypatch.undo()
    for _ in range(2):
        with pytest.raises(Refused, match="journal"):
            world.push("1.2.5")
    assert held(world.path) == world.answered
    assert world.journal.trust.lost


def test_after_a_flush_of_a_large_file_that_failed_the_journal_is_not_believed_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system threw away may be of a file that the journal's keeper would call safe."""
    world.push("1.2.3")
    with monkeypatch.context() as patch:
        patch.setattr(durable, "flush_to_medium", fails(errno.EIO))
        with pytest.raises(Refused):
            world.push("1.2.4", pixels=world.journal.largest)
    with pytest.raises(Refused, match="a flush to the disk failed"):
        world.push("1.2.5")
    world.keeper.keep()
    assert segment.read_checkpoint(world.journal.folder).sequence == 0, "its segment is not used again"
    assert held(world.path) == world.answered


def test_what_was_begun_before_the_disk_failed_is_no_success_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uid, pixels in (("1.2.3", 600), ("1.2.4", world.journal.largest)):
        data = data_set(uid, pixels=pixels)
        incoming = world.spool.begin(SOURCE, CT, uid, EXPLICIT)
        incoming.write(data)
        real = files.publish

        def publish(*given: Any, real: Callable[..., None] = real) -> None:
            real(*given)  # well, as far as the system says
            world.spool.distrust()  # another's flush has failed meanwhile

        with monkeypatch.context() as patch:
            patch.setattr(files, "publish", publish)
            with pytest.raises(Refused, match="a flush to the disk failed"):
                incoming.commit()
        assert not world.spool.path(incoming.id).exists()
        world.spool.trust.lost = ""
    assert not world.arrivals


def test_who_waited_for_a_flush_that_failed_gets_no_success(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_flush = HeldFlush(monkeypatch, OSError(errno.EIO, "error"))
    threads = pushing(held_flush, world.try_to_push, 4)
    world.wait(lambda journal: journal._appended == 4)
    held_flush.go_on.set()
    for thread in threads:
        thread.join(20)
    assert sorted(world.refused) == [f"1.2.{number}" for number in range(4)]
    assert not world.answered


def test_who_waits_when_it_is_closed_gets_no_success(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """His flush would be one of a file that is closed, or of another that has its number."""
    held_flush = HeldFlush(monkeypatch)
    threads = pushing(held_flush, world.try_to_push, 2)
    world.wait(lambda journal: journal._appended == 2)
    closing = threading.Thread(target=world.close)
    closing.start()
    world.wait(lambda journal: journal._closed)
    held_flush.go_on.set()
    for thread in (*threads, closing):
        thread.join(20)
    assert len(world.answered) + len(world.refused) == 2
    assert held(world.path) == world.answered


def test_a_write_that_failed_ends_it_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "_write_at", fails(errno.EIO))
    with pytest.raises(Refused, match="journal"):
        world.push("1.2.3")
    monkeypatch.undo()
    with pytest.raises(Refused, match="journal"):
        world.spool.begin(SOURCE, CT, "1.2.3", EXPLICIT)


@pytest.mark.parametrize("fault", ["files", "checkpoint"])
def test_a_segment_is_not_freed_whose_files_could_not_be_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """After a restart the files are written anew: what the system has of them may not be on the medium."""
    world = World(tmp_path)
    for number in range(12):
        world.push(f"1.2.{number}")
    if fault == "files":
        monkeypatch.setattr(Files, "flush", fails(errno.EIO))
    else:
        monkeypatch.setattr(segment.Checkpoint, "write", fails(errno.EIO))
    world.keeper.start()
    world.keeper._thread.join(20)
    with pytest.raises(Refused, match="journal"):
        world.push("9.9")
    monkeypatch.undo()
    world.close()
    for id_ in world.answered:
        world.spool.path(id_).write_bytes(b"")
    assert replay(world.spool) == 12
    assert held(tmp_path) == world.answered


@pytest.mark.parametrize("few", [0, 1000])
def test_files_are_flushed_together_or_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(keeper_module, "_FEW", few)
    paths = [tmp_path / "hour" / str(number) for number in range(4)]
    paths[0].parent.mkdir()
    for path in paths[:3]:
        path.write_bytes(b"some")
    files = Files(tmp_path)
    files.flush(paths)
    files.close()
    files.close()


def test_an_image_that_is_gone_before_its_flush_does_no_harm(world: World) -> None:
    for number in range(12):
        world.spool.discard(world.push(f"1.2.{number}"))
    world.keeper.keep()
    assert world.journal.files() == (0, [])
    assert replay(world.spool) == 0


def test_a_checkpoint_that_is_torn_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoint = segment.Checkpoint(tmp_path)
    for sequence in (3, 5, 8):
        checkpoint.write(sequence)
    checkpoint.close()
    path = tmp_path / "checkpoint"
    assert segment.read_checkpoint(tmp_path).sequence == 8
    whole = bytearray(path.read_bytes())
    whole[record.BLOCK] ^= 1
    path.write_bytes(whole)
    assert segment.read_checkpoint(tmp_path).sequence == 5
    again = segment.Checkpoint(tmp_path)
    again.write(9)
    again.close()
    assert segment.read_checkpoint(tmp_path).sequence == 9


def test_ids_of_what_was_replayed_come_before_new_ones(world: World) -> None:
    old = world.push("1.2.3")
    assert Ids(floor=world.spool.newest("")).next() > old


def test_the_digest_of_an_image_is_that_of_its_data_set() -> None:
    image = Image("0" * 32, b"before", b"data", xxhash.xxh3_128_digest(b"data"))
    assert image.length == 10
