"""What was found out of a destination, line by line as it comes: a shape, a word and a colour for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapdr.kernel.examine import Level, PeerFinding
from mapdr.operate import words
from mapdr_cli.render.terminal import Glyphs, glyphs

STYLES = {Level.GOOD: "good", Level.INFO: "faint", Level.WARN: "warn", Level.BAD: "bad"}

_PART = 13
"""Columns for what was looked at; a plug-in's longer word is cut."""

_FINGERPRINT = re.compile(r"\b([0-9a-f]{32})([0-9a-f]{32})\b")
"""A SHA-256: shown in two halves, for the whole of it does not fit beside the columns of 80."""


class Lines:
    """Prints findings below one another; what was looked at is named once for all that follow."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._part = ""

    def show(self, found: PeerFinding) -> None:
        """Print one finding, with its cure below it."""
        again, self._part = found.part == self._part, found.part
        self._out.print(line(found, glyphs(self._out), again=again))


def line(found: PeerFinding, glyphs: Glyphs, *, again: bool = False) -> Table:
    """One finding; `again`: the one before it is of the same part."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(width=2, no_wrap=True)
    table.add_column(width=4, no_wrap=True)
    table.add_column(width=_PART, no_wrap=True)
    table.add_column(overflow="fold")
    style = STYLES[found.level]
    part = "" if again else words.cut(words.plain(found.part), _PART)
    text = Text(_FINGERPRINT.sub(r"\1 \2", words.plain(found.text)))
    if found.milliseconds is not None and " ms" not in found.text:
        text.append(f"  {found.milliseconds:,.1f} ms", "faint")
    if found.cure:
        text.append(f"\n{glyphs.to} {words.plain(found.cure)}", "name")
    table.add_row(
        Text(_shape(found.level, glyphs), style), Text(found.level, style), Text(part, "head"), text
    )
    return table


def conclusion(name: str, findings: Sequence[PeerFinding], glyphs: Glyphs) -> Text:
    """What all that means for images, in a line."""
    bad, warned = _count(findings, Level.BAD), _count(findings, Level.WARN)
    shown = words.plain(name)
    if bad:
        keeps = "keeps" if bad == 1 else "keep"
        text = f"{words.many(bad, 'finding')} {keeps} images, or some of them, from arriving at {shown}"
        return Text(f"{_shape(Level.BAD, glyphs)} {text}", STYLES[Level.BAD])
    text = f"nothing was found that keeps images from arriving at {shown}"
    if not warned:
        return Text(f"{_shape(Level.GOOD, glyphs)} {text}", STYLES[Level.GOOD])
    text += f"; {words.many(warned, 'thing')} to look at"
    return Text(f"{_shape(Level.WARN, glyphs)} {text}", STYLES[Level.WARN])


def _count(findings: Iterable[PeerFinding], level: Level) -> int:
    return sum(found.level is level for found in findings)


def _shape(level: Level, glyphs: Glyphs) -> str:
    return {
        Level.GOOD: glyphs.check,
        Level.INFO: glyphs.bar,
        Level.WARN: glyphs.up,
        Level.BAD: glyphs.cross,
    }[level]
