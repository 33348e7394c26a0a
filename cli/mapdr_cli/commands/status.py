"""`mapdr status`: today's counts, queues and what is stuck, in a few lines or as JSON."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate.access import LOOKING
from mapdr.operate.view import node_state
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option, json_option, print_answer
from mapdr_cli.render.dashboard import summary
from mapdr_cli.render.terminal import console, glyphs


@click.command()
@config_option
@json_option
def status(config: Path, as_json: bool) -> None:
    """Show today's counts, the queues, and what is stuck and why.

    With --json, the same and more for scripts: today, pending, parked, unrouted, destinations, attention.
    """
    with looking(config, busy=LOOKING) as opened:
        state = node_state(opened)
    if as_json:
        print_answer(state, node=opened.plan.node.name)
    else:
        out = console()
        out.print(summary(state, width=out.width, glyphs=glyphs(out)))
