"""A table of values in a CSV file, as `map` takes it: what a value is, and what it becomes.

A table may grow at its end. What it said when images were promised is known by a digest, and holds for them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from mapdr.transform.header.csv_file import read_bytes, rows_of

_MARK = b"\xef\xbb\xbf"


class Changed(ValueError):
    """A table that does not begin as it was when images were promised."""


def digest_of(path: Path) -> str | None:
    """What a table says now: its length and SHA-256, without byte order mark, line ends as one byte.

    None for one that cannot be read, which is told where the table is used.
    """
    try:
        data = _plain(read_bytes(path))
    except (OSError, ValueError):
        return None
    return f"{len(data)}:{hashlib.sha256(data).hexdigest()}"


def _begins_as(data: bytes, digest: str) -> bool:
    """Whether a table is what `digest_of` saw, or that with lines added at its end."""
    length, _, expected = digest.partition(":")
    known, rest = data[: int(length)], data[int(length) :]
    is_whole_line = not rest or not known or known.endswith(b"\n") or rest.startswith(b"\n")
    return is_whole_line and hashlib.sha256(known).hexdigest() == expected


def _plain(data: bytes) -> bytes:
    return data.removeprefix(_MARK).replace(b"\r\n", b"\n")


def read_table(path: Path, digest: str = "") -> dict[str, str]:
    """The entries of a CSV file in UTF-8 with two columns, old and new value.

    A first line `from,to` is a heading; lines without a value are left out (`rows_of` says the rest). Raises
    OSError, ValueError that names the line and the cure, never a value, and Changed for a table that does not
    begin as that of `digest`.
    """
    data = read_bytes(path)
    if digest and not _begins_as(_plain(data), digest):
        raise Changed(
            "a line that it had when the images were promised is another one now, or gone; put it back (new "
            "lines go to its end), or promise the images anew: mapdr reroute"
        )
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, (line, cells) in enumerate(rows_of(data).rows):
        if number == 0 and [cell.lower() for cell in cells] == ["from", "to"]:
            continue
        old, new = _entry(cells, line)
        if found.setdefault(old, new) != new:
            raise ValueError(
                f"line {line} has another new value than line {lines[old]} has for the same old one; leave "
                "one of them out"
            )
        lines.setdefault(old, line)
    if not found:
        raise ValueError("holds no entry; write old and new value in each line, separated by a comma")
    return found


def _entry(cells: list[str], line: int) -> tuple[str, str]:
    if len(cells) != 2:
        count = f"{len(cells)} column" + "s" * (len(cells) != 1)
        raise ValueError(f"line {line} has {count}; a table has two, old and new value")
    if not cells[0]:
        raise ValueError(f"line {line} has no old value; write it, or leave the line out")
    return cells[0], cells[1]
