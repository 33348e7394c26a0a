"""What `mapdr hold` and `mapdr release` share: their options, and their words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mapdr.operate import words
from mapdr.operate.actions import Switched
from mapdr.operate.selection import Selection
from mapdr_cli.commands.confirm import dry_run_option, where_to
from mapdr_cli.commands.options import (
    complete_destination,
    config_option,
    json_option,
    print_answer,
    selection_options,
)

F = TypeVar("F", bound=Callable[..., Any])


def switch_options(command: F) -> F:
    """Names of destinations or a selection, --dry-run, --config and --json."""
    names = click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_destination)
    return names(selection_options(dry_run_option(config_option(json_option(command)))))


def one_of_both(action: str, names: tuple[str, ...], chosen: Selection) -> None:
    """Raise UsageError unless destinations are named or deliveries are chosen, and not both."""
    if bool(names) == (chosen != Selection()):
        raise click.UsageError(
            f"name destinations (mapdr {action} telepacs) or select deliveries (mapdr {action} --modality CT)"
        )


def tell(done: Switched, *, node: str, as_json: bool) -> None:
    """Print what was done."""
    if as_json:
        print_answer(done, node=node)
        return
    would = "would be " if done.dry_run else ""
    if done.destinations:
        click.echo(f"{', '.join(done.destinations)}: {would}{done.state}.")
        return
    where = f" ({where_to(done.to)})" if done.to else ""
    click.echo(f"{words.many(done.deliveries, 'delivery', 'deliveries')}{where} {would}{done.state}.")
