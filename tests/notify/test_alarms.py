"""Alarms of a node: told once when they begin and once when they end, whatever happens in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from mapdr.config.model import EVENTS, WebhookConfig
from mapdr.config.read import read_text
from mapdr.kernel.alarm import CERTIFICATE, DESTINATION, DISK, EXPIRING, SILENCE, Alarm
from mapdr.kernel.watch import Watch
from mapdr.notify.alarms import Alarms
from mapdr.notify.events import wanted_tags
from mapdr.notify.notifier import Notifier
from mapdr.notify.webhook import HookSender
from mapdr.store import Store
from mapdr.store.alarms import RaisedAlarms
from mapdr.testing.ris import Ris
from mapdr.testing.wait import until

NOW = 1_796_000_000.0
AWAY = Alarm(
    DESTINATION,
    "archive",
    {
        "destination": "archive",
        "reason": "unreachable",
        "status": None,
        "status_protocol": "",
        "comment": "connection refused",
    },
)


def low(step: str) -> Alarm:
    return Alarm(DISK, "", {"step": step, "free": 10**9, "share": 0.01}, step)


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    store = Store.open(folder / "data", "north", durability="process-crash")
    try:
        yield store
    finally:
        store.close()


def alarms(store: Store, watch: Watch | None = None, **hooks: WebhookConfig) -> Alarms:
    """Those of a node as it is after its start."""
    used = hooks or {"ris": WebhookConfig(url="http://127.0.0.1:9/", on=EVENTS)}
    return Alarms(store.alarms, lambda: used, watch or Watch(), node="north")


def told(store: Store, hook: str = "ris") -> list[str]:
    """The events in the outbox, the oldest first."""
    return [message.kind for message in reversed(store.outbox.list(hook))]


def test_an_alarm_is_told_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        those = alarms(store)
        assert those.begin(AWAY, NOW)
        assert not those.begin(AWAY, NOW + 1)
        assert list(those.holding(DESTINATION)) == ["archive"]
        assert those.end(DESTINATION, "archive", NOW + 412.25, destination="archive")
        assert not those.end(DESTINATION, "archive", NOW + 500, destination="archive")
        assert not those.holding(DESTINATION)
        assert those.begin(AWAY, NOW + 600)
        back, waits = store.outbox.list("ris")[1:]
        assert (waits.shown, back.shown) == (waits.payload, back.payload), "nothing in it is of a patient"
        assert told(store) == ["destination.waits", "destination.back", "destination.waits"]
    assert waits.payload == {
        "type": "destination.waits",
        "timestamp": "2026-11-30T00:53:20+00:00",
        "data": {
            "node": "north",
            "destination": "archive",
            "reason": "unreachable",
            "status": None,
            "status_protocol": "",
            "comment": "connection refused",
            "state": "waits",
        },
    }
    assert back.payload["data"] == {
        "node": "north",
        "destination": "archive",
        "seconds": 412.2,
        "state": "back",
    }


def test_what_held_before_a_restart_is_not_told_twice(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        alarms(store).begin(AWAY, NOW)
        alarms(store).begin(low("warn"), NOW)
    with opened(tmp_path) as store:
        those = alarms(store)
        assert not those.begin(AWAY, NOW + 60)
        assert not those.begin(low("warn"), NOW + 60)
        assert told(store) == ["destination.waits", "disk.low"]


def test_what_ended_while_the_node_was_down_is_told_with_all_its_time(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        alarms(store).begin(AWAY, NOW)
    with opened(tmp_path) as store:
        assert alarms(store).end(DESTINATION, "archive", NOW + 7200, destination="archive")
        assert told(store) == ["destination.waits", "destination.back"]
        assert store.outbox.list("ris")[0].payload["data"]["seconds"] == 7200.0
    with opened(tmp_path) as store:
        assert not alarms(store).end(DESTINATION, "archive", NOW + 9000, destination="archive")


def test_another_level_is_told_and_the_same_again_after_it(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        those = alarms(store)
        steps = ["warn", "warn", "refuse", "warn", "refuse", "refuse"]
        assert [those.begin(low(step), NOW + at) for at, step in enumerate(steps)] == [
            True, False, True, True, True, False,
        ]  # fmt: skip
        assert those.end(DISK, "", NOW + 60, free=10**10, share=0.1)
        last = store.outbox.list("ris")[0]
        assert told(store) == ["disk.low"] * 4 + ["disk.back"]
    assert (last.payload["data"]["seconds"], last.payload["data"]["free"]) == (60.0, 10**10)


def test_two_of_a_kind_and_two_nodes_of_one_index_are_told_apart(tmp_path: Path) -> None:
    other = Alarm(DESTINATION, "pacs", {**AWAY.facts, "destination": "pacs"})
    with opened(tmp_path) as store:
        assert alarms(store).begin(AWAY, NOW)
        assert alarms(store).begin(other, NOW)
        hooks = {"ris": WebhookConfig(url="http://127.0.0.1:9/", on=EVENTS)}
        south = RaisedAlarms(store.database, store.outbox, "south")
        assert Alarms(south, lambda: hooks, Watch(), node="south").begin(AWAY, NOW)
        assert alarms(store).end(DESTINATION, "pacs", NOW + 1, destination="pacs")
        assert [raised.subject for raised in store.alarms.all()] == ["archive"]
        assert [raised.subject for raised in south.all()] == ["archive"]
        assert len(told(store)) == 4


def test_only_who_asks_is_told(tmp_path: Path) -> None:
    hooks = {
        "all": WebhookConfig(url="http://127.0.0.1:9/", on=EVENTS),
        "disk": WebhookConfig(url="http://127.0.0.1:9/", on=("disk.low", "disk.back")),
        "study": WebhookConfig(url="http://127.0.0.1:9/", on=("study.received",)),
    }
    with opened(tmp_path) as store:
        those = alarms(store, **hooks)
        those.begin(AWAY, NOW)
        those.begin(low("warn"), NOW)
        those.end(DESTINATION, "archive", NOW, destination="archive")
        assert [told(store, name) for name in hooks] == [
            ["destination.waits", "disk.low", "destination.back"],
            ["disk.low"],
            [],
        ]


def test_what_the_configuration_has_no_more_is_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        those = alarms(store)
        those.begin(AWAY, NOW)
        those.forget(DESTINATION, "archive", NOW)
        those.forget(DESTINATION, "archive", NOW)
        assert told(store) == ["destination.waits"]
        assert store.alarms.all() == []


def test_an_end_that_nobody_is_told_of(tmp_path: Path) -> None:
    facts = {"images": 120, "purge_at": "2026-12-03T13:05:07+00:00"}
    with opened(tmp_path) as store:
        those = alarms(store)
        assert those.begin(Alarm(EXPIRING, "", facts, "2026-12-03"), NOW)
        assert not those.begin(Alarm(EXPIRING, "", facts, "2026-12-03"), NOW)
        assert those.begin(Alarm(EXPIRING, "", facts, "2026-12-04"), NOW)
        assert those.end(EXPIRING, "", NOW)
        assert told(store) == ["images.expiring"] * 2


def test_events_are_emitted_unless_somebody_else_has(tmp_path: Path) -> None:
    facts = {"receiver": "modalities", "peer": "CT1", "address": "10.1.2.3"}
    watch = Watch()
    with opened(tmp_path) as store:
        those = alarms(store, watch)
        those.begin(AWAY, NOW)
        those.end(DESTINATION, "archive", NOW, destination="archive")
        those.begin(low("low"), NOW)
        more = {"last_at": "2026-11-30T00:53:20+00:00", "seconds": 7200.0}
        those.begin(Alarm(SILENCE, "modalities CT1", facts | more), NOW)
        those.end(SILENCE, "modalities CT1", NOW + 3, **facts)
    assert [(event.kind, event.facts) for event in watch.recent()] == [
        ("source.silent", facts | more),
        ("source.back", facts | {"seconds": 3.0}),
    ]


def test_what_could_not_be_written_is_told_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        those = alarms(store)
        put = store.outbox.put

        def fails(*_arguments: Any) -> None:
            raise OperationalError("", {}, Exception())

        monkeypatch.setattr(store.outbox, "put", fails)
        with pytest.raises(OperationalError):
            those.begin(AWAY, NOW)
        assert store.alarms.all() == []  # the row went with the message
        monkeypatch.setattr(store.outbox, "put", put)
        assert those.begin(AWAY, NOW + 1)
        monkeypatch.setattr(store.outbox, "put", fails)
        with pytest.raises(OperationalError):
            those.end(DESTINATION, "archive", NOW + 2, destination="archive")
        monkeypatch.setattr(store.outbox, "put", put)
        assert those.end(DESTINATION, "archive", NOW + 3, destination="archive")
        assert told(store) == ["destination.waits", "destination.back"]


def test_an_alarm_has_the_facts_of_its_kind() -> None:
    with pytest.raises(ValueError, match=r"disk\.low are step, free, share"):
        Alarm(DISK, "", {"step": "warn"})


def test_a_payload_of_its_own_is_sent_to_a_real_receiver(tmp_path: Path) -> None:
    payload = {
        "what": "{event}",
        "text": "{whose} certificate {name} of {stage} ends in {days} days",
        "days": "{days}",
        "more": [{"state": "{state}", "{name}": True}],
    }
    facts = {
        "stage": "receive.modalities",
        "whose": "own",
        "name": "mapdr",
        "fingerprint": "9f" * 32,
        "days": 6.9,
        "expires_at": "2026-12-03T13:05:07+00:00",
    }
    with opened(tmp_path) as store, Ris(answer=lambda number: 503 if number == 0 else 204) as ris:
        hooks = {"ris": WebhookConfig(url=ris.url, on=("certificate.ends",), payload=payload)}
        assert wanted_tags(hooks.values()) == frozenset()
        notifier = Notifier(
            store.study_events,
            store.outbox,
            hooks,
            Watch(),
            node="north",
            quiet_seconds=9,
            tick=0.02,
            rest=0.02,
        )
        notifier.start()
        try:
            alarms(store, **hooks).begin(Alarm(CERTIFICATE, "receive.modalities 9f", facts, "7"), time.time())
            until(ris.answered)
        finally:
            notifier.stop(time.monotonic() + 5)
    assert ris.answered()[0].json == {
        "what": "certificate.ends",
        "text": "own certificate mapdr of receive.modalities ends in 6.9 days",
        "days": 6.9,
        "more": [{"state": "ends", "{name}": True}],
    }
    assert len({call.headers["webhook-id"] for call in ris.calls}) == 1


def test_that_it_is_over_is_not_told_before_that_it_began(tmp_path: Path) -> None:
    other = Alarm(DESTINATION, "pacs", {**AWAY.facts, "destination": "pacs"})
    with opened(tmp_path) as store, Ris(answer=lambda number: 400 if number == 0 else 204) as ris:
        hooks = {"ris": WebhookConfig(url=ris.url, on=EVENTS)}
        those = alarms(store, **hooks)
        those.begin(AWAY, NOW)
        those.end(DESTINATION, "archive", NOW + 1, destination="archive")
        those.begin(other, NOW + 2)
        sender = HookSender("ris", hooks["ris"], store.outbox, Watch(), tick=0.02, first_wait=0.3)
        sender.start()
        try:
            until(lambda: len(ris.answered()) == 3)
        finally:
            sender.stop(time.monotonic() + 5)
    told_of = [(call.json["type"], call.json["data"]["destination"]) for call in ris.calls]
    waits, back = ("destination.waits", "archive"), ("destination.back", "archive")
    assert told_of == [waits, ("destination.waits", "pacs"), waits, back]


HOOK = '[webhook.ris]\nurl = "http://ris/"\non = {on}\npayload = {payload}\n'


@pytest.mark.parametrize(
    ("on", "payload", "problems"),
    [
        (["disk.low"], '{ a = "{free} bytes, {share}", b = "{event} {state}" }', []),
        (["disk.low", "disk.back"], '{ a = "{free}" }', []),
        (["study.received", "destination.waits"], '{ a = "{destination}: {reason}" }', []),
        (
            ["disk.low", "study.received"],
            '{ a = "{AccessionNumber}" }',
            [
                "mapdr.toml:4 webhook.ris.payload.a: names a tag, and disk.low tells of this node, "
                "not of a study; disk.low has {event}, {free}, {share}, {state}, {step}; "
                "or give it a webhook of its own"
            ],
        ),
        (
            ["disk.low", "disk.back"],
            '{ a = [{ b = "{step}" }] }',
            [
                "mapdr.toml:4 webhook.ris.payload.a[0].b: names {step}, which disk.back does not tell; "
                "disk.back has {event}, {free}, {seconds}, {share}, {state}; or give it a webhook of its own"
            ],
        ),
        (
            ["study.received"],
            '{ a = "{free}" }',
            [
                "mapdr.toml:4 webhook.ris.payload.a: names {free}, which study.received does not tell; "
                "study.received has {destination}, {event}, {images}, {reason}, {series}, {state}; "
                "or give it a webhook of its own"
            ],
        ),
        (
            ["disk.low"],
            '{ a = "{zz}" }',
            [
                "mapdr.toml:4 webhook.ris.payload.a: placeholder {zz}: no DICOM keyword 'zz'; "
                "write {event}, {free}, {share}, {state}, {step}"
            ],
        ),
    ],
)
def test_a_payload_names_only_what_its_events_have(on: list[str], payload: str, problems: list[str]) -> None:
    loaded = read_text(HOOK.format(on=on, payload=payload).replace("'", '"'))
    assert [str(problem) for problem in loaded.problems] == problems


def test_each_event_of_a_node_can_be_asked_for() -> None:
    assert not read_text(HOOK.format(on=list(EVENTS), payload="{}").replace("'", '"')).problems
