"""`mapdr plugins`: which stages this installation has, from whom, and why some are unavailable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from mapdr_cli import words
from mapdr_cli.options import json_option, print_json
from mapdr_cli.render.terminal import console


@click.command(short_help="Which stages there are.")
@json_option
def plugins(as_json: bool) -> None:
    """List the stages of this installation: built in or added, in which version, available or why not.

    One that was added is available if it can hold the contract of its kind, as far as that can be seen
    without running it; docs/plugins.md says how its author checks the rest.
    """
    from mapdr.kernel.registry import Registry

    rows = [
        {
            "kind": plugin.kind,
            "type": plugin.type,
            "origin": plugin.origin,
            "version": plugin.version,
            "available": plugin.factory is not None,
            "reason": plugin.reason,
        }
        for plugin in Registry().plugins()
    ]
    if as_json:
        print_json(rows)
    else:
        console().print(plugin_table(rows))


def plugin_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The stages as a table; an unavailable one says why."""
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("kind", "type", "from", "version", "state"):
        table.add_column(title, overflow="fold")
    for row in rows:
        state = Text("available", "good")
        if not row["available"]:
            state = Text(f"unavailable, because {words.plain(row['reason'])}", "warn")
        type_, origin, version = (words.plain(row[key]) for key in ("type", "origin", "version"))
        table.add_row(row["kind"], Text(type_, "name"), origin, version, state)
    return table
