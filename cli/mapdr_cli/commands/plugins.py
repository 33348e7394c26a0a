"""`mapdr plugins`: which stages this installation has, from whom, and why some are unavailable."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.table import Table
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.plugins import InstalledStage
from mapdr.operate.plugins import plugins as installed
from mapdr_cli.commands.options import json_option, print_answer
from mapdr_cli.render.terminal import console


@click.command()
@json_option
def plugins(as_json: bool) -> None:
    """List the stages of this installation: built in or added, in which version, available or why not.

    One that was added is available if it can hold the contract of its kind, as far as that can be seen
    without running it; docs/plugins.md says how its author checks the rest.
    """
    rows = installed()
    if as_json:
        print_answer({"plugins": rows})
    else:
        console().print(_table(rows))


def _table(rows: Sequence[InstalledStage]) -> Table:
    """The stages as a table; an unavailable one says why, and one whose name is taken twice, who has it."""
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("kind", "type", "from", "version", "state"):
        table.add_column(title, overflow="fold")
    for row in rows:
        state = Text("available", "good")
        if row.available and row.comment:
            state = Text(f"available: {words.plain(row.comment)}", "warn")
        if not row.available:
            state = Text(f"unavailable, because {words.plain(row.comment)}", "warn")
        type_, origin, version = map(words.plain, (row.type, row.origin, row.version))
        table.add_row(row.kind, Text(type_, "name"), origin, version, state)
    return table
