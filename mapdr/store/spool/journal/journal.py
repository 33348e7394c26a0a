"""The journal of one node: images are appended, and are safe after a flush that all who wait for one share.

    append   in turn, under the lock: sequence numbers have the order of the bytes
    flush    by whoever finds none under way; it takes all that was appended before. Who comes meanwhile takes
             the next one: nobody waits for company
    free     by the keeper (`keeper`): a segment whose images' own files are safe is used again
    wait     who finds no free segment waits for the keeper, PATIENCE seconds at most: Success comes later

After a write or a flush that failed nothing is appended any more, and nobody who waited gets his Success
(`mapdr.store.spool.trust`). The next start writes all files of unfreed segments anew (`replay`). Where
somebody has removed the journal, or moved it away, no start will find it: files are flushed then, as without.
"""

from __future__ import annotations

import errno
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from mapdr.kernel.durable import FlushFailed, sync_file, sync_folder
from mapdr.kernel.errors import Refused
from mapdr.kernel.privacy import system_says
from mapdr.kernel.status import OUT_OF_RESOURCES
from mapdr.store.spool.durable import make_folder
from mapdr.store.spool.journal.record import Image
from mapdr.store.spool.journal.segment import ENDING, Checkpoint, Segment, is_whole
from mapdr.store.spool.trust import DiskTrust

log = logging.getLogger("mapdr.store")

SEGMENT = 32 << 20
"""Bytes of a segment."""
AT_FIRST, MOST = 4, 8
"""Segments that are made at the start, and that there are at most."""
LARGEST = 1 << 20
"""Bytes of a data set: larger ones are flushed as files of their own (docs/decisions/0091)."""
PATIENCE = 20.0
"""Seconds: how long Success is delayed at most; then the peer is told to come again."""
_NOT_WRITTEN = "the journal cannot be written"
LOOK_SECONDS = 0.25
"""How often it is looked, while images come, whether the journal is still where a start finds it: with each
flush of small images that took a tenth of the rate, for the interpreter's lock is given up once more."""


