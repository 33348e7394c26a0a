"""Options that commands share, each spelt once: --config, --json, selections, showing who it is."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from mapdr.operate import words
from mapdr.operate.answer import answer
from mapdr.operate.completion import destination_names, study_uids
from mapdr.operate.errors import RequestError
from mapdr.operate.listed import with_list
from mapdr.operate.places import NAME, places, user_folder
from mapdr.operate.selection import STATES, Selection, choose

F = TypeVar("F", bound=Callable[..., Any])


class FiniteRange(click.FloatRange):
    """A number between two others, which "nan" and "inf" are not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See `click.ParamType`."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


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
    return click.option(
        "--json", "as_json", is_flag=True, callback=_one_form, help="Print JSON for scripts."
    )(command)


def csv_option(command: F) -> F:
    """--csv beside --json, given to the command as `as_csv`."""
    return click.option(
        "--csv", "as_csv", is_flag=True, callback=_one_form, help="Print CSV for spreadsheets."
    )(command)


def html_option(metavar: str, more: str = "") -> Callable[[F], F]:
    """`--html FILE`: the answer as one page in a file; `more` is what else the help says of it."""
    return click.option(
        "--html",
        metavar=metavar,
        type=click.Path(path_type=Path, dir_okay=False, writable=True),
        help=f"Write it as one page{more}, to be sent or printed.",
    )


