"""What a crash left in a journal: each image that was safe in it gets its file, whole and flushed.

    1  each record behind the checkpoint whose digest holds: its bytes are written to `<id>.part`, which gets
       its name `<id>.dcm`, whatever stands there
    2  the files and their names are flushed, many together
    3  the checkpoint says so: nothing is read a second time

What the medium has lost of the journal is told, as far as later records show it, and the others are used. A
segment that cannot be read, or does not begin as one, is set aside; one of another version ends the start.

It may be interrupted at any point and run again, and runs before recovery, which knows nothing of it: a file
whose row says that it may go is removed there, one that the index lacks is entered. A file that is there is
written anew too: after a flush that failed, what is read of it may be all that is left of it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mapdr.kernel.privacy import system_says
from mapdr.store.spool.durable import make_folder
from mapdr.store.spool.folder import JOURNAL, PART, SpoolFolder
from mapdr.store.spool.ids import hour_of
from mapdr.store.spool.journal import record, segment
from mapdr.store.spool.journal.keeper import Files

log = logging.getLogger("mapdr.store")

_TOGETHER = 256
_OPEN = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def journal_folder(spool: SpoolFolder) -> Path:
    """Where a node's journal is."""
    return spool.folder / JOURNAL


def replay(spool: SpoolFolder) -> int:
    """Write the files of a node's journal; how many. Who calls has the folder for himself.

    Raises OSError: nothing is lost then, and it is to be run again. Raises ConfigurationError where the
    journal is of another version.
    """
    folder = journal_folder(spool)
    if not folder.is_dir():
        return 0
    checkpoint = segment.read_checkpoint(folder)
    done = checkpoint.sequence
    looked = [_look(path, done) for path in segment.segments(folder)]
    reach = max((each.reach for each in looked), default=done)
    if reach < done and not any(each.damage for each in looked):
        # Mostly these are an earlier copy of the segments that the checkpoint belongs to. Or a power failure
        # took the last records, whose files were flushed before them. To write a file anew is safe.
        log.warning(
            "the journal's checkpoint is later than its segments: all that these hold is written anew"
        )
        done, looked = 0, [_look(each.path, 0) for each in looked]
    files = Files(folder)
    is_copy = done != checkpoint.sequence
    try:
        _write_all(looked, spool, files)
        missing = 0 if is_copy else _missing(looked, done, from_there=checkpoint.is_whole)
        if missing > 0 or any(each.damage for each in looked):
            _tell(looked, missing)
            files.flush(_of_these_hours(looked, spool))
    finally:
        files.close()
    if reach > checkpoint.sequence or is_copy:  # else a copy is written anew at each start
        last = segment.Checkpoint(folder)
        try:
            last.write(reach)
        finally:
            last.close()
    for each in looked:
        if each.damage:
            _set_aside(each.path)
    return sum(len(each.written) for each in looked)


@dataclass(slots=True)
class _Looked:
    """What a segment holds: `records` behind the checkpoint, and the numbers of those that were `written`;
    `first` the sequence number with which it began, None where that is not known, `reach` the last that it
    knows of; `damage` what is wrong with it, in words."""

    path: Path
    records: list[record.Record] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    first: int | None = None
    reach: int = 0
    damage: str = ""

    def unreadable(self) -> None:
        """The medium does not give something of it."""
        self.damage = "it cannot be read wholly"


def _look(path: Path, done: int) -> _Looked:
    """Read a segment's heads. Raises OSError, ConfigurationError."""
    looked = _Looked(path)
    with segment.reading(path, looked.unreadable) as (read, length):
        block = read(0, record.BLOCK)
        segment.refuse_another_version(block, path.parent)
        begun = record.read_segment_block(block)
        if begun is not None:
            looked.first, looked.reach = begun[1], begun[1] - 1
        elif not record.is_blank(block):
            looked.damage = "its first block is not whole"
        for each in record.records(read, length):
            looked.reach = each.sequence
            if each.sequence > done:
                looked.records.append(each)
    return looked


def _write_all(looked: Sequence[_Looked], spool: SpoolFolder, files: Files) -> None:
    """Write the files of all records that are whole, and flush them. Raises OSError."""
    for each in looked:
        for start in range(0, len(each.records), _TOGETHER):
            files.flush(_write_some(each, each.records[start : start + _TOGETHER], spool))


def _write_some(looked: _Looked, some: Sequence[record.Record], spool: SpoolFolder) -> list[Path]:
    """Write the files of these records, not flushed; where they are. Raises OSError."""
    written = []
    with segment.reading(looked.path, looked.unreadable) as (read, _):
        for each in some:
            if record.whole(each, read):
                written.append(_write(each, read, spool))
                looked.written.append(each.sequence)
            else:  # never acknowledged, or the medium has lost it
                log.warning("%s: its record in the journal is not whole", each.id)
    return written


def _missing(looked: Sequence[_Looked], done: int, *, from_there: bool) -> int:
    """How many images behind the checkpoint's number `done` are not whole, though later ones are, or a later
    segment was begun, for which all before it were flushed. Behind these, nothing was acknowledged.

    Without `from_there` the checkpoint may have said a later number: what was there before the oldest segment
    is not asked for.
    """
    begun = [each.first for each in looked if each.first is not None]
    written = [number for each in looked for number in each.written]
    if not begun:
        return 0
    before = done if from_there else max(done, min(begun) - 1)
    last = max(max(begun) - 1, max(written, default=0))
    return max(last - before, 0) - sum(number > before for number in written)


def _tell(looked: Sequence[_Looked], missing: int) -> None:
    """Say what is not whole."""
    for each in looked:
        if each.damage:
            log.error("the journal's %s is damaged: %s", each.path.name, each.damage)
    if missing > 0:
        log.warning(
            "%d of the images that came last are not whole in the journal: the medium has lost them; their "
            "files in the spool are all that is left of them",
            missing,
        )


def _of_these_hours(looked: Sequence[_Looked], spool: SpoolFolder) -> list[Path]:
    """The files of the hours in which what is not whole was received, by its neighbours: of a node that was
    killed the system's cache may hold what the medium has not."""
    there = spool.hours()
    hours = {hour_of(each.id) for one in looked for each in one.records} | set(there[-1:])
    return [spool.path(id_) for hour in there if hour in hours for id_ in spool.files(hour)]


def _set_aside(path: Path) -> None:
    try:
        aside = segment.set_aside(path)
    except OSError as error:
        log.error("%s: could not be set aside (%s)", path.name, system_says(error))
    else:
        log.error("%s is kept as %s, and another one is made", path.name, aside.name)


def _write(each: record.Record, read: record.Read, spool: SpoolFolder) -> Path:
    """Write an image's file, not flushed; where it is."""
    final = spool.path(each.id)
    make_folder(spool.folder / hour_of(each.id), "power-loss", within=spool.data)
    part = final.with_suffix(PART)
    file = os.open(part, _OPEN, 0o640)
    try:
        with open(file, "wb", closefd=False) as to:
            to.write(read(each.at, each.offset))
            for piece in record.data_set(each, read):
                to.write(piece)
    finally:
        os.close(file)
    os.replace(part, final)
    return final
