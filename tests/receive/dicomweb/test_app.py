"""What the endpoint counts, tells and says, without a web server."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from mapdr.kernel import tls_words
from mapdr.kernel.certificate import PEER, Certificate
from mapdr.kernel.item import Source
from mapdr.kernel.watch import Event, Watch
from mapdr.receive.dicomweb.answer import JSON, XML
from mapdr.receive.dicomweb.app import Refusal, Requests, StoreInstances, _module
from mapdr.receive.dicomweb.config import DicomwebReceiveConfig
from mapdr.receive.dicomweb.parts import PartResult
from mapdr.receive.rejections import Rejections
from peers.httpd import certificate
from receive.fakes import FakeIntake

CLASS, ONE, TWO = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.1", "1.2.3.2"
STORED = PartResult(CLASS, ONE, size=10)
FULL = PartResult("", TWO, 0xA700, "no room")
FULLER = PartResult("", TWO, 0xA700, "still no room")
NAMELESS = PartResult("", "", 0xC000, "not DICOM", size=5)
SOURCE = Source("web", "", "", "10.1.2.3", "dicomweb", "token:ris")


def endpoint(
    watch: Watch, *, stopping: bool = False, shown: Callable[[Certificate], None] = lambda certificate: None
) -> StoreInstances:
    return StoreInstances(
        "web",
        DicomwebReceiveConfig(),
        FakeIntake(),
        pool=cast(ThreadPoolExecutor, None),
        requests=Requests(4, 2),
        rejections=Rejections(),
        shown=shown,
        watch=watch,
        stopping=lambda: stopping,
    )


@pytest.fixture
def events(watch: Watch) -> list[Event]:
    found: list[Event] = []
    watch.observe(found.append)
    return found


def test_requests_are_bounded_by_address_and_in_all() -> None:
    requests = Requests(3, 2)
    with requests.one_of("a") as first, requests.one_of("a") as second, requests.one_of("a") as third:
        assert (first, second, third) == (True, True, False)
        assert requests.count == 2
        with requests.one_of("b") as fourth, requests.one_of("c") as fifth:
            assert (fourth, fifth, requests.count) == (True, False, 3)
        assert requests.count == 2
    assert (requests.count, dict(requests._open)) == (0, {}), "strangers fill no memory"


def test_parts_are_counted_and_the_first_refusal_of_each_kind_is_told(
    watch: Watch, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    made = endpoint(watch)
    with made._requests.one_of("10.1.2.3"), made._requests.one_of("10.1.2.4"):
        made._count([STORED, FULL, NAMELESS, FULLER, STORED], SOURCE)
    assert watch.counters() == {
        "receive.web.stored": 2,
        "receive.web.refused": 3,
        "receive.web.bytes": 20,
        "receive.web.open": 1,  # this one ends
    }
    told = {event.facts["status"]: event.facts for event in events}
    who = {"receiver": "web", "peer": "token:ris at 10.1.2.3"}
    assert told == {
        0xA700: {**who, "status": 0xA700, "cause": "no room"},
        0xC000: {**who, "status": 0xC000, "cause": "not DICOM"},
    }
    assert len(events) == 2
    assert [each.levelno for each in caplog.records] == [logging.WARNING] * 2


@pytest.mark.parametrize("stopping", [False, True])
def test_a_connection_that_breaks_is_counted_and_told_unless_the_receiver_ends(
    watch: Watch, events: list[Event], stopping: bool, caplog: pytest.LogCaptureFixture
) -> None:
    anybody = Source("web", "", "", "10.1.2.3", "dicomweb", "")
    endpoint(watch, stopping=stopping)._told_once("association.lost", anybody, "it broke")
    assert watch.counters() == {"receive.web.lost": 1}
    facts: list[Any] = [dict(event.facts) for event in events]
    assert facts == ([] if stopping else [{"receiver": "web", "peer": "10.1.2.3", "cause": "it broke"}])
    assert len(caplog.records) == len(facts)


def test_what_is_wrong_with_the_whole_stands_in_the_warning() -> None:
    answer = _module([STORED], None, JSON)
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert "warning" not in answer.headers
    answer = _module([STORED, FULL, NAMELESS], None, XML)
    assert (answer.status_code, answer.headers["warning"]) == (202, '299 - "no room"')
    assert answer.headers["content-type"] == XML
    assert bytes(answer.body).startswith(b"<?xml")
    answer = _module([FULL], None, JSON)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    ends = Refusal(503, 'the "receiver" \\ ends: später', {"Retry-After": "7"})
    answer = _module([STORED], ends, JSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "7")
    assert answer.headers["warning"] == "299 - \"the 'receiver' / ends: sp?ter\""
    answer = _module([NAMELESS], Refusal(400, "it ended early"), JSON)
    assert (answer.status_code, answer.headers["warning"]) == (400, '299 - "it ended early"')
    assert "retry-after" not in answer.headers


def test_who_came_no_further_than_tls_is_counted_and_shown(watch: Watch, events: list[Event]) -> None:
    cause = f"rejected: {tls_words.NO_CERTIFICATE}"
    made = endpoint(watch)
    for _ in range(2):
        made.refused_early("10.1.2.3", cause)
    (rejection,) = made._rejections.all()
    assert (rejection.address, rejection.cause, rejection.times) == ("10.1.2.3", cause, 2)
    assert "[receive.web]" in rejection.cure
    assert watch.counters() == {"receive.web.rejected": 2}
    assert [event.facts["peer"] for event in events] == ["10.1.2.3"]


def test_a_certificate_is_what_its_peer_has_proved_and_is_shown(watch: Watch, tmp_path: Path) -> None:
    shown: list[Certificate] = []
    made = endpoint(watch, shown=shown.append)
    file, _ = certificate(tmp_path, "gateway.example")
    proved = made._proved(ssl.PEM_cert_to_DER_cert(file.read_text()))
    assert [(each.whose, each.name, each.credential) for each in shown] == [(PEER, "gateway.example", proved)]
    assert proved.startswith("certificate:gateway.example sha256:")
    assert made._proved(b"") == made._proved(b"no certificate") == ""
    assert len(shown) == 1


def test_of_many_strangers_a_few_are_told_by_address_and_all_are_counted(
    watch: Watch, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.receive.dicomweb.app.KEPT", 2)
    made = endpoint(watch)
    for host in (1, 2, 3, 4, 1, 3):
        made.refused_early(f"10.1.2.{host}", "rejected: no TLS")
    assert [event.facts["peer"] for event in events] == ["10.1.2.1", "10.1.2.2", "others"]
    assert watch.counters() == {"receive.web.rejected": 6}
    assert len(made._told) == 3, "strangers fill no memory"
