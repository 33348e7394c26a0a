"""The page as people meet it, in headless Chromium: by keyboard, on a desk and a phone, light and dark."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page as Tab
from pydicom import dcmread

from mapdr.operate.access import access_of
from mapdr.operate.corrections import corrections
from mapdr.operate.deliveries import deliveries
from mapdr.operate.selection import Selection
from mapdr.operate.studies import studies
from mapdr.testing import generator
from mapdr.testing.wait import until
from paper.nodes import SOURCE, NodeFolder
from peers.processes import free_port
from web.browsing import (
    SIZES,
    Seen,
    figure,
    focused,
    seen_in_both_schemes,
    tab_of,
    tab_to,
    violations,
)
from web.conftest import Page, receive, start

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(600)]


def test_figures_move_and_what_is_stuck_is_found_understood_and_retried_by_keyboard(
    browser: Browser, page: Page
) -> None:
    seen = Seen()
    tab = tab_of(browser, page, "operator", seen)
    received = figure(tab, "Received today")
    assert received() == "7"
    receive(page, "MR", 20)
    until(lambda: received() == "27", 20, "the figure of what was received")
    assert figure(tab, "Stuck")() == "2"
    with tab.expect_download() as kept:
        tab.get_by_role("link", name="CSV").click()
    assert "(all),27," in kept.value.path().read_text()

    tab_to(tab, "Stuck 2")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="1 delivery parked: refused").wait_for()
    assert "Cure: The receiver says no to the image itself" in tab.locator("main").inner_text()
    tab_to(tab, "Which studies")
    tab.keyboard.press("Enter")
    tab.get_by_text("the data set does not match its SOP class (0xA900)").wait_for()
    tab.keyboard.press("Shift+Tab")  # Dismiss
    tab.keyboard.press("Shift+Tab")  # Re-route
    tab.keyboard.press("Shift+Tab")
    assert focused(tab) == "Try again"
    tab.keyboard.press("Enter")
    dialog = tab.get_by_role("dialog", name="Try 1 delivery again?")
    dialog.wait_for()
    assert "telepacs 1" in dialog.inner_text()
    assert focused(tab) == "Cancel", "the harmless answer comes first"
    tab.keyboard.press("Enter")
    dialog.wait_for(state="hidden")
    assert _parked(page) == 1
    until(lambda: focused(tab) == "Try again", 20, "the focus to come back")
    tab.keyboard.press("Enter")
    dialog.wait_for()
    tab_to(tab, "Try 1 delivery again")
    tab.keyboard.press("Enter")
    tab.get_by_role("status").get_by_text("1 delivery will be tried again.").wait_for()
    tab.get_by_role("heading", name="1 delivery parked: refused").wait_for(state="hidden")
    assert _parked(page) == 0
    assert not seen.said
    assert seen.hosts == {f"127.0.0.1:{page.port}"}


def _parked(page: Page) -> int:
    with access_of(page.node.plan) as opened:
        return len(deliveries(opened, Selection(state="parked")))


def test_a_study_is_found_by_its_number_and_an_image_followed(browser: Browser, page: Page) -> None:
    with access_of(page.node.plan) as opened:
        found = studies(opened, Selection(), identify=True)
    known = {next(iter(study.modalities)): study.tags or {} for study in found}
    number = known["CT"]["AccessionNumber"]
    seen = Seen()
    tab = tab_of(browser, page, "operator", seen)
    tab.get_by_role("link", name="Studies").click()
    rows = tab.locator("tbody tr")
    until(lambda: rows.count() == 3, 20, "today's studies")
    assert number not in tab.content()
    tab.get_by_label("Accession number").fill(number)
    tab.keyboard.press("Enter")
    until(lambda: rows.count() == 1, 20, "the one study")
    assert "telepacs 2 of 4, 1 parked" in rows.first.inner_text()
    assert number not in rows.first.inner_text()
    tab.get_by_label("Show who it is").check()
    tab.get_by_role("button", name="Find").click()
    rows.get_by_text(number).wait_for()
    rows.first.get_by_role("link").click()
    tab.get_by_role("heading", name="CT, 4 images").wait_for()
    parked = tab.locator("tbody tr", has_text="telepacs parked")
    until(lambda: parked.count() == 1, 20, "the parked image")
    parked.get_by_role("link").click()
    tab.get_by_text("received from CT1 at 127.0.0.1").wait_for()
    assert "0xA900 · refused" in tab.locator("main").inner_text()
    assert "Explicit VR Little Endian" in tab.locator("main").inner_text()
    assert "?study=" in tab.url
    assert 'by "CT to teleradiology"; changed by tags, compress' in tab.locator("main").inner_text()
    tab.get_by_text("Accession Number is changed.").wait_for()
    assert number not in tab.content()
    tab.get_by_label("Show the values").check()
    tab.get_by_role("cell", name=f"CN-{number}", exact=True).wait_for()
    assert "Then: compress" in tab.locator("main").inner_text()
    tab.reload()  # each place has an address
    tab.get_by_text("received from CT1 at 127.0.0.1").wait_for()
    tab.get_by_role("link", name="Its study").click()
    tab.get_by_role("heading", name="CT, 4 images").wait_for()
    assert not seen.said
    assert not [url for url in seen.asked if number in url], "a number stands in no address"


def _study_element(uid: str) -> bytes:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return b"\x20\x00\x0d\x00UI" + len(value).to_bytes(2, "little") + value


def _as_part_of_one_study(page: Page) -> None:
    """A CT and an MR of one study come, after the two studies of before."""
    one, other = (next(generator.study(name, images=1, size=(16, 16), seed=8)) for name in ("CT", "MR"))
    uids = [str(dcmread(BytesIO(each.part10())).StudyInstanceUID) for each in (one, other)]
    merged = other.dataset.replace(_study_element(uids[1]), _study_element(uids[0]))
    assert merged != other.dataset
    for image, data in ((one, one.dataset), (other, merged)):
        identity = image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid
        incoming = page.node.store.spool.begin(SOURCE, *identity)
        incoming.write(data)
        incoming.commit()


def test_counts_are_of_the_days_in_the_address_and_studies_are_not_added_up(
    browser: Browser, page: Page
) -> None:
    _as_part_of_one_study(page)
    seen = Seen()
    tab = tab_of(browser, page, "viewer", seen)
    received = tab.locator("tr.sum")
    # CT 4 + 1, MR 2 + 1, US 1, each study of before; and one of both CT and MR: it counts once.
    cells = ["5 / 2", "3 / 2", "1 / 1", "9 / 4"]
    until(lambda: received.locator("td").all_inner_texts() == cells, 30, "the counts of today")
    tab.get_by_text("below 64.0 MB images are refused").wait_for()
    assert tab.url.endswith("/")
    today = tab.get_by_label("Last day").input_value()
    tab.get_by_label("First day").fill("2026-01-01")
    tab.get_by_label("Last day").fill("2026-01-31")
    tab.get_by_text("Nothing was received or delivered in these days.").wait_for()
    assert tab.get_by_label("Days that are counted").input_value() == "days"
    assert tab.url.endswith("/?first=2026-01-01&last=2026-01-31")
    tab.reload()  # whoever is given the address sees the same days
    tab.get_by_text("Nothing was received or delivered in these days.").wait_for()
    assert tab.get_by_label("First day").input_value() == "2026-01-01"
    with tab.expect_download() as kept:
        tab.get_by_role("link", name="CSV").click()
    assert kept.value.suggested_filename == "mapdr-counts-2026-01-01-2026-01-31.csv"
    assert not seen.said
    tab.get_by_label("Last day").fill("2025-01-31")
    tab.get_by_role("alert").wait_for()
    tab.get_by_label("Days that are counted").select_option("month")
    received.wait_for()
    assert tab.get_by_label("First day").input_value() == f"{today[:8]}01"
    tab.get_by_label("Days that are counted").select_option("today")
    until(lambda: tab.url.endswith("/"), 10, "the address of today")


def test_the_history_and_the_report_of_the_month_are_shown(browser: Browser, page: Page) -> None:
    seen = Seen()
    tab = tab_of(browser, page, "viewer", seen)
    tab.get_by_role("img", name="7 images; most of them, 7, at 20").wait_for()  # of 30 days, on a day
    assert tab.get_by_role("img", name="7 images; most of them").count() == 2
    tab.get_by_role("link", name="Reports").click()
    card = tab.locator("section", has=tab.get_by_role("heading", name="Delivered to telepacs"))
    card.wait_for()
    assert "2 images of 1 study" in card.inner_text()
    assert figure(tab, "Received so far")() == "7"
    assert "/reports?month=20" in tab.url
    with tab.expect_download() as kept:
        tab.get_by_role("link", name="CSV").click()
    assert kept.value.path().read_text().startswith("destination,source,modality,")
    tab.get_by_label("Month").select_option(index=1)
    tab.get_by_text("Nothing in these days.").first.wait_for()
    tab.get_by_label("Month").select_option(index=0)
    card.wait_for()
    tab.get_by_role("link", name="As a page").click()
    tab.get_by_role("heading", name="Delivered to telepacs").wait_for()
    assert not seen.said
    assert seen.hosts == {f"127.0.0.1:{page.port}"}


def test_a_value_of_what_is_stuck_is_corrected_on_its_way(browser: Browser, page: Page) -> None:
    seen = Seen()
    tab = tab_of(browser, page, "operator", seen)
    tab.get_by_role("link", name="Stuck").click()
    tab.get_by_text("Which studies").first.click()
    tab.get_by_role("button", name="Correct", exact=True).click()
    form = tab.get_by_role("form", name="for telepacs")
    form.get_by_label("Tag").fill("NoSuchTag")
    form.get_by_role("button", name="Send corrected").click()
    form.get_by_role("status").get_by_text("NoSuchTag").wait_for()
    assert not violations(tab, "a correction")
    form.get_by_label("Tag").fill("AccessionNumber")
    form.get_by_label("Right value").fill("A4711")
    form.get_by_role("button", name="Send corrected").click()
    tab.get_by_role("dialog").get_by_role("button", name="Send 1 delivery").click()
    tab.get_by_role("status").get_by_text(
        "1 delivery with the corrected AccessionNumber promised."
    ).wait_for()
    with access_of(page.node.plan) as opened:
        (made,) = corrections(opened, Selection(), identify=True)
        assert [(each.tag, each.new) for each in made.changes] == [("AccessionNumber", "A4711")]
        assert made.operator == "ann"
    assert len(seen.said) == 1
    assert "400" in seen.said[0], "the browser tells of the tag that there is not"


def test_many_studies_are_shown_by_and_by(browser: Browser, used: NodeFolder) -> None:
    used.receive(
        image
        for seed in range(230)
        for image in generator.study("MR", images=1, size=(8, 8), seed=100 + seed)
    )
    seen = Seen()
    node = start(used)
    try:
        tab = tab_of(browser, Page(node, used.config), "viewer", seen)
        tab.get_by_role("link", name="Studies").click()
        tab.get_by_text("200 studies, the newest").wait_for()
        tab.get_by_role("button", name="Show more").click()
        tab.get_by_role("status").get_by_text("233 studies", exact=True).wait_for()
        assert tab.locator("tbody tr").count() == 233
        assert tab.get_by_role("button", name="Show more").count() == 0
    finally:
        node.stop(time.monotonic() + 20)
    assert not seen.said


def test_the_log_tells_what_happens_and_can_be_narrowed(browser: Browser, page: Page) -> None:
    seen = Seen()
    tab = tab_of(browser, page, "viewer", seen)
    tab.get_by_role("link", name="Log").click()
    rows = tab.locator("ul.rows li")
    until(lambda: rows.count() >= 1, 20, "the node's start")
    tab.get_by_role("button", name="Pause").click()
    before = rows.count()
    page.node.watch.emit("node.reloaded")
    tab.get_by_role("status").get_by_text("paused").wait_for()
    assert rows.count() == before
    tab.get_by_role("button", name="Pause").click()
    until(lambda: rows.count() > before, 20, "what came since")
    tab.get_by_label("With the words").fill("nothing says this")
    until(lambda: rows.count() == 0, 20, "an empty list")
    tab.get_by_role("status").get_by_text("0 of").wait_for()
    assert not seen.said


def test_rules_are_a_picture_and_a_file_is_tried(browser: Browser, page: Page, tmp_path: Path) -> None:
    seen = Seen()
    tab = tab_of(browser, page, "operator", seen)
    tab.get_by_role("link", name="Rules").click()
    picture = tab.get_by_role(
        "img", name="From CT1 7. Each image is offered to every rule. CT to teleradiology sends to telepacs."
    )
    picture.wait_for()
    assert "Delivered today: telepacs 2, archive 0" in str(picture.get_attribute("aria-label"))
    tab.get_by_text('Images with Modality CT: AccessionNumber begins with "CN-"').wait_for()
    image = next(iter(generator.study("CT", images=1, size=(16, 16), seed=3)))
    file = tmp_path / "image.dcm"
    file.write_bytes(image.part10())
    tab.get_by_label("A DICOM file, chosen or dropped here").set_input_files(file)
    tab.get_by_role("button", name="Try").click()
    tab.get_by_role("heading", name="What telepacs would get").wait_for()
    tab.get_by_role("row", name="Accession Number").get_by_text("CN-").wait_for()
    assert focused(tab) == "image.dcm"
    assert not violations(tab, "a file that was tried")
    file.write_bytes(b"no DICOM at all")
    tab.get_by_label("A DICOM file, chosen or dropped here").set_input_files(file)
    tab.get_by_role("button", name="Try").click()
    tab.get_by_role("alert").get_by_text("image.dcm:").wait_for()
    assert [each for each in seen.said if "400" not in each] == []


def test_axe_finds_nothing(browser: Browser, page: Page) -> None:
    from mapdr.operate.actions import hold_destinations

    with access_of(page.node.plan) as opened:
        hold_destinations(opened, ["archive"])
    found = []
    for size, (width, height) in SIZES.items():
        looks = {"viewport": {"width": width, "height": height}}
        fresh = browser.new_context(**looks).new_page()
        fresh.goto(page.url)
        fresh.get_by_label("Password").wait_for()
        found += seen_in_both_schemes(fresh, f"sign in, {size}")
        seen = Seen()
        tab = tab_of(browser, page, "operator", seen, **looks)
        for view in every_view(tab):
            found += seen_in_both_schemes(tab, f"{view}, {size}")
            # Nothing is wider than the screen; tables scroll in themselves.
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (view, size)
        assert not seen.said
    assert not found


def every_view(tab: Tab) -> Iterator[str]:
    """From view to view, each when it shows what it has: all that the page leads to, a study and an image."""
    leads_to = {link.get_attribute("href") for link in tab.locator("nav a").all()}
    yield "Overview"
    tab.get_by_role("link", name="Studies").click()
    tab.locator("tbody tr").first.wait_for()
    yield "Studies"
    tab.locator("tbody").get_by_role("link").first.click()
    tab.locator("tbody tr").first.wait_for()
    yield "a study"
    tab.locator("tbody").get_by_role("link").first.click()
    tab.get_by_text("received from CT1").wait_for()
    yield "an image"
    tab.get_by_role("link", name="Stuck").first.click()
    tab.get_by_role("heading", name="archive is held").wait_for()
    tab.get_by_text("Which studies").click()
    tab.get_by_role("row").nth(1).wait_for()
    yield "Stuck"
    tab.get_by_role("link", name="Reports").click()
    tab.get_by_role("heading", name="Delivered to telepacs").wait_for()
    yield "Reports"
    tab.get_by_role("link", name="Rules").click()
    tab.locator("svg.flow").wait_for()
    yield "Rules"
    tab.get_by_role("link", name="Settings").click()
    tab.get_by_text("● in use").wait_for()
    yield "Settings"
    tab.get_by_role("link", name="Log").click()
    tab.locator("ul.rows li").first.wait_for()
    yield "Log"
    assert leads_to == {"/", "/studies", "/stuck", "/reports", "/rules", "/settings", "/log"}


def test_a_viewer_sees_no_button_that_acts(browser: Browser, page: Page) -> None:
    tab = tab_of(browser, page, "viewer", Seen())
    tab.get_by_role("link", name="Stuck").first.click()
    tab.get_by_role("heading", name="1 delivery parked: refused").wait_for()
    names = [each.inner_text() for each in tab.get_by_role("button").all()]
    assert names == ["Sign out"]


def test_the_page_says_that_it_has_lost_the_node_and_finds_it_again(
    browser: Browser, used: NodeFolder
) -> None:
    port = free_port()
    node = start(used, f"\n[web]\nport = {port}\n")
    page = Page(node, used.config)
    seen = Seen()
    try:
        tab = tab_of(browser, page, "operator", seen)
        node.stop(time.monotonic() + 10)
        tab.get_by_role("alert").get_by_text("This page has lost the node clinic-north since").wait_for()
        node = start(used, "")
        # Sessions end with the node: it says so, and a link leads in again.
        tab.get_by_text("Your session has ended").wait_for()
        tab.goto(f"{page.url}/#token={page.doors.make_link('ann', 'operator')}")
        tab.locator(".figure").first.wait_for()
        assert not tab.get_by_text("has lost the node").is_visible()
    finally:
        with suppress(Exception):
            node.stop(time.monotonic() + 10)


def test_a_password_signs_in_and_out(browser: Browser, page: Page) -> None:
    page.doors.set_password("bea", "viewer", "correct horse battery")
    tab = browser.new_context().new_page()
    tab.set_default_timeout(60_000)
    tab.goto(page.url)
    tab.get_by_label("User").fill("bea")
    tab.get_by_label("Password").fill("wrong")
    tab.keyboard.press("Enter")
    tab.get_by_role("alert").get_by_text("the user or the password is wrong").wait_for()
    tab.get_by_label("Password").fill("correct horse battery")
    tab.keyboard.press("Enter")
    tab.get_by_text("bea · viewer").wait_for()
    tab.reload()
    tab.get_by_text("bea · viewer").wait_for()
    tab.get_by_role("button", name="Sign out").click()
    tab.get_by_label("Password").wait_for()
    tab.reload()
    tab.get_by_label("Password").wait_for()
