"""`mapdr studies` and `mapdr deliveries`: what came, and what became of it at each destination."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from mapdr.dicom.path import format_path
from mapdr.store.index.overview import StudyRow
from mapdr.store.index.selection import UNROUTED, Selection
from mapdr.store.queue.listing import DeliveryRow
from mapdr.wire.status import meaning
from mapdr_cli import tables, words
from mapdr_cli.access import access
from mapdr_cli.options import config_option, json_option, print_json, selection_options
from mapdr_cli.tables import Column, field, number
from mapdr_cli.terminal import console

WIDE = 130
"""From this width on, listings show everything."""

LONGEST_NAME = 16
"""Of a longer destination's name the middle is left out, so that it does not push other columns away."""

SHORT_ANSWER = 46
"""Characters of a receiver's answer on a narrow terminal."""

SHOWN = 50
"""How many rows a listing shows unless it is asked for more."""

IDENTIFY = click.option(
    "--identify", is_flag=True, help="Show accession number, patient ID and study date as well."
)


UIDS = click.option("--uids", is_flag=True, help="Show study UIDs whole, to be copied.")


@click.command(short_help="List studies and who has them.")
@selection_options
@IDENTIFY
@UIDS
@config_option
@json_option
def studies(chosen: Selection, identify: bool, uids: bool, config: Path, as_json: bool) -> None:
    """List studies, the last received first: images, and how many each destination has confirmed.

    Studies are shown whole, also when only some of their images are selected. An image that came or was
    promised several times counts once. Identifying values are shown only with --identify.
    """
    with access(config) as opened:
        store = opened.index(chosen)
        found = store.overview.studies(_limited(chosen))
    rows = [study_row(study, identify) for study in found]
    if as_json:
        print_json({"studies": rows})
        return
    _show(rows, _study_columns(console().width, identify, uids), "study", chosen)


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
    why. A receiver's own words may quote a value of the image: they are shown only with --identify, else
    what its status means. Everything is shown with --json, or on a wide terminal.
    """
    if chosen.state == UNROUTED:
        raise click.UsageError(
            "an image that no rule takes has no delivery; see: mapdr studies --state unrouted"
        )
    with access(config) as opened:
        store = opened.index(chosen)
        rows = [delivery_row(row, identify) for row in store.ledger.select(_limited(chosen))]
        waited_for = {row["destination"] for row in rows if row["state"] == "pending"}
        if waited_for:
            explain_waits(rows, opened.standing(waited_for), time.time())
        if attempts:
            for row in rows:
                made = store.ledger.attempts(row["id"])
                row["attempts_made"] = [
                    {**asdict(one), "comment": comment(one.status, one.comment, identify)} for one in made
                ]
    if as_json:
        print_json({"deliveries": rows})
        return
    _show(rows, _delivery_columns(console().width, identify), "delivery", chosen)


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
        row["tags"] = {format_path(path): value for path, value in sorted(study.tags.items())}
    return row


def delivery_row(row: DeliveryRow, identify: bool) -> dict[str, Any]:
    """A delivery as plain values; identifying ones, and the receiver's own words, only on request."""
    values = asdict(row)
    last, tags = values.pop("last"), values.pop("tags")
    status, said = (last["status"], last["comment"]) if last else (None, "")
    if row.comment == said:
        values["comment"] = comment(status, said, identify)
    if identify:
        values["tags"] = {format_path(path): value for path, value in sorted(tags.items())}
    else:
        del values["study_date"]
    return {
        **values,
        "tries": last["number"] if last else 0,
        "status": status,
        "treatment": last["treatment"] if last else "",
        "transfer_syntax_uid": last["transfer_syntax_uid"] if last else "",
        "sent_sop_instance_uid": last["sop_instance_uid"] if last else "",
        "bytes": last["bytes"] if last else None,
        "milliseconds": last["milliseconds"] if last else None,
        "last_comment": comment(status, said, identify),
    }


def explain_waits(
    rows: Sequence[dict[str, Any]], destinations: Sequence[Mapping[str, Any]], now: float
) -> None:
    """Give pending rows that nothing of their own keeps back the reason why their destination takes none."""
    away = {each["name"]: each for each in destinations if each["state"] in ("down", "held")}
    for row in rows:
        told = away.get(row["destination"])
        if told and row["state"] == "pending" and (not row["reason"] or row["not_before"] <= now):
            row["reason"], row["comment"] = told["reason"] or told["state"], told["why"]


