"""A screen without glass: Xvfb with a panel that has a tray, and pictures of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mapdr.testing.wait import until
from peers.processes import Process, program, run

SIZE = "1280x900"
_PANEL = """\
panel_items = S
panel_size = 100% 40
panel_position = bottom center horizontal
systray_icon_size = 32
rounded = 0
border_width = 0
background_color = #20242b 100
panel_background_id = 1
"""


def back_end() -> bool:
    """Whether pywebview, pystray and what they draw with here are installed."""
    return all(find_spec(name) for name in ("webview", "pystray", "PIL", "PySide6"))


@dataclass(frozen=True)
class Screen:
    """`env` is what a program needs to draw on it."""

    display: str
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return {
            "DISPLAY": self.display,
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "HOME": str(self.folder),
            "PYWEBVIEW_GUI": "qt",
            "QT_API": "pyside6",
            "QT_QPA_PLATFORM": "xcb",
            "QT_QUICK_BACKEND": "software",
            "PYSTRAY_BACKEND": "xorg",
            # The tests may run as root, whom Chromium's sandbox refuses.
            "QTWEBENGINE_DISABLE_SANDBOX": "1",
            "QTWEBENGINE_CHROMIUM_FLAGS": "--disable-gpu",
        }

    def picture(self, path: Path) -> Path:
        """The whole screen, as a PNG file."""
        done = run([program("import") or "", "-window", "root", path], env={"DISPLAY": self.display})
        assert done.returncode == 0, done.stderr
        return path


@contextmanager
def screen(folder: Path) -> Iterator[Screen]:
    """A screen until the block ends."""
    for name in ("run", "config"):
        (folder / name).mkdir(mode=0o700)
    # Without -noreset it begins anew when its last client leaves: it would drop the panel that just connects,
    # and forget what is said here.
    command = [program("Xvfb") or "", "-displayfd", "1", "-screen", "0", f"{SIZE}x24", "-nolisten", "tcp"]
    command.append("-noreset")
    xvfb = Process(command, folder / "xvfb.log")
    try:
        display = until(lambda: re.search(r"^(\d+)$", xvfb.output(), re.MULTILINE), 20, "Xvfb's display")
        shown = Screen(f":{display[1]}", folder)
        (folder / "tint2rc").write_text(_PANEL)
        _say_desktops(shown.display)
        panel = Process(
            [program("tint2") or "", "-c", folder / "tint2rc"], folder / "tint2.log", env=shown.env
        )
        try:
            until(lambda: _has_tray(shown.display), 20, "the panel's tray")
            yield shown
        finally:
            panel.end()
    finally:
        xvfb.end()


def _say_desktops(display: str) -> None:
    """Say what a window manager would: tint2 waits 15 seconds for one that does."""
    from Xlib.display import Display  # comes with pystray
    from Xlib.Xatom import CARDINAL

    opened = Display(display)
    try:
        name = opened.intern_atom("_NET_NUMBER_OF_DESKTOPS")
        opened.screen().root.change_property(name, CARDINAL, 32, [1])
        opened.sync()
    finally:
        opened.close()


def _has_tray(display: str) -> bool:
    """Whether somebody takes icons: pystray looks for that once."""
    from Xlib.display import Display

    opened = Display(display)
    try:
        return bool(opened.get_selection_owner(opened.intern_atom("_NET_SYSTEM_TRAY_S0")))
    finally:
        opened.close()
