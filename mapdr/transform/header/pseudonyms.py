"""What stands in place of a patient's identifier and name: nothing, what the key makes, what a file says."""

from __future__ import annotations

import io
import os
import threading
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from mapdr.dicom.deidentify.keys import Key
from mapdr.kernel.durable import FlushFailed
from mapdr.kernel.errors import ConfigurationError, Permanent, Temporary
from mapdr.store.spool.claim import Claim
from mapdr.transform.header.csv_file import LARGEST
from mapdr.transform.header.pseudonym_file import (
    HEAD,
    AddedLine,
    Table,
    flush_pseudonyms,
    last_byte,
    line_of,
    read_pseudonyms,
    to_append,
)

_WAIT_SECONDS = 10.0
"""How long a process waits for another one that writes a new pseudonym."""
_DIGITS = 5
_CHANGED = "the file of pseudonyms was changed while a line was added: trying again"


class Emptied:
    """Neither an identifier nor a name."""

    def of(self, patient: str) -> tuple[str, str]:
        """Empty texts."""
        return "", ""


class Generated:
    """What the key makes of the patient's identifier."""

    def __init__(self, key: Key) -> None:
        self._key = key

    def of(self, patient: str) -> tuple[str, str]:
        """16 letters and digits, for both."""
        made = self._key.pseudonym(patient)
        return made, made


class _State(NamedTuple):
    """Which file it is, when it was written and changed last (ns since the epoch), and its size in bytes."""

    inode: int
    modified_at: int
    changed_at: int
    size: int

    @classmethod
    def of(cls, path: Path) -> _State:
        """Now. Raises OSError."""
        about = path.stat()
        return cls(about.st_ino, about.st_mtime_ns, about.st_ctime_ns, about.st_size)


class _Reading(NamedTuple):
    """What was read of a file, and the state that it was read in: None if it is to be read again."""

    state: _State | None
    table: Table


class _Turn:
    """What all objects of one file in a process share: whose turn it is to read or write it, and whether a
    flush of it has failed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.flush_failed = False


_turns: dict[str, _Turn] = {}
"""By the file's own path, for as long as the process runs."""


