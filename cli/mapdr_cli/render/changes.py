"""What headers lose, keep and get on their way, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.header_changes import HeaderChanges, kept_of, remarks
from mapdr_cli.render.explained import WIDE


def drawing(told: Sequence[HeaderChanges], width: int, *, kept: bool) -> RenderableType:
    """The report in so many columns; with `kept`, the elements that are kept are listed too."""
    if not told:
        return Text("Nothing is promised of these images.", "faint")
    return Group(*(part for one in told for part in _destination(one, width, kept)))


def _destination(one: HeaderChanges, width: int, kept: bool) -> list[RenderableType]:
    head = Text(f"{words.plain(one.destination)}", "head")
    head.append(f", {words.many(one.images, 'image')}", "faint")
    parts: list[RenderableType] = [head, *(Text(words.plain(each), "warn") for each in remarks(one))]
    rows = [each for each in one.elements if kept or each.action != "kept"]
    if rows:
        is_wide = width >= WIDE
        table = Table(box=None, pad_edge=False, header_style="faint", expand=is_wide)
        table.add_column("change", no_wrap=True)
        if is_wide:
            table.add_column("tag", no_wrap=True)
        table.add_column("element", overflow="fold", ratio=3)
        table.add_column("count", justify="right", no_wrap=True)
        table.add_column("by", overflow="fold", ratio=3)
        for each in rows:
            by = words.plain("; ".join(each.by))
            table.add_row(
                each.action, *([each.tag] if is_wide else []), words.plain(each.path), f"{each.count:,}", by
            )
        parts.append(table)
    elements, count = kept_of(one)
    parts.append(Text(f"{words.many(elements, 'element')} kept, {count:,} in all\n", "faint"))
    return parts
