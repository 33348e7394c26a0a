"""`mapdr license`: the request code of this machine, and the license that the vendor gives for it."""

from __future__ import annotations

import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click
from rich.text import Text

from mapdr.operate import license as licenses
from mapdr.operate import words
from mapdr.operate.access import Access
from mapdr.operate.places import places
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option, json_option, print_answer
from mapdr_cli.render.terminal import console

LONGEST_NAME = 255
"""Characters of a file's name at most; every token is longer."""


@click.group()
def license() -> None:
    """The license of this installation, if this build needs one.

    Without a license that holds, images are received and kept, and go out once there is one. `install` and
    `show` take --config FILE.
    """


@license.command()
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write the code into this file too.",
)
def request(file: Path | None) -> None:
    """Print the code of this machine, by which the vendor makes a license: to be read out, copied or scanned.

    Each time it is another code of the same machine; any of them will do.
    """
    asked = licenses.request()
    if file is not None:
        file.write_text(f"{asked.code}\n", encoding="ascii")
    out = console()
    out.print(asked.code)
    if out.is_terminal and out.encoding.lower().startswith("utf"):
        out.print(Text("\n".join(_half_blocks(asked.qr)), style="black on white"))


@license.command()
@click.argument("token", metavar="FILE|TOKEN")
@config_option
def install(token: str, config: Path) -> None:
    """Install a license: the vendor's file, the token itself, or - for standard input.

    A running node takes it within a second: what waits goes out.
    """
    with looking(config) as opened:
        told = licenses.install(opened, _token(token))
    console().print(f"Installed: {words.plain(told.comment)}.", soft_wrap=True)


@license.command()
@click.option(
    "--config",
    "config",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    envvar="MAPDR_CONFIG",
    default=None,
    help="The configuration; without one it is only said whether a license is needed.",
)
@json_option
def show(config: Path | None, as_json: bool) -> None:
    """Show how the license stands, and why."""
    found = config or next((place for place in places() if place.is_file()), None)
    way: AbstractContextManager[Access | None] = nullcontext() if found is None else looking(found)
    with way as opened:
        told = licenses.license_state(None) if opened is None else licenses.license_of(opened)
        node = "" if opened is None else opened.plan.node.name
    if as_json:
        print_answer(told, node=node)
        return
    out = console()
    out.print(words.plain(told.comment), soft_wrap=True)
    if told.license is not None:
        _print_allowed(told.license)
        compared = (("same", told.same), ("other", told.other), ("unreadable", told.unreadable))
        said = ", ".join(_kinds(kinds, how) for how, kinds in compared if kinds)
        out.print(f"this machine: {said}", soft_wrap=True)


@license.command()
@click.argument("token", metavar="FILE|TOKEN")
def verify(token: str) -> None:
    """Say what a license allows, if the vendor of this program has signed it; nothing is installed."""
    _print_allowed(licenses.verify(_token(token)))


def _token(given: str) -> str:
    """A token by the word of the command."""
    if given == "-":
        return sys.stdin.read()
    if given.startswith("eyJ") and len(given) > LONGEST_NAME:  # JSON in base64
        return given
    data = Path(given).read_bytes()
    # An editor or a shell of Windows may have marked the file, or written UTF-16.
    encoding = "utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    return data.decode(encoding, errors="replace")


def _print_allowed(one: licenses.Allowed) -> None:
    ends = f"until {one.expires}" if one.expires else "without an end"
    limits = [
        words.many(number, noun, nouns)
        for number, noun, nouns in (
            (one.sources, "source", "sources"),
            (one.destinations, "destination", "destinations"),
            (one.images_a_day, "image a day", "images a day"),
        )
        if number is not None
    ]
    said = f"license {one.id} of {one.customer}, issued {one.issued}, {ends}"
    console().print(words.plain("; ".join([said, *limits, *one.features])), soft_wrap=True)


def _kinds(kinds: Sequence[str], how: str) -> str:
    return f"{words.many(len(kinds), 'fact')} {how} ({', '.join(kinds)})"


def _half_blocks(rows: Sequence[str]) -> list[str]:
    """Two rows of modules a line."""
    block = {("#", "#"): "█", ("#", " "): "▀", (" ", "#"): "▄", (" ", " "): " "}
    padded = [*rows, " " * len(rows[0])]
    return [
        "".join(block[pair] for pair in zip(padded[place], padded[place + 1], strict=True))
        for place in range(0, len(rows), 2)
    ]
