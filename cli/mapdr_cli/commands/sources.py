"""`mapdr sources`: who sends, and who is not let in."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mapdr.operate import words
from mapdr.operate.sources import SeenSource
from mapdr.operate.sources import sources as seen_sources
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option, csv_option, json_option, print_answer, print_csv
from mapdr_cli.render import tables
from mapdr_cli.render.tables import Column, number
from mapdr_cli.render.terminal import console


@click.command()
@config_option
@json_option
@csv_option
def sources(config: Path, as_json: bool, as_csv: bool) -> None:
    """List who sends, the last one first: by AE title and address, its last image, and its images of today.

    Peers whose associations were rejected since the node started are listed too, with the cause and with
    what would let them in.
    """
    with looking(config) as opened:
        rows = seen_sources(opened)
    if as_json:
        print_answer({"sources": rows}, node=opened.plan.node.name)
        return
    if as_csv:
        print_csv(rows, SeenSource)
        return
    out = console()
    if not rows:
        out.print("Nobody has sent anything yet.")
        return
    out.print(tables.listing(rows, _columns(rows)))
    for row in rows:
        if row.rejected:
            name, address = _name(row), words.plain(row.source.address)
            who = address if name == "-" else f"{name} at {address}"
            cure = f"; {words.plain(row.cure)}" if row.cure else ""
            out.print(f"{who}: {row.cause}{cure}", style="warn", soft_wrap=True)


def _name(row: SeenSource) -> str:
    """The AE title of a source, or what it has proved to be where the protocol has no titles."""
    return words.plain(row.source.calling_ae or row.source.credential) or "-"


def _columns(rows: list[SeenSource]) -> list[Column]:
    now = time.time()
    columns: list[Column] = [
        Column("calling AE", _name),
        Column("address", lambda row: words.plain(row.source.address) or "-"),
        Column("receiver", lambda row: words.plain(row.source.receiver) or "-"),
        Column("last image", lambda row: words.short_clock(row.last_at, now)),
        Column("today", number("today"), right=True),
    ]
    if any(row.rejected for row in rows):
        columns.append(Column("rejected", number("rejected"), right=True))
    return columns
