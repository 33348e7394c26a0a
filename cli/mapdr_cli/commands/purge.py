"""`mapdr purge`: remove images for good."""

from __future__ import annotations

from pathlib import Path

import click
from click.exceptions import Exit

from mapdr.operate import words
from mapdr.operate.purge import Purge
from mapdr.operate.purge import purge as purge_images
from mapdr.operate.selection import Selection
from mapdr_cli.commands.confirm import ask, sure_options, where_to
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option, json_option, print_answer, selection_options


@click.command()
@selection_options
@click.option(
    "--even-undelivered",
    is_flag=True,
    help="Also what is still owed: it ends as dismissed, and is never sent.",
)
@sure_options
@config_option
@json_option
def purge(
    *, chosen: Selection, even_undelivered: bool, yes: bool, dry_run: bool, config: Path, as_json: bool
) -> None:
    """Remove images for good: their files, and what identifies them in the index.

    For what no rule takes, what was dismissed, or on a patient's request (--patient ID): then also what is
    known of images whose files went before. What stays is that there were so many. It says how many, and
    asks. Nothing is purged while something of it is owed to a destination, unless --even-undelivered.
    """
    with looking(config) as opened:
        if dry_run or not yes:
            done = purge_images(opened, chosen, even_undelivered=even_undelivered, dry_run=True)
            if done.images and not dry_run and (even_undelivered or not done.to):
                ask(_question(done))
        if not dry_run:
            done = purge_images(opened, chosen, even_undelivered=even_undelivered)
    if as_json:
        print_answer(done, node=opened.plan.node.name)
    else:
        click.echo(_told(done, even_undelivered))
    if done.on_the_way and not dry_run:
        raise Exit(1)


def _what(done: Purge) -> str:
    return f"{words.many(done.images, 'image')} in {words.many(done.studies, 'study', 'studies')}"


def _question(done: Purge) -> str:
    owed = f"; {where_to(done.to)} still owed, and never sent then" if done.to else ""
    return f"Purge {_what(done)} ({words.size(done.bytes)}), and what identifies them, for good{owed}?"


def _told(done: Purge, even_undelivered: bool) -> str:
    what = f"{_what(done)} ({words.size(done.bytes)})"
    if done.dry_run and done.to and not even_undelivered:
        owed = f"{where_to(done.to)} still owed; --even-undelivered ends that"
        return f"Nothing would be purged of {what}: {owed}."
    would = "would be " if done.dry_run else ""
    text = f"{what} {would}purged"
    if done.to:
        text += f"; {would}dismissed: {where_to(done.to)}"
    text += "."
    if done.on_the_way:
        what = words.many(done.on_the_way, "image is", "images are")
        text += (
            f"\n{what} being sent at this moment{'' if done.dry_run else ' and not purged: say it again'}."
        )
    if done.traces:
        text += (
            "\nThe database's log still holds traces, because another program reads it: say it again later."
        )
    return text
