"""The keeper: flushes behind what the journal has made safe, so that its segments can be used again.

An image's file is written before its record is, and stands in the spool at once; only its flush comes later:
when the images pause, when half of the segments are full, after some seconds at the latest. A flush beside
the journal's own holds these up, so a study is taken first and flushed behind. While nothing comes it sleeps.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mapdr.kernel.durable import sync_folder
from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.privacy import system_says
from mapdr.store.spool.filesystem import file_system
from mapdr.store.spool.journal.journal import Journal
from mapdr.store.spool.journal.segment import flush_data

log = logging.getLogger("mapdr.store")

QUIET_SECONDS = 0.5
"""How long nothing has to come for the files that wait to be flushed."""
LONGEST_SECONDS = 5.0
"""How long they wait at most: what a power failure leaves to be written anew is bounded by it."""
_FEW = 8  # files that are flushed one by one: a flush of the whole file system takes what others wrote too
_WHOLE = {"ext4", "xfs"}
_SAYS_SO = (5, 8)
"""Local file systems of which Linux' syncfs makes everything safe, and the version that began to say if it
could not."""


class Files:
    """Flushes files and their names, many together, in one folder's file system. For one thread."""

    def __init__(self, folder: Path) -> None:
        """`folder` is in the same file system as what is to be flushed. Raises OSError."""
        self._syncfs = _syncfs(folder)
        # Open all the time: what could not be written since the last call is told to who had it open then.
        self._folder = -1 if self._syncfs is None else os.open(folder, os.O_RDONLY)

    def flush(self, paths: Sequence[Path]) -> None:
        """Come back when these files, as far as they are still there, and their names are safe.

        Raises OSError: then none of them is, whatever a later call says.
        """
        if self._syncfs is not None and len(paths) > _FEW:
            if self._syncfs(self._folder):
                raise OSError(ctypes.get_errno() or errno.EIO, "syncfs")
            return
        for path in paths:
            try:
                file = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            except FileNotFoundError:
                continue  # purged, or a repeat that was absorbed: its row is committed
            try:
                flush_data(file)
            finally:
                os.close(file)
        for folder in dict.fromkeys(path.parent for path in paths):
            try:
                sync_folder(folder)
            except FileNotFoundError:
                continue

    def close(self) -> None:
        """Close what is open. Safe twice."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1


class Keeper:
    """Keeps a journal's segments free, in a thread of its own, from `start` to `stop`."""

    def __init__(self, journal: Journal) -> None:
        """Raises OSError."""
        self._journal = journal
        self._files = Files(journal.folder)
        self._thread = GuardedThread(self._run, "journal", goes_on=lambda: not journal.trust.lost)

    def start(self) -> None:
        """Begin. Once."""
        self._thread.start()

    def stop(self) -> None:
        """Flush what is left, end, and close the journal. Once."""
        self._journal.end()
        if self._thread.is_alive():
            self._thread.join()
        self._files.close()
        self._journal.close()

    def keep(self) -> None:
        """Make safe what waits now, and free its segments. Raises OSError: then the journal takes nothing."""
        try:
            self._journal.make_room()
        except OSError as error:  # a full disk: there are fewer, and Success comes later
            log.warning("the journal cannot have another segment (%s)", system_says(error))
        sequence, paths = self._journal.files()
        if not paths:
            return
        try:
            self._files.flush(paths)
        except OSError as error:
            self._journal.fail(error)
            raise
        if not self._journal.trust.lost:  # else what was flushed after that is not known to be safe
            self._journal.are_safe(sequence)

    def _run(self) -> None:
        while self._journal.wait_for_files():
            self._journal.wait_for_more(QUIET_SECONDS, LONGEST_SECONDS)
            if self._journal.trust.lost:
                return  # the next start writes these files anew
            try:
                self.keep()
            except OSError:
                return


def _syncfs(folder: Path) -> Callable[[int], int] | None:
    """The system's call that flushes the file system of an open folder, where it is one to rely on."""
    if sys.platform != "linux" or file_system(folder) not in _WHOLE:
        return None
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if version is None or tuple(map(int, version.groups())) < _SAYS_SO:
        return None
    call: Callable[[int], int] | None = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    return call
