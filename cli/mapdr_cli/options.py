"""Options that commands share, each spelt once: --config, --json and the grammar of selections."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import platformdirs

F = TypeVar("F", bound=Callable[..., Any])

NAME = "mapdr.toml"


def config_option(command: F) -> F:
    """--config FILE, given to the command as `config`, an existing file."""
    return click.option(
        "--config",
        "config",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="MAPDR_CONFIG",
        callback=_existing,
        help=f"The configuration; otherwise {NAME} here, or in {user_folder()}.",
    )(command)


def json_option(command: F) -> F:
    """--json, given to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")(command)


def user_folder() -> Path:
    """Where this platform keeps a user's configuration of MAPDR."""
    return platformdirs.user_config_path("mapdr", appauthor=False)


def places() -> list[Path]:
    """Where a configuration is looked for when none is named, in order."""
    site = platformdirs.site_config_path("mapdr", appauthor=False)
    return [Path(NAME), user_folder() / NAME, site / NAME]


def _existing(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path:
    if value is not None:
        if not value.is_file():
            raise click.BadParameter(f"there is no file {value}", ctx, param)
        return value
    for place in places():
        if place.is_file():
            return place
    looked = ", ".join(str(place.parent) for place in places())
    raise click.UsageError(f"no {NAME} in {looked}; `mapdr init` writes one, --config FILE names another")


def print_json(value: Any) -> None:
    """Print one JSON document: the whole answer of a command with --json."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
