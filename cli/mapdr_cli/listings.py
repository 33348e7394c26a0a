"""`mapdr studies` and `mapdr deliveries`: what came, and what became of it at each destination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from pydicom.datadict import keyword_for_tag
from rich.text import Text

from mapdr.store.overview import Overview, StudyRow
from mapdr.store.selection import Selection
from mapdr.store.verbs import DeliveryRow
from mapdr_cli import tables, words
from mapdr_cli.access import access
from mapdr_cli.options import config_option, json_option, print_json, selection_options
from mapdr_cli.tables import Column, field, number
from mapdr_cli.terminal import console

SHOWN = 50
"""How many rows a listing shows unless it is asked for more."""

IDENTIFY = click.option(
    "--identify", is_flag=True, help="Show accession number, patient ID and study date as well."
)


@click.command(short_help="List studies and who has them.")
@selection_options
@IDENTIFY
@config_option
@json_option
def studies(chosen: Selection, identify: bool, config: Path, as_json: bool) -> None:
    """List studies, the last received first: images, and how many each destination has confirmed.

    Studies are shown whole, also when only some of their images are selected. Identifying values are shown
    only with --identify.
    """
    with access(config) as opened:
        store = opened.index()
        found = Overview(store.database, store.words).studies(_limited(chosen))
    rows = [study_row(study, identify) for study in found]
    if as_json:
        print_json({"studies": rows})
        return
    _show(rows, _IDENTIFIED if identify else _STUDY_COLUMNS, "study", chosen)


@click.command(short_help="List what became of each image.")
@selection_options
@IDENTIFY
@click.option(
    "--attempts", is_flag=True, help="With --json: every attempt at each delivery, not the last alone."
)
@config_option
@json_option
def deliveries(chosen: Selection, identify: bool, attempts: bool, config: Path, as_json: bool) -> None:
    """List deliveries, the newest first: one line for each image, destination and batch.

    A delivery ends as delivered only by the receiver's own final status, which is shown; a parked one says
    why.
    """
    with access(config) as opened:
        store = opened.index()
        rows = [delivery_row(row, identify) for row in store.ledger.select(_limited(chosen))]
        if attempts:
            for row in rows:
                row["attempts_made"] = [asdict(one) for one in store.ledger.attempts(row["id"])]
    if as_json:
        print_json({"deliveries": rows})
        return
    _show(rows, _DELIVERY_COLUMNS, "delivery", chosen)


def study_row(study: StudyRow, identify: bool) -> dict[str, Any]:
    """A study as plain values; identifying ones only on request."""
    row: dict[str, Any] = {
        "study_instance_uid": study.study_instance_uid,
        "modalities": study.modalities,
        "images": study.images,
        "series": study.series,
        "bytes": study.bytes,
        "unrouted": study.unrouted,
        "first_at": study.first_at,
        "last_at": study.last_at,
        "destinations": study.destinations,
    }
    if identify:
        row["study_date"] = study.study_date
        row["tags"] = {_keyword(path): value for path, value in sorted(study.tags.items())}
    return row


def delivery_row(row: DeliveryRow, identify: bool) -> dict[str, Any]:
    """A delivery as plain values; the study date only on request."""
    values = asdict(row)
    last = values.pop("last")
    if not identify:
        del values["study_date"]
    return {
        **values,
        "tries": last["number"] if last else 0,
        "status": last["status"] if last else None,
        "treatment": last["treatment"] if last else "",
        "transfer_syntax_uid": last["transfer_syntax_uid"] if last else "",
        "sent_sop_instance_uid": last["sop_instance_uid"] if last else "",
        "bytes": last["bytes"] if last else None,
        "milliseconds": last["milliseconds"] if last else None,
        "last_comment": last["comment"] if last else "",
    }


def _keyword(path: tuple[int, ...]) -> str:
    return ".".join(keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in path)


def _limited(chosen: Selection) -> Selection:
    return chosen if chosen.limit is not None else replace(chosen, limit=SHOWN)


def _show(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], noun: str, chosen: Selection) -> None:
    out = console()
    more = {"study": "studies", "delivery": "deliveries"}[noun]
    if not rows:
        out.print(f"No {noun} is chosen.")
        return
    out.print(tables.listing(rows, columns))
    if chosen.limit is None and len(rows) == SHOWN:
        out.print(f"The newest {SHOWN} {more}; --limit shows more.", style="faint")


def _short(text: str) -> str:
    """The end of a UID: enough to tell two apart, and what differs."""
    return text if len(text) <= 16 else f"..{words.plain(text[-14:])}"


def _confirmed(row: Mapping[str, Any]) -> Text:
    """For each destination how many images it has, of how many it is owed."""
    text = Text()
    for name, states in sorted(row["destinations"].items()):
        have, owed = states.get("delivered", 0), sum(states.values())
        style = "bad" if states.get("parked") else "good" if have == owed else "warn"
        text.append("  " if text else "")
        text.append(f"{words.plain(name)} {have}/{owed}", style)
        if states.get("parked"):
            text.append(f" ({states['parked']} parked)", style)
    if row["unrouted"]:
        text.append("  " if text else "")
        text.append(f"{row['unrouted']} unrouted", "warn")
    return text


def _answer(row: Mapping[str, Any]) -> str:
    """The receiver's own status, or why there is none."""
    parts = [] if row["status"] is None else [f"0x{row['status']:04X}"]
    if row["reason"]:
        parts.append(row["reason"])
    comment = row["comment"] or row["last_comment"]
    return words.plain(
        ": ".join([" ".join(parts), comment] if parts and comment else parts or [comment]) or "-"
    )


_STUDY_COLUMNS = (
    Column("last image", lambda row: words.day_and_clock(row["last_at"])),
    Column("study", lambda row: _short(row["study_instance_uid"])),
    Column("modality", lambda row: words.plain("+".join(row["modalities"]))),
    Column("images", number("images"), right=True),
    Column("size", lambda row: words.size(row["bytes"]), right=True),
    Column("confirmed", _confirmed, fold=True),
)
_IDENTIFIED = (
    Column("study date", field("study_date")),
    Column("accession", lambda row: words.plain(row["tags"].get("AccessionNumber") or "-")),
    Column("patient", lambda row: words.plain(row["tags"].get("PatientID") or "-")),
    *_STUDY_COLUMNS[2:4],
    _STUDY_COLUMNS[5],
)
_DELIVERY_COLUMNS = (
    Column("received", lambda row: words.day_and_clock(row["received_at"])),
    Column("to", field("destination")),
    Column("type", field("modality")),
    Column("state", tables.state),
    Column("tries", number("tries"), right=True),
    Column("done as", field("treatment")),
    Column("size", lambda row: words.size(row["bytes"]), right=True),
    Column("answer", _answer, fold=True),
)
