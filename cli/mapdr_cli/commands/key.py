"""`mapdr key`: keys of projects, by which images are de-identified."""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate import keys
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option
from mapdr_cli.render.terminal import console


@click.group()
def key() -> None:
    """Keys of projects: what UIDs, pseudonyms and the days of shifted dates are made of.

    With the same key, nodes make the same. Who holds it can find out which patient is meant: keep it as you
    keep the images. Without one, a rule uses the node's own ("site"). Each command takes --config FILE.
    """


_FILE = click.Path(path_type=Path, dir_okay=False)


@key.command()
@click.argument("name")
@config_option
def new(name: str, config: Path) -> None:
    """Make a key, and say what a rule writes to use it."""
    with looking(config) as opened:
        kept = keys.new_key(opened, name)
    _say(kept)


@key.command("import")
@click.argument("name")
@click.argument("file", type=_FILE)
@config_option
def import_(name: str, file: Path, config: Path) -> None:
    """Keep the key in FILE, which another node has exported."""
    with looking(config) as opened:
        kept = keys.import_key(opened, name, file)
    _say(kept)


@key.command()
@click.argument("name")
@click.argument("file", type=_FILE)
@config_option
def export(name: str, file: Path, config: Path) -> None:
    """Write a key into FILE for another node; the node's own is called site."""
    with looking(config) as opened:
        kept = keys.export_key(opened, name, file)
    console().print(f"Written to {kept.file}: who has it can tell the patients.", soft_wrap=True)


def _say(kept: keys.KeptKey) -> None:
    console().print(f'Kept. A rule uses it with: key = "{kept.written}"', soft_wrap=True, markup=False)
