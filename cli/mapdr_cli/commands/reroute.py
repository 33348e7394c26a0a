"""`mapdr reroute`: let today's rules decide again."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate import actions, words
from mapdr.operate.access import access
from mapdr.operate.selection import Selection
from mapdr_cli.commands.confirm import ask, sure_options, where_to
from mapdr_cli.commands.options import config_option, json_option, print_answer, selection_options


@click.command()
@selection_options
@sure_options
@config_option
@json_option
def reroute(chosen: Selection, yes: bool, dry_run: bool, config: Path, as_json: bool) -> None:
    """Let today's rules decide again over images in the spool, and promise what they say.

    With --to, only for that destination. What is still owed is not promised twice, and what is parked, on
    hold or waiting with another recipe ends as superseded. What was delivered is delivered again, unless
    only other deliveries of the image are selected, as --state parked does. It says how many deliveries would
    be promised, and where to, and asks.
    """
    with access(config, rules=True) as opened:
        if dry_run or not yes:
            done = actions.reroute(opened, chosen, dry_run=True)
            if not dry_run and (done.deliveries or done.superseded):
                ask(_question(done))
        if not dry_run:
            done = actions.reroute(opened, chosen)
    if as_json:
        print_answer(done, node=opened.plan.node.name)
    else:
        click.echo(_told(done))


def _told(done: actions.Promised) -> str:
    promised = words.many(done.deliveries, "delivery", "deliveries")
    text = f"{words.many(done.images, 'image')}: {promised} {'would be ' if done.dry_run else ''}promised"
    if done.to:
        text += f" ({where_to(done.to)})"
    if done.again:
        text += f", {done.again} of them once more"
    if done.superseded:
        text += f", {done.superseded} superseded"
    if done.unrouted:
        text += f", {done.unrouted} still unrouted"
    if done.missing:
        text += f", {done.missing} no longer in the spool"
    text += "."
    if done.still_parked:
        text += (
            f"\n{words.many(done.still_parked, 'delivery', 'deliveries')} to destinations that today's rules "
            "do not name: still parked; `mapdr dismiss` ends what shall never be sent"
        )
    return text


def _question(done: actions.Promised) -> str:
    promised = words.many(done.deliveries, "delivery", "deliveries")
    text = f"Promise {promised} of {words.many(done.images, 'image')}"
    if done.to:
        text += f" ({where_to(done.to)})"
    if done.again:
        have = words.many(done.again, "image was", "images were")
        text += f"; {have} delivered there before and would be sent again"
    if done.superseded:
        text += f"; {words.many(done.superseded, 'delivery', 'deliveries')} superseded by that"
    return f"{text}?"
