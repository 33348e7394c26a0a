"""`mapdr corrections`: what operators corrected of images on their way."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate import words
from mapdr.operate.corrections import Change, Correction
from mapdr.operate.corrections import corrections as chosen_corrections
from mapdr.operate.selection import Selection
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import (
    config_option,
    identify_option,
    json_option,
    print_answer,
    selection_options,
)
from mapdr_cli.render.tables import Column, show
from mapdr_cli.render.terminal import console


@click.command()
@selection_options
@identify_option
@config_option
@json_option
def corrections(chosen: Selection, identify: bool, config: Path, as_json: bool) -> None:
    """List what was corrected of images with `mapdr reroute --set`: when, by whom, and what.

    The old and new values are shown only with --identify.
    """
    with looking(config) as opened:
        rows = chosen_corrections(opened, chosen, identify=identify)
    if as_json:
        print_answer({"corrections": rows}, node=opened.plan.node.name)
        return
    show(console(), rows, _COLUMNS, ("correction", "corrections"), chosen)


def _changes(row: Correction) -> str:
    return ", ".join(map(_change, row.changes)) or "(purged)"


def _change(change: Change) -> str:
    if change.new is None:
        return change.tag
    return f'{change.tag}: "{words.plain(change.old or "")}" -> "{words.plain(change.new)}"'


_COLUMNS = [
    Column("when", lambda row: words.day_and_clock(row.at), whole=True),
    Column("by", lambda row: words.plain(row.operator)),
    Column("what", _changes, fold=True),
    Column("image", lambda row: words.plain(row.sop_instance_uid)),
]
