"""The program while it runs: one window, one sign in the tray, one look at the node every other second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.privacy import in_words
from mapdr.operate.access import LOOKING, access
from mapdr.operate.actions import hold_destinations, release_destinations
from mapdr.operate.glance import Glance, News, glance
from mapdr.operate.view import node_state
from mapdr_desktop.local_page import LocalPage
from mapdr_desktop.menu import Action, entries, title
from mapdr_desktop.opening import Opening
from mapdr_desktop.tray import Act, Tray
from mapdr_desktop.window import BrowserWindow, NoWindow, WebviewWindow, Window

log = logging.getLogger("mapdr.desktop")

LOOK = 2.0
"""Seconds between two looks at the node."""
GOES_ON = "MAPDR goes on here; quit it by its menu."


class Program:
    """One for each user. `make_tray` makes the sign, or None."""

    def __init__(self, opening: Opening, make_tray: Callable[[Act], Tray | None]) -> None:
        self._opening = opening
        self._local = LocalPage(opening)
        self._tray = make_tray(self._act)
        self._window: Window | None = None
        self._begun = False  # the threads have been started
        self._quits = False  # the window is to be closed
        self._ended = False  # the window is closed; the rest ends
        self._news = News()
        self._look_now = threading.Event()
        self._trouble = Trouble(log)
        self._watcher = GuardedThread(self._watch, "watch", goes_on=lambda: not self._ended)

    def run(self) -> None:
        """Show the page until a person quits; then end the node, if this program has started it.

        Raises MapdrError if that does not end.
        """
        try:
            self._show_window()
        finally:
            self._ended = True
            self._look_now.set()
            try:
                self._opening.end()  # first: nothing of a desktop shall keep the node
            finally:
                if self._watcher.is_alive():
                    self._watcher.join(5.0)
                if self._tray is not None:
                    self._tray.stop()
                self._local.stop()

    def obey(self, word: str) -> bool:
        """What another start of the program asks for: `open` or `quit`. Whether that will be done: not by one
        that ends."""
        if self._ended or (self._quits and word == "open"):
            return False
        self._act("open" if word == "open" else "quit", "")
        return True

    def address(self) -> str:
        """What to show now: the node's page, or what has to be done first."""
        if self._opening.where.is_new or self._quits:  # no node is started to be ended
            return self._local.address()
        try:
            return self._opening.url()
        except Exception as error:  # noqa: BLE001  whatever it is, a person is told, and may try again
            self._local.trouble = in_words(error)
            if not self._quits:
                log.error("the page cannot be opened: %s", self._local.trouble)
            return self._local.address()

    def _show_window(self) -> None:
        try:
            self._window = WebviewWindow(self.address, stays=self._stays, hidden=self._tell_hidden)
            self._window.run(self._begin)
        except NoWindow as error:
            log.warning("the browser shows the page: %s", error)
            self._window = BrowserWindow(self.address)
            self._window.run(self._begin)

    def _stays(self) -> bool:
        return self._tray is not None and self._tray.has_menu

    def _begin(self) -> None:
        """Start the threads.

        Not before all that draws is loaded: PySide6 cannot be imported while another thread imports
        (RuntimeError, or ImportError, in one of many starts).
        """
        if self._quits:
            self._act("quit", "")  # it was asked for before there was a window
        if self._ended or self._quits or self._begun:
            return
        self._begun = True
        self._local.start()
        if self._tray is not None:
            self._tray.start()
        self._watcher.start()

    def _tell_hidden(self) -> None:
        if self._tray is not None:
            self._tray.tell(GOES_ON)

    def _act(self, action: Action, destination: str) -> None:
        """What a person has chosen. In a thread of its own, for a tray's menu waits for it."""
        work = {
            "open": lambda: self._window.show() if self._window else None,
            "quit": self._quit,
            "pause": lambda: self._switch(hold_destinations, destination),
            "resume": lambda: self._switch(release_destinations, destination),
        }[action]
        GuardedThread(work, action, goes_on=lambda: action == "quit" and not self._ended).start()

    def _quit(self) -> None:
        self._quits = True
        if self._window is not None:
            self._window.end()

    def _switch(self, switch: Callable[..., object], destination: str) -> None:
        try:
            with access(self._opening.where.config) as opened:
                switch(opened, [destination])
        except MapdrError as error:
            if self._tray is not None:
                self._tray.tell(str(error))
        self._look_now.set()

    # --- looking ------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._ended:
            self._show()
            self._look_now.wait(LOOK)
            self._look_now.clear()

    def _show(self) -> None:
        seen = self._look()
        if self._tray is None:
            return
        shown = "stopped" if seen is None else seen.standing
        self._tray.show(shown, title(seen), entries(seen, ends_node=self._opening.ends_node))
        for item in self._news.of(seen) if seen is not None else ():
            self._tray.tell(item.text)

    def _look(self) -> Glance | None:
        """The node's state; None where it cannot be known."""
        if self._opening.where.is_new or not self._opening.where.readable:
            return None
        try:
            with access(self._opening.where.config, busy=LOOKING) as opened:
                found = glance(node_state(opened))
        except MapdrError as error:
            self._trouble.tell(f"the node cannot be looked at: {error}")
            return None
        self._trouble.over()
        return found
