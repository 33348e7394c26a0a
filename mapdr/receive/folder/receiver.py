"""A folder that is watched: files that somebody puts there are taken as if a modality had sent them.

One thread: it hears of changes, looks through the folder now and then, and takes each file that has been
quiet for long enough. What a crash interrupts is taken again.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mapdr.config.character_set import ReadsText
from mapdr.config.units import Duration, LocalPath
from mapdr.kernel.errors import LessUrgent, Refused
from mapdr.kernel.finding import Finding
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.item import Source
from mapdr.kernel.privacy import in_words, system_says
from mapdr.kernel.stage import Description, Endpoint, Factory, Intake, Settings
from mapdr.kernel.status import CANNOT_UNDERSTAND
from mapdr.net.silence import WatchesSilence
from mapdr.receive.folder.archive import ZipLimits
from mapdr.receive.folder.places import Keeping, Moving, Place, State
from mapdr.receive.folder.taking import Changed, Stopped, Taken, Taker
from mapdr.receive.folder.watching import Candidate, Candidates, changes, is_link

log = logging.getLogger("mapdr.receive")

PATIENCE = 12
"""So many times the quiet time has a file that is not understood been quiet before it is refused: the copy of
one may have stalled."""

LATEST = 60
"""After so many times as long again an incomplete medium is told, whatever else comes into the folder."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds until the store, or a file that cannot be read, is tried again; twice as long each time."""

_READ = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC")
)


def _peer(name: str) -> str:
    if len(name) > 64 or not name.isprintable() or name != name.strip():
        raise ValueError("is not a name; write up to 64 characters, e.g. CT1")
    return name


class FolderReceiveConfig(ReadsText, WatchesSilence):
    """`[receive.NAME]` with `type = "folder"`."""

    path: LocalPath
    peer: Annotated[str, AfterValidator(_peer)] = ""
    taken: Literal["move", "keep"] = "move"
    quiet: Duration = Field(default=5.0, gt=0)
    scan_every: Duration = Field(default=30.0, gt=0)
    zip: ZipLimits = ZipLimits()


class _Waits(Exception):
    """A DICOMDIR whose files are not dealt with yet."""


