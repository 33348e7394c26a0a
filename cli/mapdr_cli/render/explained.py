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
WIDE = 120
"""Columns from which on a table of changes has each element's number too."""


def drawing(told: Explanation, glyphs: Glyphs, width: int) -> RenderableType:
    """What the rules would do to a file, in so many columns."""
    head = Text.assemble((words.plain(told.file), "name"), f"\n{told.sop_class}\n{told.transfer_syntax}")
    if told.assumed:
        head.append(f"\ntext is read as {words.plain(told.character_set)}, as the receiver assumes")
    head.append(f"\n{words.size(told.bytes)}\n")
    parts: list[RenderableType] = [head, Text("Rules", "head"), _rule_table(told.rules, glyphs)]
    if not told.deliveries:
        parts.append(Text("\nNo rule sends it anywhere: it would be kept and shown as unrouted.", "warn"))
    for delivery in told.deliveries:
        parts.append(_delivery(delivery, told.bytes, glyphs, width))
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


def _delivery(delivery: WouldDeliver, size: int, glyphs: Glyphs, width: int) -> RenderableType:
    title = Text(f"\n{glyphs.to} {words.plain(delivery.destination)}", "head")
    if delivery.priority != "routine":
        title.append(f" ({delivery.priority})")
    title.append(f", by the rule {words.plain(delivery.rule)}", "faint")
    edits = [Text(words.plain(each), "faint") for each in delivery.edits]
    if delivery.error:
        return Group(title, *edits, Text(f"would be parked: {words.plain(delivery.error)}", "bad"))
    facts = f"{delivery.treatment}: {words.size(size)} {glyphs.to} {words.size(delivery.bytes)}"
    if delivery.bytes < size:
        facts += f" ({size / delivery.bytes:.1f}:1 in all)"
    lines: list[RenderableType] = [title, *edits, Text(f"{facts}, {delivery.transfer_syntax}")]
    if delivery.note:
        lines.append(Text(words.plain(delivery.note), "warn"))
    if delivery.quality:
        lines.append(Text(_quality(delivery.quality)))
    if delivery.compression and delivery.compression.words:
        lines.append(Text(f"{delivery.compression.course}, pixels alone: {delivery.compression.words}"))
    if delivery.unshown:
        lines.append(Text(f"what changes cannot be shown: {words.plain(delivery.unshown)}", "warn"))
    elif delivery.changes:
        lines.append(_change_table(delivery.changes, width))
        lines.append(Text(f"{words.many(delivery.kept, 'element')} kept", "faint"))
    else:
        lines.append(Text("no element changes", "faint"))
    return Group(*lines)


def _quality(measured: Quality) -> str:
    if not measured.max_error:
        return "pixels: equal"
    psnr = "" if measured.psnr is None else f", PSNR {measured.psnr:.1f} dB"
    return f"pixels: at most {measured.max_error} off{psnr}"


def _change_table(rows: Sequence[ElementChange], width: int) -> Table:
    """Each element that differs, with who did it; its number where there is room, values if they are told."""
    is_wide = width >= WIDE
    are_told = any(row.before is not None for row in rows)
    table = Table(box=None, pad_edge=False, header_style="faint", expand=is_wide)
    if is_wide:
        table.add_column("tag", no_wrap=True)
    table.add_column("element", overflow="fold", ratio=3)
    table.add_column("change", no_wrap=True)
    if are_told:
        for title in ("before", "after"):
            table.add_column(title, overflow="fold", ratio=2)
    table.add_column("by", overflow="fold", ratio=3)
    for row in rows:
        values = [_short(row.before or ""), _short(row.after or "")] if are_told else []
        by = words.plain("; ".join(row.by))
        table.add_row(*([row.tag] if is_wide else []), words.plain(row.path), row.action, *values, by)
    return table


def _short(value: str) -> str:
    value = words.plain(value)
    return value if len(value) <= SHOWN else value[: SHOWN - 3] + "..."
