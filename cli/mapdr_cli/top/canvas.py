"""A terminal as lines: only those that changed are written, so nothing moves that did not change."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.segment import Segment
from rich.text import Text

Line = list[Segment]


class Canvas:
    """The whole screen of a console, which comes back as it was where the terminal can do that."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: list[Text] = []
        self._size = (0, 0)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Have the screen while the block runs."""
        console = self._console
        alternate = console.set_alt_screen(True)
        console.show_cursor(False)
        try:
            console.clear()
            yield
        finally:
            console.show_cursor(True)
            if not (alternate and console.set_alt_screen(False)):  # an old console of Windows: it cannot
                self._shown = []  # even clear itself by these means
                self.draw([])

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines of the terminal now, whatever COLUMNS and LINES say: those follow no resize."""
        try:
            return os.get_terminal_size(self._console.file.fileno())
        except (OSError, ValueError):  # it is no terminal
            return self._console.size

    def draw(self, lines: Sequence[Text]) -> int:
        """Show the lines, from the top; how many had to be written."""
        width, height = self.size
        if (width, height) != self._size:
            self._console.clear()
            self._shown, self._size = [], (width, height)
        wanted = [*lines, *[Text()] * (height - len(lines))][:height]
        # The last place of the screen stays free: writing it would scroll some terminals.
        changed = {
            number: self._line(line, width - (number == height - 1))
            for number, line in enumerate(wanted)
            if number >= len(self._shown) or not _same(line, self._shown[number])
        }
        if changed:
            self._console.print(_Changed(changed), end="", soft_wrap=True)
            self._console.file.flush()
        self._shown = wanted
        return len(changed)

    def _line(self, text: Text, width: int) -> Line:
        text = text.copy()
        text.end = ""
        segments = list(text.render(self._console))
        return Segment.adjust_line_length(segments, width)


def _same(one: Text, other: Text) -> bool:
    return one == other and one.style == other.style


class _Changed:
    """Lines of a screen by their number."""

    def __init__(self, lines: dict[int, Line]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, line in self._lines.items():
            yield Control.move_to(0, number)
            yield from line
        yield Control.move_to(0, 0)
