"""The files of a folder, from when they are seen first until nobody writes to them any more.

Events of the file system say what changes at once. They are lost on network shares and when there are too
many, so all of the folder is looked through now and then as well; what is known is only told by name, size
and time, and never by an event alone.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from mapdr.receive.folder.places import Place, State, mark
from mapdr.receive.folder.taking import Taken

MOST = 50_000
"""Files that are followed at a time; the others have their turn when these are dealt with."""

EMPTY_AFTER = 3600.0
"""Seconds without a change after which an empty folder is removed whose files were moved away."""

_IGNORED = ("thumbs.db", "desktop.ini")
_UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload")
_JUNCTION = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT of Windows: a folder that is elsewhere


@dataclass(slots=True)
class Candidate:
    """A file that is not dealt with: as it was when it was seen last, and `since` when (time.monotonic()).

    `not_before`: not to be looked into before that moment, after `failures` tries. `claimed`: it is where
    nobody else looks. `taken`: what became of it, where only putting it away is left to do. `scan` is the
    number of the last look through the folder that has met it.
    """

    state: State
    since: float
    not_before: float = 0.0
    failures: int = 0
    claimed: bool = False
    taken: Taken | None = None
    scan: int = 0


class Candidates:
    """The files of one folder that are not dealt with. For one thread."""

    def __init__(self, path: Path, place: Place, *, quiet: float, removes: bool) -> None:
        """`quiet`: seconds without a change until a file is whole. `removes`: empty folders go."""
        self.all: dict[str, Candidate] = {}
        self.busy_at = 0.0
        """When a file was seen last that was new or had changed."""
        self.more = False
        """Whether there are files that are not followed yet."""
        self._path = path
        self._place = place
        self._quiet = quiet
        self._removes = removes
        self._scan = 0

    def begin(self) -> None:
        """Follow what a process that is gone had in hand; safe again."""
        for name in self._place.left():
            if name in self.all and self.all[name].claimed:
                continue
            with suppress(FileNotFoundError):
                state = State.of(os.lstat(self._place.here(name)))
                self.all[name] = Candidate(state, time.monotonic(), claimed=True)

    def due(self) -> list[str]:
        """The names of files to be looked into now, directories of media last."""
        now = time.monotonic()
        found = [
            name
            for name, one in self.all.items()
            if now >= one.not_before and (one.taken is not None or now - one.since >= self._quiet)
        ]
        return sorted(found, key=lambda name: (name.rpartition("/")[2].upper() == "DICOMDIR", name))

    def scan(self) -> None:
        """Look through the folder. Raises OSError if that cannot be done to the end."""
        self._scan += 1
        self.more = False
        marks: set[bytes] | None = set() if self._place.grown else None
        self._walk("", marks)
        gone = [name for name, one in self.all.items() if one.scan < self._scan and not one.claimed]
        for name in gone:
            del self.all[name]
        if marks is not None:
            self._place.seen(marks)

    def changed(self, path: str) -> None:
        """Something has happened to a file or folder; `path` is below the folder that is watched."""
        name = Path(path).as_posix()
        parts = name.split("/")
        if parts[0] in self._place.kept or any(map(_is_ignored, parts)):
            return
        try:
            found = os.lstat(self._path / name)
        except OSError:
            if name in self.all and not self.all[name].claimed:
                del self.all[name]
            return
        if stat.S_ISDIR(found.st_mode) and not is_link(found):
            with suppress(OSError):  # the next look finds what this one does not
                self._walk(name, None)
        else:
            self._see(name, found, None)

    def _walk(self, top: str, marks: set[bytes] | None) -> None:
        """See every file below a folder. Raises OSError, after all that can be seen was."""
        trouble: OSError | None = None
        folders = [top]
        while folders:
            folder = folders.pop()
            try:
                entries = sorted(os.scandir(self._path / folder), key=lambda entry: entry.name)
            except FileNotFoundError:
                if folder == top:
                    raise
                continue  # it went while others were looked through
            except OSError as error:
                trouble = error
                continue
            if self._removes and folder and not entries:
                self._remove_if_old(folder)
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if _is_ignored(entry.name) or (not folder and entry.name in self._place.kept):
                    continue
                try:
                    found = os.lstat(entry.path)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    trouble = error
                    continue
                if stat.S_ISDIR(found.st_mode) and not is_link(found):
                    folders.append(name)
                else:
                    self._see(name, found, marks)
        if trouble is not None:
            raise trouble

    def _see(self, name: str, found: os.stat_result, marks: set[bytes] | None) -> None:
        state, now = State.of(found), time.monotonic()
        if marks is not None:
            marks.add(mark(name, state))
        known = self.all.get(name)
        if known is None:
            if self._place.known(name, state):
                return
            if len(self.all) >= MOST:
                self.more = True
                return
            known = self.all[name] = Candidate(state, now)
            self.busy_at = now
        elif not known.claimed and known.state != state:
            self.again(known, state)
        known.scan = self._scan

    def again(self, one: Candidate, state: State) -> None:
        """A file has changed: it has to be quiet anew."""
        one.state, one.since, one.taken = state, time.monotonic(), None
        one.not_before = 0.0
        self.busy_at = one.since

    def _remove_if_old(self, folder: str) -> None:
        path = self._path / folder
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > EMPTY_AFTER:
                path.rmdir()


def is_link(found: os.stat_result) -> bool:
    """Whether something leads elsewhere: a symbolic link, or a junction of Windows."""
    return stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) == _JUNCTION


def _is_ignored(name: str) -> bool:
    """Whether a name is of a file that is no image: hidden, of a program, or of a copy under way."""
    lower = name.lower()
    return name[:1] in (".", "~") or lower in _IGNORED or lower.endswith(_UNFINISHED)


def changes(
    path: Path, stopping: Event, tick: float, failed: Callable[[Exception], None]
) -> Iterator[list[str]]:
    """What has changed below a folder, by path from there on, again and again; every `tick` seconds nothing.

    Where events cannot be had, `failed` is told why, and nothing is all that comes. Ends when `stopping`.
    """
    root = os.path.join(os.path.realpath(path), "")
    try:
        from watchfiles import watch  # it takes longer to import than all the rest of a receiver

        events = watch(
            root,
            watch_filter=None,
            debounce=200,
            stop_event=stopping,
            rust_timeout=max(1, int(tick * 1000)),
            yield_on_timeout=True,
            raise_interrupt=False,
            ignore_permission_denied=True,
        )
        with closing(events):
            for found in events:
                yield [each[len(root) :] for _, each in found if each.startswith(root)]
        return
    except Exception as error:  # noqa: BLE001  the folder is looked through now and then all the same
        failed(error)
    while not stopping.wait(tick):
        yield []
