"""`mapdr reload`: have the running node read its configuration again."""

from __future__ import annotations

from pathlib import Path

import click
from click.exceptions import Exit

from mapdr.operate import orders
from mapdr.operate.access import access
from mapdr_cli.commands.options import config_option
from mapdr_cli.render.terminal import console


@click.command()
@config_option
def reload(config: Path) -> None:
    """Have the running node read its configuration again, without dropping what did not change.

    A wrong configuration is refused, here and by the node, and the old one stays. Images keep what they were
    promised; `mapdr reroute` promises anew.
    """
    with access(config, rules=True) as opened:
        result = orders.reload(opened, config)
    for problem in result.problems:
        console(stderr=True).print(problem, style="bad", soft_wrap=True)
    if not result.ok:
        raise Exit(1)
    console().print("The node uses the changed configuration.")