def _one_form(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    if value and ctx.params.get("as_csv" if param.name == "as_json" else "as_json"):
        raise click.UsageError("--csv and --json are two answers; give one of them")
    return value


def identify_option(command: F) -> F:
    """--identify, given to the command as `identify`."""
    return click.option(
        "--identify", is_flag=True, help="Show accession number, patient ID and study date as well."
    )(command)


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


def _config_of(ctx: click.Context) -> Path | None:
    """The configuration that the words so far name, or that is found without; None if there is none."""
    named = ctx.params.get("config")
    return named if isinstance(named, Path) else next((place for place in places() if place.is_file()), None)


def complete_destination(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The configured destinations that begin as what is typed."""
    config = _config_of(ctx)
    names = destination_names(config) if config else []
    return [name for name in names if name.startswith(incomplete)]


def complete_study(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The UIDs of the last studies that begin as what is typed."""
    config = _config_of(ctx)
    return study_uids(config, incomplete) if config else []


def condition(*names: str, **more: Any) -> Callable[[F], F]:
    """An option that chooses; one that is given and empty is refused: a script's variable may be unset, and
    what would be chosen without the condition is more than was meant."""
    return click.option(*names, default="", callback=_not_empty, **more)


def _not_empty(ctx: click.Context, param: click.Parameter, value: str) -> str:
    given = ctx.get_parameter_source(str(param.name)) is not ParameterSource.DEFAULT
    if given and not value.strip():
        raise click.BadParameter("is empty; leave the option out, or say what to choose", ctx, param)
    return value


def selection_options(command: F) -> F:
    """The grammar of selections, the same for every command; given to it as one `chosen`."""
    return _selecting(command, _SELECTION)


def image_options(command: F) -> F:
    """The same without --to, for a command to which that is something else."""
    return _selecting(command, [option for option in _SELECTION if option is not _TO])


def _selecting(command: F, options: Sequence[Callable[[F], F]]) -> F:
    @functools.wraps(command)
    def with_selection(*args: Any, **kwargs: Any) -> Any:
        return command(*args, chosen=_selection(kwargs), **kwargs)

    wrapped: Any = with_selection
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


_TO = condition(
    "--to",
    "destination",
    metavar="NAME",
    shell_complete=complete_destination,
    help="Deliveries to this destination.",
)

_SELECTION = (
    condition(
        "--study-date",
        metavar="DATES",
        help="2026-11-01, 2026-11-01.., ..2026-11-30, 2026-11-01..2026-11-30 or today.",
    ),
    condition("--modality", metavar="CT", help="Images of this modality."),
    _TO,
    click.option("--state", type=click.Choice(STATES), default=None, help="Deliveries in this state."),
    condition("--reason", metavar="WORD", help="Parked for this reason."),
    condition(
        "--study",
        "study_instance_uid",
        metavar="UID",
        shell_complete=complete_study,
        help="One study, by its UID.",
    ),
    condition(
        "--from",
        "peer",
        metavar="NAME",
        help="Images from this peer: its AE title, or where it has none what it proved (as `mapdr sources`).",
    ),
    condition("--patient", "patient_id", metavar="ID", help="Studies of this patient ID."),
    condition(
        "--accession",
        "accession_number",
        metavar="NUMBER",
        help="Studies of this accession number.",
    ),
    condition(
        "--received",
        metavar="DATES",
        help="Days of receipt, written as --study-date is.",
    ),
    condition(
        "--since",
        metavar="WHEN",
        help='Received since: 2026-11-01, "2026-11-01 14:30", or "2 h" ago.',
    ),
    click.option("--limit", type=click.IntRange(1), default=None, help="The newest so many."),
)


_EQUAL = (
    "modality",
    "destination",
    "state",
    "reason",
    "study_instance_uid",
    "peer",
    "patient_id",
    "accession_number",
)
"""Conditions that are compared whole, as `Selection` calls them."""


def _selection(values: dict[str, Any]) -> Selection:
    given = {key: values.pop(key, None) or "" for key in _EQUAL}
    days = {key: values.pop(key) for key in ("study_date", "received", "since")}
    try:
        return choose(limit=values.pop("limit"), **days, **given)
    except RequestError as error:
        if not error.field:
            raise click.UsageError(str(error)) from error
        option = f"--{error.field.replace('_', '-')}"
        raise click.BadParameter(str(error), param_hint=option) from error


def list_options(command: F) -> F:
    """--list and --column, which narrow `chosen` further; for commands with `selection_options`."""

    @functools.wraps(command)
    def with_listed(*args: Any, chosen: Selection, list_: bytes | None, column: str, **kwargs: Any) -> Any:
        if list_ is None and column:
            raise click.UsageError("--column says which column of --list is meant")
        try:
            listed = chosen if list_ is None else with_list(chosen, list_, column)
        except RequestError as error:
            raise click.BadParameter(str(error), param_hint=f"--{error.field}") from error
        return command(*args, chosen=listed, **kwargs)

    wrapped: Any = with_listed
    for option in (
        condition("--column", metavar="NAME", help="The column of --list: its header, or its number."),
        click.option(
            "--list",
            "list_",
            metavar="FILE",
            type=click.File("rb"),
            callback=lambda ctx, param, file: file and file.read(),
            help="Images of a CSV file or of lines (- is standard input): UIDs of studies, series or images, "
            "or accession numbers.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


def print_answer(data: object, *, node: str = "", in_line: bool = False) -> None:
    """Print the whole answer of the running command for --json, in the envelope that all share; `in_line`
    where it is the last of many lines."""
    ctx = click.get_current_context()
    command = ctx.command_path.removeprefix(f"{ctx.find_root().command_path} ")  # "doctor peer"
    click.echo(answer(command, node, data, in_line=in_line))


def print_csv(rows: Iterable[object], kind: type) -> None:
    """Print rows, dataclasses of one `kind`, for --csv."""
    from mapdr.operate.csv_text import csv_text  # only where it is asked for

    click.echo(csv_text(rows, kind))


def tell_unknown(places: Sequence[int]) -> None:
    """Say on standard error which values of a list are of no image; not the values, which may identify."""
    if places:
        shown = ", ".join(map(str, places[:10])) + (", ..." if len(places) > 10 else "")
        values = words.many(len(places), "value")
        click.echo(f"mapdr: {values} of the list chose no image here: number {shown}", err=True)
