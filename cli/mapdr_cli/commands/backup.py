"""`mapdr backup`: a copy of the node, made while it runs."""

from __future__ import annotations

from pathlib import Path

import click
from click.exceptions import Exit

from mapdr.operate import words
from mapdr.operate.backup import BackedUp, Verified
from mapdr.operate.backup import backup as back_up
from mapdr.operate.backup import verify as read_back
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option, json_option, print_answer
from mapdr_cli.render.progress import bar
from mapdr_cli.render.terminal import console

SHOWN = 10
"""Damaged files of which each is named."""


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--verify", is_flag=True, help="Make none: read the backup in DIR, and say whether it is whole."
)
@config_option
@json_option
def backup(folder: Path, *, verify: bool, config: Path, as_json: bool) -> None:
    """Copy images, index, keys, users and the configuration with the files it names into the new folder DIR.

    The node may run meanwhile. On the disk of the data folder, files of the spool get a second name and take
    no room; a backup that shall outlive that disk belongs on another one. It holds patients and secrets.
    `mapdr restore DIR` puts it back. Exit status 1: the backup is damaged, or could not be made.
    """
    if verify:
        with bar(console(stderr=True), "reading") as advance:
            _verified(read_back(folder, told=lambda done: advance(done, done)), as_json)
        return
    with looking(config) as opened, bar(console(stderr=True), "copying") as advance:
        done = back_up(opened, folder, told=lambda number: advance(number, number))
        name = opened.plan.node.name
    if as_json:
        print_answer(done, node=name)
    else:
        _report(done)


def _report(done: BackedUp) -> None:
    out = console()
    files = f"{words.many(done.files, 'file')} ({words.size(done.bytes)})"
    text = f"{files} in {words.plain(done.folder)}, read back"
    if done.linked:
        text += f"; {words.count(done.linked)} of them are second names of the spool's own files"
    out.print(f"{text}.", style="good", soft_wrap=True)
    out.print(
        f"{words.many(done.images, 'image')}; {_deliveries(done.owed)} still to be made.", soft_wrap=True
    )
    if done.unfinished:
        out.print(
            f"{words.many(done.unfinished, 'file')} left out: not whole, or just being received.",
            soft_wrap=True,
        )
    if done.missing:
        out.print(f"{words.many(done.missing, 'image')} that the index names: no whole file.", style="warn")


def _verified(found: Verified, as_json: bool) -> None:
    if as_json:
        print_answer(found, node=found.node)
    else:
        out = console()
        for problem in found.problems[:SHOWN]:
            out.print(words.plain(problem), style="bad", soft_wrap=True)
        made = words.day_and_clock(found.made_at)
        of = f'node "{words.plain(found.node)}", MAPDR {words.plain(found.version)}, {made}'
        text = f"{words.many(found.files, 'file')} ({words.size(found.bytes)}) of {of}: "
        if found.problems:
            out.print(f"{text}{words.count(len(found.problems))} damaged.", style="bad", soft_wrap=True)
        else:
            out.print(f"{text}all as they were.", style="good", soft_wrap=True)
            out.print(f"{words.many(found.images, 'image')}; {_deliveries(found.owed)} still to be made.")
    if found.problems:
        raise Exit(1)


def _deliveries(number: int) -> str:
    return words.many(number, "delivery", "deliveries")
