"""`mapdr fetch`: studies from a PACS through the router's rules."""

from __future__ import annotations

from pathlib import Path

import click
from click.exceptions import Exit

from mapdr.kernel.fetch import StudyQuery
from mapdr.operate import words
from mapdr.operate.configuration import load
from mapdr.operate.errors import RequestError
from mapdr.operate.fetch import Fetched, FetchedStudy, look
from mapdr.operate.fetch import fetch as fetch_studies
from mapdr.operate.selection import choose
from mapdr_cli.commands.confirm import ask, sure_options
from mapdr_cli.commands.options import (
    complete_destination,
    condition,
    config_option,
    identify_option,
    json_option,
    print_answer,
)
from mapdr_cli.render.progress import bar
from mapdr_cli.render.terminal import console


@click.command()
@click.argument("name", metavar="NAME", shell_complete=complete_destination)
@condition("--study", "study_instance_uid", metavar="UID", help="One study, by its UID.")
@condition("--accession", "accession_number", metavar="NUMBER", help="Studies of this accession number.")
@condition("--patient", "patient_id", metavar="ID", help="Studies of this patient ID.")
@condition("--study-date", metavar="DATES", help="2026-11-01, 2026-11-01.. or 2026-11-01..2026-11-30.")
@condition("--modality", metavar="CT", help="Studies with images of this modality.")
@click.option("--move", is_flag=True, help="By C-MOVE to this node, which must run; else by C-GET.")
@identify_option
@sure_options
@config_option
@json_option
def fetch(
    name: str,
    *,
    study_date: str,
    move: bool,
    identify: bool,
    yes: bool,
    dry_run: bool,
    config: Path,
    as_json: bool,
    **equal: str,
) -> None:
    """Get studies from the PACS that the destination NAME leads to, and let the rules decide over them.

    A DICOM destination is asked by C-FIND, its images come by C-GET or C-MOVE; a DICOMweb one by QIDO-RS and
    WADO-RS. Images are kept as if they had been sent here. --dry-run lists what would be fetched. Exit
    status 1: not all of it came.
    """
    query = _query(study_date, equal)
    configuration = load(config)
    if dry_run or not yes:
        done = look(configuration, name, query, identify=identify)
        if not dry_run and done.studies:
            ask(f"Fetch {_many(done)} from {words.plain(name)}?")
    if not dry_run:
        with bar(console(stderr=True), "fetching") as advance:
            done = fetch_studies(
                configuration,
                name,
                query,
                move=move,
                identify=identify,
                told=lambda came, of: advance(came, max(came, of or 0)),
            )
    if as_json:
        print_answer(done, node=configuration.plan.node.name)
    else:
        _report(done)
    if not all(one.whole for one in done.studies) or done.not_indexed:
        raise Exit(1)


def _query(study_date: str, equal: dict[str, str]) -> StudyQuery:
    try:
        days = choose(study_date=study_date)
    except RequestError as error:
        raise click.BadParameter(str(error), param_hint="--study-date") from error
    dates = {"study_date_from": days.study_date_from, "study_date_to": days.study_date_to}
    return StudyQuery(**dates, **{key: value.strip() for key, value in equal.items()})


def _many(done: Fetched) -> str:
    images = [one.images for one in done.studies]
    text = words.many(len(images), "study", "studies")
    return text if None in images else f"{text} ({words.many(sum(one or 0 for one in images), 'image')})"


def _report(done: Fetched) -> None:
    out = console()
    for one in done.studies:
        style = "" if done.dry_run or one.whole else "bad"
        out.print(_line(one, dry_run=done.dry_run), style=style, soft_wrap=True)
    if done.dry_run:
        out.print(f"{_many(done)} would be fetched.")
        return
    stored = words.many(sum(one.stored for one in done.studies), "image")
    out.print(f"{stored} of {words.many(len(done.studies), 'study', 'studies')} fetched.")
    if done.not_indexed:
        what = words.many(done.not_indexed, "image is", "images are")
        out.print(f"{what} safe in the spool; the node's next start takes them into the index.", style="bad")
    if done.studies and not done.node_runs:
        out.print("The node is not running; they go out when it is started (mapdr run).", style="warn")


def _line(one: FetchedStudy, *, dry_run: bool) -> str:
    shown = [one.study_instance_uid, ",".join(one.modalities)]
    shown += [value for value in (one.study_date, one.accession_number, one.patient_id) if value]
    if dry_run:
        shown.append("" if one.images is None else words.many(one.images, "image"))
    else:
        shown.append(f"{words.many(one.stored, 'image')} came")
        shown += [f"{one.failed} failed"] if one.failed else []
        shown += [f"{one.missing} are missing"] if one.missing else []
        shown += [one.comment] if one.comment else []
    return "  ".join(words.plain(each) for each in shown if each)
