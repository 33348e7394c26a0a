"""`mapdr studies`: what came, and how much of it each destination has."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate.selection import Selection, limited
from mapdr.operate.studies import Study
from mapdr.operate.studies import studies as chosen_studies
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import (
    config_option,
    csv_option,
    identify_option,
    json_option,
    print_answer,
    print_csv,
    selection_options,
)
from mapdr_cli.render.studies import study_columns
from mapdr_cli.render.tables import show
from mapdr_cli.render.terminal import console


@click.command()
@selection_options
@identify_option
@click.option("--uids", is_flag=True, help="Show study UIDs whole, to be copied.")
@config_option
@json_option
@csv_option
def studies(
    *, chosen: Selection, identify: bool, uids: bool, config: Path, as_json: bool, as_csv: bool
) -> None:
    """List studies, the last received first: images, and how many each destination has confirmed.

    Studies are shown whole, also when only some of their images are selected. An image that came or was
    promised several times counts once. Identifying values are shown only with --identify.
    """
    with looking(config) as opened:
        found = chosen_studies(opened, limited(chosen), identify=identify)
    if as_json:
        print_answer({"studies": found}, node=opened.plan.node.name)
        return
    if as_csv:
        print_csv(found, Study)
        return
    out = console()
    show(out, found, study_columns(out.width, identify, uids), ("study", "studies"), chosen)
