"""An object's way into the spool by itself: what the journal is given, and what keeps it from its Success."""

from __future__ import annotations

import errno
import os
import shutil
import struct
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.kernel.durable import FlushFailed
from mapdr.kernel.errors import LessUrgent, Refused
from mapdr.kernel.item import Arrival, Priority, Routing
from mapdr.store.spool import files
from mapdr.store.spool.files import Spool, SpoolFile
from mapdr.store.spool.headers import PREFIX, Reading
from mapdr.store.spool.ids import hour_of, id_text
from mapdr.store.spool.journal.record import Image
from store.world import CT, EXPLICIT, SOURCE, data_set

HEAD = data_set("1.2.3.4", pixels=0)
usage = namedtuple("usage", "total used free")


class World:
    """A spool, what was submitted, and what its journal was given, if it has one."""

    def __init__(self, data: Path, **options: Any) -> None:
        self.arrivals: list[Arrival] = []
        self.spool = Spool(data, "node", "process-crash", submit=self.arrivals.append, **options)
        self.journalled: list[tuple[Path, Image]] = []

    def with_journal(self, check: Callable[[], None] = lambda: None) -> None:
        journal: Any = SimpleNamespace(largest=1 << 20, check=check, append=self._append)
        self.spool.journal = journal

    def _append(self, path: Path, image: Image) -> None:
        assert path.exists(), "its file is written before"
        self.journalled.append((path, image))

    def begin(self) -> SpoolFile:
        return self.spool.begin(SOURCE, CT, "1.2.3.4", EXPLICIT)

    def push(self) -> str:
        incoming = self.begin()
        incoming.write(HEAD)
        incoming.commit()
        return incoming.id

    def aborted(self) -> str:
        incoming = self.begin()
        incoming.abort()
        return incoming.id

    def left(self) -> list[str]:
        return [path.name for path in self.spool.data.rglob("*") if path.is_file()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("straight", [False, True], ids=["written", "straight to the file"])
@pytest.mark.parametrize("size", [len(HEAD), PREFIX, PREFIX + 1, 3 * PREFIX])
def test_the_journal_is_given_the_file_to_the_byte(world: World, size: int, straight: bool) -> None:
    world.with_journal()
    data = data_set("1.2.3.4", pixels=size - len(HEAD))
    incoming = world.begin()
    for at in range(0, len(data), 40_000):
        piece = data[at : at + 40_000]
        if straight:
            os.write(incoming.fileno(), piece)
        else:
            incoming.write(piece)
    incoming.commit()
    ((path, image),) = world.journalled
    (arrival,) = world.arrivals
    assert path == world.spool.path(incoming.id)
    assert (image.id, image.digest) == (incoming.id, arrival.digest)
    assert image.before + bytes(image.data) == path.read_bytes()
    assert len(image.before) == arrival.data_offset


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_a_file_is_read_whole_however_little_the_system_gives_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    (tmp_path / "file").write_bytes(bytes(range(200)))
    real = os.read
    monkeypatch.setattr(os, "read", lambda file, count: real(file, min(count, most)))
    with (tmp_path / "file").open("rb") as file:
        assert files._read(file.fileno(), 150) == bytes(range(150))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            files._read(file.fileno(), 51)


def test_who_reads_anew_ends_the_runs_that_are_under_way(world: World) -> None:
    before = world.spool.runs.generation
    world.spool.use(Reading("rev2"))
    assert world.spool.runs.generation == before + 1
    assert world.spool.reading.revision == "rev2"
    world.push()
    assert world.arrivals[0].revision == "rev2"


def test_ids_of_runs_are_no_ids_of_single_objects(world: World) -> None:
    first = world.push()
    block = world.spool.block(50)
    last = world.push()
    assert first < id_text(block) <= id_text(block + 49) < last


def test_a_flush_that_failed_ends_all_taking_and_another_fault_does_not(world: World) -> None:
    for error in (OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "error")):
        assert world.spool.refused(error).status == 0xA700
        world.push()
    runs = world.spool.runs.generation
    world.spool.refused(FlushFailed(errno.EIO, "error"))
    assert world.spool.runs.generation == runs + 1, "runs end, too"
    with pytest.raises(Refused, match="a flush to the disk failed"):
        world.begin()


