"""The loop of `mapdr top`: draw what changed, wait for a key, let the looker do what takes time."""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from mapdr_cli.render.keys import Keys, keys
from mapdr_cli.render.terminal import Glyphs, glyphs
from mapdr_cli.top.canvas import Canvas
from mapdr_cli.top.found import Found
from mapdr_cli.top.frame import frame, page
from mapdr_cli.top.looker import Answer, Looker
from mapdr_cli.top.place import Action, Notice, Screen
from mapdr_cli.top.press import Quit, answer, asked, press

IDLE = 0.25
"""Seconds between two looks at whether something came; a key ends the wait."""

WAITING = 0.03
"""The same while something that was asked for is under way."""

AT_ONCE = frozenset({"esc", "left", "backspace", "q", "?", "/", "tab", "backtab", *"12345"})
"""Keys that need no rows."""

PATIENCE = 3.0
"""Seconds that the looker has to end."""


class App:
    """One who looks at a node on a terminal.

    `ended` says when the drawing has to end; with `leaves`, the key q ends it as well, and so does an input
    that is gone.
    """

    def __init__(
        self,
        console: Console,
        looker: Looker,
        *,
        leaves: bool = True,
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self._looker = looker
        self._canvas = Canvas(console)
        self._glyphs: Glyphs = glyphs(console)
        self._leaves = leaves
        self._ended = ended
        self._screen = Screen()
        self._asking: set[Action] = set()
        self._ahead: list[str] = []

    def run(self) -> None:
        """Draw until the end. Raises OSError when the terminal is gone, and what ended the looker."""
        self._looker.want(self._screen.place)
        self._looker.start()
        try:
            with keys() as pressed, self._canvas.shown():
                self._until_the_end(pressed)
        finally:
            self._looker.stop(PATIENCE)

    def _until_the_end(self, pressed: Keys) -> None:
        drawn: tuple[object, ...] = ()
        leaves_with_input = self._leaves and not pressed.ended  # there may be none from the beginning
        self._canvas.draw([Text(" MAPDR  looking at the node ...")])
        while not self._ended():
            self._take_answers()
            found = self._looker.found
            found = None if found is None else found.at(self._screen.place)
            if self._looker.failure is not None:
                raise self._looker.failure
            now = (found, self._screen, self._canvas.size)
            if found is not None and now != drawn:
                width, height = self._canvas.size
                self._canvas.draw(frame(found, self._screen, width, height, self._glyphs))
                drawn = now
            key = self._next_key(pressed, found)
            if pressed.ended and leaves_with_input:
                return
            if found is None:
                if key == "q" and self._leaves:
                    return
                self._ahead += [key] if key else []
            elif key and self._press(key, found):
                return

    def _next_key(self, pressed: Keys, found: Found | None) -> str:
        """The next key; what was typed before the rows of a view are there waits for them."""
        waits = found is None or found.query != self._screen.place.query
        if self._ahead and not waits:
            return self._ahead.pop(0)
        key = pressed.within(self._pause(found))
        if not waits or not key or found is None:
            return key
        if key in AT_ONCE or self._screen.typing is not None or self._screen.question is not None:
            self._ahead.clear()
            return key
        self._ahead.append(key)
        return ""

    def _pause(self, found: Found | None) -> float:
        waits = found is None or found.query != self._screen.place.query or self._asking
        return WAITING if waits else IDLE

    def _press(self, key: str, found: Found) -> bool:
        """Do what a key says; whether it was the last one."""
        if self._screen.question is not None:
            self._screen, action = answer(self._screen, key)
            if action is not None:
                self._ask(action, dry_run=False)
            return False
        self._screen, effect = press(self._screen, key, found, page(self._screen, self._canvas.size[1]))
        self._looker.want(self._screen.place)
        if isinstance(effect, Quit):
            if self._leaves:
                return True
            self._screen = replace(
                self._screen, notice=Notice("the node runs here: Ctrl-C drains and ends it")
            )
        elif effect is not None:
            self._ask(effect, dry_run=True)
        return False

    def _ask(self, action: Action, *, dry_run: bool) -> None:
        self._asking.add(action)
        self._screen = replace(self._screen, notice=Notice("counting ..." if dry_run else "under way ..."))
        self._looker.ask(action, dry_run=dry_run)

    def _take_answers(self) -> None:
        while True:
            try:
                told: Answer = self._looker.answers.get_nowait()
            except queue.Empty:
                return
            self._asking.clear()
            if isinstance(told, str):
                self._screen = replace(self._screen, question=None, notice=Notice(told, "bad"))
            elif told.done:
                level = "good" if told.number else "info"
                self._screen = replace(self._screen, notice=Notice(told.text, level))
            elif self._screen.typing is None:
                self._screen = asked(self._screen, told.action, told.number, told.text)
