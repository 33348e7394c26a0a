"""The page in headless Chromium: a tab that is signed in, what it says and asks for, and its keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, sync_playwright
from playwright.sync_api import Page as Tab

from mapdr.operate.signin import Doors, Role
from peers.processes import program

SIZES = {"desk": (1440, 1000), "phone": (390, 844)}


class Site(Protocol):
    """Where a node's page is, and who may sign in."""

    @property
    def url(self) -> str: ...

    @property
    def doors(self) -> Doors: ...


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, until the block ends."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program("chromium"), args=["--no-sandbox"], timeout=120_000
        )
        yield opened
        opened.close()


class Seen:
    """What the browser said and asked for."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []

    def watch(self, tab: Tab) -> None:
        def console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.said.append(message.text)

        tab.on("console", console)
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("request", lambda request: self.asked.append(request.url))

    @property
    def hosts(self) -> set[str]:
        """The hosts, with their ports, that were asked."""
        return {url.split("/")[2] for url in self.asked}


def tab_of(browser: Browser, page: Site, role: Role, seen: Seen, **looks: Any) -> Tab:
    """A tab that is signed in by a link, on the overview."""
    tab = browser.new_context(**looks).new_page()
    tab.set_default_timeout(60_000)
    seen.watch(tab)
    tab.goto(f"{page.url}/#token={page.doors.make_link('ann', role)}")
    tab.locator(".figure").first.wait_for()
    assert "token" not in tab.url
    return tab


def figure(tab: Tab, title: str) -> Callable[[], str]:
    card = tab.locator("section", has=tab.get_by_role("heading", name=title)).locator(".figure")
    return card.inner_text


def focused(tab: Tab) -> str:
    return str(tab.evaluate("document.activeElement.textContent.trim()"))


def tab_to(tab: Tab, text: str, *, back: bool = False) -> None:
    """Press the tab key until what has this text has the focus; `back` with the shift key."""
    for _ in range(60):
        if focused(tab) == text:
            return
        tab.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"{text!r} is not reached by the tab key")


def violations(tab: Tab, where: str, rules: Sequence[str] = ()) -> list[str]:
    """What axe-core finds, each with `where`: by all its rules, or by these.

    It looks twice if it finds something: a page that has lost its node is pale for a moment, and where the
    machine stands still it has.
    """
    for _ in range(2):
        tab.locator("body:not(.is-lost)").wait_for()
        told = Axe().run(tab, options={"runOnly": list(rules)} if rules else None).response["violations"]
        if not told:
            break
    return [f"{where}: {each['impact']} {each['id']} {each['nodes'][0]['target']}" for each in told]


def seen_in_both_schemes(tab: Tab, where: str) -> list[str]:
    """What axe-core finds in light, and of colours in dark, where nothing else can differ."""
    tab.emulate_media(color_scheme="light")
    found = violations(tab, f"{where}, light")
    tab.emulate_media(color_scheme="dark")
    return found + violations(tab, f"{where}, dark", rules=["color-contrast"])
