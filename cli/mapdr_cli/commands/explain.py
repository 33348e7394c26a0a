"""`mapdr explain FILE`: what the rules would do to a file, and why; nothing is stored or sent."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate.configuration import load
from mapdr.operate.explain import explain as explained
from mapdr_cli.commands.options import config_option, html_option, json_option, print_answer
from mapdr_cli.render.explained import drawing
from mapdr_cli.render.terminal import console, glyphs


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--calling-ae", default="", metavar="TITLE", help="As if this AE title had sent it.")
@click.option("--called-ae", default="", metavar="TITLE", help="As if it had called this AE title.")
@click.option("--address", default="", metavar="ADDRESS", help="As if it came from this address.")
@click.option("--receiver", default="", metavar="NAME", help="As if this receiver had taken it.")
@click.option("--identify", is_flag=True, help="Show the values of the file as well.")
@html_option("OUT")
@config_option
@json_option
def explain(
    *,
    file: Path,
    calling_ae: str,
    called_ae: str,
    address: str,
    receiver: str,
    identify: bool,
    html: Path | None,
    config: Path,
    as_json: bool,
) -> None:
    """Show what the rules would do to FILE: which match and why, what becomes of each element and by which
    edit, size and quality.

    Nothing is stored or sent. Values are shown with --identify: then it is for your own eyes. Exits 1 if a
    transform fails; the image would then be parked.
    """
    if html is not None and as_json:
        raise click.UsageError("--html writes a file, --json prints; give one of them")
    configuration = load(config)
    told = explained(
        file,
        configuration,
        calling_ae=calling_ae,
        called_ae=called_ae,
        address=address,
        receiver=receiver,
        identify=identify,
    )
    if html is not None:
        from mapdr.operate.explain_page import page  # only where it is asked for

        html.write_text(page(told), encoding="utf-8", newline="\n")
    elif as_json:
        print_answer(told, node=configuration.plan.node.name)
    else:
        out = console()
        out.print(drawing(told, glyphs(out), out.width))
    if any(delivery.error for delivery in told.deliveries):
        raise click.exceptions.Exit(1)
