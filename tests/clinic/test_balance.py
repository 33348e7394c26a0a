"""The balance itself: whatever is missing, too much, changed or told twice is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from clinic.balance import (
    Arrived,
    arrived,
    assert_content,
    assert_nothing_twice,
    assert_the_ledger_agrees,
    assert_the_ris_knows,
    difference,
    owed,
)
from clinic.receivers import DUPLICATE, NO_ROOM, Entry
from clinic.workload import Image, pushed, week

IMAGES = {image.uid: image for image in pushed(week(60, 20))}
NEVER = 7


def entry(image: Image, status: int | None = 0) -> Entry:
    return Entry(image.uid, image.item.transfer_syntax_uid, image.digest, status, image.item.data)


def log() -> dict[str, Arrived]:
    """The PACS's, without what the old CR made, which has to arrive changed."""
    here = [image for image in IMAGES.values() if image.modality in ("CT", "MR", "US")]
    return arrived(map(entry, here), IMAGES)


def row(image: Image, **changed: Any) -> Mapping[str, Any]:
    return {
        "state": "delivered",
        "status": 0,
        "sent_sop_instance_uid": image.uid,
        "transfer_syntax_uid": image.item.transfer_syntax_uid,
        "attempts_made": [{}],
        **changed,
    }


def test_each_image_is_owed_where_a_person_says() -> None:
    found = {image.modality: sorted(owed(image, NEVER)) for image in IMAGES.values()}
    assert found == {
        "CT": ["archive", "pacs", "telepacs"],
        "MR": ["cloud", "pacs", "telepacs"],
        "US": ["cloud", "pacs"],
        "CR": ["bucket", "pacs"],
        "XC": [],
    }
    days = {image.day: owed(image, 4) for image in IMAGES.values() if image.modality == "MR"}
    assert {"backup" in names for day, names in days.items() if day < 4} == {False}
    assert {"backup" in names for day, names in days.items() if day >= 4} == {True}


def test_the_balance_sees_what_is_missing_and_what_is_too_much() -> None:
    due = [image for image in IMAGES.values() if image.modality in ("CT", "MR", "US")]
    whole = log()
    towards: dict[str, dict[str, Arrived]] = {name: {} for name in ("telepacs", "cloud", "archive")}
    assert difference(due, {"pacs": whole, **towards}, NEVER)["pacs"] == ([], [])
    short = dict(whole)
    lost = short.popitem()[0]
    stray = next(image for image in IMAGES.values() if image.modality == "XC")
    short[stray.uid] = Arrived(stray, (entry(stray),))
    assert difference(due, {"pacs": short, **towards}, NEVER)["pacs"] == ([lost], [stray.uid])


def test_what_was_refused_has_not_arrived() -> None:
    image = next(iter(IMAGES.values()))
    assert not arrived([entry(image, NO_ROOM)], IMAGES)
    assert len(arrived([entry(image, NO_ROOM), entry(image)], IMAGES)[image.uid].entries) == 1


def test_what_is_not_as_it_was_sent_is_seen() -> None:
    whole = log()
    assert assert_content("pacs", whole) == {"as sent": len(whole)}
    uid, each = next(iter(whole.items()))
    spoiled = replace(each.entries[0], digest="another")
    with pytest.raises(AssertionError, match="not what was sent"):
        assert_content("pacs", {uid: replace(each, entries=(spoiled,))})
    with pytest.raises(AssertionError, match="other bytes"):
        assert_content("pacs", {uid: replace(each, entries=(each.entries[0], spoiled))})


@pytest.mark.parametrize(
    ("name", "modality"), [("telepacs", "CT"), ("cloud", "MR"), ("pacs", "CR"), ("bucket", "CR")]
)
def test_an_image_that_a_rule_changes_does_not_pass_unchanged(name: str, modality: str) -> None:
    week_of_one = [image for image in pushed(week(140, 20)) if image.modality == modality]
    image = next(image for image in week_of_one if image.number == 7 and image.accession_number)
    with pytest.raises(AssertionError):
        assert_content(name, {image.uid: Arrived(image, (entry(image),))})


def test_a_repeat_needs_an_attempt_that_the_ledger_knows() -> None:
    image = next(iter(IMAGES.values()))
    twice = {image.uid: Arrived(image, (entry(image), entry(image, DUPLICATE)))}
    rows = {image.uid: [row(image, attempts_made=[{}, {}])]}
    assert assert_nothing_twice("pacs", twice, rows) == 1
    with pytest.raises(AssertionError, match="came 2 times"):
        assert_nothing_twice("pacs", twice, {image.uid: [row(image)]})


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "parked"},
        {"status": DUPLICATE},
        {"sent_sop_instance_uid": "2.25.1"},
        {"transfer_syntax_uid": "1.2.840.10008.1.2"},
    ],
)
def test_a_ledger_that_says_otherwise_is_seen(changed: Mapping[str, Any]) -> None:
    image = next(image for image in IMAGES.values() if image.modality == "CT")
    here = {image.uid: Arrived(image, (entry(image),))}
    assert_the_ledger_agrees("pacs", here, {image.uid: [row(image)]})
    with pytest.raises(AssertionError):
        assert_the_ledger_agrees("pacs", here, {image.uid: [row(image, **changed)]})
    with pytest.raises(AssertionError):
        assert_the_ledger_agrees("pacs", here, {})


def told(change: Callable[[list[dict[str, Any]]], object] = lambda calls: None) -> list[dict[str, Any]]:
    """What the RIS has to be told of the first study, and how a test changes it."""
    image = next(image for image in IMAGES.values() if image.modality == "US")
    study = [each for each in IMAGES.values() if each.study_instance_uid == image.study_instance_uid]
    base = {"study": image.study_instance_uid, "images": len(study)}
    calls = [{**base, "event": "study.received", "destination": ""}]
    calls += [{**base, "event": "study.delivered", "destination": name} for name in ("pacs", "cloud")]
    change(calls)
    return calls


def test_the_ris_must_be_told_once_and_of_all() -> None:
    uid = told()[0]["study"]
    study = [image for image in IMAGES.values() if image.study_instance_uid == uid]
    assert assert_the_ris_knows(told(), study, NEVER) == 0
    updated = {**told()[0], "event": "study.updated"}
    assert assert_the_ris_knows([*told(), updated, told()[1]], study, NEVER) == 1
    for change in (
        lambda calls: calls.pop(0),
        lambda calls: calls.pop(),
        lambda calls: calls.append(calls[0]),
        lambda calls: calls.append(calls[1]),
        lambda calls: calls[1].update(images=1),
        lambda calls: calls.append({**calls[1], "destination": "bucket"}),
    ):
        with pytest.raises(AssertionError):
            assert_the_ris_knows(told(change), study, NEVER)
