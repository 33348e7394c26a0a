"""`mapdr sources`: who sends, and who is not let in."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mapdr.operate.sources import SeenSource
from mapdr.operate.sources import sources as seen_sources
from mapdr_cli import words
from mapdr_cli.access import access
from mapdr_cli.options import config_option, json_option, print_json
from mapdr_cli.render import tables
from mapdr_cli.render.tables import Column, field, number
from mapdr_cli.render.terminal import console


@click.command(short_help="Who sends, and who is rejected.")
@config_option
@json_option
def sources(config: Path, as_json: bool) -> None:
    """List who sends, the last one first: by AE title and address, its last image, and its images of today.

    Peers whose associations were rejected since the receiver began are listed too, with the cause and with
    what would let them in.
    """
    with access(config) as opened:
        store, node = opened.index(), opened.plan.node.name
        beats = [beat for beat in store.commands.heartbeats() if beat.node == node]
        receivers = beats[0].counters.get("receivers", {}) if beats else {}
        rows = [_row(one) for one in seen_sources(store, receivers)]
    if as_json:
        print_json({"sources": rows})
        return
    out = console()
    if not rows:
        out.print("Nobody has sent anything yet.")
        return
    now = time.time()
    columns = [
        Column("calling AE", field("calling_ae")),
        Column("address", field("address")),
        Column("receiver", field("receiver")),
        Column("last image", lambda row: words.short_clock(row["last_at"], now)),
        Column("today", number("today"), right=True),
    ]
    if any(row["rejected"] for row in rows):
        columns.append(Column("rejected", number("rejected"), right=True))
    out.print(tables.listing(rows, columns))
    for row in rows:
        if row["rejected"]:
            who = f"{words.plain(row['calling_ae']) or '-'} at {words.plain(row['address'])}"
            cure = f"; {words.plain(row['cure'])}" if row["cure"] else ""
            out.print(f"{who}: {row['cause']}{cure}", style="warn", soft_wrap=True)


def _row(one: SeenSource) -> dict[str, Any]:
    values = asdict(one)
    return {**values.pop("source"), **values}
