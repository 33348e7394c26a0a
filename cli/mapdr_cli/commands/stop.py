"""`mapdr stop`: have the running node drain and end."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate.stop import stop as stop_node
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option
from mapdr_cli.render.terminal import console


@click.command()
@config_option
def stop(config: Path) -> None:
    """Have the running node drain and end, and wait for it: as Ctrl-C does, from anywhere on its machine.

    No new associations; those that run finish, unfinished deliveries stay in the ledger for the next start.
    A node that does not run is no error.
    """
    with looking(config) as opened:
        ran = stop_node(opened)
    console().print("The node has ended." if ran else "The node does not run.")
