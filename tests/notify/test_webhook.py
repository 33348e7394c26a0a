"""Messages on their way: signed, repeated until taken, side by side, silent about what they hold."""

from __future__ import annotations

import errno
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook

from mapdr.config.model import WebhookConfig
from mapdr.config.secret import Secret
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.watch import Watch
from mapdr.net.http.config import AuthConfig
from mapdr.net.tls import ClientTls
from mapdr.notify.notifier import Notifier
from mapdr.notify.post import encode, judge, signature_headers
from mapdr.notify.webhook import HookSender
from mapdr.store import OutboxEntry, Store, StudyEvent
from mapdr.store.index import schema
from mapdr.store.messages import MessageSelection, OutboxMessage, OutboxSettlement
from mapdr.testing.ris import Ris
from mapdr.testing.wait import until
from peers.httpd import Asked, Said, certificate, server_tls, serving

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def Hook(url: str, **keys: Any) -> WebhookConfig:  # noqa: N802  it stands for the table
    """A webhook's configuration."""
    return WebhookConfig(**{"url": url, "on": ("study.received",), "timeout": 5.0, **keys})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "data", "north", durability="process-crash")
    yield made
    made.close()


def put(store: Store, *numbers: int, hook: str = "ris", **payload: Any) -> None:
    store.outbox.add(
        [
            OutboxEntry(f"study.received:{n}:{hook}", hook, "study.received", {"n": n, **payload})
            for n in numbers
        ],
        time.time(),
    )


QUICK = {"tick": 0.02, "rest": 0.02, "first_wait": 0.05}


@contextmanager
def sending(store: Store, hooks: Mapping[str, WebhookConfig], **settings: Any) -> Iterator[None]:
    watch = settings.pop("watch", None) or Watch()
    senders = [
        HookSender(
            name, hook, store.outbox, watch, **{"tick": 0.02, "rest": 0.02, "first_wait": 0.05, **settings}
        )
        for name, hook in hooks.items()
    ]
    for sender in senders:
        sender.start()
    try:
        yield
    finally:
        for sender in senders:
            sender.stop(time.monotonic() + 5)


def states(store: Store, hook: str = "ris") -> list[str]:
    return [message.state for message in store.outbox.list(hook)]


def test_messages_arrive_in_order_as_json_with_an_id_each(store: Store) -> None:
    with Ris() as ris:
        put(store, 1, 2, 3, text="Größe")
        with sending(store, {"ris": Hook(ris.url)}):
            until(lambda: states(store) == ["delivered"] * 3)
    assert [call.json for call in ris.calls] == [{"n": n, "text": "Größe"} for n in (1, 2, 3)]
    assert len({call.headers["webhook-id"] for call in ris.calls}) == 3
    assert {call.headers["content-type"] for call in ris.calls} == {"application/json"}
    assert not any("webhook-signature" in call.headers for call in ris.calls)


@pytest.mark.parametrize("status", [301, 400, 404, 500, 503])
def test_anything_but_2xx_is_tried_again_with_the_same_id_and_body(store: Store, status: int) -> None:
    with Ris(answer=lambda number: status if number < 2 else 200) as ris:
        put(store, 1)
        with sending(store, {"ris": Hook(ris.url)}):
            until(lambda: states(store) == ["delivered"])
    assert [call.answer for call in ris.calls] == [status, status, 200]
    assert len({(call.headers["webhook-id"], call.body) for call in ris.calls}) == 1


def test_a_message_that_is_refused_does_not_hold_up_the_next(store: Store) -> None:
    with Ris(answer=lambda number: 400 if number == 0 else 200) as ris:
        put(store, 1, 2)
        with sending(store, {"ris": Hook(ris.url)}, first_wait=0.5):
            until(lambda: len(ris.answered()) == 1)
            assert ris.calls[1].json["n"] == 2
            until(lambda: states(store) == ["delivered"] * 2)


