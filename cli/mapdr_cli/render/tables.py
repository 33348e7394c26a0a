"""Tables for listings: pure functions from rows (plain dicts) to drawings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from mapdr_cli import words

Row = Mapping[str, Any]

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
    """A column: its title, how a row becomes its text, and how it is laid out; `whole` is never cut."""

    title: str
    text: Callable[[Row], str | Text]
    right: bool = False
    fold: bool = False
    whole: bool = False


def listing(rows: Sequence[Row], columns: Sequence[Column]) -> Table:
    """The rows as a table without borders, for the eye and for `grep`."""
    table = Table(box=None, pad_edge=False, header_style="faint")
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.fold,
            overflow="fold" if column.fold else "ellipsis",
            min_width=max((len(str(column.text(row))) for row in rows), default=0) if column.whole else None,
        )
    for row in rows:
        table.add_row(*(column.text(row) for column in columns))
    return table


def state(row: Row) -> Text:
    """A delivery's state in its colour."""
    name = words.plain(row["state"])
    return Text(name, STATE_STYLE.get(name, ""))


def field(key: str) -> Callable[[Row], str]:
    """A column's text: the row's value for `key`, made harmless."""
    return lambda row: words.plain(row[key]) if row.get(key) not in (None, "") else "-"


def number(key: str) -> Callable[[Row], str]:
    """A column's text: a count."""
    return lambda row: words.count(row.get(key))
