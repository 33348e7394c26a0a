"""`mapdr find`: where is this patient's study, and what became of it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from mapdr.dicom.path import format_path
from mapdr.operate.find import FoundStudy
from mapdr.operate.find import find as find_studies
from mapdr.store.index.overview import Standing
from mapdr.store.index.selection import Selection
from mapdr_cli import words
from mapdr_cli.access import access
from mapdr_cli.commands.listings import IDENTIFY
from mapdr_cli.options import config_option, json_option, print_json
from mapdr_cli.render.tables import STATE_STYLE
from mapdr_cli.render.terminal import console


@click.command(short_help="Where is a study, and who has it?")
@click.option("--patient", "patient_id", metavar="ID", default="", help="By its patient ID, whole.")
@click.option(
    "--accession", "accession_number", metavar="NUMBER", default="", help="By its accession number."
)
@click.option("--study", "study_instance_uid", metavar="UID", default="", help="By its Study Instance UID.")
@click.option("--uid", "sop_instance_uid", metavar="UID", default="", help="By an image's SOP Instance UID.")
@IDENTIFY
@config_option
@json_option
def find(config: Path, identify: bool, as_json: bool, **by: str) -> None:
    """Find studies: what came, who sent it, and for each destination what it has, what waits, and why.

    Values are compared whole, as they were received. Nothing found is no failure: the list is empty.
    """
    chosen = Selection(**by)  # type: ignore[arg-type]
    if chosen == Selection():
        raise click.UsageError("say what to find: --patient, --accession, --study or --uid")
    with access(config) as opened:
        found = find_studies(opened.index(), chosen)
    if as_json:
        print_json({"studies": [study_json(study, identify) for study in found]})
        return
    out = console()
    if not found:
        out.print("Nothing was found.")
    for study in found:
        for line in drawn(study, identify):
            out.print(line, soft_wrap=True)


def study_json(study: FoundStudy, identify: bool) -> dict[str, Any]:
    """A found study as plain values; identifying ones only on request."""
    row = asdict(study)
    tags, date = row.pop("tags"), row.pop("study_date")
    if identify:
        row["study_date"] = date
        row["tags"] = {format_path(path): value for path, value in sorted(tags.items())}
    return row


def drawn(study: FoundStudy, identify: bool) -> Iterator[Text]:
    """A found study in a few lines."""
    yield Text(words.plain(study.study_instance_uid), "bold")
    if identify:
        told = [study.study_date, *(value for _, value in sorted(study.tags.items()))]
        yield Text("  " + words.plain(" · ".join(text for text in told if text)))
    what = "+".join(map(words.modality, study.modalities))
    came = words.day_and_clock(study.last_at)
    yield Text(f"  {what} · {words.many(study.images, 'image')} · last one received {came}")
    for source in study.sources:
        yield Text(f"  from {words.plain(source.calling_ae) or '-'} at {words.plain(source.address)}")
    for name, standings in sorted(study.destinations.items()):
        yield Text(f"  to {words.plain(name)}: ").append_text(_said(standings))
    if study.unrouted:
        yield Text(f"  {words.many(study.unrouted, 'image')} that no rule takes", STATE_STYLE["unrouted"])


def _said(standings: list[Standing]) -> Text:
    parts = [
        Text(
            f"{words.count(one.images)} {one.state}{f' ({words.plain(one.reason)})' if one.reason else ''}",
            STATE_STYLE.get(one.state, ""),
        )
        for one in standings
    ]
    return Text(", ").join(parts)
