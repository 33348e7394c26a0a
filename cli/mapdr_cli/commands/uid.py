"""`mapdr uid`: which UID became which, for who holds the key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from mapdr.operate import keys
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option, json_option, print_answer


@click.command()
@click.argument("uids", metavar="UID...", nargs=-1, required=True)
@click.option(
    "--key", "place", metavar="PLACE", default="", help='"file:PATH" or "env:NAME"; else the node\'s own.'
)
@config_option
@json_option
def uid(uids: Sequence[str], place: str, config: Path, as_json: bool) -> None:
    """Tell which UID a de-identified image gets for one, and from which of the index's it came.

    The way back is found among the studies, series and images that the index has.
    """
    with looking(config) as opened:
        found = keys.uids(opened, uids, place)
    if as_json:
        print_answer({"uids": found}, node=opened.plan.node.name)
        return
    for each in found:
        click.echo(f"{each.uid} becomes {each.new}" + (f", and was {each.original}" if each.original else ""))