class FromFile:
    """The lines of a file, read again when it has changed; from any thread.

    Who adds lines reads and writes under a `Claim`, alone among all processes that add to the file: a line
    that another one is writing may be taken back. A patient who is known here does not wait while the line of
    a new one is written here.
    """

    def __init__(
        self, path: Path, unknown: Literal["park", "next"], prefix: str, *, only_looks: bool = False
    ) -> None:
        """A patient that is not in the file is parked, or gets the `next` number behind `prefix`.

        Who `only_looks` is told what that would be, and nothing is written.
        """
        self._only_looks = only_looks
        self._path = path
        self._assigns = unknown == "next"
        self._prefix = prefix
        self._turn = _turns.setdefault(os.path.realpath(path), _Turn())
        self._last = _Reading(None, Table({}, HEAD, ","))
        self._line = b""  # what is being added to the file

    def of(self, patient: str) -> tuple[str, str]:
        """The pseudonym and name of a patient. White space of every script around the identifier is left out,
        as around the cells of the file: else a new line would be written for each image.

        Raises Permanent(reason="pseudonym") for one that is not in the file, without an identifier, or with
        one that a line cannot hold; Temporary if the file cannot be read or written now.
        """
        if patient.startswith("\0") or not (patient := patient.strip()):
            raise Permanent("the image has no PatientID to look a pseudonym up by", reason="pseudonym")
        try:
            found = self._at_hand(patient) or self._found(patient)
        except ConfigurationError as error:
            raise Temporary(str(error)) from None
        except OSError as error:
            raise Temporary(f"the file of pseudonyms cannot be used: {error.strerror}") from None
        if found is None:
            raise Permanent("the patient is not in the file of pseudonyms", reason="pseudonym")
        return found

    def _at_hand(self, patient: str) -> tuple[str, str] | None:
        """What the file says, if it is as it was read last, or longer by the line that is being added alone.
        Raises OSError."""
        line = self._line  # first: a line that is done by now is in what was read last, or is waited for
        (before, table), now = self._last, _State.of(self._path)
        if now == before:
            return table.known.get(patient)
        is_longer = line and before and (now.inode, now.size) == (before.inode, before.size + len(line))
        return table.known.get(patient) if is_longer else None

    def _found(self, patient: str) -> tuple[str, str] | None:
        """What the file says, or is made to say now; None where it says nothing. Raises as `_read` and
        `_added`."""
        with self._turn.lock:
            if self._turn.flush_failed:
                # The system may have thrown away what it says was written (docs/decisions/0090).
                raise Temporary("a flush of the file of pseudonyms failed: no more are used until a restart")
            if self._assigns and not self._only_looks:
                try:
                    return self._found_or_added(patient)
                except FlushFailed:
                    self._turn.flush_failed = True
                    raise
            table = self._read()
            found = table.known.get(patient)
            return (self._next(table, patient),) * 2 if found is None and self._assigns else found

    def _found_or_added(self, patient: str) -> tuple[str, str]:
        """What the file says, with a line for the patient. Raises as `_read` and `_added`, and Temporary
        while another process has the file."""
        with ExitStack() as stack:
            lock = self._path.resolve()
            try:
                claim = Claim(lock.with_name(lock.name + ".lock"), "")
                stack.enter_context(claim.exclusive(_WAIT_SECONDS))
            except ConfigurationError:
                raise Temporary("another process has the file of pseudonyms in hand: trying again") from None
            except OSError:  # where no lock can be made, no line can be added, and those that are there serve
                found = self._read(flushes=True).known.get(patient)
                if found is None:
                    raise
                return found
            table = self._read(flushes=True)
            return table.known.get(patient) or self._added(patient, table)

    def _read(self, *, flushes: bool = False) -> Table:
        """The table, read again if the file has changed, and flushed then before it is believed: a process
        may have ended between a line and its flush. Raises OSError, ConfigurationError."""
        state = _State.of(self._path)
        if self._last.state != state:
            try:
                table = read_pseudonyms(self._path)
                if flushes:
                    flush_pseudonyms(self._path)
            except Exception:
                self._last = self._last._replace(state=None)
                raise
            self._last = _Reading(state, table)
        return self._last.table

    def _next(self, table: Table, patient: str) -> str:
        """The first pseudonym that nobody has, counted from how many there are: nobody's name, and not the
        identifier."""
        number = len({pseudonym for pseudonym, _ in table.known.values()}) + 1
        taken = {patient, *chain.from_iterable(table.known.values())}
        while (made := f"{self._prefix}{number:0{_DIGITS}d}") in taken:
            number += 1
        return made

    def _added(self, patient: str, table: Table) -> tuple[str, str]:
        """Write a line for a new patient, flushed before it is used: a retry reads the same. Raises OSError,
        Permanent, ConfigurationError, and Temporary where a person changes the file at the same time; then
        nothing of the line is left."""
        made = self._next(table, patient)
        line = line_of(patient, made, table)
        try:
            with io.FileIO(str(self._path), "r+", opener=to_append) as file:
                size = file.seek(0, os.SEEK_END)
                if _State.of(self._path) != self._last.state:
                    raise Temporary(_CHANGED)
                if size and last_byte(file) not in b"\r\n":
                    line = b"\n" + line
                if size + len(line) > LARGEST:
                    raise Temporary("the file of pseudonyms is full: begin a new one for new patients")
                self._line, added = line, AddedLine(file, line)
                try:
                    added.write()
                    # While the line is known to be its own: nobody who is known waits for the next reading.
                    if self._read().known.get(patient) != (made, made):
                        raise Temporary(_CHANGED)
                except Exception:
                    with suppress(OSError):  # the error that led here is the one to be told
                        added.take_back()
                    raise
        finally:
            self._line = b""
        return made, made
