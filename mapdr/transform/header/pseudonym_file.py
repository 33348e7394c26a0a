"""The file of pseudonyms: CSV with a head line of `patient_id`, `pseudonym`, and `name` if the name is to be
another text than the pseudonym. How it is read, and how a line is added to it.
"""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mapdr.kernel.durable import flush_file, sync_file
from mapdr.kernel.errors import ConfigurationError, Permanent
from mapdr.transform.header.csv_file import read_bytes, rows_of

HEAD = ("patient_id", "pseudonym")


class Table(NamedTuple):
    """What a file of pseudonyms says: patient identifier to pseudonym and name, and its columns."""

    known: dict[str, tuple[str, str]]
    columns: tuple[str, ...]
    delimiter: str


def read_pseudonyms(path: Path) -> Table:
    """What a file of pseudonyms says. Raises OSError, and ConfigurationError that names the line."""
    try:
        rows, delimiter = rows_of(read_bytes(path))
    except ValueError as error:
        raise ConfigurationError(f"the file of pseudonyms: {error}") from None
    columns = tuple(column.lower() for column in rows[0][1]) if rows else ()
    if not set(HEAD) <= set(columns):
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


def flush_pseudonyms(path: Path) -> None:
    """Flush a file; one that this process may not write is as its owner leaves it. Raises OSError."""
    try:
        sync_file(path)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def to_append(path: str, flags: int) -> int:
    """Open so that nothing is written over that a person adds at the same moment. Raises OSError."""
    return os.open(path, flags | os.O_APPEND)


def last_byte(file: io.FileIO) -> bytes:
    """Of a file that is not empty. Raises OSError."""
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def line_of(patient: str, pseudonym: str, table: Table) -> bytes:
    """The line of a patient. Raises Permanent(reason="pseudonym") for an identifier that it cannot hold."""
    cells = {"patient_id": patient, "pseudonym": pseudonym}
    rows = [list(table.columns), [cells.get(column, "") for column in table.columns]]
    try:
        head, line = (_row(row, table.delimiter) for row in rows)
        if [row for _, row in rows_of(head + line).rows] == rows:
            return line
    except ValueError:
        pass  # nothing that is text, or more of it than a cell may hold
    raise Permanent("the image's PatientID cannot stand in a file of pseudonyms", reason="pseudonym")


def _row(cells: Sequence[str], delimiter: str) -> bytes:
    text = io.StringIO()
    # To a line's end of CR LF each Python quotes both of them within a cell.
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode("utf-8").removesuffix(b"\r\n") + b"\n"


class AddedLine:
    """A line that is added to a file, which is open for that."""

    def __init__(self, file: io.FileIO, line: bytes) -> None:
        self._file = file
        self._line = line
        self._written = 0

    def write(self) -> None:
        """Write it behind all that is there, and flush. Raises OSError."""
        while self._written < len(self._line):
            self._written += self._file.write(self._line[self._written :])
        flush_file(self._file)

    def take_back(self) -> None:
        """Cut off what there is of it, and nothing of anybody else. Raises OSError.

        It is not flushed: nobody has used the line, whole or torn, that a power failure may leave.
        """
        start = self._file.tell() - self._written
        self._file.seek(start)
        tail = self._file.read(self._written + 1)
        if tail and self._line[: self._written].startswith(tail):
            self._file.truncate(start)
