"""Window and tray as they are, on a screen without glass; and the browser where there is no window."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from desktop import screen as screens
from mapdr.operate.access import access
from mapdr.testing.wait import until
from mapdr_desktop import window
from mapdr_desktop.opening import Opening
from mapdr_desktop.window import BrowserWindow, NoWindow, WebviewWindow, has_webview2
from peers.processes import Process, run

DESKTOP = [sys.executable, "-m", "mapdr_desktop"]


@pytest.mark.timeout(300)
def test_a_session_that_ends_ends_the_node(tmp_path: Path, opening: Opening) -> None:
    if not screens.back_end():
        pytest.skip("pywebview, pystray, Pillow or PySide6 is not installed")
    if sys.platform == "win32":
        pytest.skip("there is no SIGTERM")
    config = opening.where.config
    nowhere = {"QT_QPA_PLATFORM": "offscreen", "DISPLAY": ""}
    env = {**screens.Screen("", tmp_path).env, **nowhere}
    for name in ("run", "config"):
        (tmp_path / name).mkdir(mode=0o700)
    program = Process([*DESKTOP, "--config", config], tmp_path / "desktop.log", env)
    try:
        until(lambda: _node_is_there(config, program), 120, "the node that it starts")
        assert program.end(60) == 0, program.output()
    finally:
        program.kill()
    with access(config) as opened:
        assert not opened.alive


@pytest.mark.peer("Xvfb", "tint2", "import")
@pytest.mark.timeout(300)
def test_a_picture_of_window_and_tray(tmp_path: Path, opening: Opening) -> None:
    if not screens.back_end():
        if os.environ.get("CI"):
            pytest.fail("pywebview, pystray, Pillow and PySide6 must be installed in CI", pytrace=False)
        pytest.skip("pywebview, pystray, Pillow or PySide6 is not installed")
    config = opening.where.config
    with screens.screen(tmp_path) as shown:
        program = Process([*DESKTOP, "--config", config], tmp_path / "desktop.log", shown.env)
        try:
            picture = tmp_path / "screen.png"
            # Pictures take a core, which the program needs: none before there is something to see.
            until(lambda: _node_is_there(config, program), 60, "the node that it starts")
            seen: list[str] = []
            try:
                until(lambda: _look(shown.picture(picture), seen, program), 120, "window, page and tray")
            except AssertionError as error:
                raise AssertionError(f"{error}; seen: {seen}; {program.output()}") from None
            assert run([*DESKTOP, "--config", config], env=shown.env).returncode == 0, "a second start"
            assert program.running
            assert run([*DESKTOP, "--quit"], env=shown.env).returncode == 0
            until(lambda: not program.running, 60, "the end of the program")
            assert program.popen.returncode == 0, program.output()
            assert "; it ends" not in program.output(), "each thread did what it was for"
        finally:
            program.end(60)  # it ends its node
    with access(config) as opened:
        assert not opened.alive, "the node that it started has ended"


def _node_is_there(config: Path, program: Process) -> bool:
    assert program.running, program.output()
    with access(config) as opened:
        return opened.alive


_BADGE = (76, 195, 138)
"""The green of the badge that says "receiving"; nothing else on the screen has it in light colours."""
_PAGE = (26, 88, 198)
"""The accent of the page, as its menu has it."""


def _look(picture: Path, seen: list[str], program: Process) -> bool:
    """Whether the picture has the badge in the tray and the page above it; `seen` is then what it has."""
    from PIL import Image

    assert program.running, program.output()
    with Image.open(picture) as image:
        screen = image.convert("RGB")
    width, height = screen.size
    tray = screen.crop((0, height - 40, width, height)).getcolors(1 << 20) or []
    above = screen.crop((0, 0, width, height - 40)).getcolors(1 << 20) or []
    has = {
        "badge": _BADGE in {colour for _, colour in tray},
        "page": _PAGE in {colour for _, colour in above},
    }
    seen[:] = [name for name, there in has.items() if there]
    return all(has.values())


def test_the_browser_is_opened_again_with_a_fresh_address(monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []
    addresses = iter(["http://127.0.0.1:1/#token=a", "http://127.0.0.1:1/#token=b"])
    shown = BrowserWindow(lambda: next(addresses))

    def opens(url: str) -> bool:
        did.append(url)
        return True

    monkeypatch.setattr(window.webbrowser, "open", opens)
    runs = threading.Thread(target=lambda: shown.run(lambda: did.append("begin")))
    runs.start()
    until(lambda: len(did) == 2, 10, "the first time")
    shown.show()
    shown.end()
    runs.join(10)
    assert did == ["begin", "http://127.0.0.1:1/#token=a", "http://127.0.0.1:1/#token=b"]


def test_a_browser_is_not_opened_by_what_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window.webbrowser, "open", lambda url: pytest.fail("it is opened"))
    shown = BrowserWindow(lambda: "http://127.0.0.1:1/#token=a")
    shown.run(shown.end)
    shown.show()


def test_to_end_does_not_wait_for_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node may take minutes to start."""
    opened: list[str] = []
    monkeypatch.setattr(window.webbrowser, "open", opened.append)
    asked, known = threading.Event(), threading.Event()

    def address() -> str:
        asked.set()
        assert known.wait(60)
        return "http://127.0.0.1:1/#token=a"

    shown = BrowserWindow(address)
    runs = threading.Thread(target=lambda: shown.run(lambda: None))
    runs.start()
    assert asked.wait(10)
    shown.end()
    runs.join(10)
    assert not runs.is_alive()
    known.set()
    until(lambda: all(each.name != "open" for each in threading.enumerate()), 10, "the end of what opens")
    assert not opened