class FolderReceiver:
    """A watched folder."""

    def __init__(self, settings: Settings, config: FolderReceiveConfig, intake: Intake) -> None:
        self._settings = settings
        self._config = config
        self._name = settings.name
        self._place: Place
        if config.taken == "move":
            self._place = Moving(config.path, settings.node)
        else:
            journals = settings.data / "folders" / settings.node
            self._place = Keeping(config.path, journals, settings.durability)
        self._source = Source(settings.name, config.peer, "", "", protocol="folder")
        self._stopping = threading.Event()
        self._aborting = threading.Event()
        self._taker = Taker(intake, self._source, config.zip, self._aborting.is_set)
        self._files = Candidates(config.path, self._place, quiet=config.quiet, removes=config.taken == "move")
        self._ended = threading.Event()
        self._ended.set()
        self._before: FolderReceiver | None = None
        self._thread: threading.Thread | None = None
        self._root: tuple[int, int] | None = None
        self._next_scan = 0.0
        self._pause = 0.0
        self._paused_until = 0.0
        self._waiting: dict[str, str] = {}
        self._trouble = Trouble(log)
        self._refusals = Trouble(log)

    def describe(self) -> Description:
        """See `mapdr.kernel.stage.Receiver`; the host is the folder's path."""
        return Description(str(self._config.path))

    def acquire(self, ending: Sequence[object] = ()) -> None:
        """Know whom of `ending` to wait for: only one receiver works in a folder."""
        others = (each for each in ending if isinstance(each, FolderReceiver))
        self._before = next((each for each in others if each._config.path == self._config.path), None)

    def start(self) -> None:
        """Watch. A folder that cannot be used keeps no node from running: it is looked at again and again."""
        self._stopping.clear()
        self._aborting.clear()
        self._ended.clear()
        self._thread = GuardedThread(
            self._run,
            f"{self._name}-folder",
            goes_on=lambda: not self._stopping.is_set(),
            watch=self._settings.watch,
        )
        self._thread.start()

    def stop(self, deadline: float) -> None:
        """Finish the file in hand until `deadline`, else leave it: it is taken after the next start."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.join(max(0.0, deadline - time.monotonic()))
        self._aborting.set()
        thread.join(max(0.5, deadline - time.monotonic()))

    def _run(self) -> None:
        before = self._before
        while before is not None and not before._ended.wait(0.05):
            if self._stopping.is_set():
                break
        self._before = None
        try:
            with suppress(OSError):  # said when it is looked through
                self._config.path.mkdir(parents=True, exist_ok=True)
            while not self._stopping.is_set():
                self._watch()
                self._stopping.wait(min(1.0, self._config.scan_every))
        finally:
            if self._stopping.is_set():
                self._ended.set()

    def _watch(self) -> None:
        """Take files until the folder is another one, or gone, or the receiver stops."""
        self._files.begin()
        if not self._scan():
            return
        tick = min(1.0, max(0.02, self._config.quiet / 4))
        for paths in changes(self._config.path, self._stopping, tick, self._unwatched):
            if self._stopping.is_set():
                return
            for path in paths:
                self._files.changed(path)
            now = time.monotonic()
            if (now >= self._next_scan or (self._files.more and not self._files.all)) and not self._scan():
                return
            self._take_due()

    def _unwatched(self, error: Exception) -> None:
        log.warning(
            "%s: changes in the folder cannot be heard of (%s): it is looked through every %g s",
            self._name,
            in_words(error, places=False),
            self._config.scan_every,
        )

    def _scan(self) -> bool:
        """Look through the folder; whether it is the one that is watched."""
        self._next_scan = time.monotonic() + self._config.scan_every
        try:
            found = os.stat(self._config.path)
            root, self._root = self._root, (found.st_dev, found.st_ino)
            self._files.scan()
        except OSError as error:
            cause = system_says(error)
            self._wait("folder", f"the folder cannot be looked through: {cause}")
            return not isinstance(error, FileNotFoundError | NotADirectoryError)
        self._goes_on("folder")
        if not any(one.failures for one in self._files.all.values()):
            self._goes_on("file")
        return root in (None, self._root)

    def _take_due(self) -> None:
        if time.monotonic() < self._paused_until:
            return
        try:
            for name in self._files.due():
                if self._stopping.is_set():
                    return
                one = self._files.all[name]
                try:
                    self._deal_with(name, one)
                except OSError as error:
                    self._later(one, system_says(error))
                except LessUrgent as refused:
                    self._later(one, refused.comment)
                except Refused as refused:
                    self._pause = min(LONGEST_PAUSE, 2 * self._pause or FIRST_PAUSE)
                    self._paused_until = time.monotonic() + self._pause
                    self._wait("store", f"the store takes nothing now: {refused.comment}")
                    return
                except Exception as error:  # noqa: BLE001  it is not safe, so it stays; the others are taken
                    self._later(one, in_words(error))
        finally:
            self._place.flush()

    def _deal_with(self, name: str, one: Candidate) -> None:
        """Take a file and put it away, as far as that can be done now. Raises OSError, Refused."""
        if one.taken is None:
            if not self._is_ready(name, one):
                return
            one.taken = self._read(name, one)
            if one.taken is None:
                return
            self._tell(one.taken)
        self._place.settle(name, one.state, one.taken.refused)
        del self._files.all[name]
        self._taker.forget(name)
        self._pause = 0.0
        self._goes_on("store")

    def _is_ready(self, name: str, one: Candidate) -> bool:
        """Whether the file is this receiver's alone, and as it was when it became quiet."""
        try:
            if not self._same(name, one):
                return False
            if not one.claimed:
                one.claimed = self._place.claim(name)
        except FileNotFoundError:
            del self._files.all[name]
            return False
        return one.claimed and self._same(name, one)

    def _same(self, name: str, one: Candidate) -> bool:
        state = State.of(os.lstat(self._place.here(name)))
        if state == one.state:
            return True
        self._files.again(one, state)
        self._taker.forget(name)
        return False

    def _read(self, name: str, one: Candidate) -> Taken | None:
        """Take the file into the store; None if that is to be tried later."""
        path = self._place.here(name)
        found = os.lstat(path)
        if is_link(found):
            return Taken(refused="it is a link; put the file itself there", status=CANNOT_UNDERSTAND)
        if not stat.S_ISREG(found.st_mode):
            return Taken(refused="it is no file", status=CANNOT_UNDERSTAND)
        with os.fdopen(os.open(path, _READ), "rb") as file:
            try:
                taken = self._taker.take(file, name, lambda ids: self._missing(name, ids))
            except Changed:
                self._files.again(one, State.of(os.fstat(file.fileno())))
                self._taker.forget(name)
                return None
            except Stopped:
                return None
            except _Waits:
                one.not_before = time.monotonic() + self._config.quiet
                return None
        if not taken.refused or taken.images:
            return taken
        patience = PATIENCE * self._config.quiet
        sure = one.since + patience
        if _is_directory(name):  # its files may still be on their way, which others' coming must not hide
            since = max(one.since, self._files.busy_at)
            sure = min(since + patience, sure + LATEST * patience)
        if time.monotonic() < sure:
            one.not_before = sure
            return None
        return taken

    def _missing(self, name: str, ids: Sequence[Sequence[str]]) -> str:
        """Why a DICOMDIR is not all right by the files that it names, or "". Raises _Waits."""
        missing = 0
        above = name.rpartition("/")[0]
        for components in ids:
            if any(each in ("", ".", "..") or set(each) & set("/\\:") for each in components):
                return "the DICOMDIR names files outside of its folder"
            # A medium's names are upper case, and are often shown in lower case where it is mounted.
            names = ["/".join(filter(None, (above, *form))) for form in _cases(components)]
            if any(each in self._files.all for each in names):
                raise _Waits
            if any(self._place.accounted(each) for each in names):
                continue
            if any(os.path.lexists(self._config.path / each) for each in names):
                raise _Waits
            missing += 1
        return f"{missing} of {len(ids)} files that the DICOMDIR names are not there" if missing else ""

    def _tell(self, taken: Taken) -> None:
        watch = self._settings.watch
        if taken.images:
            watch.count(f"receive.{self._name}.stored", taken.images)
            watch.count(f"receive.{self._name}.bytes", taken.size)
        if taken.refused:
            watch.count(f"receive.{self._name}.refused")
            watch.emit(
                "images.refused",
                receiver=self._name,
                peer=self._source.peer,
                status=taken.status,
                cause=taken.refused,
            )
            self._refusals.tell(f"{self._name}: a file was refused: {taken.refused}")

    def _later(self, one: Candidate, cause: str) -> None:
        """A file that cannot be taken, for no fault of what is in it: tried again after pauses that grow."""
        one.failures += 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(one.failures, 20))
        one.not_before = time.monotonic() + pause
        self._wait("file", f"a file cannot be taken: {cause}")

    def _wait(self, what: str, cause: str) -> None:
        """Say that `what` keeps files from being taken, once, until it does not."""
        if self._waiting.get(what) != cause:
            self._waiting[what] = cause
            self._settings.watch.emit("folder.waits", receiver=self._name, cause=cause)
        self._trouble.tell(f"{self._name}: {cause}; it is tried again")

    def _goes_on(self, what: str) -> None:
        if self._waiting.pop(what, None) is not None and not self._waiting:
            self._settings.watch.emit("folder.back", receiver=self._name)
            self._trouble.over(f"{self._name}: files are taken again")


