"""Lists of images that people bring: a CSV file or plain lines, of UIDs or accession numbers."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import replace

from mapdr.operate.errors import RequestError
from mapdr.operate.selection import Selection
from mapdr.store import Store

NAMES = {
    "sopinstanceuid": "sop_instance_uid",
    "seriesinstanceuid": "series_instance_uid",
    "studyinstanceuid": "study_instance_uid",
    "studyuid": "study_instance_uid",
    "accessionnumber": "accession_number",
    "accession": "accession_number",
}
"""What a column may be called, small and without anything but letters, and what its values are; of several
columns the one that is named first here counts."""

_DELIMITERS = ",;\t"


def with_list(chosen: Selection, data: bytes, column: str = "") -> Selection:
    """The selection, of those images alone that the list names.

    A column is known by its header (one of NAMES), or named by `column`: its header, or its number from 1.
    Plain lines may be UIDs of studies, series and images, and accession numbers, in any mixture.
    Raises RequestError if it is not clear which column is meant, nothing is listed, or a value is no text.
    """
    rows = _rows(data)
    place, has_header, kind = _column(rows, column)
    values = [row[place].strip() for row in rows[has_header:] if len(row) > place]
    listed = list(dict.fromkeys(value for value in values if value))
    if not listed:
        raise RequestError("the list is empty", field="list")
    for number, value in enumerate(listed, 1):
        if not value.isprintable():
            raise RequestError(f"value {number} of the list has a control character", field="list")
    return replace(chosen, listed=listed, listed_as=kind)


def unknown_places(store: Store, chosen: Selection) -> Sequence[int]:
    """The places, from 1, of listed values by which no image is chosen; the values may identify somebody."""
    if not chosen.listed:
        return ()
    left = set(store.rerouting.unknown(chosen))
    return [place for place, value in enumerate(chosen.listed, 1) if value in left]


def _rows(data: bytes) -> list[list[str]]:
    """The rows that are not empty, of a table in UTF-8, or as older spreadsheets write it."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    lines = [each for each in text.splitlines() if each.strip()]
    if not lines:
        raise RequestError("the list is empty", field="list")
    delimiter = max(_DELIMITERS, key=lines[0].count)
    try:
        return [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        raise RequestError("the list is neither lines nor a CSV file", field="list") from None


def _column(rows: Sequence[Sequence[str]], wanted: str) -> tuple[int, bool, str]:
    """Where the values are, whether the first row is a header, and what the values are (empty: anything)."""
    header = [re.sub("[^a-z]", "", cell.lower()) for cell in rows[0]]
    known = any(name in NAMES for name in header)
    if wanted.isdecimal():
        place = int(wanted) - 1
        if not 0 <= place < len(header):
            raise RequestError(f"the list has {len(header)} columns", field="column")
        return place, known, NAMES.get(header[place], "")
    if wanted:
        plain = [cell.strip().lower() for cell in rows[0]]
        if wanted.strip().lower() not in plain:
            raise RequestError(f'no column of the list is called "{wanted}"', field="column")
        place = plain.index(wanted.strip().lower())
        return place, True, NAMES.get(header[place], "")
    for name, kind in NAMES.items():
        if name in header:
            return header.index(name), True, kind
    if len(header) > 1:
        raise RequestError(
            f"the list has {len(header)} columns, and none is called StudyInstanceUID, SeriesInstanceUID, "
            "SOPInstanceUID or AccessionNumber; say which one is meant",
            field="column",
        )
    return 0, False, ""
