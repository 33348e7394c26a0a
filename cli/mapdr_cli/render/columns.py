"""Rows in columns as lines of an exact width: what does not fit is cut or left out, in order of importance.

It does for a screen that is drawn every second what Rich's tables do for a listing, in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from mapdr.operate import words
from mapdr_cli.render.terminal import Glyphs

GAP = 2

RULE_ENDS = 8
"""Columns of a line across that its words leave free."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column with its cells. `least` is the width to which it may be cut, 0 if it must be whole; one that
    `grows` takes what is left; of those with the highest `rank` the last one is left out first, one with
    rank 0 never."""

    title: str
    cells: Sequence[Text | str]
    right: bool = False
    least: int = 0
    grows: bool = False
    rank: int = 0

    @property
    def width(self) -> int:
        """The width that shows all of it."""
        return max([cell_len(self.title), *(_length(cell) for cell in self.cells)])


def _length(cell: Text | str) -> int:
    return cell_len(cell) if isinstance(cell, str) else cell.cell_len


def fitted(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that fit, each with its width."""
    kept = list(columns)

    def needed() -> int:
        return sum(min(one.width, one.least or one.width) for one in kept) + GAP * (len(kept) - 1)

    while needed() > width and any(one.rank for one in kept):
        worst = max(one.rank for one in kept)
        del kept[max(place for place, one in enumerate(kept) if one.rank == worst)]
    widths = [one.width for one in kept]
    over = sum(widths) + GAP * (len(kept) - 1) - width
    for place in sorted(range(len(kept)), key=lambda place: -widths[place]):
        least = kept[place].least
        if over > 0 and least:
            taken = min(over, max(0, widths[place] - least))
            widths[place] -= taken
            over -= taken
    growing = [place for place, one in enumerate(kept) if one.grows]
    if over < 0 and growing:
        widths[growing[0]] -= over
    return list(zip(kept, widths, strict=True))


def table(
    columns: Sequence[Column],
    width: int,
    glyphs: Glyphs,
    *,
    selected: int | None = None,
    first: int = 0,
    last: int | None = None,
) -> list[Text]:
    """A line of titles, then a line for each row from `first` to before `last`; `selected` is marked.

    Columns are as wide as all rows need, so that they stay where they are while one goes through the rows.
    """
    shown = fitted(columns, width - 1)
    lines = [_line([Text(one.title, "faint") for one, _ in shown], shown, width, glyphs, " ")]
    rows = len(columns[0].cells) if columns else 0
    for row in range(first, rows if last is None else min(last, rows)):
        here = row == selected
        cells = [_text(one.cells[row]) for one, _ in shown]
        line = _line(cells, shown, width, glyphs, glyphs.here if here else " ")
        if here:
            line.stylize("bold")
        lines.append(line)
    return lines


def _text(cell: Text | str) -> Text:
    return Text(cell) if isinstance(cell, str) else cell.copy()


def _line(
    cells: Sequence[Text], shown: Sequence[tuple[Column, int]], width: int, glyphs: Glyphs, marker: str
) -> Text:
    line = Text(no_wrap=True).append(marker, "head")
    for number, (cell, (column, room)) in enumerate(zip(cells, shown, strict=True)):
        cut(cell, room, glyphs)
        pad = " " * (room - cell.cell_len)
        line.append(" " * GAP if number else "")
        if column.right:
            line.append(pad).append_text(cell)
        else:
            line.append_text(cell).append(pad)
    return cut(line, width, glyphs)


def cut(text: Text, width: int, glyphs: Glyphs) -> Text:
    """The text, in place, in at most `width` columns; marked where it ends early."""
    if text.cell_len > width:
        text.truncate(max(0, width - len(glyphs.more)))
        text.append(glyphs.more[: max(0, width)])
    return text


def ends(left: Text, right: Text | str, width: int, glyphs: Glyphs) -> Text:
    """One line with `left` at its left end and `right` at its right end; the left one yields."""
    right = Text(right, "faint") if isinstance(right, str) else right
    line = Text(no_wrap=True).append_text(cut(left.copy(), width - right.cell_len - 1, glyphs))
    line.append(" " * max(0, width - line.cell_len - right.cell_len))
    return line.append_text(right)


def rule(width: int, glyphs: Glyphs, title: str = "") -> Text:
    """A line across, with a few words near its right end."""
    said = f" {words.cut(title, max(2, width - RULE_ENDS))} " if title else ""
    tail = glyphs.rule * (2 if said else 0)
    return Text(f"{glyphs.rule * max(0, width - cell_len(said) - len(tail))}{said}{tail}", "faint")
