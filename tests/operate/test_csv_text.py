"""Listings as CSV: what is in them comes back, and nothing becomes a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.kernel.item import Source
from mapdr.operate.access import Access
from mapdr.operate.answer import moment
from mapdr.operate.csv_text import csv_text
from mapdr.operate.selection import Selection
from mapdr.operate.sources import SeenSource, sources
from mapdr.operate.studies import Standing, Study, studies

CT1 = Source("in", "CT1", "MAPDR", "10.1.2.3")


@dataclass(frozen=True)
class Row:
    name: str
    number: float | None = None
    tried_at: float | None = None
    good: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    where: Source = CT1
    standings: Mapping[str, Sequence[Standing]] = field(default_factory=dict)
    hidden: str = field(default="", metadata={"json": False})


HEADER = (
    "name,number,tried_at,good,tags,where.receiver,where.calling_ae,where.called_ae,where.address,"
    "where.protocol,where.credential,standings"
)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_listing_without_rows_has_its_header() -> None:
    assert csv_text([], Row) == HEADER


def test_every_kind_of_value_has_a_form() -> None:
    standings = {
        "telepacs": [Standing("delivered", "", 2, False), Standing("parked", "refused", 1, False)],
        "archive": [Standing("pending", "", 3, True)],
    }
    (row,) = read(csv_text([Row("a", 1.5, 1.8e9, False, {"b": "2", "a": "1"}, standings=standings)], Row))
    assert row["number"] == "1.5"
    assert row["tried_at"] == moment(1.8e9)
    assert row["good"] == "no"
    assert row["tags"] == "a=1; b=2"
    assert row["where.calling_ae"] == "CT1"
    assert row["standings"] == "archive: pending 3 again; telepacs: delivered 2, parked refused 1"
    (row,) = read(csv_text([Row("a")], Row))
    assert (row["number"], row["tried_at"], row["good"], row["standings"]) == ("", "", "yes", "")


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")', "-", "=cmd|' /C calc'!A0", " =1+1"]
)
def test_no_text_is_a_formula(text: str) -> None:
    (row,) = read(csv_text([Row(text, -1.5, tags={"-a": text})], Row))
    assert row["name"] == f"'{text}"
    assert row["tags"] == f"'-a={text}"
    assert row["number"] == "-1.5"  # a number is none


@given(st.text())
def test_any_text_comes_back_and_is_harmless(text: str) -> None:
    (row,) = read(csv_text([Row(text)], Row))
    shown = "".join(each if each.isprintable() else "?" for each in text)
    assert row["name"].removeprefix("'") == shown.removeprefix("'")
    assert not row["name"].lstrip().startswith(("=", "+", "-", "@"))
    assert not row["name"].startswith(("\t", "\r"))


def test_listings_of_a_node(opened: Access) -> None:
    found = studies(opened, Selection(modality="CT"))
    (row,) = read(csv_text(found, Study))
    assert row["study_instance_uid"] == found[0].study_instance_uid
    assert (row["images"], row["modalities"], row["tags"]) == ("4", "CT=4", "")
    assert row["destinations"] == "archive: pending 4; telepacs: pending 1, parked refused 1, delivered 2"
    (seen,) = read(csv_text(sources(opened), SeenSource))
    assert (seen["source.calling_ae"], seen["today"]) == ("CT1", "7")
