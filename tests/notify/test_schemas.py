"""What is sent is what docs/events/ says: the notifier's own messages, as a receiver got them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from mapdr.config.model import EVENTS, WebhookConfig
from mapdr.kernel.alarm import KINDS, Alarm, AlarmKind
from mapdr.kernel.watch import Watch
from mapdr.notify.alarms import Alarms
from mapdr.notify.notifier import Notifier
from mapdr.store import Settlement, Store
from mapdr.testing.ris import Ris
from mapdr.testing.wait import until
from store.world import To, push

FOLDER = Path(__file__).resolve().parents[2] / "docs/events"
QUIET = 0.1
WHEN = "2026-12-03T13:05:07+00:00"


def schema(event: str) -> dict[str, Any]:
    """The schema of an event, strict: what is sent has no key that it does not describe."""
    read: dict[str, Any] = json.loads((FOLDER / f"{event}.schema.json").read_text(encoding="utf-8"))
    return strict(read)


def strict(part: Any) -> Any:
    if isinstance(part, list):
        return [strict(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {"additionalProperties": False} if isinstance(part.get("properties"), dict) else {}
    return {key: strict(value) for key, value in part.items()} | closed


def check(event: str, body: Any) -> None:
    """Raises ValidationError."""
    Draft202012Validator(schema(event), format_checker=FormatChecker()).validate(body)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "data", "north", durability="process-crash")
    made.use("rev1", To("pacs"), {"r0": {"steps": []}})
    made.start()
    yield made
    made.close()


def come(store: Store, *uids: str) -> None:
    for uid in uids:
        push(store, uid)
    assert store.writer.flush()


def settle(store: Store, state: str) -> None:
    leased = store.ledger.lease("pacs", 100, 60, "n")
    assert leased
    store.ledger.settle([Settlement(row.id, state, reason="refused") for row in leased])


def received(store: Store, ris: Ris) -> None:
    come(store, "1.1", "1.2")


def updated(store: Store, ris: Ris) -> None:
    come(store, "1.1")
    until(lambda: "study.received" in told(ris))
    come(store, "1.2")


def delivered(store: Store, ris: Ris) -> None:
    come(store, "1.1", "1.2")
    settle(store, "delivered")


def parked(store: Store, ris: Ris) -> None:
    come(store, "1.1", "1.2")
    settle(store, "parked")


FACTS: dict[str, Any] = {
    "destination.waits": (
        "archive",
        {"reason": "no-answer", "status": None, "status_protocol": "", "comment": "it hung up"},
    ),
    "disk.low": ("", {"step": "low", "free": 1_800_000_000, "share": 0.018}),
    "source.silent": (
        "modalities CT1",
        {
            "receiver": "modalities",
            "peer": "CT1",
            "address": "192.0.2.7",
            "last_at": WHEN,
            "seconds": 14400.0,
        },
    ),
    "certificate.ends": (
        "receive.modalities",
        {"stage": "receive.modalities", "whose": "own", "name": "mapdr", "fingerprint": "9f" * 32}
        | {"days": 6.9, "expires_at": WHEN},
    ),
    "images.expiring": ("", {"images": 120, "purge_at": WHEN}),
    "license.ends": ("", {"standing": "grace", "reason": "the license has expired", "until": WHEN}),
}
"""The subject of an alarm and what is told of its beginning, by its event."""


def alarm(kind: AlarmKind, *, ends: bool) -> Callable[[Store, Ris], None]:
    """What begins an alarm, and ends it if it is that which is to be told."""

    def happens(store: Store, ris: Ris) -> None:
        hooks = {"ris": WebhookConfig(url=ris.url, on=EVENTS)}
        alarms = Alarms(store.alarms, lambda: hooks, Watch(), node="north")
        subject, facts = FACTS[kind.begins]
        if "destination" in kind.facts:
            facts = {"destination": subject, **facts}
        assert alarms.begin(Alarm(kind, subject, facts), time.time())
        if ends:
            known = {"free": 52_000_000_000, "share": 0.5, "destination": subject} | facts
            kept = {key: known[key] for key in kind.end_facts if key != "seconds"}
            assert alarms.end(kind, subject, time.time(), **kept)

    return happens


HAPPENS: dict[str, Callable[[Store, Ris], None]] = {
    "study.received": received,
    "study.updated": updated,
    "study.delivered": delivered,
    "delivery.parked": parked,
    **{kind.begins: alarm(kind, ends=False) for kind in KINDS},
    **{kind.ends: alarm(kind, ends=True) for kind in KINDS if kind.ends},
}
"""What brings each event about."""


def told(ris: Ris) -> dict[str, Any]:
    """The last body of each type that the RIS has taken."""
    return {call.json["type"]: call.json for call in ris.answered()}


def test_every_event_has_a_schema_and_every_schema_an_event() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.json")) == sorted(f"{e}.schema.json" for e in EVENTS)
    table = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [event for event in EVENTS if f"\n| [`{event}`]({event}.schema.json) |" not in table] == []


@pytest.mark.parametrize("event", EVENTS)
def test_what_is_sent_is_what_the_schema_says(store: Store, event: str) -> None:
    with Ris() as ris:
        hooks = {"ris": WebhookConfig(url=ris.url, on=EVENTS)}
        notifier = Notifier(
            store.study_events,
            store.outbox,
            hooks,
            Watch(),
            node="north",
            quiet_seconds=QUIET,
            tick=0.02,
            rest=0.02,
        )
        notifier.start()
        try:
            HAPPENS[event](store, ris)
            until(lambda: event in told(ris), what=event)
        finally:
            notifier.stop(time.monotonic() + 5)
    body = told(ris)[event]
    check(event, body)
    text = json.dumps(body)
    assert not [value for value in ("1.2.3", "1.1", "ACC1", "P0", "20261123") if value in text]


@pytest.mark.parametrize("event", EVENTS)
def test_a_schema_is_one_and_its_example_holds(event: str) -> None:
    Draft202012Validator.check_schema(schema(event))
    (example,) = schema(event)["examples"]
    check(event, example)
    check(event, example | {"test": True})
    assert schema(event)["title"] == event
    assert set(schema(event)["required"]) == {"type", "timestamp", "data"}
    data = schema(event)["properties"]["data"]
    assert set(data["required"]) == set(data["properties"])


@pytest.mark.parametrize("event", EVENTS)
def test_a_schema_refuses_what_is_otherwise(event: str) -> None:
    (example,) = schema(event)["examples"]
    wrong = [
        {key: value for key, value in example.items() if key != "data"},
        example | {"type": "another"},
        example | {"data": example["data"] | {"more": 1}},
        *(
            example | {"data": {other: value for other, value in example["data"].items() if other != key}}
            for key in example["data"]
        ),
    ]
    for body in wrong:
        with pytest.raises(ValidationError):
            check(event, body)
