"""`mapdr selftest`: does every part of this installation work?"""

from __future__ import annotations

import click
from click.exceptions import Exit
from rich.table import Table
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.selftest import PartTest
from mapdr.operate.selftest import selftest as tested
from mapdr_cli.commands.options import json_option, print_answer
from mapdr_cli.render.terminal import console


@click.command()
@json_option
def selftest(as_json: bool) -> None:
    """Use every part of this installation once: hot paths, codecs, SQLite, TLS, stages, the page's files.

    Needs no configuration and no network, and leaves nothing behind. Exits 1 if anything does not work.
    `mapdr doctor` looks at the surroundings instead.
    """
    found = []
    for each in tested():
        found.append(each)
        if not as_json:
            console().print(_line(each))
    failed = sum(not each.ok for each in found)
    if as_json:
        print_answer({"tests": found})
    elif failed:
        console().print(f"{failed} of {words.many(len(found), 'test')} failed", style="bad")
    else:
        console().print(f"all {words.many(len(found), 'test')} passed", style="good")
    if failed:
        raise Exit(1)


def _line(each: PartTest) -> Table:
    """One test, as it ends: some take a second."""
    row = Table.grid(padding=(0, 1))
    row.add_column(width=6)
    row.add_column(overflow="fold")
    text = Text.assemble(
        (words.plain(f"{each.part}, {each.name}".strip(", ")), "name"), ": ", words.plain(each.text)
    )
    row.add_row(Text("ok" if each.ok else "FAILED", "good" if each.ok else "bad"), text)
    return row
