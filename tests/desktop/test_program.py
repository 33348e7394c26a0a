"""The program without a screen: what it shows in the tray, does by its menu, tells, and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from mapdr.operate.access import access
from mapdr.operate.glance import STANDINGS, Glance, Standing
from mapdr.testing import generator
from mapdr.testing.wait import until
from mapdr_desktop import program as programs
from mapdr_desktop import window
from mapdr_desktop.menu import Action, Entry, entries, title
from mapdr_desktop.opening import Opening, Where
from mapdr_desktop.program import Program
from mapdr_desktop.window import NoWindow
from peers import dcmtk

Act = Callable[[Action, str], object]


class FakeTray:
    """A sign that keeps what it was told."""

    has_menu = True

    def __init__(self, act: Act) -> None:
        self.act = act
        self.standing: Standing = "stopped"
        self.entries: Sequence[Entry] = ()
        self.told: list[str] = []
        self.stopped = False

    def start(self) -> None: ...

    def show(self, standing: Standing, title: str, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.standing = standing  # last: it is what tests wait for

    def tell(self, text: str) -> None:
        self.told.append(text)

    def stop(self) -> None:
        self.stopped = True

    def says(self, text: str) -> bool:
        return any(text in entry.text for entry in self.entries)


class Running:
    """A program that runs, its tray, and the addresses that the browser was given."""

    def __init__(self, opening: Opening) -> None:
        self.urls: list[str] = []
        self.trays: list[FakeTray] = []
        self.program = Program(opening, self._tray)
        self.thread = threading.Thread(target=self.program.run)

    @property
    def tray(self) -> FakeTray:
        return self.trays[0]

    def _tray(self, act: Act) -> FakeTray:
        self.trays.append(FakeTray(act))
        return self.trays[0]


@pytest.fixture
def running(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """The program on a desktop that has no window for it."""

    def none(*args: object, **given: object) -> None:
        raise NoWindow("there is none")

    found = Running(opening)
    monkeypatch.setattr(programs, "WebviewWindow", none)
    monkeypatch.setattr(programs, "LOOK", 0.2)
    monkeypatch.setattr(window.webbrowser, "open", lambda url: found.urls.append(url) or True)
    found.thread.start()
    yield found
    if found.thread.is_alive():
        until(lambda: found.urls, 60, "the page")
        found.program.obey("quit")
    found.thread.join(60)
    assert not found.thread.is_alive()


@pytest.mark.timeout(200)
def test_it_opens_shows_and_ends(running: Running, opening: Opening) -> None:
    until(lambda: running.urls, 60, "the page in the browser")
    assert "#token=" in running.urls[0]
    until(lambda: running.tray.standing == "receiving", 30, "the standing")
    assert running.tray.says("Today: received 0; delivered 0")
    assert running.tray.says("Quit, and end the node")
    running.program.obey("open")
    until(lambda: len(running.urls) == 2, 30, "the page again")
    assert running.urls[1] != running.urls[0]
    running.tray.act("pause", "pacs")
    until(lambda: running.tray.says("pacs: paused"), 30, "the pause")
    running.tray.act("resume", "pacs")
    until(lambda: not running.tray.says("pacs: paused"), 30, "the resumption")
    running.tray.act("quit", "")
    running.thread.join(60)
    assert running.tray.stopped
    with access(opening.where.config) as opened:
        assert not opened.alive


def test_nothing_else_runs_while_what_draws_is_loaded(
    opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PySide6 cannot be imported beside another import."""
    at_first: set[threading.Thread] = set()

    class Loading:
        def __init__(self, *args: object, **given: object) -> None: ...

        def run(self, begin: Callable[[], object]) -> None:
            at_first.update(threading.enumerate())
            raise NoWindow("it could not be loaded")

    class Browser(Loading):
        def run(self, begin: Callable[[], object]) -> None:
            begin()
            until(lambda: "looks" in did, 60, "the first look")

    did: list[str] = []
    tray = FakeTray(lambda action, destination: None)
    monkeypatch.setattr(tray, "start", lambda: did.append("starts"))
    monkeypatch.setattr(tray, "show", lambda *shown: did.append("looks"))
    monkeypatch.setattr(programs, "WebviewWindow", Loading)
    monkeypatch.setattr(programs, "BrowserWindow", Browser)
    before = set(threading.enumerate())
    Program(opening, lambda act: tray).run()
    assert at_first <= before
    assert did[0] == "starts"


