"""What the codecs do with which frames, as a table: a transfer syntax a row, a kind of frames a column."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.codecs import BITS, Abilities, Tried

COLUMNS = (("grey", 1, False), ("signed", 1, True), ("RGB", 3, False), ("signed", 3, True))
"""Head, samples per pixel, sign; in a cell stand the bits stored that are written."""


def table_of(found: Sequence[Abilities]) -> Group:
    """The table, and below it why what is missing is missing."""
    table = Table(box=None, pad_edge=False, header_style="head")
    table.add_column("transfer syntax", overflow="fold")
    table.add_column("read")
    for head in ("written", *(head for head, _, _ in COLUMNS)):
        table.add_column(head, no_wrap=True)
    for each in found:
        read = Text("no", "bad") if each.unread else Text("yes", "good")
        table.add_row(words.plain(each.name), read, _way(each), *_cells(each))
    note = f"In the columns: the bits stored that are written, of {_listed(BITS)}, found out by doing it."
    lines = [Text(note, "faint")]
    for each in found:
        lines += [Text(f"{words.plain(each.name)}: {line}") for line in _reasons(each)]
    return Group(table, Text(), *lines)


def _listed(numbers: Sequence[int]) -> str:
    *before, last = map(str, numbers)
    return f"{', '.join(before)} and {last}"


def _way(each: Abilities) -> Text:
    if not each.way:
        return Text("no", "faint")
    return Text(each.way, "good" if each.is_sound else "bad")


def _cells(each: Abilities) -> list[Text]:
    if not each.written:
        return [Text("") for _ in COLUMNS]
    return [
        _bits([one for one in each.written if (one.kind.samples, one.kind.signed) == (samples, signed)])
        for _, samples, signed in COLUMNS
    ]


def _bits(tried: Sequence[Tried]) -> Text:
    """The bits that are written, those at fault in red; a dash where none are."""
    if all(one.works for one in tried):
        return Text(f"{BITS[0]}-{BITS[-1]}")
    text = Text()
    for one in tried:
        if one.works or one.is_fault:
            text.append(f"{one.kind.bits} ", "" if one.works else "bad")
    text.rstrip()
    return text or Text("-", "faint")


def _reasons(each: Abilities) -> list[str]:
    """Why frames are not read or not written, or take several encodes; each reason once."""
    found = [f"not read, because {each.unread}"] if each.unread else []
    if each.because:
        found.append(f"not written, because {each.because}")
    if each.no_rate_control:
        found.append(f"a ratio takes several encodes, because {each.no_rate_control}")
    reasons: dict[str, list[str]] = {}
    for one in each.written:
        # That bits, sign or samples are not taken stands in the columns.
        if one.is_fault:
            kind = f"{one.kind.bits} bits, {'signed' if one.kind.signed else 'unsigned'}"
            reasons.setdefault(one.because, []).append(f"{kind}, {one.kind.samples} samples")
    found += [f"not written, because {because}: {'; '.join(kinds)}" for because, kinds in reasons.items()]
    return [words.plain(line) for line in found]
