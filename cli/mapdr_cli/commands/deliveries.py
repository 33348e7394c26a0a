"""`mapdr deliveries`: what became of each image at each destination, and why it waits."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate.deliveries import Delivery
from mapdr.operate.deliveries import deliveries as chosen_deliveries
from mapdr.operate.selection import Selection, limited
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
from mapdr_cli.render.deliveries import delivery_columns
from mapdr_cli.render.tables import show
from mapdr_cli.render.terminal import console


@click.command()
@selection_options
@identify_option
@click.option(
    "--attempts", is_flag=True, help="With --json: every attempt at each delivery, not the last alone."
)
@config_option
@json_option
@csv_option
def deliveries(
    *, chosen: Selection, identify: bool, attempts: bool, config: Path, as_json: bool, as_csv: bool
) -> None:
    """List deliveries, the newest first: one line for each image, destination and batch.

    A delivery ends as delivered only by the receiver's own final status, which is shown; a parked one says
    why. A receiver's own words may quote a value of the image: they are shown only with --identify, else
    what its status means. Everything is shown with --json, or on a wide terminal.
    """
    with looking(config) as opened:
        rows = chosen_deliveries(opened, limited(chosen), identify=identify, attempts=attempts)
    if as_json:
        print_answer({"deliveries": rows}, node=opened.plan.node.name)
        return
    if as_csv:
        print_csv(rows, Delivery)
        return
    out = console()
    show(out, rows, delivery_columns(out.width, identify), ("delivery", "deliveries"), chosen)
