"""`mapdr report`: what each destination was sent in a month, from whom, how quickly, and what failed."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate.errors import RequestError
from mapdr.operate.report import ReportLine, lines, period
from mapdr.operate.report import report as reported
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import (
    condition,
    config_option,
    csv_option,
    html_option,
    json_option,
    print_answer,
    print_csv,
)
from mapdr_cli.render.report import drawing
from mapdr_cli.render.terminal import console, glyphs


@click.command()
@condition("--month", metavar="MONTH", help="Of a month: 2026-11. Otherwise of this one.")
@condition("--from", "first", metavar="DAY", help="From this day on: 2026-11-01.")
@condition("--to", "last", metavar="DAY", help="Until this day, included; otherwise today.")
@html_option("FILE", " with plots")
@config_option
@json_option
@csv_option
def report(
    *, month: str, first: str, last: str, html: Path | None, config: Path, as_json: bool, as_csv: bool
) -> None:
    """Report what each destination was sent, by source and modality: studies, images, bytes, times, failures.

    Figures are those of whole local days, and stay when images are purged. They name no patient and no study.
    """
    if html is not None and (as_json or as_csv):
        raise click.UsageError("--html writes a file, --json and --csv print; give one of them")
    try:
        days = period(of_month=month, first=first, last=last)
    except RequestError as error:
        raise click.BadParameter(str(error), param_hint=f"--{error.field}") from error
    with looking(config) as opened:
        told = reported(opened, *days)
    if html is not None:
        from mapdr.operate.report_page import page  # only where it is asked for

        html.write_text(page(told), encoding="utf-8", newline="\n")
    elif as_json:
        print_answer(told, node=told.node)
    elif as_csv:
        print_csv(lines(told), ReportLine)
    else:
        out = console()
        out.print(drawing(told, glyphs(out)))
