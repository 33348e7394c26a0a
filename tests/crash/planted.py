"""Faults that are put in on purpose, to see that the simulator finds them.

Each is a function that patches MAPDR for the rest of the process, or as long as the `Patch` lets it: the
faults of writing within the child that is recorded, those of recovery where states are recovered on. Faults
of the compiled runs are made on their record: a call that is left out, or made too late.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mapdr.store
from crash.record import Call, Event
from mapdr.kernel.durable import Durability, sync_folder
from mapdr.store import recover
from mapdr.store.index import database
from mapdr.store.spool import durable, files, sealed
from mapdr.store.spool.folder import FINAL
from mapdr.store.spool.journal import keeper, segment

Patch = Callable[[Any, str, Any], None]
"""`setattr`, or one that is taken back."""


def no_flush_of_the_file(patch: Patch) -> None:
    """The file gets its name and nothing more."""

    def publish(file: int, source: str, target: str, durability: Durability) -> None:
        os.rename(source, target)
        os.close(file)

    patch(files, "publish", publish)


def no_flush_of_the_folder(patch: Patch) -> None:
    """The file's name is not flushed."""
    patch(files, "sync_folder", lambda path: None)


def no_flush_of_the_new_hour(patch: Patch) -> None:
    """The name of an hour's folder is not flushed."""

    def make_folder(path: Path, durability: Durability, *, within: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    patch(files, "make_folder", make_folder)


def no_flush_of_a_folder_that_is_there(patch: Patch) -> None:
    """A folder that somebody else has made is taken for flushed."""
    real = durable.make_folder

    def make_folder(path: Path, durability: Durability, *, within: Path) -> None:
        if not path.is_dir():
            real(path, durability, within=within)

    for module in (durable, files, recover):
        patch(module, "make_folder", make_folder)


def success_before_the_flush(patch: Patch) -> None:
    """A file is flushed when the next one is published."""
    left: list[int] = []
    taken = threading.Lock()  # two senders publish at the same time, and a file is closed once

    def publish(file: int, source: str, target: str, durability: Durability) -> None:
        os.rename(source, target)
        with taken:
            before, left[:] = left[:], [file]
        for each in before:
            os.fsync(each)
            os.close(each)

    patch(files, "publish", publish)


def the_seal_after_the_flush(patch: Patch) -> None:
    """The bytes are flushed before the last of them, the seal, is written."""
    real = files.SpoolFile._finish

    def finish(self: files.SpoolFile) -> Any:
        os.fsync(self._file)
        return real(self)

    patch(files.SpoolFile, "_finish", finish)
    no_flush_of_the_file(patch)


def a_flush_of_another_file(patch: Patch) -> None:
    """The folder is flushed in the place of the file: all names are there, and no bytes."""

    def publish(file: int, source: str, target: str, durability: Durability) -> None:
        os.rename(source, target)
        sync_folder(Path(target).parent)
        os.close(file)

    patch(files, "publish", publish)


def an_index_that_is_not_flushed(patch: Patch) -> None:
    """Commits of the index wait for the system, and files are purged by what they said."""
    real = database.sqlite
    patch(
        database,
        "sqlite",
        lambda url, durability, *more, **options: real(url, "process-crash", *more, **options),
    )


def no_flush_before_the_index_is_told(patch: Patch) -> None:
    """Recovery indexes what a killed process has left, flushed or not."""
    patch(recover.Recovery, "_flush", lambda self, arrivals: None)


def torn_files_are_images(patch: Patch) -> None:
    """Recovery takes every digest for that of the seal."""

    class Agrees:
        def __init__(self, data: bytes) -> None: ...

        def update(self, data: bytes) -> None: ...

        def digest(self) -> Agrees:
            return self

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    patch(sealed, "xxhash", SimpleNamespace(xxh3_128=Agrees))


def what_is_not_known_goes(patch: Patch) -> None:
    """Recovery removes files that the index lacks."""

    def read(self: recover.Recovery, ids: Sequence[str]) -> list[Any]:
        for id_ in ids:
            self._remove(self._spool.path(id_))
        return []

    patch(recover.Recovery, "_read", read)


def what_is_not_known_stays_unknown(patch: Patch) -> None:
    """Recovery leaves files alone that the index lacks."""
    patch(recover.Recovery, "_read", lambda self, ids: [])


def recovery_enters_all_again(patch: Patch) -> None:
    """Recovery indexes every file that it finds, under a new id where it has been before."""
    real = recover.Recovery._read

    def read(self: recover.Recovery, ids: Sequence[str]) -> list[Any]:
        again = []
        for arrival in real(self, ids):
            new = self._spool._ids.next()
            os.link(self._spool.path(arrival.id), self._spool.make_hour(files.hour_of(new)) / f"{new}{FINAL}")
            again += [arrival, arrival._replace(id=new, sop_instance_uid=f"{arrival.sop_instance_uid}.1")]
        return again

    patch(recover.Recovery, "_read", read)


def recovery_is_never_done(patch: Patch) -> None:
    """Recovery leaves something behind each time that it runs."""
    real = recover.Recovery.run

    def run(self: recover.Recovery) -> recover.Recovered:
        found = real(self)
        (self._spool.folder / f"recovered-{self._spool._ids.next()}").touch()
        return found

    patch(recover.Recovery, "run", run)


def a_log_of_the_index_is_a_leftover(patch: Patch) -> None:
    """Whoever opens the index removes its write-ahead log, with the commits in it."""

    def remove_leftovers(path: Path) -> None:
        path.with_name(f"{path.name}-wal").unlink(missing_ok=True)

    patch(database, "remove_leftovers", remove_leftovers)


def no_flush_of_the_segment(patch: Patch) -> None:
    """The journal's segment is not flushed before Success."""
    patch(segment.Segment, "flush", lambda self: None)


def no_flush_behind(patch: Patch) -> None:
    """Segments are freed whose images' own files were never flushed."""
    patch(keeper.Files, "flush", lambda self, paths: None)


def segments_are_freed_too_early(patch: Patch) -> None:
    """The checkpoint is written before the files are flushed: those of a round come with the next."""
    left: list[Path] = []

    def keep(self: keeper.Keeper) -> None:
        self._journal.make_room()
        sequence, paths = self._journal.files()
        if paths:
            self._journal.are_safe(sequence)
            self._files.flush(left)
            left[:] = paths

    patch(keeper.Keeper, "keep", keep)


def no_flush_of_names_behind(patch: Patch) -> None:
    """The files behind the journal are flushed, and not their names."""
    patch(keeper, "sync_folder", lambda path: None)


def no_flush_of_the_file_system(patch: Patch) -> None:
    """The flush that is to take all files together says that it has, and has not."""
    patch(keeper, "_syncfs", lambda folder: lambda file: 0)


def nothing_is_replayed(patch: Patch) -> None:
    """What a crash left in the journal is not looked at."""
    patch(mapdr.store, "replay", lambda spool: 0)


WRITING: dict[str, tuple[tuple[str, ...], Callable[[Patch], None]]] = {
    fault.__name__: (phases, fault)
    for phases, faults in (
        (
            ("ordinary",),
            (
                no_flush_of_the_file,
                no_flush_of_the_folder,
                no_flush_of_the_new_hour,
                success_before_the_flush,
                the_seal_after_the_flush,
                a_flush_of_another_file,
                an_index_that_is_not_flushed,
            ),
        ),
        (("killed_before_the_flush", "again"), (no_flush_before_the_index_is_told,)),
        (("killed_in_a_new_hour", "again"), (no_flush_of_a_folder_that_is_there,)),
        (
            ("ordinary_journal",),
            (
                no_flush_of_the_segment,
                no_flush_behind,
                no_flush_of_names_behind,
                segments_are_freed_too_early,
            ),
        ),
        (("ordinary_together",), (no_flush_of_the_file_system,)),
    )
    for fault in faults
}
"""Faults of writing, and the phases of the scenario that they show in."""

RECOVERY: dict[str, Callable[[Patch], None]] = {
    fault.__name__: fault
    for fault in (
        torn_files_are_images,
        what_is_not_known_goes,
        what_is_not_known_stays_unknown,
        recovery_enters_all_again,
        recovery_is_never_done,
        a_log_of_the_index_is_a_leftover,
    )
}


def runs_do_not_flush_files(events: Sequence[Event]) -> list[Event]:
    """The files of runs are not flushed."""
    names = {event.inode for event in events if event.call is Call.CREATE and event.path.endswith(FINAL)}
    return [event for event in events if event.call is not Call.FSYNC or event.inode not in names]


def runs_do_not_flush_folders(events: Sequence[Event]) -> list[Event]:
    """The names of the files of runs are not flushed."""
    hours = {
        event.inode
        for event in events
        if event.call is Call.MKDIR and event.path.rpartition("/")[2].isdigit()
    }
    return [event for event in events if event.call is not Call.FSYNC or event.inode not in hours]


def runs_answer_before_they_flush(events: Sequence[Event]) -> list[Event]:
    """Success goes out before the two flushes that it is for."""
    found: list[Event] = []
    for event in events:
        at = len(found)
        while event.call is Call.SEND and at and found[at - 1].call is Call.FSYNC:
            at -= 1
        found.insert(at, event)
    return found


RUNS = {
    fault.__name__: fault
    for fault in (runs_do_not_flush_files, runs_do_not_flush_folders, runs_answer_before_they_flush)
}
