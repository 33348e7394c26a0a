"""How each state is shown: a shape, its word and a colour, so that none of the three is needed alone."""

from __future__ import annotations

from rich.text import Text

from mapdr.operate import words
from mapdr_cli.render.terminal import Glyphs

_SHAPES = {
    # of a node
    "running": ("dot", "good"),
    "draining": ("ring", "warn"),
    "stopped": ("block", "bad"),
    "silent": ("down", "bad"),
    "unknown": ("down", "bad"),
    # of a destination
    "sending": ("dot", "good"),
    "idle": ("dot", "good"),
    "untried": ("ring", ""),
    "waiting": ("ring", "warn"),
    "window": ("ring", "warn"),
    "held": ("block", "warn"),
    "down": ("down", "bad"),
    # of a delivery
    "delivered": ("check", "good"),
    "pending": ("ring", ""),
    "leased": ("dot", "busy"),
    "parked": ("cross", "bad"),
    "superseded": ("bar", "faint"),
    "dismissed": ("bar", "faint"),
    "unrouted": ("up", "warn"),
}
"""The field of `Glyphs` and the style of each state."""

LEVEL_STYLE = {"good": "good", "info": "", "warn": "warn", "bad": "bad"}


def state(word: str, glyphs: Glyphs, *, told: str = "") -> Text:
    """A state as shape, word and colour; `told` is said in place of its word."""
    shape, style = _SHAPES.get(word, ("bar", "warn"))
    return Text(f"{getattr(glyphs, shape)} {words.plain(told or word)}", style)


def mark(word: str, glyphs: Glyphs) -> Text:
    """The shape alone, for where the word stands nearby."""
    shape, style = _SHAPES.get(word, ("bar", "warn"))
    return Text(getattr(glyphs, shape), style)


def style_of(word: str) -> str:
    """The style of a state."""
    return _SHAPES.get(word, ("", "warn"))[1]
