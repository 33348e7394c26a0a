"""`mapdr report` in all its forms, of a month that was counted."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest

from paper import months, nodes

VOID = {"meta", "br", "path"}
"""Elements without an end."""


@pytest.fixture(scope="session")
def october(tmp_path_factory: pytest.TempPathFactory) -> nodes.NodeFolder:
    """A node with the figures of October 2026."""
    node = nodes.new(tmp_path_factory.mktemp("october"))
    store = node.store()
    months.fill(store, date(2026, 10, 1), 31)
    store.close()
    return node


class Page(HTMLParser):
    """Notes what a page is made of; every element has to end where it should."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture
def written(october: nodes.NodeFolder, tmp_path: Path) -> str:
    result = october.mapdr("report", "--month", "2026-10", "--html", str(tmp_path / "r.html"))
    assert (result.exit_code, result.output) == (0, "")
    return (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 200])
def test_the_report_on_a_terminal(
    october: nodes.NodeFolder, width: int, golden: Callable[[str, str], None]
) -> None:
    result = october.mapdr("report", "--month", "2026-10", width=width)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= width
    golden(f"report-{width}", result.output)


def test_the_page_asks_for_nothing_else(written: str) -> None:
    page = Page(written)
    for banned in ("http:", "https:", "url(", "@import", "<script", "src=", "href=", " style="):
        assert banned not in written
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "base"}
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]


def test_who_does_not_see_the_plots_gets_their_figures(written: str) -> None:
    page = Page(written)
    plots = [one for one in page.named("svg") if one.get("role") == "img"]
    assert len(plots) == len(page.named("figure")) == len(page.named("details")) == 4
    assert all(one["aria-label"] for one in plots)
    assert "121,454 images in all" in (plots[0]["aria-label"] or "")
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(one.get("scope") in ("col", "row") for one in page.named("th"))
    assert page.named("html") == [{"lang": "en"}]
    assert len(page.named("h1")) == len(page.named("main")) == 1
    scrolling = [one for one in page.named("div") if one.get("class") == "scroll"]
    assert all(one["tabindex"] == "0" and one["aria-label"] for one in scrolling)


def test_the_page_says_what_the_json_says(october: nodes.NodeFolder, written: str) -> None:
    told = json.loads(october.mapdr("report", "--month", "2026-10", "--json").output)
    texts = [text.strip() for text in Page(written).texts]
    for destination in told["destinations"]:
        assert destination["name"] in texts
        assert f"{destination['total']['images']:,}" in texts
        assert f"{destination['total']['studies']:,}" in texts
    assert "refused" in texts
    assert "the receiver refused it" in texts
    assert not any("not over" in text for text in texts)


def test_the_report_as_a_table(october: nodes.NodeFolder) -> None:
    result = october.mapdr("report", "--from", "2026-10-05", "--to", "2026-10-05", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.output)))
    telepacs = [row for row in rows if row["destination"] == "telepacs"]
    whole, *parts = telepacs
    assert (whole["source"], whole["modality"]) == ("(all)", "(all)")
    assert int(whole["images"]) == sum(int(row["images"]) for row in parts)
    assert float(whole["median_seconds"]) > 5000  # the outage
    assert int(whole["failed_attempts"]) > 0
    assert whole["failures"].startswith(("unreachable ", "refused "))


def test_a_month_that_is_not_over_says_so(used: nodes.NodeFolder, tmp_path: Path) -> None:
    assert "not over" in used.mapdr("report").output
    assert used.mapdr("report", "--html", str(tmp_path / "r.html")).exit_code == 0
    assert "not over" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_nobody_is_named_in_a_report(used: nodes.NodeFolder, tmp_path: Path) -> None:
    studies = json.loads(used.mapdr("studies", "--identify", "--json").output)["studies"]
    values = {value for one in studies for value in one["tags"].values() if len(value) > 2}
    values |= {one["study_instance_uid"] for one in studies}
    assert len(values) > 4
    assert used.mapdr("report", "--html", str(tmp_path / "r.html")).exit_code == 0
    shown = (tmp_path / "r.html").read_text(encoding="utf-8")
    for words in ((), ("--json",), ("--csv",)):
        shown += used.mapdr("report", *words).output
    assert not [value for value in values if value in shown]


def test_nothing_counted_is_a_report_too(used: nodes.NodeFolder, tmp_path: Path) -> None:
    result = used.mapdr("report", "--month", "2020-01")
    assert "Nothing was delivered" in result.output
    assert used.mapdr("report", "--month", "2020-01", "--html", str(tmp_path / "r.html")).exit_code == 0
    assert "Nothing was delivered" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--month", "x"], "--month"),
        (["--from", "2026-11-02", "--to", "2026-11-01"], "--to"),
        (["--to", "2026-11-01"], "--from"),
        (["--month", ""], "empty"),
        (["--json", "--csv"], "--csv and --json"),
        (["--csv", "--html", "x.html"], "--html"),
    ],
)
def test_what_is_no_report_is_status_2(used: nodes.NodeFolder, words: list[str], said: str) -> None:
    result = used.mapdr("report", *words)
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["studies"], 3),
        (["deliveries"], 12),
        (["deliveries", "--state", "parked"], 1),
        (["sources"], 1),
        (["find", "--patient", "nobody"], 0),
        (["webhooks", "list"], 0),
        (["webhooks", "show"], 0),
    ],
)
def test_every_listing_is_csv_too(used: nodes.NodeFolder, words: list[str], rows: int) -> None:
    result = used.mapdr(*words, "--csv")
    assert result.exit_code == 0, result.output
    assert len(list(csv.DictReader(io.StringIO(result.output)))) == rows
    assert used.mapdr(*words, "--csv", "--json").exit_code == 2
