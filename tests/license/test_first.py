"""The license at the first start of a vendor's build: told, and installed with the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page as Tab

from license.vendor import FACTS, OTHER_KEY, token
from mapdr.license.code import fingerprint, read
from mapdr.license.facts import Machine
from mapdr.node import licensing
from mapdr.operate.access import access
from mapdr.operate.first import FirstForm, first_license, write_first
from mapdr.operate.license import license_of
from mapdr.testing.wait import until
from mapdr_desktop.local_page import LocalPage
from mapdr_desktop.opening import Opening, Where
from peers.processes import free_port
from web.browsing import SIZES, Seen, seen_in_both_schemes


@pytest.fixture
def config(tmp_path: Path, machine: Machine) -> Path:
    """A configuration that is not written yet, on the machine of FACTS."""
    return tmp_path / "user" / "mapdr.toml"


@pytest.fixture
def form() -> FirstForm:
    return FirstForm("ROUTER", free_port(), "PACS", "127.0.0.1", 104, "none", 10.0)


@pytest.fixture
def local(config: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPage]:
    """The page of a first start, which starts no node: that one would be another build."""
    opening = Opening(Where(config, of_service=False, readable=True))
    monkeypatch.setattr(Opening, "url", lambda self: "http://127.0.0.1:1/started")
    page = LocalPage(opening)
    page.start()
    yield page
    page.stop()


def test_a_license_is_installed_with_the_configuration(
    config: Path, form: FirstForm, vendor_build: ModuleType
) -> None:
    assert first_license(config).state == "trial"
    assert not write_first(form, config, token())
    with access(config) as opened:
        assert license_of(opened).state == "licensed"
        data = opened.plan.node.data
    assert first_license(config).state == "licensed", "it looks into the folder that the configuration names"
    assert licensing.read_token(data) == token()
    assert {each.name for each in config.parent.iterdir()} == {"mapdr.toml", data.name}


@pytest.mark.parametrize("wrong", ["no license", token(key=OTHER_KEY)])
def test_one_that_would_not_hold_is_a_problem_and_nothing_is_written(
    config: Path, form: FirstForm, vendor_build: ModuleType, wrong: str
) -> None:
    (problem,) = write_first(form, config, wrong)
    assert problem.field == "token"
    assert not list(config.parent.iterdir())


def test_the_first_page_gives_a_code_and_takes_a_license(
    client: httpx.Client, config: Path, form: FirstForm, vendor_build: ModuleType
) -> None:
    assert client.post("/api/first").json()["license"]["state"] == "trial"
    code = client.post("/api/request").json()["code"]
    assert read(code).hashes == fingerprint(FACTS, read(code).salt).hashes
    wrong = client.post("/api/finish", json={**asdict(form), "token": 7})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "token")
    long = client.post("/api/finish", json={**asdict(form), "token": "x" * 40_000})
    assert (long.status_code, long.json()["error"]) == (400, "the request is too long")
    refused = client.post("/api/finish", json={**asdict(form), "token": token()[:-9]}).json()
    assert [each["field"] for each in refused["problems"]] == ["token"]
    assert not config.exists()
    assert (
        client.post("/api/finish", json={**asdict(form), "token": token()}).json()["url"].endswith("started")
    )
    with access(config) as opened:
        assert license_of(opened).state == "licensed"


def test_a_build_that_needs_none_asks_for_none(
    client: httpx.Client, form: FirstForm, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.license.gate.compiled", None)
    assert client.post("/api/first").json()["license"]["state"] == "unneeded"
    assert client.post("/api/request").json() == {"error": "this build needs no license", "field": ""}


@pytest.mark.peer("chromium")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_shown_where_one_is_needed(
    browser: Browser, local: LocalPage, config: Path, form: FirstForm, vendor_build: ModuleType, size: str
) -> None:
    seen = Seen()
    tab = _ready(browser, local, seen, size)
    part = tab.get_by_role("group", name="The license")
    part.get_by_text("○ A trial without a license, until").wait_for()
    part.get_by_role("button", name="Show the request code").click()
    part.get_by_role("img", name="The request code as a QR code").wait_for()
    until(lambda: tab.evaluate("document.activeElement.id") == "token", 10, "the focus, which goes on")
    for name in ("ae_title", "port", "pacs_host", "pacs_port", "pacs_ae_title"):
        tab.locator(f"#{name}").fill(str(getattr(form, name)))
    part.get_by_label("License", exact=True).fill("no license")
    tab.get_by_role("button", name="Save and start").click()
    part.get_by_text("▲ this is no license").wait_for()
    assert tab.evaluate("document.activeElement.id") == "token"
    assert tab.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert not seen_in_both_schemes(tab, size)
    file = config.parent.parent / "license.txt"
    file.write_text(f"{token()}\n")
    part.get_by_label("Or its file").set_input_files(file)
    part.get_by_text("▲ this is no license").wait_for(state="hidden")
    assert part.get_by_label("License", exact=True).input_value() == token()
    assert not seen.said


@pytest.mark.peer("chromium")
@pytest.mark.timeout(300)
def test_it_is_not_shown_where_none_is(
    browser: Browser, local: LocalPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.license.gate.compiled", None)
    seen = Seen()
    tab = _ready(browser, local, seen, "desk")
    assert tab.get_by_role("group", name="The license").count() == 0
    assert not seen.said


def _ready(browser: Browser, local: LocalPage, seen: Seen, size: str) -> Tab:
    width, height = SIZES[size]
    tab = browser.new_page(viewport={"width": width, "height": height})
    tab.set_default_timeout(60_000)
    seen.watch(tab)
    tab.goto(local.address())
    tab.get_by_role("button", name="Save and start").wait_for()
    return tab
