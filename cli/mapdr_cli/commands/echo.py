"""`mapdr echo`: is the destination there?"""

from __future__ import annotations

from pathlib import Path

import click
from click.exceptions import Exit

from mapdr.operate import words
from mapdr.operate.configuration import load
from mapdr.operate.echo import Echo
from mapdr.operate.echo import echo as ask_destinations
from mapdr_cli.commands.options import complete_destination, config_option, json_option, print_answer
from mapdr_cli.render.terminal import console


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_destination)
@config_option
@json_option
def echo(names: tuple[str, ...], config: Path, as_json: bool) -> None:
    """Ask destinations whether they are there (C-ECHO); all of them, or those NAMEd.

    Exits 1 if one is not.
    """
    configuration = load(config)
    rows = []
    for row in ask_destinations(configuration, names):
        rows.append(row)
        if not as_json:
            _line(row)
    if as_json:
        print_answer({"destinations": rows}, node=configuration.plan.node.name)
    if not all(row.there for row in rows):
        raise Exit(1)


def _line(row: Echo) -> None:
    said = "is there" if row.there else f"takes no images now: {words.plain(row.comment or 'no answer')}"
    style = "good" if row.there else "bad"
    text = f"{words.plain(row.name)} {said} ({row.milliseconds:.0f} ms)"
    console().print(text, style=style, soft_wrap=True)
