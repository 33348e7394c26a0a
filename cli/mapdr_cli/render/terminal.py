"""What the terminal can show: streams that never fail to encode, consoles, and two sets of glyphs."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.theme import Theme

THEME = Theme(
    {
        "good": "green",
        "busy": "cyan",
        "warn": "yellow",
        "bad": "bold red",
        "faint": "bright_black",
        "name": "bold",
        "head": "bold cyan",
    }
)


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that a drawing uses beyond letters and digits."""

    dot: str
    up: str
    down: str
    to: str
    bar: str
    more: str
    bars: str
    cross: str
    check: str
    here: str
    rule: str
    ring: str
    block: str


UNICODE = Glyphs("●", "▲", "▼", "→", "·", "…", " ▁▂▃▄▅▆▇█", "✗", "✓", "▸", "─", "○", "■")
ASCII = Glyphs("*", "^", "v", "->", "|", "...", " .:-=+*#@", "x", "ok", ">", "-", "o", "#")


def glyphs(console: Console) -> Glyphs:
    """The glyphs that this console's encoding and font can show."""
    return ASCII if console.options.ascii_only or console.legacy_windows else UNICODE


def prepare_streams() -> None:
    """Let no character that the code page lacks end the program: it is shown as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def waiting(out: Console, text: str, *, plain: bool) -> Iterator[None]:
    """Say what takes a while within the block: in place on a terminal, as a line where that is `plain`."""
    if plain:
        out.print(text, soft_wrap=True)
        yield
    else:
        with out.status(text, spinner="line"):  # of ASCII: every terminal can show it
            yield


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or standard error. Text is never taken for markup."""
    return Console(theme=THEME, stderr=stderr, highlight=False, markup=False, emoji=False)
