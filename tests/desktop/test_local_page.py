"""What the first start asks: whom it answers, and by keyboard from an empty folder to a delivered image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page as Tab

from mapdr.dicom import uids
from mapdr.operate.first import FirstForm
from mapdr.testing import generator
from mapdr.testing.sink import Sink
from mapdr.testing.wait import until
from mapdr_desktop import own_node
from mapdr_desktop.local_page import LocalPage
from mapdr_desktop.opening import Opening, Where
from peers import dcmtk
from peers.processes import free_port
from web.browsing import SIZES, Seen, seen_in_both_schemes, violations


@pytest.fixture
def local(config: Path) -> Iterator[LocalPage]:
    """The page of a first start; a node that it starts is ended."""
    opening = Opening(Where(config, of_service=False, readable=True))
    page = LocalPage(opening)
    page.start()
    yield page
    page.stop()
    opening.end()


def test_the_token_lets_in_once(local: LocalPage) -> None:
    old = local.address().partition("#token=")[2]
    url, _, token = local.address().partition("/#token=")
    with httpx.Client(base_url=url, trust_env=False) as nobody:
        assert nobody.post("/api/first").status_code == 401
        assert nobody.post("/api/session", json={"token": old}).status_code == 401
        assert nobody.post("/api/session", json={"token": token}).status_code == 401, "one wrong try ends it"
        token = local.address().partition("#token=")[2]
        answer = nobody.post("/api/session", json={"token": token})
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert nobody.post("/api/first").json()["is_new"]
        nobody.cookies.clear()
        assert nobody.post("/api/session", json={"token": token}).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"host": "rebound.example"}, 400), ({"origin": "http://evil.example"}, 403), ({}, 200)],
)
def test_other_pages_and_names_are_refused(
    client: httpx.Client, headers: dict[str, str], status: int
) -> None:
    assert client.post("/api/first", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/api/echo", b"[]", 400),
        ("/api/echo", b"{", 400),
        ("/api/finish", b"{}", 400),
        ("/api/finish", b'{"ae_title": "' + b"A" * 5000 + b'"}', 400),
        ("/api/nothing", b"{}", 404),
    ],
)
def test_what_is_no_request_gets_a_clear_error(
    client: httpx.Client, config: Path, path: str, content: bytes, status: int
) -> None:
    answer = client.post(path, content=content)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert not config.parent.exists()


def test_a_number_that_is_none_is_told_by_its_field(client: httpx.Client, form: FirstForm) -> None:
    answer = client.post("/api/echo", json={**asdict(form), "pacs_port": None})
    assert answer.json() == {"error": "enter a number", "field": "pacs_port"}


def test_every_answer_keeps_other_sources_out(client: httpx.Client) -> None:
    for answer in (client.get("/"), client.get("/static/page.css"), client.post("/api/first")):
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def _ready(local: LocalPage, tab: Tab, seen: Seen) -> None:
    tab.set_default_timeout(60_000)
    seen.watch(tab)
    tab.goto(local.address())
    tab.get_by_role("button", name="Save and start").wait_for()
    assert "token" not in tab.url


@pytest.mark.peer("chromium", "storescu")
@pytest.mark.timeout(300)
def test_from_an_empty_folder_to_a_delivered_image_by_keyboard(
    browser: Browser, local: LocalPage, tmp_path: Path, config: Path, free_port: int
) -> None:
    image = tmp_path / "image.dcm"
    image.write_bytes(next(iter(generator.study("CT", images=1, size=(32, 32), seed=3))).part10())
    seen = Seen()
    with Sink(ae_title="PACS") as sink:
        tab = browser.new_page()
        _ready(local, tab, seen)
        keys = tab.keyboard
        tab.locator("#ae_title").focus()
        for text in ("ROUTER", str(free_port), "127.0.0.1", "1", "PACS"):
            keys.press("Control+A")
            keys.type(text)
            keys.press("Tab")
        tab.get_by_text("✓ free").wait_for()
        keys.press("Enter")  # Echo
        tab.locator("#echo-said").get_by_text("▲").wait_for()
        tab.locator("#pacs_port").fill(str(sink.port))
        tab.locator("#echo").focus()
        keys.press("Enter")
        tab.get_by_text("✓ The PACS answers").wait_for()
        keys.press("Tab")
        keys.press("ArrowDown")
        assert tab.get_by_role("radio", name="Smaller, without loss").is_checked()
        keys.press("Tab")
        keys.press("Enter")
        tab.locator(".figure").first.wait_for()
        assert tab.url.startswith("http://127.0.0.1:84")
        assert dcmtk.storescu(free_port, [image], called="ROUTER").returncode == 0
        until(sink.stored, 60, "the image at the PACS")
        (stored,) = sink.stored().values()
        assert stored.transfer_syntax_uid == uids.JPEG2000_LOSSLESS
    assert not seen.said
    assert "ROUTER" in config.read_text()


@pytest.mark.peer("chromium")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_and_is_accessible(browser: Browser, local: LocalPage, size: str) -> None:
    width, height = SIZES[size]
    tab = browser.new_page(viewport={"width": width, "height": height})
    _ready(local, tab, Seen())
    tab.get_by_role("radio", name="Much smaller, with loss").check()
    tab.get_by_role("button", name="Save and start").click()
    tab.locator("#pacs_host-said").get_by_text("▲").wait_for()
    assert tab.evaluate("document.activeElement.id") == "pacs_host"
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert not seen_in_both_schemes(tab, size)


@pytest.mark.peer("chromium")
@pytest.mark.timeout(300)
def test_a_node_that_does_not_start_is_said_and_tried_again(
    browser: Browser, local: LocalPage, form: FirstForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = own_node.program()
    monkeypatch.setattr(own_node, "program", lambda: (right[0], "-c", "raise SystemExit('no room here')"))
    tab = browser.new_page()
    _ready(local, tab, Seen())
    values = replace(form, pacs_port=free_port())
    for name in ("ae_title", "port", "pacs_host", "pacs_port", "pacs_ae_title"):
        tab.locator(f"#{name}").fill(str(getattr(values, name)))
    tab.get_by_role("button", name="Save and start").click()
    tab.get_by_text("the node did not start: no room here").wait_for()
    assert not violations(tab, "trouble")
    monkeypatch.setattr(own_node, "program", lambda: right)
    tab.get_by_role("button", name="Try again").click()
    tab.locator(".figure, #again-said.bad").first.wait_for(timeout=1000 * (own_node.START + 10))
    assert tab.locator(".figure").count(), tab.locator("body").inner_text()
