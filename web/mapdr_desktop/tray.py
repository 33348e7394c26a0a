"""The sign in the tray, by pystray: its icon, its menu, what it tells.

pystray is imported late: without a display its import fails, and then there is no tray. On Linux its Xorg
back end has no menus; there closing the window ends the program.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.privacy import in_words
from mapdr.operate.glance import Standing
from mapdr_desktop.icons import icon
from mapdr_desktop.menu import Action, Entry

log = logging.getLogger("mapdr.desktop")

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


class PystrayTray:
    """See `Tray`."""

    def __init__(self, act: Act) -> None:
        import pystray  # see this module

        self._pystray = pystray
        self._act = act
        self._entries: Sequence[Entry] = ()
        self._shown: Standing = "stopped"
        self._icon = pystray.Icon("mapdr", icon(self._shown), "MAPDR", pystray.Menu(self._menu))

    @property
    def has_menu(self) -> bool:
        """See `Tray`."""
        return bool(self._icon.HAS_MENU)

    def start(self) -> None:
        """See `Tray`."""
        # Its own `run_detached` begins twice on X, and holds the process.
        GuardedThread(self._icon.run, "tray", goes_on=lambda: False).start()

    def show(self, standing: Standing, title: str, entries: Sequence[Entry]) -> None:
        """See `Tray`; what is shown already is not drawn again."""
        if standing != self._shown:
            self._shown = standing
            self._icon.icon = icon(standing)
        if title != self._icon.title:
            self._icon.title = title
        if entries != self._entries:
            self._entries = entries
            self._icon.update_menu()

    def tell(self, text: str) -> None:
        """See `Tray`."""
        if self._icon.HAS_NOTIFICATION:
            self._icon.notify(text, "MAPDR")

    def stop(self) -> None:
        """See `Tray`."""
        self._icon.stop()

    def _menu(self) -> Iterator[Any]:
        for number, entry in enumerate(self._entries):
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
