"""How hooks stand, what their messages say, and sending them again; and the example that tests one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mapdr.config.model import EVENTS, WebhookConfig
from mapdr.notify.events import messages as rendered
from mapdr.notify.example import example
from mapdr.operate.access import Access
from mapdr.operate.configuration import load
from mapdr.operate.errors import RequestError
from mapdr.operate.trial import trial
from mapdr.operate.webhooks import (
    Message,
    MessageSelection,
    Webhook,
    choose_messages,
    messages,
    replay,
    webhooks,
)
from mapdr.store import OutboxEntry, Store
from mapdr.store.messages import OutboxSettlement
from mapdr.testing.ris import Ris
from notify.test_events import SERIES, event
from notify.test_schemas import check
from paper.nodes import NodeFolder

HOOK = """
[webhook.ris]
url = "%s"
on = ["study.received", "study.delivered"]
[webhook.ris.payload]
name = "{PatientName}"
accession = "{AccessionNumber}"
series = [{ each = "series", uid = "{SeriesInstanceUID}", images = "{images}" }]
"""


@pytest.fixture
def told(used: NodeFolder) -> Iterator[Access]:
    """The way to a node with three messages at "ris": taken, given up, and waiting; and one at "old", which
    is not configured."""
    used.config.write_text(used.config.read_text() + HOOK % "http://127.0.0.1:9/")
    opened = Access.of(used.config)
    store = opened.index()
    hook = load(used.config).plan.webhooks["ris"]
    for number, kind in ((1, "study.received"), (2, "study.delivered"), (3, "study.received")):
        known = event(kind, key=f"k{number}", study=number, by_series=SERIES)
        store.outbox.add(rendered(known, {"ris": hook}, "north"), 100.0 * number)
    settle(store, OutboxSettlement(1, "delivered", 0, 204), 150.0)
    settle(store, OutboxSettlement(2, "parked", 0, 410, "answered 410"), 250.0)
    store.outbox.add([OutboxEntry("o", "old", "study.received", {"name": "DOE"})], 400.0)
    yield opened
    opened.close()


def settle(store: Store, settlement: OutboxSettlement, now: float) -> None:
    assert store.outbox.lease("ris", 1, 60, now)[0].id == settlement.id
    store.outbox.settle([settlement], now)


def numbers(rows: list[Message]) -> list[int]:
    return [row.id for row in rows]


def noted(opened: Access) -> list[dict[str, Any]]:
    return [dict(one.arguments) for one in opened.index().commands.take() if one.name == "note"]


def test_a_hook_is_told_by_its_messages_and_its_last_answer(told: Access) -> None:
    assert webhooks(told) == [
        Webhook("old", False, 1, 0, 0, None, None, "", None),
        Webhook("ris", True, 1, 1, 1, 250.0, 410, "answered 410", None),
    ]


def test_bodies_have_placeholders_unless_who_it_is_was_asked_for(told: Access) -> None:
    (shown,) = messages(told, MessageSelection(ids=(2,)))
    assert shown.body == {
        "name": "{PatientName}",
        "accession": "{AccessionNumber}",
        "series": [
            {"uid": "{SeriesInstanceUID}", "images": 118},
            {"uid": "{SeriesInstanceUID}", "images": 2},
        ],
    }
    assert (shown.state, shown.status, shown.attempts, shown.study) == ("parked", 410, 1, 2)
    (whole,) = messages(told, MessageSelection(ids=(2,)), identify=True)
    assert whole.body is not None
    assert (whole.body["name"], whole.body["series"][0]["uid"]) == ("DOE^JANE", "1.2.3.4.1")
    assert whole.webhook_id == shown.webhook_id
    (unknown,) = messages(told, choose_messages(told, webhook="old"))
    assert unknown.body is None, "nobody knows what in it identifies a patient"


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({}, [4, 3, 2, 1]),
        ({"webhook": "ris"}, [3, 2, 1]),
        ({"state": "parked"}, [2]),
        ({"state": "pending"}, [4, 3]),
        ({"event": "study.received", "webhook": "ris"}, [3, 1]),
        ({"study": "3"}, [3]),
        ({"study": "1.2.3.99"}, []),
        ({"since": "1970-01-02"}, []),
        ({"made": time.strftime("%Y-%m-%d", time.localtime(100))}, [4, 3, 2, 1]),
        ({"limit": 2}, [4, 3]),
        ({"ids": (1, 3)}, [3, 1]),
    ],
)
def test_messages_are_chosen(told: Access, conditions: dict[str, Any], found: list[int]) -> None:
    assert numbers(messages(told, choose_messages(told, **conditions))) == found


def test_a_study_is_chosen_by_its_uid_too(told: Access) -> None:
    with told.index().database.read() as connection:
        number, uid = connection.exec_driver_sql("SELECT id, uid FROM study WHERE id = 2").one()
    assert [row.study for row in messages(told, choose_messages(told, study=uid))] == [number]


def test_what_is_not_there_is_said(told: Access) -> None:
    with pytest.raises(RequestError, match='no webhook "rsi"; did you mean "ris"'):
        choose_messages(told, webhook="rsi")
    with pytest.raises(RequestError, match="there is no message 77"):
        messages(told, MessageSelection(ids=(1, 77)))
    with pytest.raises(RequestError, match="there is no message 77"):
        replay(told, MessageSelection(ids=(77,)))
    with pytest.raises(RequestError, match="not configured"):
        replay(told, MessageSelection(hooks=("old",)))
    with pytest.raises(RequestError, match="give one of them"):
        choose_messages(told, made="today", since="2 h")


def test_without_a_choice_what_was_given_up_is_sent_again_and_noted_with_who(told: Access) -> None:
    looked = replay(told, MessageSelection(), dry_run=True)
    assert (looked.messages, dict(looked.to), looked.again, looked.dry_run) == (1, {"ris": 1}, 0, True)
    assert messages(told, MessageSelection(ids=(2,)))[0].state == "parked"
    assert noted(told) == []
    done = replay(told, MessageSelection())
    assert (done.messages, done.dry_run) == (1, False)
    (again,) = messages(told, MessageSelection(ids=(2,)))
    assert (again.state, again.attempts, again.comment) == ("pending", 0, "answered 410")
    assert again.asked_at == pytest.approx(time.time(), abs=60)
    (note,) = noted(told)
    assert (note["action"], note["number"], note["of"], note["to"]) == (
        "webhooks replay",
        1,
        "webhook messages",
        "ris",
    )
    assert note["by"]


def test_what_was_taken_is_sent_again_if_it_is_chosen_and_what_is_on_its_way_is_not(told: Access) -> None:
    store = told.index()
    (under_way,) = store.outbox.lease("ris", 1, 600, time.time())
    assert under_way.id == 3
    before = messages(told, MessageSelection(ids=(1,)))[0].webhook_id
    done = replay(told, MessageSelection(until=1_000.0))
    assert (done.messages, dict(done.to), done.again) == (2, {"ris": 2}, 1), "nobody would send those of old"
    states = {row.id: row.state for row in messages(told, MessageSelection())}
    assert states == {1: "pending", 2: "pending", 3: "leased", 4: "pending"}
    assert messages(told, MessageSelection(ids=(1,)))[0].webhook_id == before


@pytest.mark.parametrize("name", EVENTS)
def test_an_example_is_what_the_schema_says_and_says_of_itself_that_it_is_none(name: str) -> None:
    body = example(WebhookConfig(url="https://ris/", on=(name,)), "north")
    assert body["test"] is True
    check(name, body)


def test_an_example_has_values_of_the_form_that_tags_have(tmp_path: Path) -> None:
    payload = {
        "uid": "{StudyInstanceUID}",
        "date": "{StudyDate}",
        "name": "{PatientName}",
        "accession": "{AccessionNumber}",
        "rows": "{Rows}",
        "series": [{"each": "series", "uid": "{SeriesInstanceUID}", "images": "{images}"}],
    }
    hook = WebhookConfig(url="https://ris/", on=("study.delivered",), payload=payload)
    assert example(hook, "north") == {
        "uid": "2.25.0",
        "date": "20000101",
        "name": "TEST^TEST",
        "accession": "TEST",
        "rows": "0",
        "series": [{"uid": "2.25.0", "images": 1}],
        "test": True,
    }


def test_a_trial_tells_what_the_receiver_answers(used: NodeFolder) -> None:
    text = used.config.read_text()
    with Ris(answer=lambda number: 204 if number == 0 else 401) as ris:
        used.config.write_text(text + HOOK % ris.url)
        taken, refused = trial(load(used.config).plan, "ris"), trial(load(used.config).plan, "ris")
    assert (taken.taken, taken.status, taken.comment, taken.event) == (True, 204, "", "study.received")
    assert (refused.taken, refused.status) == (False, 401)
    assert "asks for a login, or does not accept this one" in refused.comment
    first, second = ris.calls
    assert first.json["test"] is True
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    gone = trial(load(used.config).plan, "ris")
    assert (gone.taken, gone.status, gone.comment) == (False, None, "connection refused")
    with pytest.raises(RequestError, match='no webhook "rsi"; did you mean "ris"'):
        trial(load(used.config).plan, "rsi")
    assert json.dumps(first.json).count("DOE") == 0
