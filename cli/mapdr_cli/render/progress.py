"""A bar for what takes a while: how far it is, how fast, and how long it will take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int, int], None]
"""Told how many are done, and of how many."""


@contextmanager
def bar(out: Console, text: str) -> Iterator[Advance]:
    """A bar on a terminal while the block runs; elsewhere nothing is drawn."""
    if not out.is_terminal:
        yield lambda done, of: None
        return
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
