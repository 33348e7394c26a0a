"""The dashboard, again and again, until it is done: on a terminal in place, elsewhere as plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.brief import state_line
from mapdr.operate.model import NodeState
from mapdr_cli.render.dashboard import dashboard, overview
from mapdr_cli.render.terminal import glyphs

Gather = Callable[[], NodeState]
Rest = Callable[[float], object]
More = Callable[[], Sequence[str]]

PAUSE = 0.5
"""Seconds between two drawings: quick enough to see, slow enough to cost nothing."""

REMIND = 60.0
"""Seconds between two lines that say the same of a node that does not run."""


def follow(
    console: Console,
    gather: Gather,
    done: Callable[[], bool],
    *,
    pause: float = PAUSE,
    rest: Rest = time.sleep,
    more: More = tuple,
) -> None:
    """Draw what `gather` says on the whole screen until `done`; the screen comes back as it was.

    `more` are lines for below the dashboard, and as many lines less for it.
    `rest` waits for so many seconds, or for less.
    """
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while not done():
            lines = [Text(each, no_wrap=True, overflow="crop") for each in more()]
            room = console.height - 1 - len(lines)
            drawn = overview(gather(), width=console.width, height=room, glyphs=glyphs(console))
            below = [Text()] * (room - len(drawn))
            live.update(Group(*drawn, *below, *lines), refresh=True)
            rest(pause)


def draw(console: Console, state: NodeState, height: int | None = None) -> Any:
    """The dashboard for this console's size, or for another height."""
    # The last line stays free: writing it would scroll some terminals.
    return dashboard(state, width=console.width, height=height or console.height - 1, glyphs=glyphs(console))


def follow_plain(
    console: Console,
    gather: Gather,
    done: Callable[[], bool],
    *,
    pause: float = 1.0,
    rest: Rest = time.sleep,
    more: More = tuple,
) -> None:
    """A line every `pause` seconds until `done`, as long as something changes; for logs and scripts.

    What `more` says comes behind it, on the same line.
    That a node does not run is said again every minute.
    """
    last, said_at = "", 0.0
    while not done():
        state = gather()
        text = "; ".join((state_line(state), *(" ".join(each.split()) for each in more())))
        again = state.node.state != "running" and state.at - said_at >= REMIND
        if text != last or again:
            console.print(f"{words.clock(state.at)} {text}", soft_wrap=True)
            last, said_at = text, state.at
        rest(pause)
