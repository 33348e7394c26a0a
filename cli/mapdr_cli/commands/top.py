"""`mapdr top`: the live dashboard, of a node that runs anywhere with the same index."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click
from rich.console import Console

from mapdr.operate.access import LOOKING
from mapdr.operate.view import NodeView, node_state
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option, json_option, print_answer
from mapdr_cli.render.keys import keys
from mapdr_cli.render.live import draw, follow, follow_plain
from mapdr_cli.render.terminal import console


@click.command()
@config_option
@click.option("--once", is_flag=True, help="Draw once and end.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.2, 3600),
    default=0.5,
    show_default=True,
    help="Between two drawings.",
)
@json_option
def top(config: Path, once: bool, seconds: float, as_json: bool) -> None:
    """Watch the node: what came, what went, what waits and why. q (or Ctrl-C) ends the watching alone."""
    out = console()
    with looking(config, busy=LOOKING) as opened:
        if as_json:
            print_answer(node_state(opened), node=opened.plan.node.name)
        elif once:
            out.print(draw(out, node_state(opened), height=max(40, out.height)))
        else:
            with suppress(KeyboardInterrupt):
                _watch(out, NodeView(opened), seconds)


def _watch(out: Console, view: NodeView, seconds: float) -> None:
    """Draw until q is pressed; for ever where there is no terminal."""
    if not out.is_terminal:
        follow_plain(out, view.look, lambda: False, pause=seconds)
        return
    left = False
    with keys() as pressed:

        def rest(pause: float) -> None:
            nonlocal left
            left = pressed.within(pause) in ("q", "Q")

        follow(out, view.look, lambda: left, pause=seconds, rest=rest)
