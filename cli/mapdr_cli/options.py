"""Options that commands share, each spelt once: --config, --json and the grammar of selections."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import platformdirs

from mapdr.config.units import parse_duration
from mapdr.store.index.selection import STATES, Selection

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


def selection_options(command: F) -> F:
    """The grammar of selections, the same for every command; given to it as one `chosen`."""

    @functools.wraps(command)
    def with_selection(*args: Any, **kwargs: Any) -> Any:
        return command(*args, chosen=_selection(kwargs), **kwargs)

    wrapped: Any = with_selection
    for option in reversed(_SELECTION):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


_SELECTION = (
    click.option(
        "--study-date",
        metavar="DATES",
        default="",
        help="2026-11-01, 2026-11-01.., ..2026-11-30, 2026-11-01..2026-11-30 or today.",
    ),
    click.option("--modality", metavar="CT", default="", help="Images of this modality."),
    click.option("--to", "destination", metavar="NAME", default="", help="Deliveries to this destination."),
    click.option("--state", type=click.Choice(STATES), default=None, help="Deliveries in this state."),
    click.option("--reason", metavar="WORD", default="", help="Parked for this reason."),
    click.option("--study", "study_uid", metavar="UID", default="", help="One study, by its UID."),
    click.option("--from", "calling_ae", metavar="AE", default="", help="Images from this calling AE title."),
    click.option("--patient", "patient_id", metavar="ID", default="", help="Studies of this patient ID."),
    click.option(
        "--accession",
        "accession_number",
        metavar="NUMBER",
        default="",
        help="Studies of this accession number.",
    ),
    click.option(
        "--received",
        metavar="DATES",
        default="",
        help="Days of receipt, written as --study-date is.",
    ),
    click.option(
        "--since",
        metavar="WHEN",
        default="",
        help='Received since: 2026-11-01, "2026-11-01 14:30", or "2 h" ago.',
    ),
    click.option("--limit", type=click.IntRange(1), default=None, help="The newest so many."),
)


def _selection(values: dict[str, Any]) -> Selection:
    first, last = _dates(values.pop("study_date"), "--study-date")
    begin, end = _dates(values.pop("received"), "--received")
    since = values.pop("since")
    if since and begin:
        raise click.UsageError("--since and --received both say when an image came; give one of them")
    return Selection(
        study_date_from=first,
        study_date_to=last,
        modality=values.pop("modality"),
        destination=values.pop("destination"),
        state=values.pop("state") or "",
        reason=values.pop("reason"),
        study_instance_uid=values.pop("study_uid"),
        calling_ae=values.pop("calling_ae"),
        patient_id=values.pop("patient_id"),
        accession_number=values.pop("accession_number"),
        since=_moment(since) if since else _midnight(begin),
        until=_midnight(end, days=1),
        limit=values.pop("limit"),
    )


def _dates(text: str, option: str) -> tuple[str, str]:
    """First and last day of a range as YYYYMMDD, both included; empty where it is open."""
    first, dots, last = text.strip().partition("..")
    return _day(first, option), _day(last, option) if dots else _day(first, option)


def _day(text: str, option: str) -> str:
    text = text.strip()
    if not text:
        return ""
    if text == "today":
        return f"{datetime.now():%Y%m%d}"
    try:
        return f"{datetime.strptime(text.replace('-', ''), '%Y%m%d'):%Y%m%d}"
    except ValueError:
        raise click.BadParameter(
            f'"{text}" is not a date; write 2026-11-01, or a range such as 2026-11-01..', param_hint=option
        ) from None


def _midnight(day: str, days: int = 0) -> float | None:
    """When a day (YYYYMMDD, local time) begins, or one `days` later; None where there is none."""
    return (datetime.strptime(day, "%Y%m%d") + timedelta(days=days)).timestamp() if day else None


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - parse_duration(text)
    except ValueError:
        raise click.BadParameter(
            f'"{text}" is neither a date with or without a time nor a length of time such as 2 h',
            param_hint="--since",
        ) from None


def print_json(value: Any) -> None:
    """Print one JSON document: the whole answer of a command with --json."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
