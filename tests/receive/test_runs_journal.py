"""Runs whose objects a journal makes safe, against the ordinary way of the same bytes into another one."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapdr.kernel.item import Arrival
from mapdr.kernel.watch import Watch
from mapdr.store.spool.files import Spool
from mapdr.store.spool.journal import record, segment
from mapdr.store.spool.journal.journal import Journal
from mapdr.store.spool.journal.keeper import Keeper
from mapdr.store.spool.journal.replay import journal_folder, replay
from mapdr.store.spool.runs import gather
from mapdr.testing import peer
from mapdr.testing.peer import Line
from mapdr.wire import pdu
from mapdr.wire.link import Limits
from receive.conversation import Ordinary, open_spool, session_over
from receive.test_runs import message, needs_runs
from store.world import data_set

SEGMENT = 1 << 20
SIZES = (200, 600_000, 900, 30_000, 100, 450_000, 2)
"""Bytes of pixel data; the second is larger than half a segment."""


class Side:
    """A spool with a journal that nobody keeps, and what came into it."""

    def __init__(self, folder: Path, *, most: int = 4) -> None:
        self.arrivals: list[Arrival] = []
        self.spool: Spool = open_spool(folder, self.arrivals.append)
        self.spool.durability = "power-loss"
        self.journal = Journal(journal_folder(self.spool), self.spool.trust, size=SEGMENT, most=most)
        self.spool.journal = self.journal
        self.keeper = Keeper(self.journal)

    def take(self, images: list[bytes], *, runs: bool) -> list[int]:
        """Send data sets over one association; the statuses."""
        ours, theirs = socket.socketpair()
        way = self.spool if runs else Ordinary(self.spool)
        session = session_over(theirs, way, Watch(), Limits(linger=0))
        thread = threading.Thread(target=session.run)
        thread.start()
        line = Line(ours)
        line.send(peer.request())
        line.read_pdu()
        statuses = []
        for number, data in enumerate(images):
            line.send(message(data, f"1.2.{number}", cuts=tuple(range(16_000, len(data), 16_000))))
            statuses.append(line.response().status)
        line.send(pdu.RELEASE_RQ_BYTES)
        line.closed()
        line.close()
        thread.join(10)
        self.in_runs = gather(self.spool.runs)
        return statuses

    def held(self) -> dict[str, bytes]:
        """The files, by id."""
        return {path.stem: path.read_bytes() for path in self.spool.folder.rglob("*.dcm")}

    def recorded(self) -> dict[str, bytes]:
        """The files that the journal would make, by id."""
        found = {}
        for path in segment.segments(self.journal.folder):
            with segment.reading(path) as (read, length):
                for each in record.records(read, length):
                    assert record.whole(each, read)
                    found[each.id] = read(each.at, each.offset + each.size)
        return found


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Side]:
    made = Side(tmp_path / "one")
    yield made
    made.keeper.stop()


@needs_runs
def test_what_runs_take_is_in_the_journal_as_the_ordinary_way_puts_it(side: Side, tmp_path: Path) -> None:
    images = [data_set(f"1.2.{n}", pixels=size) for n, size in enumerate(SIZES)]
    assert side.take(images, runs=True) == [0] * len(images)
    assert len(side.in_runs) == len(images)
    large = side.in_runs[1].id
    held = side.held()
    assert side.recorded() == {id_: data for id_, data in held.items() if id_ != large}
    other = Side(tmp_path / "other")
    assert other.take(images, runs=False) == [0] * len(images)
    other.keeper.stop()
    assert not other.in_runs
    assert len(other.recorded()) == len(side.recorded())
    behind = [held[each.id][each.data_offset :] for each in side.in_runs]
    assert behind == [other.held()[each.id][each.data_offset :] for each in other.arrivals]
    for id_ in side.recorded():
        side.spool.path(id_).unlink()
    assert replay(side.spool) == len(images) - 1
    assert side.held() == held


@needs_runs
def test_in_runs_no_file_is_flushed_that_the_journal_takes(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(segment, "flush_data", flushed.append)
    side.take([data_set(f"1.2.{n}") for n in range(5)], runs=True)
    assert len(side.in_runs) == 5
    assert len(flushed) == 5


@needs_runs
def test_a_flush_that_fails_in_a_run_is_no_success(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes: list[int] = []

    def third(file: int) -> None:
        flushes.append(file)
        if len(flushes) == 3:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(segment, "flush_data", third)
    statuses = side.take([data_set(f"1.2.{n}") for n in range(5)], runs=True)
    assert statuses == [0, 0, 0xA700, 0xA700, 0xA700]
    assert len(side.held()) == len(side.in_runs) == 2
    assert side.journal.trust.lost


@needs_runs
def test_a_run_does_not_wait_for_long_when_the_journal_is_full(tmp_path: Path) -> None:
    """The ordinary way does, and says why: here the keeper comes while it waits."""
    side = Side(tmp_path, most=2)
    thread = threading.Timer(0.6, side.keeper.start)
    thread.start()
    images = [data_set(f"1.2.{n}", pixels=400_000) for n in range(8)]
    assert side.take(images, runs=True) == [0] * 8
    thread.join()
    side.keeper.stop()
    assert len(side.in_runs) + len(side.arrivals) == 8
    assert len(side.held()) == 8
