"""Tables for listings: pure functions from rows (the values that mapdr.operate returns) to drawings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.selection import SHOWN, Selection

Row = Any

WIDE = 130
"""From this width on, listings show everything."""

LONGEST_NAME = 16
"""Of a longer destination's name the middle is left out, so that it does not push other columns away."""

STATE_STYLE = {
    "delivered": "good",
    "pending": "",
    "leased": "busy",
    "held": "warn",
    "parked": "bad",
    "unrouted": "warn",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, how a row becomes its text, and how it is laid out; `whole` is never cut.

    The text of one that is `below` stands under its row, over the whole width, where there is any.
    """

    title: str
    text: Callable[[Row], str | Text]
    right: bool = False
    fold: bool = False
    whole: bool = False
    below: bool = False


INDENT = 10
"""Columns to the left of what stands below a row."""


def listing(rows: Sequence[Row], columns: Sequence[Column]) -> RenderableType:
    """The rows as a table without borders, for the eye and for `grep`."""
    beside = [column for column in columns if not column.below]
    if len(beside) == len(columns):
        return _table(rows, columns)
    # Each row is a table of its own, as wide as its widest fellow, with what stands below behind it.
    widths = [_width(column, rows) for column in beside]
    parts: list[RenderableType] = [_table([], beside, widths)]
    for row in rows:
        parts.append(_table([row], beside, widths, head=False))
        texts = [column.text(row) for column in columns if column.below]
        parts += [Padding(text, (0, 0, 0, INDENT)) for text in texts if text]
    return Group(*parts)


def _width(column: Column, rows: Sequence[Row]) -> int:
    texts = [column.title, *(str(column.text(row)) for row in rows)]
    return max(cell_len(line) for text in texts for line in text.splitlines() or [""])


def _table(
    rows: Sequence[Row], columns: Sequence[Column], widths: Sequence[int] = (), *, head: bool = True
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="faint", show_header=head)
    for column, width in zip_longest(columns, widths):
        table.add_column(
            column.title,
            width=width,
            justify="right" if column.right else "left",
            no_wrap=not column.fold,
            overflow="fold" if column.fold else "ellipsis",
            min_width=max((len(str(column.text(row))) for row in rows), default=0) if column.whole else None,
        )
    for row in rows:
        table.add_row(*(column.text(row) for column in columns))
    return table


def show(
    out: Console, rows: Sequence[Row], columns: Sequence[Column], noun: tuple[str, str], chosen: Selection
) -> None:
    """Print what a selection chose; `noun` is what one row is, and more of them."""
    one, more = noun
    if not rows:
        out.print(f"No {one} is chosen.")
        return
    out.print(listing(rows, columns))
    if chosen.limit is None and len(rows) == SHOWN:
        out.print(f"The newest {SHOWN} {more}; --limit shows more.", style="faint")


def state(row: Row) -> Text:
    """A delivery's state in its colour."""
    name = words.plain(row.state)
    return Text(name, STATE_STYLE.get(name, ""))


def field(key: str) -> Callable[[Row], str]:
    """A column's text: the row's value for `key`, made harmless."""

    def text(row: Row) -> str:
        value = getattr(row, key)
        return "-" if value in (None, "") else words.plain(value)

    return text


def number(key: str) -> Callable[[Row], str]:
    """A column's text: a count."""
    return lambda row: words.count(getattr(row, key))


def short_name(name: object) -> str:
    """A destination's name, cut where it is long."""
    return words.middle(words.plain(name), LONGEST_NAME)


def uid(key: str, title: str, *, whole: bool = False) -> Column:
    """A column with a UID, or with its end: enough to tell two apart, and what differs."""
    if whole:
        return Column(title, lambda row: words.plain(getattr(row, key)), whole=True)

    def end(row: Row) -> str:
        text = getattr(row, key)
        return text if len(text) <= 16 else f"..{words.plain(text[-14:])}"

    return Column(title, end)


def moment(key: str, title: str, *, wide: bool) -> Column:
    """A column with a moment; where there is little room, the time of today or the date of another day."""
    if wide:
        return Column(title, lambda row: words.day_and_clock(getattr(row, key)))
    return Column(title, lambda row: words.short_clock(getattr(row, key), time.time()))


def _tag(keyword: str, title: str) -> Column:
    return Column(title, lambda row: words.plain(row.tags.get(keyword) or "-"))


def _patient(row: Row) -> str:
    """What identifies a study, in two short lines."""
    tags = {key: words.plain(text) for key, text in row.tags.items()}
    below = f"{words.cut(tags.get('AccessionNumber') or '-', 16)} {row.study_date or '-'}"
    return f"{words.cut(tags.get('PatientID') or '-', 25)}\n{below}"


PATIENT = Column("patient, accession, date", _patient)
ACCESSION = _tag("AccessionNumber", "accession")
TAGS = (Column("study date", field("study_date")), ACCESSION, _tag("PatientID", "patient"))
"""What identifies a study, in columns of their own."""
