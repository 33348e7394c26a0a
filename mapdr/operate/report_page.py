"""The report of a period as one HTML page: a file that asks for no other, to be sent, read and printed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import date
from html import escape

import mapdr
from mapdr.operate import words
from mapdr.operate.model import Counted
from mapdr.operate.plots import bars
from mapdr.operate.report import (
    MONTHS,
    Arrived,
    Reached,
    Reason,
    Report,
    ReportedDestination,
    saved,
    title,
)
from mapdr.operate.waits import REASONS

MOST_BARS = 62
"""Days that are drawn as bars of their own; of a longer period the months are."""

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--ink:#14181f;--dim:#5b6472;--line:#dfe3e9;
--bar:#1c5fd4;--warn:#8a5000}
@media (prefers-color-scheme:dark){:root{--bg:#0f1216;--ink:#e8ebf0;--dim:#9aa4b2;--line:#2b323c;
--bar:#7aa7ff;--warn:#f0b357}}
@media print{:root{color-scheme:light;--bg:#fff;--ink:#000;--dim:#444;--line:#ccc;--bar:#1c5fd4;
--warn:#8a5000}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1000px;margin:0 auto;padding:32px 24px 48px}
header{border-bottom:2px solid var(--ink);padding-bottom:12px;margin-bottom:24px}
header p{margin:0;color:var(--dim)}
h1{font-size:28px;line-height:1.2;margin:0 0 4px}h2{font-size:20px;margin:0 0 12px}
section{margin:0 0 36px;padding-top:20px;border-top:1px solid var(--line)}section.first{border:0;padding:0}
h2 small{font-weight:400;color:var(--dim);font-size:14px}
dl{display:grid;grid-template-columns:repeat(4,1fr);gap:16px;margin:0 0 20px}
dt{color:var(--dim);font-size:13px}dd{margin:0}dd strong{display:block;font-size:26px;line-height:1.2}
dd span{color:var(--dim);font-size:13px}
.scroll{overflow-x:auto;margin:0 0 20px;
background:linear-gradient(to left,var(--bg) 40%,transparent) 100% 0/40px 100% no-repeat local,
linear-gradient(to left,var(--line),transparent) 100% 0/16px 100% no-repeat scroll}
.scroll:focus-visible,summary:focus-visible{outline:2px solid var(--bar);outline-offset:2px}
table{width:100%;border-collapse:collapse;font-size:14px}
caption{text-align:left;font-weight:600;padding-bottom:4px}
th,td{text-align:right;padding:5px 0 5px 14px;border-top:1px solid var(--line);white-space:nowrap}
thead th{border-top:0;color:var(--dim);font-weight:500}th{font-weight:400}
th:first-child,td:first-child{padding-left:0}th.text,td.text,tbody th{text-align:left}
th small{display:block;color:var(--dim);font-size:13px;white-space:normal}
tr.all th,tr.all td{font-weight:600}
.warn{color:var(--warn)}.dim{color:var(--dim)}
figure{margin:0 0 20px}figcaption{font-weight:600;margin-bottom:6px}
.plot{display:grid;grid-template-columns:auto 1fr;column-gap:8px}
.plot>svg{display:block;width:100%;height:150px;margin:9px 0}
.y{display:flex;flex-direction:column;justify-content:space-between;text-align:right;color:var(--dim);font-size:12px;
line-height:18px}
.x{grid-column:2}.x svg{display:block;overflow:visible}
.x text{fill:var(--dim);font-size:12px;text-anchor:middle}
rect{fill:var(--bar)}.grid{stroke:var(--line);vector-effect:non-scaling-stroke;fill:none}
details{margin-top:6px}summary{color:var(--dim);font-size:13px;cursor:pointer}
details table{max-width:320px;margin-top:6px}
footer{border-top:1px solid var(--line);padding-top:12px;color:var(--dim);font-size:13px}
footer p{margin:0 0 6px}
@media (max-width:640px){main{padding:20px 16px 32px}dl{grid-template-columns:repeat(2,1fr)}}
@media print{main{max-width:none;padding:0}details{display:none}.scroll{overflow:visible}
section{break-inside:auto}figure,dl,tr,h2{break-inside:avoid}h2{break-after:avoid}body{font-size:12px}
th,td{padding:3px 0 3px 10px}table{font-size:11px}@page{margin:16mm}}
"""