def test_what_was_published_while_the_disk_failed_is_no_success(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.publish

    def publish(*given: Any) -> None:
        real(*given)
        world.spool.distrust()

    monkeypatch.setattr(files, "publish", publish)
    incoming = world.begin()
    incoming.write(HEAD)
    with pytest.raises(Refused, match="a flush to the disk failed"):
        incoming.commit()
    assert (world.arrivals, world.left()) == ([], [])


def test_what_the_journal_or_the_index_does_not_take_is_refused_before_it_begins(tmp_path: Path) -> None:
    def check() -> None:
        raise Refused(0xA700, "the node ends")

    world = World(tmp_path, refusing=lambda: cause[0])
    cause = ["it is locked"]
    with pytest.raises(Refused, match="the index cannot be written: it is locked"):
        world.begin()
    cause[0] = ""
    world.push()
    world.with_journal(check)
    with pytest.raises(Refused, match="the node ends"):
        world.begin()
    assert len(world.left()) == 1


def test_an_hour_is_made_once_unless_it_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = files.make_folder

    def make_folder(path: Path, *given: Any, **more: Any) -> None:
        made.append(path.name)
        real(path, *given, **more)

    monkeypatch.setattr(files, "make_folder", make_folder)
    hours = {hour_of(world.push()) for _ in range(3)}
    assert len(made) == len(hours)
    for hour in hours:
        shutil.rmtree(world.spool.folder / hour)
    made.clear()
    world.push()
    assert len(made) == 1
    world.spool.make_hour("2026112301")
    world.spool.remove_hour("2026112301")
    assert not (world.spool.folder / "2026112301").exists()
    world.spool.make_hour("2026112301")
    assert (world.spool.folder / "2026112301").is_dir(), "one that was removed is made again"
    monkeypatch.setattr(files, "hour_of", lambda id_: "2026112301")
    world.spool.remove_hour("2026112301")
    assert (world.spool.folder / "2026112301").is_dir(), "images come into that of now"


@pytest.mark.parametrize("found", ["", "1.2.3.4"])
@pytest.mark.parametrize("said", ["", CT])
def test_without_a_uid_there_is_no_image(world: World, found: str, said: str) -> None:
    """Neither the data set nor its command names the SOP class here, or the instance."""
    data = HEAD[HEAD.index(b"\x08\x00\x20\x00") :]
    incoming = world.spool.begin(SOURCE, said, found, EXPLICIT)
    incoming.write(data)
    if found and said:
        incoming.commit()
        return
    with pytest.raises(Refused) as caught:
        incoming.commit()
    assert caught.value.status == 0xC000
    assert (world.arrivals, world.left()) == ([], [])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_bytes_that_cannot_be_written_are_refused_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    incoming = world.begin()

    def fails(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fails)
        with pytest.raises(Refused) as caught:
            incoming.write(HEAD)
    assert caught.value.status == 0xA700
    assert world.left() == []


ROUTES: list[tuple[int, Priority | None, bool]] = [
    (1900, Priority.BULK, True),
    (1400, Priority.BULK, False),
    (1400, Priority.ROUTINE, True),
    (1400, None, True),
    (1100, Priority.STAT, True),
    (1100, Priority.ROUTINE, False),
    (1100, None, False),
]


@pytest.mark.parametrize(("free", "priority", "taken"), ROUTES)
def test_how_urgent_it_is_decides_on_a_filling_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, priority: Priority | None, taken: bool
) -> None:
    """Of several destinations the most urgent; what no rule takes is routine."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10_000, 0, free))
    world = World(tmp_path, min_free=1000, low_free=2000)
    routing = Routing()
    if priority is not None:
        routing = Routing((("a", "r"), ("b", "r")), priorities={"a": priority, "b": Priority.BULK})
    world.spool.use(Reading(), lambda header, source: routing)
    incoming = world.begin()
    incoming.write(HEAD)
    if taken:
        incoming.commit()
        return
    with pytest.raises(LessUrgent) as caught:
        incoming.commit()
    assert caught.value.status == 0xA700
    assert (world.arrivals, world.left()) == ([], [])


def test_fragments_that_are_none_are_refused(world: World) -> None:
    """They stand behind what is read of the header."""
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + bytes(PREFIX)
    incoming = world.spool.begin(SOURCE, CT, "1.2.3.4", "1.2.840.10008.1.2.4.50")
    incoming.write(data_set("1.2.3.4")[:-76] + pixels)
    with pytest.raises(Refused, match="cannot be read") as caught:
        incoming.commit()
    assert caught.value.status == 0xC000
    assert (world.arrivals, world.left()) == ([], [])


@pytest.mark.parametrize("possible", [True, False])
def test_who_waits_for_a_lane_hears_of_it_when_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, possible: bool
) -> None:
    steps: list[str] = []
    world = World(tmp_path, on_lane=lambda: steps.append("told"))
    lane = SimpleNamespace()

    def made(*_: object) -> Any:
        steps.append("made")
        return lane

    monkeypatch.setattr(files, "RunReceiver", SimpleNamespace(possible=possible))
    monkeypatch.setattr(files, "Lane", made)
    assert world.spool.lane(SOURCE, {}) is (lane if possible else None)
    assert steps == (["made", "told"] if possible else [])
