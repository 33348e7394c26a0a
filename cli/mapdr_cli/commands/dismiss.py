"""`mapdr dismiss`: end parked deliveries that shall never be sent."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate import actions, words
from mapdr.operate.selection import Selection
from mapdr_cli.commands.confirm import ask, sure_options, where_to
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option, json_option, print_answer, selection_options


@click.command()
@selection_options
@click.option("--all", "everything", is_flag=True, help="All that are parked.")
@sure_options
@config_option
@json_option
def dismiss(
    *, chosen: Selection, everything: bool, yes: bool, dry_run: bool, config: Path, as_json: bool
) -> None:
    """End parked deliveries that shall never be sent: they are no longer owed to their destination.

    The record stays (`mapdr deliveries --state dismissed`); the image itself goes when its time comes, like
    one that was delivered. `mapdr reroute` promises it anew as long as it is there.
    """
    if everything != chosen.of_everything:
        raise click.UsageError(
            "select what to dismiss, e.g. --study UID or --reason empty-value, or say --all"
        )
    with looking(config) as opened:
        if dry_run or not yes:
            done = actions.dismiss(opened, chosen, everything=everything, dry_run=True)
            if done.deliveries and not dry_run:
                noun = words.many(done.deliveries, "parked delivery", "parked deliveries")
                ask(f"Dismiss {noun} ({where_to(done.to)}), which will never be sent?")
        if not dry_run:
            done = actions.dismiss(opened, chosen, everything=everything)
    if as_json:
        print_answer(done, node=opened.plan.node.name)
        return
    noun = words.many(done.deliveries, "delivery", "deliveries")
    where = f" ({where_to(done.to)})" if done.to else ""
    click.echo(f"{noun}{where} {'would be ' if dry_run else ''}dismissed.")
