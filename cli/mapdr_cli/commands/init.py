"""`mapdr init`: a first configuration with a comment on every line that one has to edit."""

from __future__ import annotations

import re
from pathlib import Path

import click

from mapdr.config.starter import starter
from mapdr.operate.first import node_name
from mapdr.operate.places import NAME, user_folder

DESTINATION = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_-]+)=)?(?P<ae>[^@\s]{1,16})@(?P<host>[^:\s]+):(?P<port>\d{1,5})"
)


@click.command()
@click.option(
    "--config",
    "target",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=NAME,
    show_default=True,
    help="The file to write.",
)
@click.option("--user", is_flag=True, help=f"Write it to {user_folder()} instead of here.")
@click.option("--name", metavar="NAME", help="The node's name; otherwise this machine's.")
@click.option("--ae-title", default="MAPDR", show_default=True, help="The AE title that modalities call.")
@click.option(
    "--port",
    default=11112,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="The port that modalities call.",
)
@click.option(
    "--to",
    "destination",
    metavar="[NAME=]AE@HOST:PORT",
    help="The first destination; otherwise an example to edit.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(
    *,
    target: Path,
    user: bool,
    name: str | None,
    ae_title: str,
    port: int,
    destination: str | None,
    force: bool,
) -> None:
    """Write a first mapdr.toml, with a comment on every line that has to be edited."""
    path = user_folder() / NAME if user else target
    if path.exists() and not force:
        raise click.ClickException(f"{path} is there already; --force replaces it")
    to, to_ae, to_host, to_port = _destination(destination)
    text = starter(
        name=node_name(name),
        ae_title=ae_title,
        port=port,
        to=to,
        to_ae=to_ae,
        to_host=to_host,
        to_port=to_port,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    click.echo(f"Wrote {path}. Edit it, then: mapdr check, mapdr run")
    if destination is None:
        click.echo('Its destination "pacs" is an example: enter your receiver there.')


def _destination(text: str | None) -> tuple[str, str, str, int]:
    if text is None:
        return "pacs", "PACS", "192.0.2.10", 104
    match = DESTINATION.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise click.BadParameter(f"{text} is not [NAME=]AE@HOST:PORT", param_hint="--to")
    name = match["name"] or re.sub(r"[^a-z0-9_-]+", "-", match["ae"].lower()).strip("-") or "pacs"
    return name, match["ae"], match["host"], int(match["port"])
