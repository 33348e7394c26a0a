"""The sign in the tray, by pystray: its icon, its menu, what it tells.

pystray is imported late: without a display its import fails, and then there is no tray. On Linux its Xorg
back end has no menus; there closing the window ends the program.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.privacy import in_words
from mapdr.operate.glance import Standing
from mapdr_desktop.icons import icon
from mapdr_desktop.menu import Action, Entry

log = logging.getLogger("mapdr.desktop")

STOP = 2.0
"""Seconds for the sign to go."""

Act = Callable[[Action, str], object]


class Tray(Protocol):
    """A sign, from `start` to `stop`. `has_menu`: a person can quit by it."""

    @property
    def has_menu(self) -> bool: ...

    def start(self) -> None: ...

    def show(self, standing: Standing, title: str, entries: Sequence[Entry]) -> None:
        """How things stand from now on."""

    def tell(self, text: str) -> None:
        """A notification, where there are any."""

    def stop(self) -> None: ...


def make_tray(act: Act) -> Tray | None:
    """The tray of this desktop; None where there is none. `act` is called with what a person chooses."""
    if sys.platform == "darwin":
        return None  # it needs the main thread, which the window has
    try:
        return PystrayTray(act)
    except Exception as error:  # noqa: BLE001  whatever keeps it from being there: no display, no library
        log.warning("there is no sign in the tray: %s", in_words(error))
        return None


class _Sign(NamedTuple):
    """How the tray looks."""

    standing: Standing
    title: str
    entries: Sequence[Entry]


class PystrayTray:
    """See `Tray`."""

    def __init__(self, act: Act) -> None:
        if sys.platform == "linux":
            # Its others have GLib's main loop in a thread of their own, which Qt and GTK want for the window.
            os.environ.setdefault("PYSTRAY_BACKEND", "xorg")
        import pystray  # see this module

        # It tells of each try to be taken by a panel, with a traceback; there may be none for hours.
        logging.getLogger("pystray._base").addFilter(_is_worth_telling)
        self._pystray = pystray
        self._act = act
        self._lock = threading.Lock()
        self._there = False
        self._stops = False
        self._wanted = self._drawn = _Sign("stopped", "MAPDR", ())
        self._untold: list[str] = []
        self._icon = pystray.Icon("mapdr", icon("stopped"), "MAPDR", pystray.Menu(self._menu))
        # Its own `run_detached` begins twice on X, and holds the process.
        self._thread = GuardedThread(self._run, "tray", goes_on=lambda: False)
        _never_grab_the_server(self._icon)
        _let_the_session_end(self._icon)

    @property
    def has_menu(self) -> bool:
        """See `Tray`."""
        return self._there and self._thread.is_alive() and bool(self._icon.HAS_MENU)

    def start(self) -> None:
        """See `Tray`."""
        self._thread.start()

    def show(self, standing: Standing, title: str, entries: Sequence[Entry]) -> None:
        """See `Tray`; what is shown already is not drawn again."""
        with self._lock:
            self._wanted = _Sign(standing, title, entries)
            self._draw()

    def tell(self, text: str) -> None:
        """See `Tray`."""
        with self._lock:
            self._untold.append(text)
            self._draw()

    def stop(self) -> None:
        """See `Tray`."""
        self._stops = True
        # On X it waits for a loop that may have ended with its panel.
        stopping = GuardedThread(self._icon.stop, "tray-stop", goes_on=lambda: False)
        stopping.start()
        stopping.join(STOP)
        if self._thread.is_alive():  # on Windows it takes the icon away
            self._thread.join(STOP)

    def _run(self) -> None:
        # On X pystray asks for it in `_be_seen`, which may be before it has set it.
        self._icon._thread = threading.current_thread()
        self._icon.run(self._be_seen)
        if not self._stops:
            log.warning("the sign in the tray is gone")

    def _be_seen(self, shown: Any) -> None:
        """In a thread of pystray's, once its loop takes commands.

        pystray never draws an icon that it is given between its first drawing and its being visible: whatever
        is wanted meanwhile is kept until then.
        """
        shown.visible = True
        with self._lock:
            self._there = True
            self._draw()

    def _draw(self) -> None:
        """Have it be as it is wanted, once it can be seen. Under the lock."""
        if not self._there or not self._thread.is_alive():
            return
        wanted = self._wanted
        lost = getattr(self._icon, "_systray_manager", True) is None  # on X, until a panel has it again
        if lost or wanted.standing != self._drawn.standing:
            self._icon.icon = icon(wanted.standing)
        self._icon.title = wanted.title
        if wanted.entries != self._drawn.entries:
            self._icon.update_menu()
        self._drawn = wanted
        while self._untold:
            text = self._untold.pop(0)
            if self._icon.HAS_NOTIFICATION:
                self._icon.notify(text, "MAPDR")

    def _menu(self) -> Iterator[Any]:
        for number, entry in enumerate(self._wanted.entries):
            yield self._item(entry, default=number == 0)

    def _item(self, entry: Entry, *, default: bool = False) -> Any:
        if entry.entries:
            what: Any = self._pystray.Menu(*map(self._item, entry.entries))
        else:
            what = self._chosen(entry)
        return self._pystray.MenuItem(
            entry.text, what, default=default, enabled=bool(entry.action or entry.entries)
        )

    def _chosen(self, entry: Entry) -> Callable[[], object]:
        return lambda: self._act(entry.action, entry.destination)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Whether pystray's line is not the one that comes every other second while there is no panel."""
    return record.msg != "Failed to dock icon"


def _never_grab_the_server(shown: Any) -> None:
    """Let an icon of the Xorg back end look for the tray without a grab of the X server.

    Qt would wait for the server in the main thread with the interpreter's lock, which the icon's thread needs
    to give the server back: the program stands still for ever (3 of 15 starts on a busy machine). Without the
    grab a panel that ends at that very moment is not noticed.
    """
    display = getattr(shown, "_display", None)
    if display is not None:
        display.grab_server = display.ungrab_server = lambda: None


def _let_the_session_end(shown: Any) -> None:
    """Have an icon of Windows answer yes when it is asked whether the session may end; pystray answers no to
    whatever it does not know."""
    if sys.platform == "win32":  # pragma: no cover
        shown._message_handlers[0x0011] = lambda wparam, lparam: 1  # WM_QUERYENDSESSION
