"""What a crash left in a journal: each image that was safe in it gets its file, whole and flushed.

    1  each record behind the checkpoint whose digest holds: its bytes are written to `<id>.part`, which gets
       its name `<id>.dcm`, whatever stands there
    2  the files and their names are flushed, many together
    3  the checkpoint says so: nothing is read a second time

It may be interrupted at any point and run again, and runs before recovery, which knows nothing of it: a file
whose row says that it may go is removed there, one that the index lacks is entered. A file that is there is
written anew too: after a flush that failed, what is read of it may be all that is left of it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

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

    Raises OSError: nothing is lost then, and it is to be run again.
    """
    folder = journal_folder(spool)
    if not folder.is_dir():
        return 0
    done = segment.read_checkpoint(folder)
    newest, written = done, 0
    files = Files(folder)
    try:
        for path in segment.segments(folder):
            last, count = _replay_segment(path, spool, done, files)
            newest, written = max(newest, last), written + count
    finally:
        files.close()
    if newest > done:
        checkpoint = segment.Checkpoint(folder)
        try:
            checkpoint.write(newest)
        finally:
            checkpoint.close()
    return written


def _replay_segment(path: Path, spool: SpoolFolder, done: int, files: Files) -> tuple[int, int]:
    """The sequence number of a segment's last record, and how many files were written."""
    last = count = 0
    waiting: list[Path] = []
    with segment.reading(path) as (read, length):
        for each in record.records(read, length):
            last = each.sequence
            if last <= done:
                continue
            if not record.whole(each, read):  # never acknowledged, or the medium has lost it
                log.warning("%s: its record in the journal is not whole", each.id)
                continue
            waiting.append(_write(each, read, spool))
            count += 1
            if len(waiting) == _TOGETHER:
                files.flush(waiting)
                waiting.clear()
    if waiting:
        files.flush(waiting)
    return last, count


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
