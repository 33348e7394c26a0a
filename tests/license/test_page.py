"""The license on the page: how it stands, the request code, and installing one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import httpx
import jsonschema
import pytest
from playwright.sync_api import Browser

from license.vendor import FACTS, FAR, KEY, OTHER_KEY, token
from mapdr.license.code import KINDS, fingerprint, read
from mapdr.license.facts import Machine
from mapdr.license.token import License, sign
from mapdr.node import licensing
from mapdr.testing.wait import until
from paper import nodes
from web.browsing import SIZES, Seen, focused, seen_in_both_schemes, tab_of, tab_to, violations
from web.conftest import Page, opened
from web.test_api import schema_of


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """The page of a build that needs no license."""
    monkeypatch.setattr("mapdr.license.gate.compiled", None)
    with opened(nodes.new(tmp_path)) as page:
        yield page


@pytest.fixture
def vendors(tmp_path: Path, vendor_build: ModuleType, machine: Machine) -> Iterator[Page]:
    """The page of a vendor's build, on the machine of FACTS, without a license."""
    with opened(nodes.new(tmp_path)) as page:
        yield page


TODAY = datetime.now(UTC).date()


def token_for(code: str) -> str:
    return sign(License("7", "Clinic North", code, TODAY, FAR, sources=3), KEY)


def test_a_build_that_needs_none_says_so_and_gives_none(plain: Page) -> None:
    with closing(plain.signed_in("operator")) as client:
        told = client.get("/api/v1/license").json()
        assert (told["state"], told["comment"]) == ("unneeded", "this build needs no license")
        for path, given in (("request", {}), ("install", {"token": token()})):
            answer = client.post(f"/api/v1/license/{path}", json=given)
            assert answer.status_code == 400
            assert "needs no license" in answer.json()["error"]
    assert not (plain.node.plan.node.data / licensing.TOKEN).exists()


def test_an_operator_asks_for_a_license_and_installs_it(vendors: Page) -> None:
    data = vendors.node.plan.node.data
    with closing(vendors.signed_in("operator")) as client:
        document = client.get("/api/v1/openapi.json").json()
        before = client.get("/api/v1/license").json()
        assert before["state"] == "trial"
        asked = client.post("/api/v1/license/request", json={}).json()
        assert read(asked["code"]).hashes == fingerprint(FACTS, read(asked["code"]).salt).hashes
        picture = ET.fromstring(asked["svg"])
        assert picture.tag == "{http://www.w3.org/2000/svg}svg"
        side = len(asked["qr"]) + 4
        assert picture.attrib["viewBox"] == f"0 0 {side} {side}", "two modules of margin more than the rows"
        done = client.post("/api/v1/license/install", json={"token": token_for(asked["code"])})
        told = done.json()
        for answer, path, method in (
            (before, "", "get"),
            (asked, "/request", "post"),
            (told, "/install", "post"),
        ):
            jsonschema.validate(answer, schema_of(document, f"/api/v1/license{path}", method))
        assert (told["state"], told["license"]["sources"], told["same"]) == ("licensed", 3, sorted(KINDS))
        assert without_envelope(client.get("/api/v1/license")) == without_envelope(done)
    until(lambda: vendors.node.licensing.standing.kind == "licensed", 10, "that the node sees it")
    (line,) = [
        line
        for path in (data / "audit").iterdir()
        for line in path.read_text().splitlines()
        if "license install" in line
    ]
    assert 'UserID="operator-1"' in line


def without_envelope(answer: httpx.Response) -> dict[str, object]:
    return {key: value for key, value in answer.json().items() if key != "mapdr"}


def test_a_viewer_sees_how_it_stands_and_nothing_else(vendors: Page) -> None:
    with closing(vendors.signed_in("viewer")) as client:
        assert client.get("/api/v1/license").json()["state"] == "trial"
        assert client.post("/api/v1/license/request", json={}).status_code == 403
        assert client.post("/api/v1/license/install", json={"token": token()}).status_code == 403
    assert not (vendors.node.plan.node.data / licensing.TOKEN).exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("", "no license"),
        ("x" * 40_000, "no license"),
        ("\u00e9.\u00e9", "no license"),
        (token(key=OTHER_KEY), "not signed by the vendor"),
        (token(datetime(2026, 1, 2).date()), "has expired"),
    ],
)
def test_what_would_not_hold_is_refused_at_its_field(wrong: str, said: str, vendors: Page) -> None:
    data = vendors.node.plan.node.data
    licensing.keep_token(data, token())
    with closing(vendors.signed_in("operator")) as client:
        answer = client.post("/api/v1/license/install", json={"token": wrong})
    assert (answer.status_code, answer.json()["field"]) == (400, "token")
    assert said in answer.json()["error"]
    assert licensing.read_token(data) == token(), "the one that held stays"