_NOTHING = "\N{EN DASH}"

HEAD = ("source", "modality", "studies", "images")


def page(told: Report) -> str:
    """The report as HTML."""
    heading = f"Image transfer report, {title(told)}"
    sections = [_received(told), *(_destination(told, one) for one in told.destinations)]
    if not told.destinations:
        sections.append('<section class="first"><p>Nothing was delivered, and nothing failed.</p></section>')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(heading)} · {escape(words.plain(told.node))}</title><style>{STYLE}</style></head>\n"
        f"<body><main><header><h1>{escape(heading)}</h1>"
        f"<p>{escape(words.plain(told.node))} · {told.first} to {told.last}{_so_far(told)}</p>"
        "</header>\n" + "\n".join(sections) + f"\n{_notes()}</main></body></html>\n"
    )


def _so_far(told: Report) -> str:
    return "" if told.over else '<br><strong class="warn">The period is not over: figures so far.</strong>'


def _received(told: Report) -> str:
    whole = told.received
    figures = (
        ("Studies", f"{whole.studies:,}", ""),
        ("Images", f"{whole.images:,}", _beside(whole)),
        ("Data", words.size(whole.bytes), "as received"),
    )
    rows = [(one.source, one.modality, *_arrived(one.arrived)) for one in told.received_from]
    table = _table("Received, by source and modality", (*HEAD, "data"), rows, ("All", "", *_arrived(whole)))
    plots = _by_day(told, "Images received", told.by_day.received)
    if any(told.by_hour.received):
        hours = [f"{hour:02}:00" for hour in range(24)]
        plots += bars("Images received, by hour of the day", "images", hours, told.by_hour.received)
    return f'<section class="first"><h2>Received</h2>{_large(figures)}{plots}{table}</section>'


def _destination(told: Report, one: ReportedDestination) -> str:
    whole = one.total
    attempts = sum(each.attempts for each in whole.failures)
    parked = sum(each.parked for each in whole.failures)
    figures = (
        ("Studies", f"{whole.studies:,}", ""),
        ("Images", f"{whole.images:,}", _beside(whole)),
        ("Data sent", words.size(whole.bytes_sent), _saving(whole)),
        ("Median time to delivery", words.lasted(whole.median_seconds), _p95(whole)),
    )
    rows = [(each.source, each.modality, *_reached(each.reached)) for each in one.sources]
    head = (*HEAD, "as received", "sent", "saved", "median", "95 %", "failed")
    table = _table(
        f"Delivered to {one.name}, by source and modality", head, rows, ("All", "", *_reached(whole))
    )
    failed = ""
    if attempts:
        stuck = f", {words.many(parked, 'image')} set aside for a person" if parked else ""
        failed = _failures(whole.failures, f"Attempts that failed: {attempts:,}{stuck}")
    plots = _by_day(told, f"Images delivered to {one.name}", told.by_day.delivered.get(one.name, ()))
    heading = f"<h2><small>Delivered to</small> {escape(one.name)}</h2>"
    return f"<section>{heading}{_large(figures)}{plots}{table}{failed}</section>"


def _large(figures: Iterable[tuple[str, str, str]]) -> str:
    parts = (
        f"<div><dt>{escape(name)}</dt><dd><strong>{escape(figure)}</strong><span>{escape(more)}</span></dd></div>"
        for name, figure, more in figures
    )
    return f"<dl>{''.join(parts)}</dl>"


def _beside(one: Arrived | Reached) -> str:
    """What is counted beside the images."""
    told = [(one.repeats, "repeat"), (one.versions, "other version")]
    parts = [words.many(number, word) for number, word in told if number]
    return f"and {' and '.join(parts)}" if parts else ""


