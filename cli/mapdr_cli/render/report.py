"""The report of a period for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.counts import ALL_OF_THEM
from mapdr.operate.report import Report, ReportLine, lines, title
from mapdr_cli.render.tables import Column, listing, number, short_name
from mapdr_cli.render.terminal import Glyphs


def drawing(told: Report, glyphs: Glyphs) -> RenderableType:
    """The whole report: what came, then a table for each destination, with what failed below it."""
    heading = Text.assemble((f"{title(told)}  ", "head"), (words.plain(told.node), "name"))
    parts: list[RenderableType] = [heading]
    if not told.over:
        parts.append(Text("The period is not over: these are the figures so far.", "warn"))
    everything = lines(told)
    parts += [Text(), Text("Received", "head"), _table([one for one in everything if not one.destination])]
    for destination in told.destinations:
        own = [one for one in everything if one.destination == destination.name]
        parts += [Text(), Text(f"{glyphs.to} {short_name(destination.name)}", "head"), _table(own)]
        parts += _failures(own[:1])
    if not told.destinations:
        parts += [Text(), Text("Nothing was delivered, and nothing failed.")]
    return Group(*parts)


def _table(rows: Sequence[ReportLine]) -> RenderableType:
    columns = [
        Column("source", lambda row: row.source),
        Column("modality", lambda row: row.modality),
        Column("studies", number("studies"), right=True),
        Column("images", number("images"), right=True),
        Column("received", lambda row: words.size(row.bytes_received), right=True),
    ]
    if rows and rows[0].destination:
        columns += [
            Column("sent", lambda row: words.size(row.bytes_sent), right=True),
            Column("saved", _saved, right=True),
            Column("median", lambda row: words.lasted(row.median_seconds), right=True),
            Column("p95", lambda row: words.lasted(row.p95_seconds), right=True),
        ]
        columns[4] = Column("came as", columns[4].text, right=True)
    # One source of one modality is the whole: it is said once.
    parts = [row for row in rows if row.source != ALL_OF_THEM]
    return listing(parts if len(parts) == 1 else rows, columns)


def _saved(row: ReportLine) -> str:
    if not row.bytes_received or row.bytes_saved is None:
        return "-"
    return f"{row.bytes_saved / row.bytes_received:.0%}"


def _failures(whole: Iterable[ReportLine]) -> Iterable[Text]:
    """What failed at a destination, by reason."""
    for row in whole:
        for each in row.failures:
            parked = f", {words.many(each.parked, 'image')} parked" if each.parked else ""
            yield Text(f"failed: {each.reason}, {words.many(each.attempts, 'attempt')}{parked}", "warn")
