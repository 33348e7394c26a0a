"""The views of `mapdr top` below their first lines: pure functions from what was found to lines."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.text import Text

from mapdr.kernel.status import code
from mapdr.operate import words
from mapdr.operate.cures import cure
from mapdr.operate.destinations import stuck_first
from mapdr.operate.images import Image
from mapdr.operate.parked import ParkedGroup
from mapdr.operate.studies import Study, confirmed
from mapdr.operate.timeline import Promise, Step, Timeline
from mapdr_cli.render.columns import Column, cut, ends, table
from mapdr_cli.render.dashboard import destination_columns, event_line
from mapdr_cli.render.shapes import mark, style_of
from mapdr_cli.render.shapes import state as state_text
from mapdr_cli.render.terminal import Glyphs
from mapdr_cli.top.found import MOST_IMAGES, MOST_STUDIES, Found, Row
from mapdr_cli.top.place import Place, View
from mapdr_cli.top.press import marked

R = TypeVar("R", bound=Row)

NAME = 16
"""Columns of a destination's name where many stand in a row."""


def body(found: Found, place: Place, width: int, height: int, glyphs: Glyphs) -> list[Text]:
    """The view of a place, at most `height` lines."""
    if found.query != place.query:
        return [Text(" looking ...", "faint")]
    if found.trouble:
        return _wrapped(found.trouble, width, "bad", glyphs.up)[:height]
    return _BODIES[place.view](found, place, width, height, glyphs)[:height]


def _rows(
    rows: Sequence[R],
    columns: Callable[[Sequence[R]], list[Column]],
    found: Found,
    place: Place,
    *,
    width: int,
    height: int,
    glyphs: Glyphs,
) -> list[Text]:
    """Rows in pages, the one with the marked row; `columns` makes those of the rows that are shown."""
    number = len(rows)
    room = max(1, height - 2)
    at = marked(place, found.keys)
    first = max(0, at) // room * room
    shown = rows[first : first + room]
    lines = table(columns(shown), width, glyphs, selected=at - first)
    if number > room:
        lines += [Text()] * (room + 1 - len(lines))
        lines.append(Text(f" {first + 1} to {first + len(shown)} of {number:,}", "faint"))
    return lines


def _destinations(found: Found, place: Place, width: int, height: int, glyphs: Glyphs) -> list[Text]:
    rows = stuck_first(found.state.destinations)
    if not rows:
        return [Text(" no destination is configured", "warn")]
    lines = _rows(
        rows,
        lambda some: destination_columns(some, found.state, width, glyphs),
        found,
        place,
        width=width,
        height=max(4, height - 5),
        glyphs=glyphs,
    )
    row = rows[max(0, marked(place, found.keys))]
    about = [row.comment, row.fault and f"its own program failed: {row.fault}"]
    if row.parked_reasons:
        told = ", ".join(f"{words.plain(key)} {number}" for key, number in sorted(row.parked_reasons.items()))
        about.append(f"parked: {told}")
    if row.uncompressed:
        about.append(f"{words.many(row.uncompressed, 'image')} sent without the compression of the rule")
    said = "; ".join(filter(None, about)) or "nothing is wrong there"
    told = words.plain(f"{row.name}: {said}")
    return [*lines, Text(), *_wrapped(told, width, style_of(row.state), glyphs.here)]


def _studies(found: Found, place: Place, width: int, height: int, glyphs: Glyphs) -> list[Text]:
    rows = [row for row in found.rows if isinstance(row, Study)]
    if not rows:
        return [Text(" no study is chosen: esc takes all, / chooses others", "faint")]
    lines = _rows(
        rows,
        lambda some: _study_columns(some, found, glyphs),
        found,
        place,
        width=width,
        height=height,
        glyphs=glyphs,
    )
    if len(rows) == MOST_STUDIES and lines:
        lines[-1] = cut(
            lines[-1].append(f"; / finds those beyond the first {MOST_STUDIES}", "faint"), width, glyphs
        )
    return lines


def _study_columns(rows: Sequence[Study], found: Found, glyphs: Glyphs) -> list[Column]:
    at = found.state.at
    columns = [
        Column("last image", [words.short_clock(row.last_at, at) for row in rows]),
        Column("modality", ["+".join(map(words.modality, row.modalities)) for row in rows], least=4),
        Column("images", [words.count(row.images) for row in rows], right=True),
    ]
    if found.identify:
        tags = [row.tags or {} for row in rows]
        columns += [
            Column("study date", [row.study_date or "-" for row in rows], rank=3),
            Column("accession", [words.plain(each.get("AccessionNumber", "-")) for each in tags], least=8),
            Column("patient", [words.plain(each.get("PatientID", "-")) for each in tags], least=8),
        ]
    sources = [", ".join(dict.fromkeys(words.plain(one.peer) for one in row.sources)) for row in rows]
    columns.append(Column("from", sources, least=6, rank=2))
    columns.append(Column("size", [words.size(row.bytes) for row in rows], right=True, rank=3))
    columns.append(Column("series", [words.count(row.series) for row in rows], right=True, rank=4))
    columns.append(Column("study", [f"..{row.study_instance_uid[-10:]}" for row in rows], rank=5))
    columns.append(Column("who has it", [_has(row, glyphs) for row in rows], least=40, grows=True))
    return columns


