"""About: the version, and whose work is in the program."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Browser

import mapdr
from web.browsing import SIZES, Seen, tab_of, violations
from web.conftest import Page


def test_a_viewer_may_know_the_licences(viewer: httpx.Client) -> None:
    told = viewer.get("/api/v1/about").json()
    assert told["version"] == mapdr.__version__
    assert {"name", "version", "license", "home"} == told["packages"][0].keys()


@pytest.mark.peer("chromium")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_reached_from_the_foot_of_every_view(browser: Browser, page: Page, size: str) -> None:
    width, height = SIZES[size]
    seen = Seen()
    tab = tab_of(browser, page, "viewer", seen, viewport={"width": width, "height": height})
    tab.get_by_role("link", name="About MAPDR").focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("rowheader", name="pydicom").wait_for()
    assert tab.url.endswith("/about")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert not violations(tab, size)
    tab.reload()
    tab.get_by_role("rowheader", name="pydicom").wait_for()
    assert not seen.said
