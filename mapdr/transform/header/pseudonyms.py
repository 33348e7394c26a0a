"""What stands in place of a patient's identifier and name: nothing, what the key makes, or a line of a file.

The file is CSV with a head line: `patient_id,pseudonym`, and `name` if the name
is to be another text than the pseudonym.
"""

from __future__ import annotations

import csv
import io
import os
import threading
from pathlib import Path
from typing import Literal, NamedTuple

from mapdr.dicom.deidentify.keys import Key
from mapdr.kernel.durable import flush_file
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


class FromFile:
    """The lines of a file, read again when it has changed; from any thread."""

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
        self._seen: tuple[int, int] | None = None
        self._table = Table({}, _HEAD, ",")

    def of(self, patient: str) -> tuple[str, str]:
        """The pseudonym and name of a patient. White space of every script around the identifier is left out,
        as around the cells of the file: else a new line would be written for each image.

        Raises Permanent(reason="pseudonym") for one that is not in the file, or without an identifier;
        Temporary if the file cannot be read or written now.
        """
        if patient.startswith("\0") or not (patient := patient.strip()):
            raise Permanent("the image has no PatientID to look a pseudonym up by", reason="pseudonym")
        with self._lock:
            try:
                found = self._read().get(patient)
                if found is not None:
                    return found
                if self._assigns and self._only_looks:
                    return (self._next(),) * 2
                if self._assigns:
                    return self._assign(patient)
            except ConfigurationError as error:
                raise Temporary(str(error)) from None
            except OSError as error:
                raise Temporary(f"the file of pseudonyms cannot be used: {error.strerror}") from None
        raise Permanent("the patient is not in the file of pseudonyms", reason="pseudonym")

    def _read(self) -> dict[str, tuple[str, str]]:
        about = self._path.stat()
        if self._seen != (about.st_mtime_ns, about.st_size):
            self._table = read_pseudonyms(self._path)
            self._seen = about.st_mtime_ns, about.st_size
        return self._table.known

    def _next(self) -> str:
        """The first pseudonym that nobody has, counted from how many there are."""
        taken = {pseudonym for pseudonym, _ in self._table.known.values()}
        number = len(taken) + 1
        while (made := f"{self._prefix}{number:0{_DIGITS}d}") in taken:
            number += 1
        return made

    def _assign(self, patient: str) -> tuple[str, str]:
        """Write a line for a new patient, flushed before it is used: a retry reads the same."""
        with Claim(self._path.with_name(self._path.name + ".lock"), "").exclusive(_WAIT_SECONDS):
            self._seen = None
            known = self._read()
            if patient in known:
                return known[patient]
            made = self._next()
            line = io.StringIO()
            row = {"patient_id": patient, "pseudonym": made}
            writer = csv.writer(line, delimiter=self._table.delimiter, lineterminator="\n")
            writer.writerow([row.get(column, "") for column in self._table.columns])
            with self._path.open("rb+") as file:
                file.seek(0, os.SEEK_END)
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) not in b"\r\n":
                        file.write(b"\n")
                file.write(line.getvalue().encode("utf-8"))
                flush_file(file)
        return made, made


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
