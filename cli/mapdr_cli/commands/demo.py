"""`mapdr demo`: a router, three modalities, a PACS and a RIS on this machine alone, and a checked balance."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click
from click.exceptions import Exit

from mapdr_cli.commands.options import FiniteRange, json_option, print_answer
from mapdr_cli.render.terminal import console, glyphs, waiting


@click.command()
@click.option(
    "--seconds",
    default=20.0,
    show_default=True,
    type=FiniteRange(0, 86400),
    help="How long modalities begin new studies.",
)
@click.option(
    "--images",
    default=12,
    show_default=True,
    type=click.IntRange(1, 2000),
    help="How many images a study has.",
)
@click.option(
    "--patience",
    default=60.0,
    show_default=True,
    type=FiniteRange(0, 86400),
    help="How many seconds the last deliveries may take without progress.",
)
@click.option("--plain", is_flag=True, help="Print lines instead of drawing.")
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep configuration, spool, index and log in this folder.",
)
@json_option
def demo(
    *, seconds: float, images: int, patience: float, plain: bool, keep: Path | None, as_json: bool
) -> None:
    """See MAPDR at work, without any configuration: everything happens on this machine and is then removed.

    Three modalities (CT, MR, US) send generated studies to a node of its own. Its rules change tags and
    compress CT 10:1 and MR losslessly with JPEG 2000. A receiving PACS and a RIS take what comes. It ends
    with a balance: sent = received = stored = delivered, every image compared with what was sent. Exits 1
    if anything is missing. Whatever ends it, a terminal that is closed as well, ends the node and all else.
    """
    out = console(stderr=as_json)
    plain = plain or as_json or not out.is_terminal
    with ExitStack() as stack:
        with waiting(out, "Starting a node, a receiving PACS and a RIS on this machine ...", plain=plain):
            # Imported here, for that alone takes seconds: they are waited for in sight.
            from mapdr_cli.demo.balance import as_json as balance_json
            from mapdr_cli.demo.balance import balance_table
            from mapdr_cli.demo.play import Demo
            from mapdr_cli.demo.site import ended_by_signals, set_up

            stack.enter_context(ended_by_signals())
            site = stack.enter_context(set_up(keep))
        books = Demo(site, seconds, images, patience).run(out, plain)
    if as_json:
        print_answer(balance_json(books), node="demo")
    else:
        out.print(balance_table(books, glyphs(out)))
    if keep is not None:
        out.print(f"Everything is kept in {keep}", soft_wrap=True)
    if books.missing():
        raise Exit(1)