def _has(study: Study, glyphs: Glyphs) -> Text:
    """For each destination a shape, how many images it has, and how many were promised."""
    text = Text()
    # What needs a person comes first: a narrow screen cuts the end.
    told = [(name, confirmed(standings)) for name, standings in study.destinations.items()]
    for name, has in sorted(told, key=lambda one: ({"bad": 0, "warn": 1}.get(one[1].level, 2), one[0])):
        text.append("  " if text else "")
        text.append_text(mark({"bad": "parked", "warn": "pending"}.get(has.level, "delivered"), glyphs))
        text.append(f" {words.middle(words.plain(name), NAME)} {has.delivered}/{has.promised}", has.level)
        if has.parked:
            text.append(f" {has.parked} parked", "bad")
    if study.unrouted:
        text.append("  " if text else "").append_text(mark("unrouted", glyphs))
        text.append(f" {study.unrouted} unrouted", "warn")
    return text


def _images(found: Found, place: Place, width: int, height: int, glyphs: Glyphs) -> list[Text]:
    rows = [row for row in found.rows if isinstance(row, Image)]
    if not rows:
        return [Text(" this study has no images any more", "faint")]
    states = Counter(state for row in rows for state in row.destinations.values())
    states["unrouted"] += sum(row.unrouted for row in rows)
    summed = Text(" ")
    for state, number in states.items():
        if number:
            summed.append_text(state_text(state, glyphs, told=f"{number:,} {state}")).append("   ")
    if len(rows) == MOST_IMAGES:
        summed.append(f"of the newest {MOST_IMAGES} images", "faint")
    lines = _rows(
        rows,
        lambda some: _image_columns(some, found.state.at, glyphs),
        found,
        place,
        width=width,
        height=height - 1,
        glyphs=glyphs,
    )
    return [cut(summed, width, glyphs), *lines]


def _image_columns(rows: Sequence[Image], at: float, glyphs: Glyphs) -> list[Column]:
    return [
        Column("received", [words.short_clock(row.received_at, at) for row in rows]),
        Column("image", [f"..{words.plain(row.sop_instance_uid[-10:])}" for row in rows]),
        Column("type", [words.modality(row.modality) for row in rows]),
        Column("size", [words.size(row.bytes) for row in rows], right=True, rank=2),
        Column("from", [words.plain(row.source.peer) for row in rows], least=6, rank=1),
        Column("came", [row.kind for row in rows], rank=3),
        Column("where it stands", [_stands(row, glyphs) for row in rows], least=40, grows=True),
    ]


def _stands(image: Image, glyphs: Glyphs) -> Text:
    if image.unrouted:
        return state_text("unrouted", glyphs)
    text = Text()
    order = {"parked": 0, "held": 1, "pending": 2, "leased": 3}
    for name, state in sorted(image.destinations.items(), key=lambda one: (order.get(one[1], 9), one[0])):
        text.append("  " if text else "")
        text.append_text(state_text(state, glyphs, told=f"{words.middle(words.plain(name), NAME)} {state}"))
    if image.purged_at is not None:
        text.append("  file purged", "faint")
    return text


def _parked(found: Found, place: Place, width: int, height: int, glyphs: Glyphs) -> list[Text]:
    rows = [row for row in found.rows if isinstance(row, ParkedGroup)]
    if not rows:
        return [state_text("delivered", glyphs, told="nothing is parked")]
    lines = _rows(
        rows,
        lambda some: _group_columns(some, found.state.at, glyphs),
        found,
        place,
        width=width,
        height=max(4, height - 6),
        glyphs=glyphs,
    )
    row = rows[max(0, marked(place, found.keys))]
    said = f"{words.plain(row.reason)}: {row.cure}."
    return [*lines, Text(), *_wrapped(said, width, "", glyphs.here)]


def _group_columns(rows: Sequence[ParkedGroup], at: float, glyphs: Glyphs) -> list[Column]:
    to = [
        ", ".join(f"{words.middle(words.plain(name), NAME)} {number:,}" for name, number in row.to.items())
        for row in rows
    ]
    return [
        Column("reason", [state_text("parked", glyphs, told=row.reason) for row in rows], least=12),
        Column("images", [words.count(row.deliveries) for row in rows], right=True),
        Column("first", [words.short_clock(row.first_at, at) for row in rows], rank=1),
        Column("last", [words.short_clock(row.last_at, at) for row in rows]),
        Column("to", to, least=12, grows=True),
    ]


def _log(found: Found, place: Place, width: int, height: int, glyphs: Glyphs) -> list[Text]:
    if not found.events:
        return [Text(" nothing has happened yet", "faint")]
    at = max(0, marked(place, found.keys))
    room = max(1, height)
    first = at // room * room
    newest = list(reversed(found.events))[first : first + room]
    return [event_line(one, width, glyphs) for one in newest]


