"""The window: the page in one of its own by pywebview, in Edge's application window, or in the browser.

A window has the main thread from `run` to its end; all else is called from other threads.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.privacy import in_words

log = logging.getLogger("mapdr.desktop")

Address = Callable[[], str]
"""The address to show; it signs in once. May take as long as a node takes to start."""

WEBVIEW2 = r"Microsoft\EdgeUpdate\Clients\{F3017226-FE2A-4295-8BDF-00C3A9A7E4C5}"
"""Where Microsoft says that the runtime is registered, in the machine's 32-bit part or the user's."""
LOADS = 3
"""Tries to show the first address."""
_STARTING = (  # shown before anything serves a page
    '<!doctype html><meta name="color-scheme" content="light dark">'
    "<style>body{font:16px system-ui,sans-serif;display:grid;place-items:center;height:90vh;"
    "background:Canvas;color:CanvasText}</style><p>MAPDR is starting…</p>"
)


class NoWindow(MapdrError):
    """This desktop has nothing that pywebview can draw with."""


class Window(Protocol):
    """Shows addresses until it is ended."""

    def run(self, begin: Callable[[], object]) -> None:
        """Show the first address, and return when the program is to end. In the main thread.

        `begin` is called before the address is asked for, when all that draws is loaded.
        """

    def show(self) -> None:
        """Be seen."""

    def end(self) -> None:
        """Have `run` return."""


class BrowserWindow:
    """The page in Edge's application window, or in the default browser; it ends only when it is told to."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._ended = threading.Event()

    def run(self, begin: Callable[[], object]) -> None:
        """See `Window`."""
        begin()
        if not self._ended.is_set():
            # Apart: the node may take long to start, and a person may quit meanwhile.
            GuardedThread(self.show, "open", goes_on=lambda: False).start()
        # In steps, for on Windows a wait without an end is not interrupted.
        while not self._ended.wait(1.0):
            pass

    def show(self) -> None:
        """See `Window`."""
        url = self._address()
        if self._ended.is_set():
            return
        edge = _edge()
        if edge is None:
            if not webbrowser.open(url):
                log.error("no browser could be opened")
            return
        subprocess.Popen([edge, f"--app={url}"], stdin=subprocess.DEVNULL)  # noqa: S603  a program of the system

    def end(self) -> None:
        """See `Window`."""
        self._ended.set()


class WebviewWindow:
    """A window of its own. `stays`: whether closing it only hides it now, for there is another way to end the
    program; `hidden` is called then."""

    def __init__(self, address: Address, *, stays: Callable[[], bool], hidden: Callable[[], object]) -> None:
        try:
            import webview  # it takes long, and may not be there
        except ImportError as error:
            raise NoWindow(f"pywebview cannot be imported ({in_words(error)})") from error
        if sys.platform == "win32" and not has_webview2():
            raise NoWindow("the WebView2 runtime is not installed")
        self._webview = webview
        self._address = address
        self._stays = stays
        self._tell_hidden = hidden
        self._hidden = False
        self._is_maximized = False
        self._loads = 1  # tries to show the first address
        self._ending = False
        webview.settings["ALLOW_DOWNLOADS"] = True  # reports and listings
        self._window: Any = webview.create_window(
            "MAPDR", html=_STARTING, width=1280, height=860, min_size=(390, 500), text_select=True
        )
        self._window.events.closing += self._closing
        self._window.events.maximized += lambda: self._set_maximized(True)
        self._window.events.restored += lambda: self._set_maximized(False)

    def run(self, begin: Callable[[], object]) -> None:
        """See `Window`. Raises NoWindow."""

        def first() -> None:
            begin()
            # Not in pywebview's own thread, which tells nobody of a failure, and holds the process.
            GuardedThread(self._load, "load", goes_on=self._loads_again).start()

        try:
            self._webview.start(first)
        except Exception as error:  # whatever the libraries of a desktop raise
            self._ending = True
            raise NoWindow(f"pywebview has nothing to draw with ({in_words(error)})") from error

    def show(self) -> None:
        """See `Window`; one that was closed, or whose session has ended, is signed in anew."""
        hidden, self._hidden = self._hidden, False
        maximized = self._is_maximized
        self._window.show()
        self._window.restore()  # to the front, from an icon; it is no larger than usual then
        if maximized:
            self._window.maximize()
        # Not by `evaluate_js`: it goes by eval(), which the page's policy refuses.
        if (
            hidden
            or self._loads > LOADS
            or self._window.run_js("document.querySelector('.sign-in') !== null")
        ):
            self._load()

    def end(self) -> None:
        """See `Window`."""
        self._ending = True
        self._window.destroy()

    def _load(self) -> None:
        if not self._ending:
            self._window.load_url(self._address())

    def _loads_again(self) -> bool:
        self._loads += 1
        return not self._ending and self._loads <= LOADS

    def _set_maximized(self, maximized: bool) -> None:
        self._is_maximized = maximized

    def _closing(self) -> bool:
        """Whether the window may close. In the thread that draws, so nothing may be waited for."""
        if self._ending or _session_ends() or not self._stays():
            return True
        self._hidden = True
        GuardedThread(self._hide, "hide", goes_on=lambda: False).start()
        return False

    def _hide(self) -> None:
        self._window.hide()
        self._tell_hidden()


def has_webview2(registry: Any = None) -> bool:
    """Whether Microsoft's WebView2 runtime is installed (Windows)."""
    if registry is None:
        import winreg as registry  # type: ignore[no-redef,unused-ignore]  # Windows alone has it
    places = (
        (registry.HKEY_LOCAL_MACHINE, rf"SOFTWARE\WOW6432Node\{WEBVIEW2}"),
        (registry.HKEY_CURRENT_USER, rf"Software\{WEBVIEW2}"),
    )
    for root, path in places:
        try:
            with registry.OpenKey(root, path) as key:
                version, _ = registry.QueryValueEx(key, "pv")
        except OSError:
            continue
        if version not in ("", "0.0.0.0"):  # noqa: S104  a version
            return True
    return False


def _session_ends() -> bool:
    """Whether Windows shuts down, or the user signs out: what does not close then holds it up."""
    if sys.platform != "win32":
        return False
    import ctypes  # pragma: no cover

    return bool(ctypes.windll.user32.GetSystemMetrics(0x2000))  # pragma: no cover  SM_SHUTTINGDOWN


def _edge() -> str | None:
    """Microsoft's browser, which has windows without its own buttons; on Windows alone."""
    if sys.platform != "win32":
        return None
    found = shutil.which("msedge")
    usual = Path(r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe")
    return found or (str(usual) if usual.is_file() else None)
