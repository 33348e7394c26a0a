"""`mapdr doctor`: what this installation is and can do, and whether its surroundings are sound.

`mapdr doctor peer NAME`: what lies between it and one of its destinations.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import click
from click.exceptions import Exit
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mapdr.kernel.examine import Level
from mapdr.kernel.item import Payload
from mapdr.operate import words
from mapdr.operate.configuration import load
from mapdr.operate.doctor import BAD, NOTE, OK, Examined, examine
from mapdr.operate.peer import examine_peer
from mapdr.operate.places import NAME, places
from mapdr_cli.commands.options import (
    complete_destination,
    config_option,
    json_option,
    print_answer,
)
from mapdr_cli.render.findings import Lines, conclusion
from mapdr_cli.render.terminal import console, glyphs

STYLES = {OK: "good", NOTE: "warn", BAD: "bad"}


@click.group(invoke_without_command=True)
@click.option(
    "--config",
    "config",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="MAPDR_CONFIG",
    help=f"The configuration; otherwise {NAME} here or in the platform's folder, if there is one.",
)
@click.option(
    "--codecs",
    "of_codecs",
    is_flag=True,
    help="Only the codecs: which frames are written and read in which transfer syntax, by doing it.",
)
@click.option(
    "--disk",
    "of_disk",
    is_flag=True,
    help="Only the disk: measure in the data folder, for some seconds, what it takes and whether it flushes.",
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, config: Path | None, of_codecs: bool, of_disk: bool, as_json: bool) -> None:
    """Examine this installation: versions, hot paths, codecs, disk, clock, configuration, database.

    Needs no configuration, but looks at it if there is one. Exits 1 if something is bad. With `peer NAME`, a
    destination is examined instead.
    """
    if ctx.invoked_subcommand is not None:
        # Options before the word count behind it, too.
        ctx.default_map = {ctx.invoked_subcommand: {"config": config, "as_json": as_json}}
        return
    if of_codecs:
        _codecs(as_json=as_json)
        return
    if of_disk:
        _disk(config, as_json=as_json)
        return
    findings = list(examine(config or next((place for place in places() if place.is_file()), None)))
    if as_json:
        print_answer({"findings": findings})
    else:
        console().print(report(findings))
    if any(finding.level == BAD for finding in findings):
        raise Exit(1)


def _codecs(*, as_json: bool) -> None:
    """Print what each codec does with which frames. Exits 1 if one fails at what it says it does."""
    from mapdr.operate.codecs import codecs  # numpy and the codecs, which no other way needs
    from mapdr_cli.render.codecs import table_of

    found = list(codecs())
    if as_json:
        print_answer({"codecs": found})
    else:
        console().print(table_of(found))
    if not all(each.is_sound for each in found):
        raise Exit(1)


def _disk(config: Path | None, *, as_json: bool) -> None:
    """Print what the disk of the node's data folder can take. Exits 1 if it is not to be relied on."""
    from mapdr.operate.disk import examine_disk  # the journal, which no other way needs

    node = load(config or next((place for place in places() if place.is_file()), Path(NAME))).plan.node
    with console(stderr=True).status("measuring", spinner="line"):
        found = examine_disk(node.data, node.min_free)
    if as_json:
        print_answer({"disk": found})
    else:
        console().print(report(found.findings))
    if any(finding.level == BAD for finding in found.findings):
        raise Exit(1)


@doctor.command()
@click.argument("name", metavar="NAME", shell_complete=complete_destination)
@click.option(
    "--test-image",
    is_flag=True,
    help="Store a generated image there too, marked as a test. It stays at the receiver.",
)
@config_option
@json_option
def peer(name: str, test_image: bool, config: Path, as_json: bool) -> None:
    """Examine the way to the destination NAME, step by step, with a cure for what is wrong.

    Name, TCP, TLS, AE titles or login, what it takes, and what it costs. Nothing is stored there without
    --test-image. Exits 1 if something keeps images from arriving.
    """
    configuration = load(config)
    found = examine_peer(configuration, name, _marked_image(name) if test_image else ())
    if as_json:
        findings = list(found)
        print_answer({"destination": name, "findings": findings}, node=configuration.plan.node.name)
    else:
        out, findings = console(), []
        lines = Lines(out)
        with out.status(f"examining {words.plain(name)}", spinner="line"):
            for each in found:
                findings.append(each)
                lines.show(each)
        out.print()
        out.print(conclusion(name, findings, glyphs(out)))
    if any(each.level is Level.BAD for each in findings):
        raise Exit(1)


def _marked_image(name: str) -> Sequence[Payload]:
    """The test image, with a warning that nobody takes it back."""
    from mapdr.testing.marked import PATIENT_ID, marked_image  # pydicom and numpy, which no other way needs

    text = (
        f"warning: unless something bad is found first, an image of the patient {PATIENT_ID} is stored at"
        f" {words.plain(name)}, and stays there"
    )
    console(stderr=True).print(text, style="warn", soft_wrap=True)
    return marked_image()


def report(findings: Sequence[Examined]) -> Group:
    """The findings, part by part under its name: so that a narrow terminal has room for what they say."""
    parts: list[Text | Padding] = []
    for part, found in groupby(findings, lambda finding: finding.part):
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for finding in found:
            level = Text(finding.level, STYLES[finding.level])
            table.add_row(words.plain(finding.name), level, words.plain(finding.text))
        parts += [Text(words.plain(part), "head"), Padding(table, (0, 0, 0, 2))]
    return Group(*parts)
