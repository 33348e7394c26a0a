"""`mapdr restore`: a backup in the node's place."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate import words
from mapdr.operate.places import NAME
from mapdr.operate.restore import Restored
from mapdr.operate.restore import restore as put_back
from mapdr_cli.commands.options import json_option, print_answer
from mapdr_cli.render.progress import bar
from mapdr_cli.render.terminal import console


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="MAPDR_CONFIG",
    default=NAME,
    help=f"Where the configuration belongs; otherwise {NAME} here. It says where the data belongs.",
)
@click.option("--force", is_flag=True, help="Also where there is a node: its data is kept beside, renamed.")
@json_option
def restore(folder: Path, *, config: Path, force: bool, as_json: bool) -> None:
    """Put the backup in DIR in the place of the node's data and configuration.

    The node must be stopped. The backup is read whole first, and what is there stays as it is until all is
    written. What was delivered since the backup is delivered again at the next start.
    """
    with bar(console(stderr=True), "restoring") as advance:
        done = put_back(folder, config, force=force, told=lambda number: advance(number, number))
    if as_json:
        print_answer(done, node=done.node)
    else:
        _report(done)


def _report(done: Restored) -> None:
    out = console()
    made = words.day_and_clock(done.made_at)
    images = words.many(done.images, "image")
    out.print(f"Restored to {words.plain(done.data)}: {images}, as of {made}.", style="good", soft_wrap=True)
    owed = words.many(done.owed, "delivery", "deliveries")
    out.print(
        f"The next start makes {owed}, among them those that were made since then: "
        "a receiver may get an image once more.",
        soft_wrap=True,
    )
    if done.before:
        out.print(
            f"The previous data stands in {words.plain(done.before)}; remove it when all is well.",
            soft_wrap=True,
        )
    if done.only_before:
        spool = words.plain(str(Path(done.before) / "spool"))
        out.print(
            f"{words.many(done.only_before, 'image')} there are not in the backup; `mapdr send {spool}` "
            "takes them in again.",
            style="warn",
            soft_wrap=True,
        )
    if done.config_before:
        out.print(f"The previous configuration is {words.plain(done.config_before)}.", soft_wrap=True)
    for path in done.kept:
        out.print(
            f"{words.plain(path)} differs from the backup's, and was left as it is.",
            style="warn",
            soft_wrap=True,
        )
