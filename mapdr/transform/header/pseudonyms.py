"""What stands in place of a patient's identifier and name: nothing, what the key makes, or a line of a file.

The file is CSV with a head line: `patient_id,pseudonym`, and `name` if the name
is to be another text than the pseudonym.
"""

from __future__ import annotations

import csv
import io
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from mapdr.dicom.deidentify.keys import Key
from mapdr.kernel.durable import flush_file, sync_file
from mapdr.kernel.errors import ConfigurationError, Permanent, Temporary
from mapdr.store.spool.claim import Claim
from mapdr.transform.header.csv_file import read_bytes, rows_of

_WAIT_SECONDS = 10.0
"""How long a process waits for another one that writes a new pseudonym."""
_DIGITS = 5
_HEAD = ("patient_id", "pseudonym")


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


class Table(NamedTuple):
    """What a file of pseudonyms says: patient identifier to pseudonym and name, and its columns."""

    known: dict[str, tuple[str, str]]
    columns: tuple[str, ...]
    delimiter: str


class _State(NamedTuple):
    """When a file was written last (ns since the epoch), and its size in bytes."""

    modified_at: int
    size: int

    @classmethod
    def of(cls, path: Path) -> _State:
        """Now. Raises OSError."""
        about = path.stat()
        return cls(about.st_mtime_ns, about.st_size)


class _Reading(NamedTuple):
    """What was read of a file, and the state that it was read in: None if it is to be read again."""

    state: _State | None
    table: Table


class FromFile:
    """The lines of a file, read again when it has changed; from any thread.

    A patient who is in it does not wait while the line of a new one is written.
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
        self._lock = threading.Lock()
        self._last = _Reading(None, Table({}, _HEAD, ","))
        self._line = b""
        """What is being added to the file."""

    def of(self, patient: str) -> tuple[str, str]:
        """The pseudonym and name of a patient. White space of every script around the identifier is left out,
        as around the cells of the file: else a new line would be written for each image.

        Raises Permanent(reason="pseudonym") for one that is not in the file, or without an identifier;
        Temporary if the file cannot be read or written now.
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
        is_as_before = now == before or (line and before and now.size == before.size + len(line))
        return table.known.get(patient) if is_as_before else None

    def _found(self, patient: str) -> tuple[str, str] | None:
        """What the file says, or is made to say now; None where it says nothing. Raises OSError,
        ConfigurationError."""
        with self._lock:
            table = self._read()
            found = table.known.get(patient)
            if found is not None or not self._assigns:
                return found
            return (self._next(table),) * 2 if self._only_looks else self._assign(patient)

    def _read(self, *, afresh: bool = False) -> Table:
        """The table, read again if the file has changed, or `afresh`.

        Where lines are added, it is flushed before it is believed: another process may have added one, and
        not have got so far, or have failed.
        """
        state = _State.of(self._path)
        if afresh or self._last.state != state:
            self._last = self._last._replace(state=None)
            table = read_pseudonyms(self._path)
            if self._assigns and not self._only_looks:
                with suppress(PermissionError):  # who may not write flushes nothing
                    sync_file(self._path)
            self._last = _Reading(state, table)
        return self._last.table

    def _next(self, table: Table) -> str:
        """The first pseudonym that nobody has, counted from how many there are."""
        taken = {pseudonym for pseudonym, _ in table.known.values()}
        number = len(taken) + 1
        while (made := f"{self._prefix}{number:0{_DIGITS}d}") in taken:
            number += 1
        return made

    def _assign(self, patient: str) -> tuple[str, str]:
        """Write a line for a new patient, flushed before it is used: a retry reads the same."""
        with Claim(self._path.with_name(self._path.name + ".lock"), "").exclusive(_WAIT_SECONDS):
            table = self._read(afresh=True)
            if patient in table.known:
                return table.known[patient]
            made = self._next(table)
            try:
                self._add(patient, made, table)
                self._read()  # while the line is known to be its own: nobody who is known waits for the next
            finally:
                self._line = b""
        return made, made

    def _add(self, patient: str, pseudonym: str, table: Table) -> None:
        """Add a line, or leave the file as it was. Raises OSError."""
        text = io.StringIO()
        row = {"patient_id": patient, "pseudonym": pseudonym}
        writer = csv.writer(text, delimiter=table.delimiter, lineterminator="\n")
        writer.writerow([row.get(column, "") for column in table.columns])
        line = text.getvalue().encode("utf-8")
        size = self._path.stat().st_size
        try:
            with self._path.open("rb+") as file:
                if size:
                    file.seek(size - 1)
                    if file.read(1) not in b"\r\n":
                        line = b"\n" + line
                file.seek(size)
                self._line = line
                file.write(line)
                flush_file(file)
        except OSError:
            _cut(self._path, size, len(line))
            raise


def _cut(path: Path, size: int, added: int) -> None:
    """Take back what there is of a line of `added` bytes that could not be added to a file of `size`."""
    with suppress(OSError):  # the error that led here is the one to be told
        if size < path.stat().st_size <= size + added:
            os.truncate(path, size)
            sync_file(path)


def read_pseudonyms(path: Path) -> Table:
    """What a file of pseudonyms says. Raises OSError, and ConfigurationError that names the line."""
    try:
        rows, delimiter = rows_of(read_bytes(path))
    except ValueError as error:
        raise ConfigurationError(f"the file of pseudonyms: {error}") from None
    columns = tuple(column.lower() for column in rows[0][1]) if rows else ()
    if not set(_HEAD) <= set(columns):
        raise ConfigurationError("the file of pseudonyms has no head line with patient_id and pseudonym")
    known: dict[str, tuple[str, str]] = {}
    owner: dict[str, str] = {}
    for number, cells in rows[1:]:
        row = dict(zip(columns, cells, strict=False))
        patient, pseudonym = row.get("patient_id", ""), row.get("pseudonym", "")
        name = row.get("name", "") or pseudonym
        if not patient or not _is_text(pseudonym, 64) or not _is_text(name, 64):
            what = "needs a patient_id, and a pseudonym of up to 64 characters of ASCII without a backslash"
            raise ConfigurationError(f"line {number} of the file of pseudonyms {what}")
        if patient in (pseudonym, name):
            raise ConfigurationError(
                f"line {number} of the file of pseudonyms gives a patient the own identifier as a pseudonym"
            )
        if known.setdefault(patient, (pseudonym, name)) != (pseudonym, name):
            raise ConfigurationError(
                f"line {number} of the file of pseudonyms has a patient again, with another pseudonym"
            )
        if owner.setdefault(pseudonym, patient) != patient:
            raise ConfigurationError(
                f"line {number} of the file of pseudonyms gives a pseudonym to a second patient"
            )
    return Table(known, columns, delimiter)


def _is_text(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isascii() and text.isprintable() and "\\" not in text