def _timeline(found: Found, place: Place, width: int, height: int, glyphs: Glyphs) -> list[Text]:
    told = next((row for row in found.rows if isinstance(row, Timeline)), None)
    if told is None or not told.images:
        return [Text(" this image is not known any more", "faint")]
    lines = [_received(told, number, width, glyphs) for number in range(len(told.images))]
    if not told.promises:
        return [*lines, Text(), state_text("unrouted", glyphs, told="no rule takes it")]
    for promise in told.promises:
        lines += [Text(), *_promised(promise, told.steps, width, glyphs)]
    return lines[min(int(place.cursor or 0), max(0, len(lines) - height)) :]


def _received(told: Timeline, number: int, width: int, glyphs: Glyphs) -> Text:
    image = told.images[number]
    where = f" at {image.source.address}" if image.source.address else ""
    facts = [
        f"from {image.source.peer}{where}",
        words.size(image.bytes),
        *(one.transfer_syntax for one in told.steps if one.kind == "received" and _is_of(one, image)),
        words.modality(image.modality),
        *([image.kind] if image.kind != "first" else []),
    ]
    line = Text.assemble((" received  ", "head"), f"{_moment(image.received_at)}  ", no_wrap=True)
    return cut(line.append(words.plain(", ".join(facts))), width, glyphs)


def _is_of(step: Step, image: Image) -> bool:
    return step.instance == image.instance and bool(step.transfer_syntax)


def _promised(promise: Promise, steps: Sequence[Step], width: int, glyphs: Glyphs) -> list[Text]:
    """What was promised to one destination, by which rule, with which recipe, and every attempt at it."""
    name = words.plain(promise.destination)
    line = Text.assemble((f" {glyphs.to} {name}  ", "name"), no_wrap=True)
    line.append_text(state_text(promise.state, glyphs))
    if promise.reason:
        line.append(f"  {words.plain(promise.reason)}", style_of(promise.state))
    if promise.batch:
        line.append(f"  promised again ({promise.batch})", "faint")
    rules = ", ".join(f'"{words.plain(one)}"' for one in promise.rules) or "a rule that is not kept any more"
    recipe = f" {glyphs.to} ".join(str(one.get("type", "?")) for one in promise.transforms) or "as received"
    lines = [cut(line, width, glyphs), *_wrapped(f"by {rules}: {recipe}", width, "", " ", indent=3)]
    for step in steps:
        if (step.destination, step.batch) == (promise.destination, promise.batch) and step.kind == "attempt":
            lines.append(_attempt(step, width, glyphs))
    settled = [
        step
        for step in steps
        if step.kind == "settled" and (step.destination, step.batch) == (promise.destination, promise.batch)
    ]
    for step in settled:
        line = Text.assemble(f"   {_moment(step.at)}  ", no_wrap=True)
        lines.append(cut(line.append_text(state_text(step.word, glyphs)), width, glyphs))
    if promise.state == "parked":
        lines += _wrapped(f"{cure(promise.reason)}.", width, "warn", " ", indent=3)
    return lines


def _attempt(step: Step, width: int, glyphs: Glyphs) -> Text:
    status = "    " if step.status is None else code(step.status)
    line = Text.assemble(f"   {_moment(step.at)}  ", no_wrap=True)
    style = "good" if step.word == "delivered" else "bad"
    line.append(f"{status}  ", style)
    said = words.plain(step.comment or step.reason or step.word)
    line.append(said.removesuffix(f" ({status})"), style)
    took = "" if step.milliseconds is None else f"{step.milliseconds:,} ms"
    ratio = f"1:{step.ratio:.1f}" if step.ratio is not None and step.ratio >= 1.05 else ""
    size = words.size(step.bytes) if step.bytes else ""
    sent = [words.plain(step.treatment), size, took]
    more = [words.plain(step.treatment), step.transfer_syntax, size, ratio, took]
    for told in (", ".join(filter(None, more)), ", ".join(filter(None, sent)), took):
        if line.cell_len + len(told) < width:
            return ends(line, told, width, glyphs)
    return cut(line, width, glyphs)


def _moment(at: float) -> str:
    return f"{words.clock(at)}.{int(at * 1000) % 1000:03d}"


def _wrapped(text: str, width: int, style: str, glyph: str, *, indent: int = 1) -> list[Text]:
    """A sentence over as many lines as it needs."""
    first = f"{' ' * indent}{glyph} " if glyph.strip() else " " * indent
    told = textwrap.wrap(text, width - len(first)) or [""]
    return [
        Text((first if number == 0 else " " * len(first)) + line, style, no_wrap=True)
        for number, line in enumerate(told)
    ]


_BODIES: dict[View, Callable[[Found, Place, int, int, Glyphs], list[Text]]] = {
    View.DESTINATIONS: _destinations,
    View.STUDIES: _studies,
    View.IMAGES: _images,
    View.TIMELINE: _timeline,
    View.PARKED: _parked,
    View.LOG: _log,
}
