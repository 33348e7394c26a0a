"""`mapdr release`: deliver again what was held."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate import actions
from mapdr.operate.selection import Selection
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.switch import one_of_both, switch_options, tell


@click.command()
@switch_options
def release(names: tuple[str, ...], chosen: Selection, dry_run: bool, config: Path, as_json: bool) -> None:
    """Deliver again what `mapdr hold` has stopped: the destinations NAMEd, or what the options select."""
    one_of_both("release", names, chosen)
    with looking(config) as opened:
        if names:
            done = actions.release_destinations(opened, names, dry_run=dry_run)
        else:
            done = actions.release(opened, chosen, dry_run=dry_run)
    if names and not done.destinations and not as_json:
        click.echo(f"Nothing was held: {', '.join(names)} {'are' if len(names) > 1 else 'is'} not on hold.")
        return
    tell(done, node=opened.plan.node.name, as_json=as_json)
