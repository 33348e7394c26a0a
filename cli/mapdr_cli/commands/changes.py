"""`mapdr changes`: what the headers of chosen images lose, keep and get on their way, counted by element."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate.header_changes import ChangeLine, header_changes, lines
from mapdr.operate.selection import Selection
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import (
    config_option,
    csv_option,
    html_option,
    json_option,
    print_answer,
    print_csv,
    selection_options,
)
from mapdr_cli.render.changes import drawing
from mapdr_cli.render.terminal import console


@click.command()
@selection_options
@click.option("--kept", is_flag=True, help="List the elements that are kept, too; the other forms always do.")
@html_option("FILE")
@config_option
@json_option
@csv_option
def changes(
    *, chosen: Selection, kept: bool, html: Path | None, config: Path, as_json: bool, as_csv: bool
) -> None:
    """Tell what the headers of chosen images lose, keep and get on their way to each destination.

    It counts, element by element, what is removed, emptied, changed, added and kept, and names the edits that
    do it. It is worked out anew from the images that are still here, by what was promised. It names no
    patient and shows no value.
    """
    if html is not None and (as_json or as_csv):
        raise click.UsageError("--html writes a file, --json and --csv print; give one of them")
    with looking(config) as opened:
        told = header_changes(opened, chosen)
        node = opened.plan.node.name
    if html is not None:
        from mapdr.operate.header_changes_page import page  # only where it is asked for

        html.write_text(page(told, node), encoding="utf-8", newline="\n")
    elif as_json:
        print_answer({"destinations": told}, node=node)
    elif as_csv:
        print_csv(lines(told), ChangeLine)
    else:
        out = console()
        out.print(drawing(told, out.width, kept=kept))