def comment(status: int | None, said: str, identify: bool) -> str:
    """An attempt's comment; with a status it is the receiver's own, and only what that means is shown."""
    if status is None or identify or not said:
        return said
    return meaning(status)


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
        text.append(f"{_name(name)} {have}/{owed}", style)
        if states.get("parked"):
            text.append(f" ({states['parked']} parked)", style)
    if row["unrouted"]:
        text.append("  " if text else "")
        text.append(f"{row['unrouted']} unrouted", "warn")
    return text


def _name(name: object) -> str:
    return words.middle(words.plain(name), LONGEST_NAME)


def _code(row: Mapping[str, Any]) -> str:
    """The receiver's own status, and why there is none or why it is not the end."""
    parts = [] if row["status"] is None else [f"0x{row['status']:04X}"]
    return words.plain(" ".join([*parts, *([row["reason"]] if row["reason"] else [])]))


def _answer(row: Mapping[str, Any]) -> str:
    """Status, reason and words."""
    said = words.plain(row["comment"] or row["last_comment"])
    if row["status"] is not None:
        said = said.removesuffix(f" (0x{row['status']:04X})")
    return ": ".join(part for part in (_code(row), said) if part) or "-"


def _short_answer(identify: bool) -> Callable[[Mapping[str, Any]], str]:
    """The same in about two short lines, beside what identifies or not."""
    room = SHORT_ANSWER * 2 // 3 if identify else SHORT_ANSWER
    return lambda row: words.cut(_answer(row), room)


def _tag(keyword: str) -> Column:
    title = {"AccessionNumber": "accession", "PatientID": "patient"}[keyword]
    return Column(title, lambda row: words.plain(row["tags"].get(keyword) or "-"))


def _patient(row: Mapping[str, Any]) -> str:
    """What identifies a study, in two short lines."""
    tags = {key: words.plain(text) for key, text in row["tags"].items()}
    below = f"{words.cut(tags.get('AccessionNumber') or '-', 16)} {row['study_date'] or '-'}"
    return f"{words.cut(tags.get('PatientID') or '-', 25)}\n{below}"


def _uid(key: str, title: str, whole: bool) -> Column:
    if whole:
        return Column(title, lambda row: words.plain(row[key]), whole=True)
    return Column(title, lambda row: _short(row[key]))


def _moment(key: str, title: str, wide: bool) -> Column:
    if wide:
        return Column(title, lambda row: words.day_and_clock(row[key]))
    return Column(title, lambda row: words.short_clock(row[key], time.time()))


_PATIENT = Column("patient, accession, date", _patient)
_TAGS = (Column("study date", field("study_date")), _tag("AccessionNumber"), _tag("PatientID"))


def _study_columns(width: int, identify: bool, uids: bool) -> list[Column]:
    """What fits: on a narrow terminal a whole UID leaves room for little else."""
    wide = width >= WIDE
    when, uid = _moment("last_at", "last image", wide), _uid("study_instance_uid", "study", uids)
    modalities = Column("modality", lambda row: "+".join(map(words.modality, row["modalities"])))
    images = Column("images", number("images"), right=True)
    confirmed = Column("confirmed", _confirmed, fold=True)
    if uids and not wide:
        return [_TAGS[1] if identify else when, uid]
    size = Column("size", lambda row: words.size(row["bytes"]), right=True)
    if not identify:
        return [when, uid, modalities, images, size, confirmed]
    if wide:
        return [when, *_TAGS, uid, modalities, images, size, confirmed]
    return [when, _PATIENT, uid, confirmed]


def _delivery_columns(width: int, identify: bool) -> list[Column]:
    wide = width >= WIDE
    when = _moment("received_at", "received", wide)
    to = Column("to", lambda row: _name(row["destination"]))
    modality = Column("type", lambda row: words.modality(row["modality"]))
    state = Column("state", tables.state)
    if not wide:
        facts = [_PATIENT] if identify else [when, modality]
        image = Column("image", lambda row: f"..{words.plain(row['sop_instance_uid'][-6:])}")
        return [*facts, image, to, state, Column("answer", _short_answer(identify), fold=True)]
    study = _uid("study_instance_uid", "study", False)
    image = _uid("sop_instance_uid", "image", False)
    tries = Column("tries", number("tries"), right=True)
    done = Column("done as", field("treatment"))
    size = Column("size", lambda row: words.size(row["bytes"]), right=True)
    answer = Column("answer", _answer, fold=True)
    return [when, *(_TAGS if identify else ()), study, image, modality, to, state, tries, done, size, answer]
