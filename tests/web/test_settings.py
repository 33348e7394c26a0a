"""The configuration changed by the page's forms, in headless Chromium."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Browser

from mapdr.store import OutboxEntry
from mapdr.testing.ris import Ris
from mapdr.testing.sink import Sink
from mapdr.testing.wait import until
from web.browsing import Seen, focused, tab_of, tab_to, violations
from web.conftest import Page, receive

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(600)]


def test_a_destination_is_asked_added_changed_and_removed(browser: Browser, page: Page) -> None:
    before = page.config.read_text()
    seen = Seen()
    with Sink(ae_title="CARDIO") as sink:
        tab = tab_of(browser, page, "operator", seen)
        tab.get_by_role("link", name="Settings").click()
        tab.get_by_text("● in use").wait_for()
        tab_to(tab, "Add a destination")
        tab.keyboard.press("Enter")
        form = tab.get_by_role("form", name="A new destination")
        for text in ("cardio", "CARDIOLOGY TOO LONG", "127.0.0.1"):
            tab.keyboard.type(text)
            tab.keyboard.press("Tab")
        form.get_by_label("Port").fill(str(sink.port))
        tab_to(tab, "Save")
        tab.keyboard.press("Enter")
        until(lambda: "▲" in form.inner_text(), 20, "what is wrong with it")
        assert form.get_by_label("AE title").get_attribute("aria-invalid") == "true"
        assert form.get_by_label("AE title").evaluate("each => each === document.activeElement")
        assert page.config.read_text() == before
        assert not violations(tab, "a form with a problem")
        form.get_by_label("AE title").fill("CARDIO")
        form.get_by_role("button", name="Echo").click()
        form.get_by_text("● CARDIO answers").wait_for()
        form.get_by_role("button", name="Save").click()
        tab.get_by_role("status").get_by_text("cardio is saved and in use.").wait_for()
        written = page.config.read_text()
        assert '[egress.cardio]\ntype = "dicom"\nae_title = "CARDIO"' in written

        tab.get_by_role("button", name="Change cardio").click()
        form = tab.get_by_role("form", name="Change cardio")
        assert focused(tab) == ""
        form.get_by_label("Port").fill("11119")
        form.get_by_role("button", name="Save").click()
        tab.get_by_text("CARDIO at 127.0.0.1:11119").wait_for()
        tab.get_by_role("button", name="Remove cardio").click()
        tab.get_by_role("dialog").get_by_role("button", name="Remove cardio").click()
        until(lambda: page.config.read_text() == before, 20, "the file as it was")
    assert not seen.said


def test_a_source_is_added_changed_and_removed(browser: Browser, page: Page) -> None:
    before = page.config.read_text()
    seen = Seen()
    tab = tab_of(browser, page, "operator", seen)
    tab.get_by_role("link", name="Settings").click()
    tab.get_by_text("Anybody may send to it.").wait_for()
    tab.get_by_role("button", name="Add a source").click()
    form = tab.get_by_role("form", name="A new source")
    form.get_by_text("Until now anybody may send here").wait_for()
    form.get_by_label("AE title").fill("CT1")
    form.get_by_label("Address").fill("the CT")
    form.get_by_role("button", name="Save").click()
    until(lambda: form.get_by_label("Address").get_attribute("aria-invalid") == "true", 20, "what is wrong")
    assert not violations(tab, "the form of a source")
    form.get_by_label("Address").fill("10.1.2.3")
    form.get_by_role("button", name="Save").click()
    tab.get_by_role("status").get_by_text("CT1 at 10.1.2.3 is saved and in use.").wait_for()
    assert '{ ae_title = "CT1", host = "10.1.2.3" }' in page.config.read_text()
    tab.get_by_role("button", name="Change CT1 at 10.1.2.3").click()
    form = tab.get_by_role("form", name="Change CT1 at 10.1.2.3")
    form.get_by_label("Address").fill("10.1.2.0/24")
    form.get_by_role("button", name="Save").click()
    tab.get_by_role("button", name="Remove CT1 at 10.1.2.0/24").click()
    dialog = tab.get_by_role("dialog")
    dialog.get_by_text("It is the last of the list: then anybody may send here.").wait_for()
    dialog.get_by_role("button", name="Remove CT1 at 10.1.2.0/24").click()
    until(lambda: page.config.read_text() == before, 20, "the file as it was")
    assert not seen.said


def test_a_webhook_is_tested_and_its_messages_go_again(browser: Browser, page: Page) -> None:
    seen = Seen()
    with Ris() as ris:
        with page.config.open("a") as file:
            file.write(f'\n[webhook.ris]\nurl = "{ris.url}"\non = ["study.received"]\n')
        assert page.node.reload(page.config) == ()
        page.node.store.outbox.add([OutboxEntry("k", "ris", "study.received", {"name": "DOE"})], time.time())
        tab = tab_of(browser, page, "operator", seen)
        tab.get_by_role("link", name="Settings").click()
        hooks = tab.get_by_role("region", name="Webhooks")
        hooks.get_by_text("ris").wait_for()
        tab.get_by_role("button", name="Test: ris").click()
        tab.get_by_text("● ris took an example of study.received (204)").wait_for()
        assert any(call.json.get("test") for call in ris.calls)
        until(lambda: not page.node.store.outbox.queues(), 60, "the message at the RIS")
        tab.get_by_role("button", name="Messages: ris").click()
        tab.get_by_text("study.received: ● taken").first.click()
        assert "DOE" not in tab.content()
        assert not violations(tab, "webhooks")
    tab.get_by_role("button", name="Test: ris").click()
    tab.get_by_text("▲ ris did not take an example").wait_for()
    assert not seen.said


def test_an_image_goes_the_way_that_the_forms_have_made(browser: Browser, page: Page) -> None:
    seen = Seen()
    with Sink(ae_title="CARDIO") as sink:
        tab = tab_of(browser, page, "operator", seen)
        tab.get_by_role("link", name="Settings").click()
        tab.get_by_role("button", name="Add a destination").click()
        form = tab.get_by_role("form", name="A new destination")
        for label, value in (("Name", "cardio"), ("AE title", "CARDIO"), ("Host", "127.0.0.1")):
            form.get_by_label(label, exact=True).fill(value)
        form.get_by_label("Port").fill(str(sink.port))
        form.get_by_role("button", name="Save").click()
        tab.get_by_text(f"CARDIO at 127.0.0.1:{sink.port}").wait_for()
        tab.get_by_role("button", name="Add a rule").click()
        form = tab.get_by_role("form", name="A new rule, asked last")
        form.get_by_label("Name", exact=True).fill("Ultrasound")
        form.get_by_label("Modality").fill("US")
        form.get_by_label("Accession prefix").fill("XN-")
        form.get_by_label("cardio").check()
        assert not violations(tab, "the form of a rule")
        form.get_by_role("button", name="Save").click()
        tab.get_by_role("status").get_by_text("Ultrasound is saved and in use.").wait_for()
        sentence = 'Images with Modality US: AccessionNumber begins with "XN-"; to cardio.'
        tab.get_by_text(sentence).wait_for()
        receive(page, "US", 1)
        until(lambda: sink.count() == 1, 30, "the image at the new destination")
        (stored,) = sink.stored().values()
        assert b"XN-" in stored.dataset
    assert not seen.said


def test_a_file_that_somebody_else_changes_is_not_written_over(browser: Browser, page: Page) -> None:
    tab = tab_of(browser, page, "operator", Seen())
    tab.get_by_role("link", name="Settings").click()
    tab.get_by_role("button", name="Change archive").click()
    theirs = page.config.read_text() + "# theirs\n"
    page.config.write_text(theirs)
    form = tab.get_by_role("form", name="Change archive")
    form.get_by_label("Port").fill("11119")
    form.get_by_role("button", name="Save").click()
    form.get_by_text("Somebody has changed the file meanwhile").wait_for()
    assert page.config.read_text() == theirs


def test_a_viewer_reads_what_is_set_but_changes_nothing(browser: Browser, page: Page) -> None:
    tab = tab_of(browser, page, "viewer", Seen())
    tab.get_by_role("link", name="Settings").click()
    tab.get_by_text("ARCHIVE at 127.0.0.1").wait_for()
    assert [each.inner_text() for each in tab.get_by_role("button").all()] == ["Sign out"]
