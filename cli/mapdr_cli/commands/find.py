"""`mapdr find`: where is this patient's study, and what became of it?"""

from __future__ import annotations

from pathlib import Path

import click

from mapdr.operate.selection import Selection
from mapdr.operate.studies import Study, studies, troubles
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import (
    complete_study,
    condition,
    config_option,
    csv_option,
    identify_option,
    json_option,
    print_answer,
    print_csv,
)
from mapdr_cli.render.studies import found_study
from mapdr_cli.render.terminal import console


@click.command()
@condition("--patient", "patient_id", metavar="ID", help="By its patient ID, whole.")
@condition("--accession", "accession_number", metavar="NUMBER", help="By its accession number.")
@condition(
    "--study",
    "study_instance_uid",
    metavar="UID",
    shell_complete=complete_study,
    help="By its Study Instance UID.",
)
@condition("--uid", "sop_instance_uid", metavar="UID", help="By an image's SOP Instance UID.")
@click.argument("bare", metavar="", nargs=-1)
@identify_option
@config_option
@json_option
@csv_option
def find(
    *, config: Path, identify: bool, as_json: bool, as_csv: bool, bare: tuple[str, ...], **by: str
) -> None:
    """Find studies: what came, who sent it, and for each destination what it has, what waits, and why.

    Values are compared whole, as they were received. Nothing found is no failure: the list is empty.
    """
    if bare:
        raise click.UsageError("write --uid, --study, --patient or --accession before what is to be found")
    chosen = Selection(**by)  # type: ignore[arg-type]
    if chosen == Selection():
        raise click.UsageError("say what to find: --patient, --accession, --study or --uid")
    with looking(config) as opened:
        found = studies(opened, chosen, identify=identify)
        why = {} if as_json or as_csv else troubles(opened, found)
    if as_json:
        print_answer({"studies": found}, node=opened.plan.node.name)
        return
    if as_csv:
        print_csv(found, Study)
        return
    out = console()
    if not found:
        out.print("Nothing was found.")
    for study in found:
        for line in found_study(study, why):
            out.print(line, soft_wrap=True)
