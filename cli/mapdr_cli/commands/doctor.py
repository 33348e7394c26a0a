"""`mapdr doctor`: what this installation is and can do, and whether its surroundings are sound."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import click
from click.exceptions import Exit
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.doctor import BAD, NOTE, OK, Examined, examine
from mapdr_cli.commands.options import NAME, json_option, places, print_answer
from mapdr_cli.render.terminal import console

STYLES = {OK: "good", NOTE: "warn", BAD: "bad"}


@click.command()
@click.option(
    "--config",
    "config",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="MAPDR_CONFIG",
    help=f"The configuration; otherwise {NAME} here or in the platform's folder, if there is one.",
)
@json_option
def doctor(config: Path | None, as_json: bool) -> None:
    """Examine this installation: versions, hot paths, codecs, disk, clock, configuration, database.

    Needs no configuration, but looks at it if there is one. Exits 1 if something is bad.
    """
    findings = list(examine(config or next((place for place in places() if place.is_file()), None)))
    if as_json:
        print_answer({"findings": findings})
    else:
        console().print(report(findings))
    if any(finding.level == BAD for finding in findings):
        raise Exit(1)


def report(findings: Sequence[Examined]) -> Group:
    """The findings, part by part under its name: so that a narrow terminal has room for what they say."""
    parts: list[Text | Padding] = []
    for part, found in groupby(findings, lambda finding: finding.part):
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for finding in found:
            level = Text(finding.level, STYLES[finding.level])
            table.add_row(words.plain(finding.name), level, words.plain(finding.text))
        parts += [Text(words.plain(part), "head"), Padding(table, (0, 0, 0, 2))]
    return Group(*parts)