def _is_directory(name: str) -> bool:
    return name.rpartition("/")[2].upper() == "DICOMDIR"


def _cases(components: Sequence[str]) -> Iterator[Sequence[str]]:
    yield components
    yield [each.lower() for each in components]


def _build(settings: Settings, config: FolderReceiveConfig, intake: Intake) -> FolderReceiver:
    return FolderReceiver(settings, config, intake)


def _faults(config: FolderReceiveConfig) -> Iterator[Finding]:
    path = config.path
    if os.path.lexists(path) and not path.is_dir():
        yield Finding(("path",), "is not a folder", "name another one")
    elif path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
        yield Finding(("path",), "cannot be read", "let who runs mapdr read there")
    elif path.is_dir() and config.taken == "move" and not os.access(path, os.W_OK):
        cure = 'let who runs mapdr write there, or write taken = "keep"'
        yield Finding(("path",), "cannot be written to: what is taken cannot be moved away", cure)


def _listens(config: FolderReceiveConfig) -> Endpoint:
    return Endpoint(str(config.path))


def _resources(config: FolderReceiveConfig) -> tuple[str, ...]:
    return (f"folder:{os.path.normcase(os.path.abspath(config.path))}",)


STAGE = Factory(
    "receive", "folder", FolderReceiveConfig, _build, resources=_resources, faults=_faults, listens=_listens
)
