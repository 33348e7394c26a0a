"""`mapdr top`: the live views of a node that runs anywhere with the same index."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from mapdr.operate.access import LOOKING, Access, access
from mapdr.operate.view import NodeView, node_state
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import FiniteRange, config_option, identify_option, json_option, print_answer
from mapdr_cli.render.live import draw, follow_plain
from mapdr_cli.render.terminal import console


@click.command()
@config_option
@click.option("--once", is_flag=True, help="Draw once and end.")
@click.option(
    "--seconds",
    type=FiniteRange(0.2, 3600),
    default=1.0,
    show_default=True,
    help="Between two looks; what costs much is looked at less often.",
)
@identify_option
@json_option
def top(config: Path, once: bool, seconds: float, identify: bool, as_json: bool) -> None:
    """Watch the node and act: destinations, studies, images and their way, what is parked, and the log.

    ? says what the keys do. q (or Ctrl-C) ends the watching alone.
    """
    out = console()
    with looking(config, busy=LOOKING) as opened:
        if as_json:
            print_answer(node_state(opened), node=opened.plan.node.name)
        elif once:
            out.print(draw(out, node_state(opened), height=max(40, out.height)))
        else:
            with suppress(KeyboardInterrupt):
                if out.is_terminal:
                    _go(config, opened, seconds, identify)
                else:
                    follow_plain(out, NodeView(opened).look, lambda: False, pause=seconds)


def _go(config: Path, opened: Access, seconds: float, identify: bool) -> None:
    """The views on this terminal, until q is pressed."""
    from mapdr_cli.top.app import App  # nobody else needs it
    from mapdr_cli.top.looker import Looker

    looker = Looker(
        NodeView(opened).look,
        opened,
        lambda rules: access(config, rules=rules),
        seconds=seconds,
        identify=identify,
    )
    App(console(), looker).run()