def test_a_refused_message_holds_up_its_own_study_alone(store: Store) -> None:
    with Ris(answer=lambda number: 422 if number == 0 else 200) as ris:
        store.outbox.add(
            [
                OutboxEntry(f"k{n}", "ris", "study.received", {"n": n}, study)
                for n, study in ((1, 7), (2, 7), (3, 8), (4, None))
            ],
            time.time(),
        )
        with sending(store, {"ris": Hook(ris.url)}, first_wait=0.5):
            until(lambda: states(store) == ["delivered"] * 4)
    assert [call.json["n"] for call in ris.calls] == [1, 3, 4, 1, 2]


def test_a_signature_is_one_that_the_receiver_can_verify(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(KEY)
    with Ris() as ris:
        put(store, 1, text="é")
        with sending(store, {"ris": Hook(ris.url, secret=Secret("file:secret", tmp_path))}):
            until(lambda: states(store) == ["delivered"])
    call = ris.calls[0]
    assert Webhook(KEY).verify(call.body, call.headers) == {"n": 1, "text": "é"}
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(KEY).verify(call.body + b" ", call.headers)


def test_a_secret_in_plain_words_signs_too(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("any words, no base64!")
    with Ris() as ris:
        put(store, 1)
        with sending(store, {"ris": Hook(ris.url, secret=Secret("file:secret", tmp_path))}):
            until(lambda: states(store) == ["delivered"])
    assert Webhook(b"any words, no base64!").verify(ris.calls[0].body, ris.calls[0].headers)


def test_a_secret_that_cannot_be_read_or_used_is_found_at_the_start(store: Store, tmp_path: Path) -> None:
    missing = HookSender("ris", Hook("http://x/", secret=Secret("env:NOT_SET_HERE")), store.outbox, Watch())
    with pytest.raises(ConfigurationError, match="NOT_SET_HERE"):
        missing.start()
    (tmp_path / "secret").write_text("whsec_!!!a")
    wrong = HookSender(
        "ris", Hook("http://x/", secret=Secret("file:secret", tmp_path)), store.outbox, Watch()
    )
    with pytest.raises(ConfigurationError, match="base64"):
        wrong.start()
    missing.stop(time.monotonic())


def test_headers_may_come_from_secrets(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIS_TOKEN", "Bearer abc")
    with Ris() as ris:
        put(store, 1)
        hook = Hook(ris.url, headers={"Authorization": Secret("env:RIS_TOKEN"), "X-Site": "north"})
        with sending(store, {"ris": hook}):
            until(lambda: states(store) == ["delivered"])
    assert ris.calls[0].headers["authorization"] == "Bearer abc"
    assert ris.calls[0].headers["x-site"] == "north"


def test_a_hook_that_does_not_answer_delays_no_other(store: Store) -> None:
    with socket.socket() as deaf, Ris() as ris:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        put(store, *range(20), hook="deaf")
        put(store, *range(20), hook="ris")
        hooks = {
            "deaf": Hook(f"http://127.0.0.1:{deaf.getsockname()[1]}/", timeout=60),
            "ris": Hook(ris.url),
        }
        with sending(store, hooks):
            until(lambda: states(store, "ris") == ["delivered"] * 20, 30)
            assert not any(message.attempts for message in store.outbox.list("deaf"))  # it waits still
            deaf.close()  # ends what waits there, so that the end of the test does not


def test_a_hook_that_is_away_is_not_hammered_and_gets_everything_later(store: Store) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    put(store, *range(5))
    with sending(store, {"ris": Hook(f"http://127.0.0.1:{port}/")}, first_wait=0.1):
        until(lambda: any(message.attempts for message in store.outbox.list("ris")))
        assert sum(message.attempts for message in store.outbox.list("ris")) <= 3
        assert "connection refused" in next(m.comment for m in store.outbox.list("ris") if m.attempts)


def test_an_answer_that_the_index_does_not_take_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = store.outbox.settle, iter((True, True))

    def settle(settlements: Sequence[OutboxSettlement], now: float) -> None:
        if next(failures, False):
            raise OSError(errno.ENOSPC, "the disk is full")
        write(settlements, now)

    monkeypatch.setattr(store.outbox, "settle", settle)
    with Ris() as ris:
        put(store, 1, 2)
        sender = HookSender("ris", Hook(ris.url), store.outbox, Watch(), tick=0.02)
        sender.start()
        try:
            until(lambda: sender.wake() or states(store) == ["delivered"] * 2)
        finally:
            sender.stop(time.monotonic() + 5)
    assert [call.json for call in ris.calls] == [{"n": 1}, {"n": 2}]


def test_what_is_never_taken_is_parked_in_the_end(store: Store) -> None:
    with Ris(answer=500) as ris:
        put(store, 1)
        with sending(store, {"ris": Hook(ris.url)}, give_up=0.2):
            until(lambda: states(store) == ["parked"])
        assert store.outbox.list("ris")[0].status == 500


def test_a_hook_tells_when_it_fails_otherwise_and_when_it_is_back(store: Store) -> None:
    watch = Watch()
    answers = {0: 500, 1: 500, 2: 503}
    with Ris(answer=lambda number: answers.get(number, 200)) as ris:
        put(store, 1, 2)
        with sending(store, {"ris": Hook(ris.url)}, watch=watch):
            until(lambda: states(store) == ["delivered"] * 2)
    assert [(event.kind, event.facts.get("cause")) for event in watch.recent()] == [
        ("webhook.failed", "answered 500"),
        ("webhook.failed", "answered 503"),
        ("webhook.back", None),
    ]


def test_a_person_ends_the_wait_of_a_hook(store: Store) -> None:
    with Ris(answer=lambda number: 500 if number == 0 else 200) as ris:
        put(store, 1, 2)
        with sending(store, {"ris": Hook(ris.url)}, first_wait=600.0):
            until(lambda: len(ris.calls) == 1 and "answered 500" in store.outbox.list("ris")[1].comment)
            assert store.outbox.retry() == 2
            until(lambda: states(store) == ["delivered"] * 2)


def test_no_answer_is_told_apart_without_the_url(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        deaf = server.getsockname()[1]
        put(store, 1, hook="deaf")
        put(store, 1, hook="gone")
        hooks = {
            "deaf": Hook(f"http://127.0.0.1:{deaf}/?token=geheim", timeout=0.1),
            "gone": Hook("http://127.0.0.1:1/"),
        }
        with sending(store, hooks):
            until(lambda: all(store.outbox.list(hook)[0].comment for hook in hooks))
    assert store.outbox.list("deaf")[0].comment == "connected, but timed out without an answer"
    assert store.outbox.list("gone")[0].comment == "connection refused"


def test_neither_urls_nor_bodies_are_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    with Ris(answer=lambda number: 500 if number == 0 else 200) as ris:
        put(store, 1, name="DOE^JANE")
        with sending(store, {"ris": Hook(ris.url + "?token=geheim")}):
            until(lambda: states(store) == ["delivered"])
    assert "answered 500" in caplog.text
    assert not [word for word in ("DOE", "geheim", ris.calls[0].path) if word in caplog.text]


def test_stopping_leaves_unsent_messages_in_the_outbox(store: Store) -> None:
    with Ris(answer=503) as ris:
        put(store, 1, 2)
        with sending(store, {"ris": Hook(ris.url)}):
            until(lambda: ris.calls)
        assert set(states(store)) == {"pending"}


def test_ids_do_not_depend_on_the_try_or_the_node() -> None:
    message = OutboxMessage(1, "k", "ris", "e", {}, 12.5, "leased", 0.0, 3, None, None, "")
    again = OutboxMessage(1, "k", "ris", "e", {}, 12.5, "leased", 9.0, 4, None, None, "")
    assert message.webhook_id == again.webhook_id
    headers = signature_headers(message.webhook_id, b"", None)
    assert headers["webhook-id"] == message.webhook_id
    assert headers["idempotency-key"] == f'"{message.webhook_id}"'
    assert "." not in headers["webhook-id"]
    assert json.loads(encode({"a": 1, "b": None})) == {"a": 1, "b": None}


def test_a_receiver_may_ask_for_time() -> None:
    assert judge(503, "120").wait == 120
    assert judge(503, "Wed, 31 Dec 2200 23:59:59 GMT").wait == 3600
    assert judge(503, "Fri, 31 Dec 2027 23:59:59 GMT", "Fri, 31 Dec 2027 23:59:09 GMT").wait == 50
    assert judge(429, "9999999999").wait == 3600
    assert not judge(400).hook_fault
    assert judge(204).taken


class Told:
    """An index in which a study becomes quiet once."""

    def __init__(self, store: Store, event: StudyEvent) -> None:
        self._store = store
        self._events = [event]
        self._lock = threading.Lock()

    def due_events(self, now: float, quiet_seconds: float, entries: Any) -> list[StudyEvent]:
        with self._lock:
            told, self._events = self._events, []
        for event in told:
            self._store.outbox.add(entries(event), now)
        return told

    def waiting(self) -> bool:
        with self._lock:
            return bool(self._events)


EVENT = StudyEvent(
    "study.received:1:0:0", "study.received", 1, "1.2.3", "20261123", "", {}, ("CT",),
    1, 5, 0, 0, "", 0, 1, 2, 3,
)  # fmt: skip


def test_an_event_becomes_one_row_per_hook_and_is_seen_by_observers(store: Store) -> None:
    event = EVENT
    watch = Watch()
    with Ris() as ris:
        hooks = {"a": Hook(ris.url), "b": Hook(ris.url, payload={"n": "{images}"})}
        notifier = Notifier(
            Told(store, event), store.outbox, hooks, watch, node="north", quiet_seconds=1, tick=0.02
        )
        notifier.stop(time.monotonic())
        notifier = Notifier(
            Told(store, event), store.outbox, hooks, watch, node="north", quiet_seconds=1, tick=0.02
        )
        notifier.start()
        until(lambda: len(ris.answered()) == 2)
        notifier.stop(time.monotonic() + 5)
        notifier.stop(time.monotonic() + 5)
    assert {"n": 5} in [call.json for call in ris.calls]
    assert [event.kind for event in watch.recent()] == ["study.received"]
    with store.database.read() as connection:
        assert len(connection.execute(select(schema.outbox)).all()) == 2


def test_at_rest_nothing_is_looked_for_until_somebody_says_that_the_index_has_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []
    asked: list[float | None] = []
    next_due = store.outbox.next_due

    class Nothing(Told):
        def waiting(self) -> bool:
            """The last that is asked in a look."""
            looks.append(super().waiting())
            return looks[-1]

    def noted(hook: str) -> float | None:
        asked.append(next_due(hook))
        return asked[-1]

    monkeypatch.setattr(store.outbox, "next_due", noted)
    studies = Nothing(store, EVENT)
    studies._events.clear()
    with Ris() as ris:
        hooks = {"a": Hook(ris.url)}
        notifier = Notifier(
            studies, store.outbox, hooks, Watch(), node="north", quiet_seconds=1, tick=0.01, rest=60
        )
        notifier.start()
        try:
            until(lambda: looks and asked, what="the first look at studies and at messages")
            studies._events.append(EVENT)
            put(store, 7, hook="a")
            assert notifier._thread is not None
            notifier._thread.join(0.3)
            assert (len(looks), ris.answered()) == (1, [])
            notifier.look()
            until(lambda: len(ris.answered()) == 2, what="both messages")
        finally:
            notifier.stop(time.monotonic() + 5)


def test_a_server_that_is_not_let_into_makes_the_hook_wait_and_takes_a_new_token(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("old")
    watch = Watch()

    def scripted(asked: Asked) -> Said:
        return Said(200 if asked.headers.get("authorization") == "Bearer new" else 401)

    put(store, 1, 2)
    with serving(scripted) as server:
        hook = Hook(server.url + "/h", auth=AuthConfig(token=Secret("file:token", tmp_path)), method="PUT")
        with sending(store, {"ris": hook}, watch=watch, first_wait=1.0):
            until(lambda: store.outbox.queues()[0].trouble)
            assert [asked.method for asked in server.asked] == ["PUT"], "one message at a time, once"
            (tmp_path / "token").write_text("new")
            until(lambda: states(store) == ["delivered"] * 2)
    assert [(event.kind, event.facts.get("cause")) for event in watch.recent()] == [
        ("webhook.failed", "the server asks for a login, or does not accept this one (HTTP 401)"),
        ("webhook.back", None),
    ]


def test_oauth_2_and_client_certificates_are_those_of_destinations(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cr3t")
    files, own = certificate(tmp_path), certificate(tmp_path, "router")
    tokens = iter(["first", "second"])

    def scripted(asked: Asked) -> Said:
        if asked.path == "/token":
            token = {"access_token": next(tokens), "token_type": "Bearer", "expires_in": 3600}
            return Said(200, json.dumps(token).encode())
        return Said(200 if asked.headers["authorization"] == "Bearer second" else 401)

    put(store, 1)
    with serving(scripted, server_tls(files, ca=own[0])) as server:
        hook = Hook(
            server.url + "/h",
            auth={
                "token_url": server.url + "/token",
                "client_id": "mapdr",
                "client_secret": Secret("file:secret", tmp_path),
            },
            tls=ClientTls(ca=files[0], cert=own[0], key=own[1]),
            method="PATCH",
        )
        with sending(store, {"ris": hook}):
            until(lambda: states(store) == ["delivered"])
        assert [(asked.method, asked.path) for asked in server.asked] == [
            ("POST", "/token"),
            ("PATCH", "/h"),
            ("POST", "/token"),
            ("PATCH", "/h"),
        ]


SCRIPT: list[tuple[str, Said, str, bool]] = [
    ("403", Said(403), "the server does not allow this to who is logged in (HTTP 403)", True),
    ("429", Said(429, headers={"Retry-After": "0"}), "answered 429", True),
    ("500", Said(500, b"<html>DOE^JANE</html>"), "answered 500", True),
    ("302", Said(302), "the server redirects, and not to itself over https (HTTP 302)", True),
    ("hang up", Said(body=None), "the connection ended without an answer", True),
    ("cut", Said(200, b"fine", cut=1), "the connection ended without an answer", True),
    ("404", Said(404, b"<html>"), "answered 404", False),
    ("422", Said(422), "answered 422", False),
]
"""What a receiver does with the first message it gets, what is shown, and whether others wait with it."""


@pytest.mark.parametrize(
    ("said", "comment", "all_wait"), [row[1:] for row in SCRIPT], ids=[r[0] for r in SCRIPT]
)
def test_what_a_receiver_answers_is_shown_and_tried_again(
    store: Store, said: Said, comment: str, all_wait: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    watch = Watch()
    first: list[str] = []

    def scripted(asked: Asked) -> Said:
        if not first:
            first.append(asked.headers["webhook-id"])
            return said
        return Said(200, b"<html>fine</html>", headers={"Content-Type": "text/html"})

    put(store, 1, 2, name="DOE^JANE")
    first_wait = 0.05 if all_wait else 1.0  # in which the others go
    with serving(scripted) as server:
        hooks = {"ris": Hook(server.url + "/?geheim")}
        with sending(store, hooks, watch=watch, first_wait=first_wait):
            until(lambda: states(store) == ["delivered"] * 2)
    order = [json.loads(asked.body)["n"] for asked in server.asked]
    assert order == ([1, 1, 2] if all_wait else [1, 2, 1])
    assert watch.recent()[0].facts["cause"] == comment
    assert not [word for word in ("DOE", "geheim") if word in caplog.text + str(watch.recent())]


def test_a_receiver_is_left_alone_for_as_long_as_it_asks(store: Store) -> None:
    at: list[float] = []

    def scripted(asked: Asked) -> Said:
        at.append(time.monotonic())
        return Said(200) if len(at) > 1 else Said(429, headers={"Retry-After": "1"})

    put(store, 1)
    with serving(scripted) as server, sending(store, {"ris": Hook(server.url)}, first_wait=0.01):
        until(lambda: states(store) == ["delivered"])
    assert at[1] - at[0] >= 1.0


def test_what_a_person_asks_for_again_has_all_its_time_again(store: Store) -> None:
    with Ris(answer=500) as ris:
        put(store, 1)
        with sending(store, {"ris": Hook(ris.url)}, give_up=1.0):
            until(lambda: states(store) == ["parked"])
            ris.answer = lambda number: 200 if len(ris.calls) > before + 1 else 500
            before = len(ris.calls)
            assert store.outbox.again(MessageSelection(state="parked")) == 1
            until(lambda: states(store) == ["delivered"])
    assert len({call.headers["webhook-id"] for call in ris.calls}) == 1