class Journal:
    """Thread-safe. One process at a time may have the folder (`mapdr.store.spool.claim`)."""

    def __init__(
        self,
        folder: Path,
        trust: DiskTrust | None = None,
        *,
        size: int = SEGMENT,
        most: int = MOST,
        min_free: Callable[[], int] = lambda: 0,
    ) -> None:
        """Open it, or make it; what it holds must have been replayed. Raises OSError.

        `trust` is that of the spool, which loses it by faults of the journal, and the journal by those of the
        spool. `size`: bytes of each segment; `most`: how many there are at most, two or more; `min_free`
        gives the bytes of the disk that no segment is made from, nor from as many as one has beside them: the
        index has to be written.
        """
        self.folder = folder
        self.trust = trust or DiskTrust()
        self._size, self._most, self._min_free = size, most, min_free
        # One lock, and a condition for each of those who wait: an append wakes nobody who waits for a flush.
        self._lock = threading.Lock()
        self._flush_ended = threading.Condition(self._lock)
        self._room_made = threading.Condition(self._lock)
        self._work_came = threading.Condition(self._lock)  # for the keeper
        self._flushing = False
        self._closed = self._over = False
        self._gone = ""
        self._look_at = 0.0
        make_folder(folder, "power-loss", within=folder.parents[1])
        self._checkpoint = Checkpoint(folder)
        self._appended = self._flushed = self._checkpoint.sequence
        self._waiting: deque[tuple[int, Path]] = deque()  # files that are not known to be safe, by sequence
        self._free: deque[Segment] = deque()
        self._full: deque[Segment] = deque()
        self._made = 0
        try:
            for _ in range(min(AT_FIRST, most)):
                self._free.append(self._make())
            self._free[0].begin(self._appended + 1)
        except BaseException:
            for segment in self._free:
                segment.give_up()
            self._checkpoint.close()
            raise
        self._current = self._free.popleft()

    @property
    def largest(self) -> int:
        """Bytes of the largest data set that goes this way."""
        return min(LARGEST, self._size // 2)

    @property
    def gone(self) -> str:
        """Why images are flushed one by one instead, in words with the cure; empty while they are not."""
        return self._gone

    def check(self) -> None:
        """Raise Refused(0xA700) if nothing is appended any more."""
        self.trust.check()
        if self._closed:
            raise _ends()

    def append(self, path: Path, image: Image, *, patience: float | None = None) -> None:
        """Make an image safe whose file `path` is written, and not flushed.

        Comes back when a flush has taken it; waits `patience` seconds for a free segment, PATIENCE by
        default. Raises Refused(0xA700) when that cannot be, and OSError where there is no room for a flush.
        """
        with self._lock:
            if not self._gone:
                self._append(path, image, PATIENCE if patience is None else patience)
            if not self._gone:
                return
        self._flush_file(path)

    def wait_for_files(self, seconds: float | None = None) -> bool:
        """Whether there are files to be made safe; waits for the first, or until the end."""
        with self._lock:
            return self._work_came.wait_for(lambda: self._waiting or self._closed, seconds) and bool(
                self._waiting
            )

    def wait_for_more(self, quiet: float, longest: float) -> None:
        """Come back when half of the segments are full, when nothing was appended for `quiet` seconds, after
        `longest` seconds, when the journal is gone, or at the end."""
        until = time.monotonic() + longest
        with self._lock:
            while not self._should_be_freed():
                before, left = self._appended, until - time.monotonic()
                is_quiet = not self._work_came.wait_for(self._should_be_freed, min(quiet, max(left, 0)))
                if (is_quiet and self._appended == before) or left <= 0:
                    return

    def _should_be_freed(self) -> bool:
        return self._closed or bool(self._gone) or len(self._full) >= max(self._made // 2, 1)

    def files(self) -> tuple[int, list[Path]]:
        """The files that are not known to be safe, and the sequence number of the last of them."""
        with self._lock:
            # Of some the record is not flushed yet: such a file is safe before its record, and may be.
            return (self._waiting[-1][0] if self._waiting else 0), [path for _, path in self._waiting]

    def are_safe(self, sequence: int) -> None:
        """All files up to a sequence number are flushed, and their names: their segments may go.

        Raises OSError; then nothing is appended any more.
        """
        try:
            self._checkpoint.write(sequence)
        except OSError as error:
            self.fail(error)
            raise
        with self._lock:
            while self._waiting and self._waiting[0][0] <= sequence:
                self._waiting.popleft()
            while self._full and self._full[0].last <= sequence:
                self._free.append(self._full.popleft())
            self._room_made.notify_all()

    def make_room(self) -> None:
        """Make another segment if there is none to be had and the bound is not reached. Raises OSError."""
        with self._lock:
            if self._free or self._made >= self._most:
                return
        made = self._make()  # without the lock: it takes as long as its zeros do
        with self._lock:
            self._free.append(made)
            self._room_made.notify_all()

    def fail(self, error: OSError, what: str = _NOT_WRITTEN) -> None:
        """A file of the journal, or one that it answers for, could not be written: append nothing more."""
        with self._lock:
            self._fail(error, what)

    def end(self) -> None:
        """Let the keeper come to its end; nothing is appended any more. Safe twice."""
        with self._lock:
            self._closed = True
            self._wake_all()

    def close(self) -> None:
        """Close the files. Once, after the keeper. Who still waits for a flush is refused."""
        self.end()
        with self._lock:
            self._flush_ended.wait_for(lambda: not self._flushing)
            self._over = True  # nobody flushes a file that is closed, whose number is another file's by then
            self._wake_all()
            for segment in (self._current, *self._free, *self._full):
                segment.close()
            self._checkpoint.close()

    def _append(self, path: Path, image: Image, patience: float) -> None:
        """Append it and come back when it is flushed, or the journal is gone. The lock is held."""
        self._make_way(image.length, patience)
        sequence = self._appended + 1
        try:
            self._current.append(sequence, image)
        except OSError as error:
            self._fail(error)
            self.trust.check()
        self._appended = sequence
        self._waiting.append((sequence, path))
        if len(self._waiting) == 1:
            self._work_came.notify()
        self._flush_up_to(sequence)

    def _flush_file(self, path: Path) -> None:
        """Make an image's own file safe, as without a journal. Raises as `append`."""
        try:
            sync_file(path)
            sync_folder(path.parent)
        except FlushFailed as error:
            self.fail(error, "a flush to the disk failed")
        self.check()

    def _make(self) -> Segment:
        path = self.folder / f"{self._made + 1:03}{ENDING}"
        if not is_whole(path, self._size):
            left = shutil.disk_usage(self.folder).free - self._size
            if left < self._min_free() + self._size:
                raise OSError(errno.ENOSPC, "the disk has no room")
        made = Segment(path, self._size)
        self._made += 1
        return made

    def _make_way(self, length: int, patience: float) -> None:
        """See to it that a record fits into the current segment. The lock is held."""
        until = time.monotonic() + patience
        while True:
            self.check()
            if self._gone or self._current.fits(length):
                return
            if self._flushed < self._appended:
                # Of the segment that is left: what comes later must not be flushed before it.
                self._flush_up_to(self._appended)
            elif self._free:
                self._full.append(self._current)
                self._current = self._free.popleft()
                self._begin()
            elif time.monotonic() >= until:
                raise Refused(OUT_OF_RESOURCES, "the disk is too slow: the journal is full")
            else:
                self._room_made.wait(until - time.monotonic())

    def _begin(self) -> None:
        try:
            self._current.begin(self._appended + 1)
        except OSError as error:
            self._fail(error)
        if self._should_be_freed():
            self._work_came.notify()

    def _flush_up_to(self, sequence: int) -> None:
        """Come back when all records up to this are safe, or when the journal is gone. The lock is held, but
        not during a flush."""
        while self._flushed < sequence and not self._gone:
            self.trust.check()
            if self._over:
                raise _ends()
            if self._flushing:
                self._flush_ended.wait()
                continue
            self._flushing, upto, segment = True, self._appended, self._current
            failure: OSError | None = None
            in_place, now = True, time.monotonic()
            looks = now >= self._look_at
            if looks:
                self._look_at = now + LOOK_SECONDS
            self._lock.release()
            try:
                segment.flush()
                in_place = not looks or segment.is_in_place()
            except OSError as error:
                failure = error
            finally:
                self._lock.acquire()
                self._flushing = False
                self._flush_ended.notify_all()
            if failure is not None:
                self._fail(failure)
            elif not in_place:
                self._is_gone()
            elif not self.trust.lost:
                self._flushed = upto

    def _is_gone(self) -> None:
        """What is in it, no start will find: from now on each file is flushed. The lock is held."""
        self._gone = "it was removed, or moved away; a restart makes another one"
        log.error("the journal was removed, or moved away: images are flushed one by one until a restart")
        self._wake_all()

    def _fail(self, error: OSError, what: str = _NOT_WRITTEN) -> None:
        self.trust.lose(f"{what} ({system_says(error)})")
        self._wake_all()

    def _wake_all(self) -> None:
        for who in (self._flush_ended, self._room_made, self._work_came):
            who.notify_all()


def _ends() -> Refused:
    return Refused(OUT_OF_RESOURCES, "the node ends")
