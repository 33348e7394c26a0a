"""The lines of a CSV file that an operator keeps: in UTF-8, separated as spreadsheets do it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

LARGEST = 64_000_000
"""Bytes: a table of a million patients has some thirty millions."""

_SEPARATORS = (";", "\t")


class Rows(NamedTuple):
    """Cells without the white space around them, each row with its line; and what separates them."""

    rows: list[tuple[int, list[str]]]
    separator: str


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises OSError, and ValueError for one that is too large."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"holds more than {LARGEST // 1_000_000} MB; make the table smaller")
    return data


def rows_of(data: bytes) -> Rows:
    """The rows that hold anything.

    Columns are separated by commas, or by semicolons or tabs if the first line holds no comma. Raises
    ValueError that names the line and the cure, never a value.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} is not UTF-8 text; save the file as CSV in UTF-8") from None
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((each for each in _SEPARATORS if each in first and "," not in first), ",")
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    found = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                found.append((reader.line_num, cells))
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} is not CSV ({error}); correct its quotes") from None
    return Rows(found, separator)