def test_a_folder_that_takes_no_file_is_said(vendors: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(data: Path, token: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(data))

    monkeypatch.setattr(licensing, "keep_token", full)
    with closing(vendors.signed_in("operator")) as client:
        answer = client.post("/api/v1/license/install", json={"token": token()})
    assert answer.status_code == 503
    assert os.strerror(errno.ENOSPC) in answer.json()["error"]
    assert str(vendors.node.plan.node.data) not in answer.text


@pytest.mark.peer("chromium")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_asked_for_and_installed_by_keyboard(
    browser: Browser, vendors: Page, tmp_path: Path, size: str
) -> None:
    seen = Seen()
    width, height = SIZES[size]
    tab = tab_of(browser, vendors, "operator", seen, viewport={"width": width, "height": height})
    tab.get_by_role("link", name="Settings").click()
    tab.get_by_text("○ A trial without a license, until").wait_for()
    tab_to(tab, "Get a license")
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Cancel").click()
    until(lambda: focused(tab) == "Get a license", 10, "the focus where it was")
    tab.keyboard.press("Enter")
    tab.get_by_role("img", name="The request code as a QR code").wait_for()
    code = tab.locator(".request-code").inner_text()
    until(lambda: tab.evaluate("document.activeElement.id") == "license-token", 10, "the form's focus")
    tab.keyboard.type("no license")
    tab_to(tab, "Install")
    tab.keyboard.press("Enter")
    tab.get_by_text("▲ this is no license").wait_for()
    assert tab.get_by_label("License", exact=True).get_attribute("aria-invalid") == "true"
    assert not seen_in_both_schemes(tab, "the form")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    file = tmp_path / "license.txt"
    file.write_text(f"{token_for(code)}\n")
    tab.get_by_label("Or its file").set_input_files(file)
    until(lambda: tab.get_by_label("License", exact=True).input_value() == token_for(code), 10)
    tab_to(tab, "Install")
    tab.keyboard.press("Enter")
    tab.get_by_text("● Licensed until").wait_for()
    assert focused(tab).startswith("● Licensed until")
    tab.get_by_role("definition").get_by_text("Clinic North").wait_for()
    assert not seen_in_both_schemes(tab, "licensed")
    assert [each for each in seen.said if "400" not in each] == []


@pytest.mark.peer("chromium")
@pytest.mark.timeout(300)
def test_who_cannot_install_one_is_shown_the_sentence_alone(browser: Browser, vendors: Page) -> None:
    tab = tab_of(browser, vendors, "viewer", Seen())
    tab.get_by_role("link", name="Settings").click()
    tab.get_by_text("○ A trial without a license, until").wait_for()
    assert [each.inner_text() for each in tab.get_by_role("button").all()] == ["Sign out"]


@pytest.mark.peer("chromium")
@pytest.mark.timeout(300)
def test_where_none_is_needed_one_sentence_says_so(browser: Browser, plain: Page) -> None:
    tab = tab_of(browser, plain, "operator", Seen())
    tab.get_by_role("link", name="Settings").click()
    card = tab.locator("section", has=tab.get_by_role("heading", name="License", exact=True))
    card.get_by_text("This build needs no license.").wait_for()
    assert card.locator("p").all_inner_texts() == ["This build needs no license."]
    assert not card.get_by_role("button").all()


@pytest.mark.peer("chromium")
@pytest.mark.timeout(300)
def test_the_overview_leads_to_it_when_forwarding_pauses(
    browser: Browser, vendors: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.license.standing.TRIAL", timedelta())
    until(lambda: vendors.node.licensing.standing.kind == "over", 10, "the end of the trial")
    tab = tab_of(browser, vendors, "operator", Seen())
    tab.get_by_text("forwarding PAUSES: there is no license").first.wait_for()
    tab.get_by_role("link", name="Show the license").click()
    card = tab.locator("section", has=tab.get_by_role("heading", name="License", exact=True))
    card.get_by_text("▲ Forwarding PAUSES: there is no license").wait_for()
    card.get_by_role("button", name="Get a license").wait_for()
    assert not violations(tab, "a pause")