def _saving(one: Reached) -> str:
    share = saved(one)
    if not share:
        return "as received"
    return f"{share:.0%} saved of {words.size(one.bytes_received)}"


def _p95(one: Reached) -> str:
    return f"95 % within {words.lasted(one.p95_seconds)}" if one.p95_seconds is not None else ""


def _arrived(one: Arrived) -> tuple[str, ...]:
    return f"{one.studies:,}", f"{one.images:,}", words.size(one.bytes)


def _reached(one: Reached) -> tuple[str, ...]:
    share = saved(one)
    attempts = sum(each.attempts for each in one.failures)
    return (
        f"{one.studies:,}",
        f"{one.images:,}",
        words.size(one.bytes_received),
        words.size(one.bytes_sent),
        f"{share:.0%}" if share else _NOTHING,
        words.lasted(one.median_seconds) if one.median_seconds is not None else _NOTHING,
        words.lasted(one.p95_seconds) if one.p95_seconds is not None else _NOTHING,
        f"{attempts:,}" if attempts else _NOTHING,
    )


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], whole: Sequence[str]) -> str:
    """A table by source and modality, with the whole below; one that is too wide scrolls, by keyboard too."""
    cells = "".join(f'<th scope="col"{_text(number)}>{escape(name)}</th>' for number, name in enumerate(head))
    body = "".join(_row(row) for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead>"
        f"<tbody>{body}{_row(whole, 'all')}</tbody></table></div>"
    )


def _row(row: Sequence[str], kind: str = "") -> str:
    first, *others = row
    cells = "".join(f"<td{_text(number)}>{escape(text)}</td>" for number, text in enumerate(others, 1))
    return f'<tr{f" class={kind}" if kind else ""}><th scope="row">{escape(first)}</th>{cells}</tr>'


def _text(column: int) -> str:
    """The first two columns are text, the others figures."""
    return ' class="text"' if column < 2 else ""


def _failures(reasons: Sequence[Reason], caption: str) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(one.reason)}<small>{escape(_meaning(one.reason))}</small></th>'
        f"<td>{one.attempts:,}</td><td>{one.parked:,}</td></tr>"
        for one in reasons
    )
    return (
        f'<table><caption>{escape(caption)}</caption><thead><tr><th scope="col" class="text">reason</th>'
        '<th scope="col">attempts</th><th scope="col">set aside</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _meaning(reason: str) -> str:
    """A reason in words, without what becomes of the image now."""
    return REASONS.get(reason, "").partition(";")[0]


def _by_day(told: Report, name: str, counted: Sequence[Counted]) -> str:
    """Images by the day, or by the month where days are too many; nothing where there are none."""
    images = [one.images for one in counted]
    if not any(images) or len(images) == 1:
        return ""
    days = [date.fromisoformat(day) for day in told.by_day.days]
    if len(days) <= MOST_BARS:
        one_month = (days[0].year, days[0].month) == (days[-1].year, days[-1].month)
        labels = [str(day.day) if one_month else f"{day.day} {MONTHS[day.month - 1][:3]}" for day in days]
        return bars(f"{name}, by day", "images", labels, images)
    months: dict[str, int] = {}
    for day, number in zip(days, images, strict=True):
        label = f"{MONTHS[day.month - 1][:3]} {day.year}"
        months[label] = months.get(label, 0) + number
    return bars(f"{name}, by month", "images", list(months), list(months.values()))


def _notes() -> str:
    made = words.day_and_clock(time.time())[:16]
    return (
        "<footer><p>An image counts once a day for each destination, when the receiver itself has confirmed "
        "it; a study on the day of its first image. A study with images of two modalities counts for both, "
        "and once among all. Data counts repeats too. Times are from the arrival of an image at this node to "
        "the receiver's confirmation, of images that it got for the first time, to within 5 %. Days are "
        "local.</p>"
        f"<p>Made by MAPDR {escape(mapdr.__version__)} on {made}. No patient is named in it.</p></footer>"
    )
