"""`mapdr send`: files through the node's own store and ledger, as safe as if a modality had sent them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click
from click.exceptions import Exit
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mapdr.operate import words
from mapdr.operate.configuration import load
from mapdr.operate.send import SendReport
from mapdr.operate.send import send as send_files
from mapdr_cli.commands.options import complete_destination, config_option, json_option, print_answer
from mapdr_cli.render.terminal import console


@click.command()
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True)
)
@click.option(
    "--to",
    "destinations",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_destination,
    help="Send the files there as they are; may be repeated. Otherwise the rules decide.",
)
@config_option
@json_option
def send(paths: tuple[Path, ...], destinations: tuple[str, ...], config: Path, as_json: bool) -> None:
    """Put files and folders of files into the node's store, to be delivered like images of a modality.

    They are safe when this command ends; `mapdr deliveries` shows what becomes of them. Files that are not
    DICOM are refused and named, and the exit status is then 1.
    """
    configuration = load(config)
    out = console(stderr=as_json)
    sent = send_files(paths, configuration, to=destinations, watched=partial(_watched, out))
    if as_json:
        print_answer(sent, node=configuration.plan.node.name)
    else:
        _report(out, sent)
    if sent.refused or sent.not_indexed:
        raise Exit(1)


def _watched(out: Console, paths: list[Path]) -> Iterator[Path]:
    """The files, with a bar on a terminal."""
    if not out.is_terminal:
        yield from paths
        return
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        yield from progress.track(paths)


def _report(out: Console, sent: SendReport) -> None:
    for one in sent.refused:
        out.print(f"{words.plain(one.file)}: {words.plain(one.comment)}", style="bad", soft_wrap=True)
    out.print(f"{words.many(len(sent.images) - sent.not_indexed, 'image')} in the store, to be delivered.")
    if sent.not_indexed:
        what = words.many(sent.not_indexed, "image is", "images are")
        out.print(
            f"{what} safe in the spool, but the index does not take them; the node's next start tries again.",
            style="bad",
            soft_wrap=True,
        )
    if sent.skipped:
        out.print(f"{words.many(sent.skipped, 'DICOMDIR')} skipped.")
    if sent.images and not sent.node_runs:
        out.print("The node is not running; they go out when it is started (mapdr run).", style="warn")
