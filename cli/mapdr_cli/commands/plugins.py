"""`mapdr plugins`: which stages this installation has, and why some are unavailable."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.table import Table
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.plugins import Stage
from mapdr.operate.plugins import plugins as installed
from mapdr_cli.commands.options import json_option, print_answer
from mapdr_cli.render.terminal import console


@click.command()
@json_option
def plugins(as_json: bool) -> None:
    """List the stages of this installation: built in or added, available or why not."""
    rows = installed()
    if as_json:
        print_answer({"plugins": rows})
    else:
        console().print(_table(rows))


def _table(rows: Sequence[Stage]) -> Table:
    """The stages as a table; an unavailable one says why."""
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("kind", "type", "from", "state"):
        table.add_column(title, overflow="fold")
    for row in rows:
        state = Text("available", "good")
        if not row.available:
            state = Text(f"unavailable, because {words.plain(row.comment)}", "warn")
        table.add_row(row.kind, Text(words.plain(row.type), "name"), words.plain(row.origin), state)
    return table
