"""`mapdr export`: images of the spool as files in a folder."""

from __future__ import annotations

from pathlib import Path

import click
from click.exceptions import Exit

from mapdr.operate import words
from mapdr.operate.configuration import load
from mapdr.operate.export import Exported
from mapdr.operate.export import export as write_images
from mapdr.operate.selection import Selection
from mapdr_cli.commands.options import (
    complete_destination,
    condition,
    config_option,
    image_options,
    json_option,
    list_options,
    print_answer,
    tell_unknown,
)
from mapdr_cli.render.progress import bar
from mapdr_cli.render.terminal import console

SHOWN = 10
"""Images that were not written, of which each is named."""


@click.command()
@image_options
@list_options
@click.option(
    "--to",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder; it is made if it is missing.",
)
@condition(
    "--as",
    "as_for",
    metavar="NAME",
    shell_complete=complete_destination,
    help="As this destination would get them; else as received.",
)
@condition(
    "--layout",
    metavar="TEMPLATE",
    help='Names of folders and files, such as "{PatientID}/{Modality}/{SOPInstanceUID}.dcm".',
)
@click.option("--dicomdir", is_flag=True, help="Names that media allow, and a DICOMDIR for each study.")
@config_option
@json_option
def export(
    chosen: Selection,
    *,
    folder: Path,
    as_for: str,
    layout: str,
    dicomdir: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Write chosen images into a folder, as DICOM files (PS3.10).

    A file is never written over other bytes; one that is there with the same is left as it is, so that an
    export that was cut short goes on when it is said again. Exit status 1: not all images were written.
    """
    configuration = load(config)
    with bar(console(stderr=True), "exporting") as advance:
        done = write_images(
            configuration,
            chosen,
            folder,
            as_for=as_for,
            layout=layout,
            dicomdir=dicomdir,
            told=lambda exported: advance(exported.done, exported.images),
        )
    if as_json:
        print_answer(done, node=configuration.plan.node.name)
    else:
        _report(done)
    tell_unknown(done.unknown)
    if done.failed or done.stopped or done.unknown:
        raise Exit(1)


def _report(done: Exported) -> None:
    out = console()
    for one in done.failed[:SHOWN]:
        out.print(f"{one.instance}: {one.reason}: {words.plain(one.comment)}", style="bad", soft_wrap=True)
    text = f"{words.many(done.written, 'image')} written to {words.plain(done.folder)}"
    text += f" ({words.size(done.bytes)})"
    if done.there:
        text += f", {words.count(done.there)} there already"
    if done.unrouted:
        text += f", {words.count(done.unrouted)} that no rule sends to that destination"
    if done.failed:
        text += f", {words.count(len(done.failed))} not written"
    out.print(f"{text}.", soft_wrap=True)
    if done.stopped:
        left = words.many(done.images - done.done, "image")
        out.print(f"Ended early: {words.plain(done.stopped)}; {left} left.", style="bad", soft_wrap=True)
