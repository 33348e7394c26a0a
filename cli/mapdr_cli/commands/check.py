"""`mapdr check`: everything that is wrong with a configuration, at once."""

from __future__ import annotations

from pathlib import Path

import click
from click.exceptions import Exit

from mapdr.operate import words
from mapdr.operate.configuration import examine, summary
from mapdr_cli.commands.options import config_option, json_option, print_answer
from mapdr_cli.render.problems import show_problems, show_warnings


@click.command()
@config_option
@json_option
def check(config: Path, as_json: bool) -> None:
    """Find everything that is wrong with the configuration: each problem with its line and its cure.

    What `mapdr run` needs of this machine is looked for as well: secrets, TLS files, the data folder, the
    receivers' addresses. Nothing is started, and nobody is called. Exits 2 if there is a problem; a warning
    alone is no problem.
    """
    checked = examine(config, surroundings=True)
    if as_json:
        found = {"file": config, "problems": checked.problems, "warnings": checked.warnings}
        print_answer(found, node=checked.plan.node.name if checked.plan else "")
    else:
        show_warnings(checked.warnings)
        show_problems(checked.problems)
        if checked.problems or checked.plan is None:
            click.echo(f"{config}: {words.many(len(checked.problems), 'problem')}", err=True)
        else:
            click.echo(f"{config}: no problem; {summary(checked.plan)}")
    if checked.problems:
        raise Exit(2)
