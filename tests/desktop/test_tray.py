"""The sign in the tray, on pystray's own base without a desktop."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from desktop import screen as screens
from mapdr.testing.wait import until
from mapdr_desktop import tray as trays
from mapdr_desktop.icons import icon
from mapdr_desktop.menu import Entry
from mapdr_desktop.tray import PystrayTray
from peers.processes import run

_ENTRIES = [Entry("Open MAPDR", "open"), Entry("Receiving")]


class Desktop:
    """What an icon has drawn, its title and menu at the time, and what it has told; `slow` is called between
    its first drawing and its being visible, as everything else goes on while a desktop takes it."""

    def __init__(self) -> None:
        self.drawn: list[bytes] = []
        self.titles: list[str] = []
        self.menus: list[list[str]] = []
        self.told: list[str] = []
        self.display: Any = None
        self.stopped = threading.Event()
        self.slow: Callable[[], object] = lambda: None


@pytest.fixture
def desktop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desktop]:
    """pystray draws here."""
    monkeypatch.setenv("PYSTRAY_BACKEND", "dummy")
    pystray = pytest.importorskip("pystray")
    base = pytest.importorskip("pystray._base")
    found = Desktop()

    class Icon(base.Icon):  # type: ignore[misc]  # the library has no types
        @property
        def _display(self) -> Any:
            return found.display

        def _show(self) -> None:
            found.slow()

        def _hide(self) -> None: ...

        def _update_icon(self) -> None:
            found.drawn.append(self.icon.tobytes())
            self._icon_valid = True

        def _update_title(self) -> None:
            found.titles.append(self.title)

        def _update_menu(self) -> None:
            found.menus.append([item.text for item in self.menu])

        def _notify(self, message: str, title: Any = None) -> None:
            found.told.append(message)

        def _run(self) -> None:
            self._mark_ready()
            found.stopped.wait(60)

        def _stop(self) -> None:
            found.stopped.set()

    monkeypatch.setattr(pystray, "Icon", Icon)
    yield found
    found.stopped.set()


def _tray() -> PystrayTray:
    return PystrayTray(lambda action, destination: None)


def test_what_is_shown_while_the_desktop_takes_it_is_seen(desktop: Desktop) -> None:
    tray = _tray()
    desktop.slow = lambda: tray.show("receiving", "MAPDR: it receives", _ENTRIES)
    tray.start()
    until(lambda: len(desktop.drawn) == 2, 10, "the second drawing")
    assert desktop.drawn == [icon("stopped").tobytes(), icon("receiving").tobytes()]
    until(lambda: desktop.menus[-1] == ["Open MAPDR", "Receiving"], 10, "the menu")
    assert desktop.titles == ["MAPDR: it receives"]


def test_what_is_shown_and_told_before_it_starts_is_seen(desktop: Desktop) -> None:
    tray = _tray()
    tray.show("waiting", "MAPDR: images wait", _ENTRIES)
    tray.tell("pacs is down")
    assert not desktop.told, "nothing can be told by what does not run"
    tray.start()
    until(lambda: desktop.told, 10, "the notification")
    assert desktop.told == ["pacs is down"]
    assert desktop.drawn[-1] == icon("waiting").tobytes()


def test_the_server_is_not_grabbed(desktop: Desktop) -> None:
    """Qt waits for a grabbed server with the interpreter's lock, and the grab ends by Python alone."""

    def never() -> None:
        raise AssertionError("the server is grabbed")

    desktop.display = SimpleNamespace(grab_server=never, ungrab_server=never)
    _tray()
    desktop.display.grab_server()
    desktop.display.ungrab_server()


def test_a_sign_that_is_gone_holds_nobody(desktop: Desktop, monkeypatch: pytest.MonkeyPatch) -> None:
    """On X its loop ends with the panel that had it, and pystray waits for that loop for ever."""
    monkeypatch.setattr(trays, "STOP", 0.01)
    tray = _tray()
    tray.start()
    until(lambda: desktop.menus and tray._there, 10, "that it is seen")
    desktop.stopped.set()
    until(lambda: not tray._thread.is_alive(), 10, "the end of its loop")
    forever = threading.Event()
    monkeypatch.setattr(tray._icon, "stop", forever.wait)
    tray.show("stuck", "MAPDR: it is stuck", _ENTRIES)
    assert len(desktop.drawn) == 1
    assert not tray.has_menu, "a window may not hide behind it"
    tray.stop()
    forever.set()


def test_a_sign_that_no_panel_has_is_offered_again(desktop: Desktop) -> None:
    tray = _tray()
    tray.start()
    until(lambda: tray._there, 10, "that it is seen")
    with tray._lock:  # it has drawn what there was
        tray._icon._systray_manager = None
    for _ in range(2):
        tray.show("stopped", "MAPDR", ())
    assert len(desktop.drawn) == 3
    tray._icon._systray_manager = object()
    tray.show("stopped", "MAPDR", ())
    assert len(desktop.drawn) == 3
    tray.stop()


@pytest.mark.peer("Xvfb", "tint2")
def test_pystray_has_its_grabs_where_they_are_taken_from(tmp_path: Path) -> None:
    """On the library that is installed: its icon grabs by what `PystrayTray` replaces."""
    pytest.importorskip("pystray")
    with screens.screen(tmp_path) as shown:
        done = run([sys.executable, "-c", _GRABS], env=shown.env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["Icon", "0"]


_GRABS = """
import logging
from Xlib.protocol import request
from mapdr_desktop.tray import PystrayTray
logging.disable()
grabs = []
request.GrabServer.__init__ = lambda *args, **given: grabs.append(args)
tray = PystrayTray(lambda action, destination: None)
assert tray._icon._get_systray_manager() is not None
print(type(tray._icon).__name__, len(grabs))
"""


def test_what_is_shown_already_is_not_drawn_again(desktop: Desktop) -> None:
    tray = _tray()
    tray.start()
    until(lambda: tray._there, 10, "that it is seen")
    for _ in range(3):
        tray.show("stuck", "MAPDR: it is stuck", _ENTRIES)
    assert len(desktop.drawn) == 2
    assert len(desktop.menus) == 2
    tray.tell("once")
    assert desktop.told == ["once"]
