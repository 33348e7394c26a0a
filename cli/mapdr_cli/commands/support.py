"""`mapdr support`: a bundle for the vendor."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate import words
from mapdr.operate.support import support as bundle
from mapdr_cli.commands.options import config_option
from mapdr_cli.render.terminal import console


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@config_option
def support(file: Path, *, config: Path) -> None:
    """Write a zip for who helps: versions, doctor, status, the configuration without secrets, the log's end.

    What may identify a patient is replaced by hashes that nobody can undo. AE titles, hosts and names of your
    configuration stay. It is text: look before you send it.
    """
    done = bundle(config, file)
    text = f"{words.plain(done.file)} ({words.size(done.bytes)}): {', '.join(done.members)}."
    console().print(text, soft_wrap=True)
    console().print("It is text: look before you send it.", soft_wrap=True)
