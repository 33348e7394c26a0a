"""What the rules would do to a file, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.differences import ElementChange, Quality
from mapdr.operate.explain import AskedRule, Explanation, WouldDeliver
from mapdr_cli.render.terminal import Glyphs

SHOWN = 64
"""Characters of a value; a description can fill a page."""


def drawing(told: Explanation, glyphs: Glyphs) -> RenderableType:
    """What the rules would do to a file."""
    head = Text.assemble((words.plain(told.file), "name"), f"\n{told.sop_class}\n{told.transfer_syntax}")
    head.append(f"\n{words.size(told.bytes)}\n")
    parts: list[RenderableType] = [head, Text("Rules", "head"), _rule_table(told.rules, glyphs)]
    if not told.deliveries:
        parts.append(Text("\nNo rule sends it anywhere: it would be kept and shown as unrouted.", "warn"))
    for delivery in told.deliveries:
        parts.append(_delivery(delivery, told.bytes, glyphs))
    return Group(*parts)


def _rule_table(rules: Sequence[AskedRule], glyphs: Glyphs) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", ratio=1)
    for rule in rules:
        mark, said = Text(glyphs.cross, "faint"), Text(words.plain(rule.failure), "faint")
        if rule.matched:
            mark, said = Text(glyphs.check, "good"), _sends(rule, glyphs)
        elif not rule.reached:
            said = Text("not reached: an earlier rule says stop", "faint")
        table.add_row(mark, Text(words.plain(rule.name), "name"), said)
    return table


def _sends(rule: AskedRule, glyphs: Glyphs) -> Text:
    text = Text("matches")
    if rule.because:
        text.append(f", {_short(', '.join(rule.because))}")
    for name in rule.send_to:
        text.append(f" {glyphs.to} {words.plain(name)}", "good")
        if name in rule.shadowed:
            text.append(" (an earlier rule decides what is done)", "warn")
        elif name in rule.returned:
            text.append(" (not sent: it came from there)", "warn")
    return text


def _delivery(delivery: WouldDeliver, size: int, glyphs: Glyphs) -> RenderableType:
    title = Text(f"\n{glyphs.to} {words.plain(delivery.destination)}", "head")
    if delivery.priority != "routine":
        title.append(f" ({delivery.priority})")
    edits = [Text(f"{number}. {words.plain(each)}", "faint") for number, each in enumerate(delivery.edits, 1)]
    if delivery.error:
        return Group(title, *edits, Text(f"would be parked: {words.plain(delivery.error)}", "bad"))
    facts = f"{delivery.treatment}: {words.size(size)} {glyphs.to} {words.size(delivery.bytes)}"
    if delivery.bytes < size:
        facts += f" (1:{size / delivery.bytes:.1f})"
    lines: list[RenderableType] = [title, *edits, Text(f"{facts}, {delivery.transfer_syntax}")]
    if delivery.note:
        lines.append(Text(words.plain(delivery.note), "warn"))
    if delivery.quality:
        lines.append(Text(_quality(delivery.quality)))
    if delivery.unshown:
        lines.append(Text(f"what changes cannot be shown: {words.plain(delivery.unshown)}", "warn"))
    elif delivery.changes:
        lines.append(_change_table(delivery.changes))
    else:
        lines.append(Text("no element changes", "faint"))
    return Group(*lines)


def _quality(measured: Quality) -> str:
    if not measured.max_error:
        return "pixels: equal"
    psnr = "" if measured.psnr is None else f", PSNR {measured.psnr:.1f} dB"
    return f"pixels: at most {measured.max_error} off{psnr}"


def _change_table(rows: Sequence[ElementChange]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("tag", "name"):
        table.add_column(title, no_wrap=True)
    for title in ("before", "after"):
        table.add_column(title, overflow="fold", ratio=1)
    for row in rows:
        values = (_short(row.before), _short(row.after))
        table.add_row(row.tag, words.plain(row.name), *values)
    return table


def _short(value: str) -> str:
    value = words.plain(value)
    return value if len(value) <= SHOWN else value[: SHOWN - 3] + "..."