def test_to_quit_is_obeyed_before_there_is_a_window(
    opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Program(opening, lambda act: None)
    opened: list[str] = []

    class Loading:
        def __init__(self, *args: object, **given: object) -> None:
            assert found.obey("quit")
            until(lambda: found._quits, 10, "that it is heard")
            raise NoWindow("it could not be loaded")

    monkeypatch.setattr(programs, "WebviewWindow", Loading)
    monkeypatch.setattr(window.webbrowser, "open", lambda url: opened.append(url) or True)
    runs = threading.Thread(target=found.run)
    runs.start()
    runs.join(60)
    assert not runs.is_alive()
    assert not opened
    assert not found.obey("open"), "it has ended: another start takes its place"
    with access(opening.where.config) as opened_node:
        assert not opened_node.alive, "a node that was started meanwhile has ended"


def test_what_keeps_the_page_from_opening_is_said_in_words(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.parent.mkdir()
    config.write_text("")

    def refused(self: Opening) -> str:
        raise OSError("a text that may quote a value")

    monkeypatch.setattr(Opening, "url", refused)
    program = Program(Opening(Where(config, of_service=False, readable=True)), lambda act: None)
    page = program._local
    page.start()
    try:
        url = program.address().partition("/#")[0]
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            token = page.address().partition("#token=")[2]
            assert client.post("/api/session", json={"token": token}).status_code == 200
            said = [client.post("/api/first").json()["trouble"], client.post("/api/open").json()["error"]]
    finally:
        page.stop()
    for text in said:
        assert text.startswith("internal error: OSError at ")
        assert "value" not in text


@pytest.mark.peer("storescu")
@pytest.mark.timeout(200)
def test_what_is_stuck_is_told_once(running: Running, opening: Opening, tmp_path: Path) -> None:
    until(lambda: running.urls, 60, "the page in the browser")
    image = tmp_path / "image.dcm"
    image.write_bytes(next(iter(generator.study("CT", images=1, size=(16, 16), seed=3))).part10())
    with access(opening.where.config) as opened:
        port = next(iter(opened.plan.receivers.values())).endpoint.port  # type: ignore[union-attr]
    assert dcmtk.storescu(port, [image], called="ROUTER").returncode == 0
    until(lambda: running.tray.told, 60, "the notification")
    assert running.tray.told[0].startswith("pacs is down")
    assert running.tray.standing == "stuck"
    with access(opening.where.config) as opened:
        seen = opened.last_beat()
    assert seen is not None
    until(lambda: _later(opening, seen.at + 3), 30, "some looks more")
    assert len(running.tray.told) == 1


def _later(opening: Opening, moment: float) -> bool:
    with access(opening.where.config) as opened:
        beat = opened.last_beat()
        return beat is not None and beat.at > moment


def test_the_menu_says_and_offers() -> None:
    seen = Glance("waiting", "received 2; delivered 1; waiting 1", [("pacs", "held"), ("cloud", "idle")], [])
    found = entries(seen, ends_node=False)
    assert [entry.text for entry in found] == [
        "Open MAPDR",
        "Images wait",
        "Today: received 2; delivered 1; waiting 1",
        "pacs: paused",
        "cloud: idle",
        "Quit; the node goes on",
    ]
    assert found[3].entries == [Entry("Resume", "resume", "pacs")]
    assert found[4].entries == [Entry("Pause", "pause", "cloud")]
    assert title(seen) == "MAPDR: images wait"
    assert [entry.action for entry in entries(None, ends_node=True)] == ["open", "", "quit"]


@pytest.mark.parametrize("size", [16, 32, 64])
def test_standings_are_told_apart_without_colour(size: int) -> None:
    pytest.importorskip("PIL")
    from mapdr_desktop.icons import icon

    greys = {standing: icon(standing, size).convert("L").tobytes() for standing in STANDINGS}
    for one in STANDINGS:
        for other in STANDINGS:
            if one < other:
                differing = sum(abs(a - b) > 40 for a, b in zip(greys[one], greys[other], strict=True))
                assert differing > size * size / 40, f"{one} and {other} at {size} pixels"
