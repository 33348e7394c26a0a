"""What a message says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from mapdr.config.model import EVENTS
from mapdr.config.payload import ALL_PLACEHOLDERS, PLACEHOLDERS, placeholders
from mapdr.dicom.path import parse_path
from mapdr.notify.events import default_payload, event_name, messages, render, wanted_tags
from mapdr.store.study_events import SeriesPart, StudyEvent


@dataclass(frozen=True)
class Hook:
    """A webhook's configuration, the part that matters here."""

    on: tuple[str, ...]
    payload: dict[str, Any] = field(default_factory=dict)


def event(kind: str = "study.delivered", **facts: Any) -> StudyEvent:
    known: dict[str, Any] = {
        "key": f"{kind}:7:1:0",
        "kind": kind,
        "study": 7,
        "study_instance_uid": "1.2.3.4",
        "study_date": "20261123",
        "destination": "telepacs",
        "tags": {parse_path("AccessionNumber"): "A-77", parse_path("PatientName"): "DOE^JANE"},
        "modalities": ("CT", "SR"),
        "series": 3,
        "images": 120,
        "delivered": 120,
        "parked": 0,
        "reason": "",
        "update": 0,
        "first_at": 1.0,
        "last_at": 2.0,
        "at": 3.0,
    }
    return StudyEvent(**{**known, **facts})


def test_what_may_be_named_is_what_the_configuration_allows() -> None:
    studies = [
        event(kind, update=update) for kind in ("study.received", "study.delivered") for update in (0, 1)
    ]
    for told in (*studies, event("study.parked")):
        assert event_name(told) in EVENTS
        assert placeholders(event_name(told)) == PLACEHOLDERS
        assert set(render({name: f"{{{name}}}" for name in PLACEHOLDERS}, told)) == PLACEHOLDERS
        for name in ALL_PLACEHOLDERS - PLACEHOLDERS:
            with pytest.raises(KeyError):
                render({"x": f"{{{name}}}"}, told)


def test_a_lone_placeholder_keeps_its_type_and_texts_are_filled_in() -> None:
    payload = {
        "accession": "{AccessionNumber}",
        "images": "{images}",
        "text": "{images} images in {series} series to {destination}",
        "literal": "{{images}}",
        "nested": [{"state": "{state}", "n": 5, "yes": True, "series": "{series}"}],
        "study": "{StudyInstanceUID} {StudyDate}",
    }
    assert render(payload, event()) == {
        "accession": "A-77",
        "images": 120,
        "text": "120 images in 3 series to telepacs",
        "literal": "{images}",
        "nested": [{"state": "delivered", "n": 5, "yes": True, "series": 3}],
        "study": "1.2.3.4 20261123",
    }


SERIES = (SeriesPart("1.2.3.4.1", "CT", 118, 3), SeriesPart("1.2.3.4.2", "SR", 2, 0))
EACH = {
    "accession": "{AccessionNumber}",
    "series": [
        {"first": "{images}"},
        {
            "each": "series",
            "uid": "{SeriesInstanceUID}",
            "modality": "{Modality}",
            "images": "{images}",
            "text": "{images} of {series} series, {state}",
            "nested": {"more": ["{Modality}"]},
        },
    ],
}


def test_a_list_has_an_entry_for_each_series() -> None:
    assert render(EACH, event(by_series=SERIES)) == {
        "accession": "A-77",
        "series": [
            {"first": 120},
            {
                "uid": "1.2.3.4.1",
                "modality": "CT",
                "images": 118,
                "text": "118 of 3 series, delivered",
                "nested": {"more": ["CT"]},
            },
            {
                "uid": "1.2.3.4.2",
                "modality": "SR",
                "images": 2,
                "text": "2 of 3 series, delivered",
                "nested": {"more": ["SR"]},
            },
        ],
    }
    assert wanted_tags([Hook(("study.received",), EACH)]) == {parse_path("AccessionNumber")}


def test_a_list_of_what_is_parked_has_the_series_that_have_some() -> None:
    told = render(EACH, event("study.parked", parked=3, reason="refused", by_series=SERIES))
    assert [(one.get("uid"), one.get("images")) for one in told["series"]] == [(None, None), ("1.2.3.4.1", 3)]


def test_a_tag_that_the_study_does_not_have_is_empty() -> None:
    assert render({"body": "{BodyPartExamined}"}, event()) == {"body": ""}


def test_the_index_is_asked_to_keep_the_tags_that_are_named() -> None:
    hooks = [Hook(("study.received",), {"a": "{AccessionNumber}", "b": ["x {Modality}", {"c": "{images}"}]})]
    assert wanted_tags(hooks) == {parse_path("AccessionNumber"), parse_path("Modality")}


def test_the_default_body_names_nobody() -> None:
    body = default_payload(event(), "north")
    assert body["type"] == "study.delivered"
    assert body["data"]["images"] == 120
    text = str(body)
    assert not [secret for secret in ("1.2.3.4", "A-77", "DOE", "20261123") if secret in text]


@pytest.mark.parametrize(
    ("kind", "update", "name"),
    [
        ("study.received", 0, "study.received"),
        ("study.received", 1, "study.updated"),
        ("study.delivered", 0, "study.delivered"),
        ("study.delivered", 2, "study.delivered"),
        ("study.parked", 0, "delivery.parked"),
    ],
)
def test_the_names_of_events(kind: str, update: int, name: str) -> None:
    assert event_name(event(kind, update=update)) == name


def test_only_hooks_that_want_an_event_get_a_row_and_each_has_its_own_key() -> None:
    hooks = {
        "ris": Hook(("study.delivered",)),
        "log": Hook(("study.delivered", "study.received")),
        "other": Hook(("delivery.parked",)),
    }
    rows = messages(event(), hooks, "north")
    assert [(row.hook, row.kind) for row in rows] == [("ris", "study.delivered"), ("log", "study.delivered")]
    assert len({row.key for row in rows}) == 2


def test_parked_images_are_what_a_parked_event_counts() -> None:
    told = event("study.parked", parked=4, reason="refused")
    assert render({"n": "{images}", "why": "{reason}", "state": "{state}"}, told) == {
        "n": 4,
        "why": "refused",
        "state": "parked",
    }
