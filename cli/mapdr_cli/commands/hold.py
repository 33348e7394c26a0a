"""`mapdr hold`: stop delivering."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate import actions
from mapdr.operate.selection import Selection
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.switch import one_of_both, switch_options, tell


@click.command()
@switch_options
def hold(names: tuple[str, ...], chosen: Selection, dry_run: bool, config: Path, as_json: bool) -> None:
    """Stop delivering: to the destinations NAMEd, now and after a restart, or what the options select.

    Images keep being received; nothing is lost. `mapdr release` with the same words ends it.
    """
    one_of_both("hold", names, chosen)
    with looking(config) as opened:
        if names:
            done = actions.hold_destinations(opened, names, dry_run=dry_run)
        else:
            done = actions.hold(opened, chosen, dry_run=dry_run)
    tell(done, node=opened.plan.node.name, as_json=as_json)
