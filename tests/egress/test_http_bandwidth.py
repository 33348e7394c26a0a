"""The bandwidth and the hours of destinations that speak HTTP, measured on the line as for DICOM."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from egress.dicomweb.test_destination import egress as dicomweb
from egress.dicomweb.test_destination import taken
from egress.https.test_upload import egress as https
from egress.test_bandwidth import Meter, assert_met, metering, sending
from egress.test_part10 import payload
from mapdr.egress.dicomweb.destination import DicomwebEgress, StowSession
from mapdr.egress.https.destination import HttpsEgress
from mapdr.kernel.item import Payload, Sent, Verdict
from mapdr.kernel.stage import Batch, EgressSession
from mapdr.net.hours import Hours
from mapdr.testing.wait import until
from peers.httpd import Asked, Httpd, Said, serving


def image(uid: str, size: int, **more: object) -> Payload:
    return payload(bytes(size), uid, **more)


MIXED = [image("1.1", 9_000), image("1.2", 300_000), image("1.3", 500), image("1.4", 60_001)]


def make(type_: str, meter: Meter, **config: Any) -> DicomwebEgress | HttpsEgress:
    url = f"http://127.0.0.1:{meter.port}"
    made = dicomweb(url, **config) if type_ == "dicomweb" else https(url + "/{SOPInstanceUID}", **config)
    made.start()
    return made


def answer(asked: Asked) -> Said:
    return taken(asked) if asked.method == "POST" else Said(201)


@contextmanager
def metered() -> Iterator[tuple[Meter, Httpd]]:
    with serving(answer) as server, metering(server.port) as meter:
        yield meter, server


def named(each: Payload) -> Payload:
    """The same image with a data set that begins with its UID, which a URL may ask for."""
    uid = each.sop_instance_uid.encode()
    uid += bytes(len(uid) % 2)
    head = b"\x08\x00\x18\x00UI" + len(uid).to_bytes(2, "little") + uid
    head += b"\xe0\x7f\x10\x00OW\0\0" + each.length.to_bytes(4, "little")
    return replace(each, parts=(head, *each.parts), length=len(head) + each.length)


LINES = {("dicomweb", "64 kbit/s"): 1, ("https", "512 kbit/s"): 3, ("dicomweb", "20 Mbit/s"): 3}


def test_over_ten_seconds_a_bandwidth_is_met_within_a_twentieth() -> None:
    """Three destinations at once, with several requests at a time and images of all sizes."""
    seconds, stop = 10.0, threading.Event()
    with ExitStack() as stack:
        meters = {line: stack.enter_context(metered())[0] for line in LINES}
        pool = stack.enter_context(ThreadPoolExecutor(sum(LINES.values())))
        sessions: list[EgressSession] = []
        stack.callback(lambda: [session.close() for session in sessions])
        stack.callback(stop.set)
        for (type_, rate), number in LINES.items():
            made = make(type_, meters[type_, rate], bandwidth=rate, requests=number)
            sessions += [made.connect([]) for _ in range(number)]
        for session in sessions:
            pool.submit(sending, session, [named(each) for each in MIXED], stop)
        begin = time.monotonic() + 0.5
        assert_met({rate: meter for (_, rate), meter in meters.items()}, begin, seconds)


@pytest.mark.parametrize("type_", ["dicomweb", "https"])
def test_what_is_stat_passes_the_bandwidth_and_takes_nothing_of_it(type_: str) -> None:
    with metered() as (meter, _):
        made = make(type_, meter, bandwidth="64 kbit/s")
        slow, urgent = made.connect([]), made.connect([])
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(slow.send, named(image("1.1", 24_000)))  # three seconds
            until(lambda: sum(size for _, size in meter.came.copy()) > 2_000, 5)
            begin = time.monotonic()
            for number in range(3):
                stat = named(image(f"1.2.{number}", 400_000, stat=True))  # two and a half minutes
                assert urgent.send(stat).verdict is Verdict.DELIVERED
            assert time.monotonic() - begin < 2.0
            assert under_way.result(10).verdict is Verdict.DELIVERED
            assert time.monotonic() - begin < 4.0
        ordinary = time.monotonic()
        assert urgent.send(named(image("1.3", 8_000))).verdict is Verdict.DELIVERED
        assert time.monotonic() - ordinary > 0.7, "the next one keeps to it again"
        for session in (slow, urgent):
            session.close()


@pytest.mark.parametrize("type_", ["dicomweb", "https"])
def test_a_session_that_is_closed_waits_no_longer_for_its_share_of_the_line(type_: str) -> None:
    with metered() as (meter, _):
        session = make(type_, meter, bandwidth="64 kbit/s").connect([])
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(session.send, named(image("1.1", 1_000_000)))
            until(lambda: len(meter.came) > 2, 5)
            session.close()
            assert under_way.result(5).verdict is Verdict.RETRY


def test_a_request_has_a_second_of_the_bandwidth_and_nothing_that_is_stat_beside_what_is_not() -> None:
    with metered() as (meter, server):
        made = make("dicomweb", meter, bandwidth="80 kbit/s", images_per_request=20)
        session = made.connect([])
        assert isinstance(session, StowSession)
        assert session.batch == Batch(20, 10_000)
        waiting = [image(f"1.2.{at}", 100, stat=at < 3) for at in range(1, 6)]
        sent: list[Sent] = []
        while len(sent) < len(waiting):
            session.send_batch(waiting[len(sent) :], sent)
        session.close()
    assert {each.outcome.verdict for each in sent} == {Verdict.DELIVERED}
    assert len(server.asked) == 2
    assert b"1.2.2" in server.asked[0].body
    assert b"1.2.3" in server.asked[1].body


@pytest.mark.parametrize("type_", ["dicomweb", "https"])
def test_a_destination_says_its_hours(type_: str) -> None:
    with metered() as (meter, _):
        assert make(type_, meter, hours="Mon-Fri 18:00-06:00").hours == Hours.of(["Mon-Fri 18:00-06:00"])
        assert make(type_, meter).hours is None