def test_edge_shows_a_window_of_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(window, "_edge", lambda: "msedge.exe")
    monkeypatch.setattr(window.subprocess, "Popen", lambda command, **given: started.append(command))
    BrowserWindow(lambda: "http://127.0.0.1:1/#token=a").show()
    assert started == [["msedge.exe", "--app=http://127.0.0.1:1/#token=a"]]


class _Registry:
    """What Windows' registry says of WebView2, by root."""

    HKEY_LOCAL_MACHINE, HKEY_CURRENT_USER = "machine", "user"

    def __init__(self, versions: dict[str, str]) -> None:
        self._versions = versions

    def OpenKey(self, root: str, path: str) -> _Key:  # noqa: N802
        assert path.endswith("{F3017226-FE2A-4295-8BDF-00C3A9A7E4C5}")
        if root not in self._versions:
            raise FileNotFoundError
        return _Key(self._versions[root])

    def QueryValueEx(self, key: _Key, name: str) -> tuple[str, int]:  # noqa: N802
        assert name == "pv"
        return key.version, 1


class _Key:
    def __init__(self, version: str) -> None:
        self.version = version

    def __enter__(self) -> _Key:
        return self

    def __exit__(self, *ended: object) -> None: ...


@pytest.mark.parametrize(
    ("versions", "there"),
    [
        ({}, False),
        ({"machine": "0.0.0.0"}, False),
        ({"user": "130.0.1"}, True),
        ({"machine": "130.0.1"}, True),
    ],
)
def test_whether_webview2_is_installed(versions: dict[str, str], there: bool) -> None:
    assert has_webview2(_Registry(versions)) is there


class _Event:
    def __init__(self, handlers: list[Any]) -> None:
        self.handlers = handlers

    def __iadd__(self, handler: Callable[[], object]) -> _Event:
        self.handlers.append(handler)
        return self


class _Webview:
    """pywebview, as far as a window asks it."""

    def __init__(self) -> None:
        self.settings: dict[str, bool] = {}
        self.did: list[str] = []
        self.signed_out = False
        self.closing: list[Callable[[], bool]] = []
        self.maximized: list[Callable[[], object]] = []
        self.restored: list[Callable[[], object]] = []
        events = SimpleNamespace(
            closing=_Event(self.closing), maximized=_Event(self.maximized), restored=_Event(self.restored)
        )
        self.window = SimpleNamespace(
            events=events,
            load_url=self.did.append,
            show=lambda: self.did.append("show"),
            restore=lambda: None,
            maximize=lambda: self.did.append("maximize"),
            hide=lambda: self.did.append("hide"),
            destroy=lambda: self.did.append("destroy"),
            run_js=lambda script: self.signed_out,
        )

    def create_window(self, *args: Any, **given: Any) -> Any:
        return self.window

    def start(self, work: Callable[[], object]) -> None:
        work()


@pytest.fixture
def webview(monkeypatch: pytest.MonkeyPatch) -> _Webview:
    """A pywebview that only says what it was asked."""
    fake = _Webview()
    monkeypatch.setitem(sys.modules, "webview", fake)
    return fake


def test_closing_hides_where_there_is_another_way_to_quit(webview: _Webview) -> None:
    told: list[str] = []
    shown = WebviewWindow(lambda: "link", stays=lambda: True, hidden=lambda: told.append("hidden"))
    shown.run(lambda: webview.did.append("begin"))
    until(lambda: "link" in webview.did, 10, "the page")
    (closing,) = webview.closing
    assert closing() is False
    until(lambda: told, 10, "that it is hidden")
    shown.show()
    assert webview.did == ["begin", "link", "hide", "show", "link"], "signed in anew when it is shown again"
    shown.show()
    webview.signed_out = True
    shown.show()
    assert webview.did[5:] == ["show", "show", "link"]
    webview.signed_out = False
    webview.maximized[0]()
    shown.show()
    assert webview.did[8:] == ["show", "maximize"], "it stays as large as it was"
    webview.restored[0]()
    shown.show()
    assert webview.did[10:] == ["show"]
    shown.end()
    assert closing() is True


def test_a_page_that_cannot_be_loaded_is_tried_again_and_not_for_ever(
    webview: _Webview, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[str] = []

    def load_url(url: str) -> None:
        tried.append(url)
        raise RuntimeError("the window is not shown")

    webview.window.load_url = load_url
    shown = WebviewWindow(lambda: "link", stays=lambda: False, hidden=lambda: None)
    shown.run(lambda: None)
    until(lambda: "thread load: RuntimeError" in caplog.text and "it ends" in caplog.text, 30, "the last try")
    assert len(tried) == window.LOADS
    webview.window.load_url = tried.append
    shown.show()
    assert len(tried) == window.LOADS + 1, "a person asks again"


def test_closing_ends_where_there_is_none(webview: _Webview) -> None:
    WebviewWindow(lambda: "link", stays=lambda: False, hidden=lambda: None)
    assert webview.closing[0]() is True


@pytest.mark.parametrize("error", [RuntimeError, ImportError])
def test_nothing_to_draw_with_is_no_window(
    webview: _Webview, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def start(work: Callable[[], object]) -> None:
        raise error("You must have either QT or GTK")

    monkeypatch.setattr(webview, "start", start)
    begun: list[str] = []
    shown = WebviewWindow(lambda: "link", stays=lambda: False, hidden=lambda: None)
    with pytest.raises(NoWindow):
        shown.run(lambda: begun.append("begin"))
    assert not begun, "the browser is what begins then"
    monkeypatch.setitem(sys.modules, "webview", None)
    with pytest.raises(NoWindow):
        WebviewWindow(lambda: "link", stays=lambda: False, hidden=lambda: None)
