"""A day at the page: images come and go; a study is refused, and sent again once the receiver is mended."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page as Tab

from mapdr.operate.signin import Doors
from mapdr.testing import generator
from mapdr.testing.sink import Sink
from mapdr.testing.wait import until
from peers import part10
from peers.data import DATA, REAL
from peers.node import Node, destination, everything_to
from peers.part10 import SentObject
from peers.processes import free_port
from peers.rawsender import send_all
from web.browsing import Seen, chromium, figure, focused, tab_of, tab_to

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(900)]

WAIT = 60
IMAGES = 200
STUDY = 5


@dataclass
class Day:
    """A node that runs with its page, the receiver it delivers to, and what that refuses."""

    node: Node
    sink: Sink
    refused: set[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def doors(self) -> Doors:
        return Doors(self.node.data)


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    refused: set[str] = set()
    with Sink(status=lambda _, uid: 0xA900 if uid in refused else 0x0000) as sink:
        port = free_port()
        node = Node(
            tmp_path / "node",
            egress={"telepacs": destination(sink.port, retry={"tries": 1, "first": "100 ms"})},
            rules=[everything_to("telepacs")],
            web={"port": port},
        )
        try:
            yield Day(node.start(), sink, refused, port)
        finally:
            node.stop()


def _series() -> list[SentObject]:
    """Whole series of real scanners, where the test data is, and generated images beside them."""
    real: list[SentObject] = []
    if REAL:
        with (DATA / "catalogue.csv").open(newline="") as file:
            paths = [DATA / row["path"] for row in csv.DictReader(file) if row["path"].startswith("series/")]
        real = [part10.read(path) for path in paths[:IMAGES]]
    made = generator.study("MR", images=IMAGES - len(real), size=(32, 32))
    return [*real, *map(part10.in_memory, made)]


def _studies(tab: Tab) -> str:
    tab_to(tab, "Studies")
    tab.keyboard.press("Enter")
    tab.locator("tbody tr").first.wait_for()
    return tab.locator("tbody").inner_text()


def test_a_day_by_keyboard_alone(day: Day) -> None:
    seen = Seen()
    (one, *others) = [part10.in_memory(each) for each in generator.study("CT", images=STUDY, size=(16, 16))]
    accession, patient = next(generator.study("CT", images=1)).accession_number, "GEN-000000"
    with chromium() as browser:
        tab = tab_of(browser, day, "operator", seen)
        received, delivered, stuck = (figure(tab, t) for t in ("Received today", "Delivered today", "Stuck"))
        assert (received(), delivered()) == ("0", "0")

        # Images come, and go on; the figures follow without a reload.
        series = _series()
        for came in range(50, IMAGES + 1, 50):
            assert set(send_all(day.node.port, series[came - 50 : came], calling="CT1").values()) == {0}
            wanted = str(came), str(came)
            until(lambda wanted=wanted: (received(), delivered()) == wanted, WAIT, f"{came} in the figures")
        assert day.sink.count() == IMAGES
        counts = tab.get_by_role("region", name="Counts")
        until(lambda: "telepacs" in counts.inner_text(), WAIT, "the counts by destination")

        # A study is refused. The overview says so in a sentence, and leads to it.
        day.refused |= {each.sop_instance_uid for each in (one, *others)}
        assert set(send_all(day.node.port, [one, *others], calling="CT1").values()) == {0}
        tab.get_by_text(f"{STUDY} images parked for telepacs: refused ({STUDY})").wait_for()
        assert stuck() == str(STUDY)
        assert "Problem: " in tab.get_by_role("group", name="What needs attention").inner_text()
        tab_to(tab, "Show, and what cures it")
        tab.keyboard.press("Enter")
        heading = tab.get_by_role("heading", name=f"{STUDY} deliveries parked: refused")
        heading.wait_for()
        assert "Cure: The receiver says no to the image itself" in tab.locator("main").inner_text()
        tab_to(tab, "Which studies")
        tab.keyboard.press("Enter")
        tab.get_by_text("the data set does not match its SOP class (0xA900)").wait_for()

        # The receiver is mended, and the study sent again.
        day.refused.clear()
        tab_to(tab, "Try again", back=True)
        tab.keyboard.press("Enter")
        dialog = tab.get_by_role("dialog", name=f"Try {STUDY} deliveries again?")
        dialog.wait_for()
        assert f"telepacs {STUDY}" in dialog.inner_text()
        assert focused(tab) == "Cancel"
        tab_to(tab, f"Try {STUDY} deliveries again")
        tab.keyboard.press("Enter")
        tab.get_by_role("status").get_by_text(f"{STUDY} deliveries will be tried again.").wait_for()
        tab.get_by_text("Nothing is stuck.").wait_for()
        until(lambda: len(day.sink.stored()) == IMAGES + STUDY, WAIT, "all images at the receiver")
        assert day.sink.count() == IMAGES + 2 * STUDY, "what was refused came twice, all else once"

        # The page shows it: in its figures, its table of studies, and the way of each image.
        tab_to(tab, "Overview", back=True)
        tab.keyboard.press("Enter")
        until(lambda: (delivered(), stuck()) == (str(IMAGES + STUDY), "0"), WAIT, "the figures")
        assert not tab.locator(".alert").count()
        text = _studies(tab)
        assert f"telepacs {STUDY} of {STUDY}" in text
        assert "parked" not in text
        tab_to(
            tab,
            tab.locator("tbody tr", has_text=f"telepacs {STUDY} of {STUDY}").get_by_role("link").inner_text(),
        )
        tab.keyboard.press("Enter")
        tab.get_by_role("heading", name=f"CT, {STUDY} images").wait_for()
        tab.get_by_text("telepacs delivered").first.wait_for()
        tab_to(tab, tab.locator("tbody").get_by_role("link").first.inner_text())
        tab.keyboard.press("Enter")
        tab.get_by_text("0x0000").first.wait_for()
        way = tab.locator("main").inner_text()
        assert (
            way.index("received from CT1 at 127.0.0.1") < way.index("0xA900 · refused") < way.index("0x0000")
        )
        assert accession not in tab.content()
        assert patient not in tab.content()
    assert not seen.said
    assert seen.hosts == {f"127.0.0.1:{day.port}"}
