"""`mapdr priority`: make deliveries more urgent, or less."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.kernel.item import Priority
from mapdr.operate import actions, words
from mapdr.operate.selection import Selection
from mapdr_cli.commands.confirm import ask, sure_options, where_to
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option, json_option, print_answer, selection_options


@click.command()
@click.argument("wanted", metavar="PRIORITY", type=click.Choice([each.word for each in Priority]))
@selection_options
@sure_options
@config_option
@json_option
def priority(
    *, wanted: str, chosen: Selection, yes: bool, dry_run: bool, config: Path, as_json: bool
) -> None:
    """Make what the options select stat, routine or bulk.

    What is stat goes first; what is bulk goes last, but has its share. Images that are being sent at this
    moment go on as they are.
    """
    if chosen == Selection():
        raise click.UsageError(f"select deliveries, e.g. mapdr priority {wanted} --study UID")
    urgency = Priority.of(wanted)
    with looking(config) as opened:
        if dry_run or not yes:
            done = actions.prioritize(opened, urgency, chosen, dry_run=True)
            if done.deliveries and not dry_run:
                noun = words.many(done.deliveries, "delivery", "deliveries")
                ask(f"Make {noun} {wanted} ({where_to(done.to)})?")
        if not dry_run:
            done = actions.prioritize(opened, urgency, chosen)
    if as_json:
        print_answer(done, node=opened.plan.node.name)
        return
    noun = words.many(done.deliveries, "delivery", "deliveries")
    where = f" ({where_to(done.to)})" if done.to else ""
    click.echo(f"{noun}{where} {'would be ' if dry_run else ''}made {wanted}.")
