"""Requests that no honest peer sends: each is answered in words, nobody else waits, nothing is lost."""

from __future__ import annotations

import threading
import time

import pytest

from mapdr.kernel.watch import Watch
from mapdr.testing.generator import study
from mapdr.testing.wait import until
from peers.stow_client import BOUNDARY, END, TYPE, Answer, Raw, body, part, request, store
from receive.dicomweb.conftest import Start
from receive.fakes import FakeIntake

IMAGE = next(iter(study("CT", images=1, size=(16, 16))))
PLAIN = "multipart/related; type=application/dicom"


def in_words(answer: Answer, status: int, *words: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"].startswith("text/plain")
    assert len(answer.text.split()) > 3
    assert all(word in answer.text for word in words), answer.text


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"Content-Type": f"{PLAIN}; boundary={'b' * 10_000}"}, 400, ["too long"]),
        ({"Content-Type": f"{PLAIN}; boundary={'b' * 201}"}, 400, ["200 characters"]),
        ({"Content-Type": PLAIN}, 400, ["boundary"]),
        ({"Content-Type": f'{PLAIN}; boundary=""'}, 400, ["boundary"]),
        ({"Content-Type": f"{PLAIN}; boundary=a; boundary=b"}, 400, ["twice"]),
        ({"Content-Type": "garbage"}, 400, ["content type"]),
        ({"Content-Type": "application/dicom"}, 415, ["multipart/related"]),
        ({"Content-Type": f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}'}, 415, []),
        ({"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, 415, []),
        ({"Content-Encoding": "gzip"}, 415, ["Content-Encoding"]),
        ({"Content-Encoding": "identity, br"}, 415, ["Content-Encoding"]),
        ({"Accept": "text/html"}, 406, ["application/dicom+json"]),
        ({"Accept": "application/dicom+json;q=0"}, 406, ["application/dicom+json"]),
        ({"Accept": "image/*, garbage, ;;"}, 406, ["application/dicom+json"]),
    ],
)
def test_headers_that_are_wrong(
    web: Start, intake: FakeIntake, headers: dict[str, str], status: int, words: list[str]
) -> None:
    answer = store(web().port, [IMAGE], headers=headers)
    in_words(answer, status, *words)
    assert intake.begun == 0


def test_what_is_not_there(web: Start) -> None:
    port = web().port
    for path in (
        "/",
        "/wado",
        "/dicom-web",
        "/studies/1.2/series",
        "/dicom-web/studies/1.2/3",
        "/%2e%2e/studies",
    ):
        in_words(request(port, path=path, method="GET"), 404, "/studies")
        in_words(request(port, b"x" * 5000, path=path), 404)
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"):
        answer = request(port, path="/dicom-web/studies", method=method)
        in_words(answer, 405, "POST")
        assert answer.headers["allow"] == "POST"
    assert request(port, path="/studies", method="HEAD").status == 405
    for study_ in ("1.2.x", "..", "1" * 65, "%00", "%ff%fe"):
        assert request(port, body([IMAGE]), path=f"/studies/{study_}").status in (400, 404, 409)


def test_a_large_body_to_nobody_gets_its_answer(web: Start, intake: FakeIntake) -> None:
    """The peer sends all before it listens; the answer must not be lost with a broken connection."""
    answer = request(web().port, bytes(8_000_000), headers={"Content-Type": "text/plain"})
    in_words(answer, 415)
    assert answer.headers["connection"] == "close"


def test_two_lengths_are_refused(web: Start, intake: FakeIntake) -> None:
    """Whatever stands between may read another request than MAPDR does."""
    data = body([IMAGE])
    smuggled = b"POST /studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    with Raw(web().port) as raw:
        raw.head(f"Content-Type: {TYPE}", f"Content-Length: {len(data)}", "Transfer-Encoding: chunked")
        raw.send(b"0\r\n\r\n", smuggled)
        in_words(raw.answer(), 400, "Content-Length")
        assert raw.at_end()
    assert intake.begun == 0


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: -1"],
        ["Content-Length: 1e3"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        ["Transfer-Encoding : chunked"],
        ["Folded: a", " b: c\0"],
        ["No colon"],
    ],
)
def test_heads_that_are_none(web: Start, intake: FakeIntake, lines: list[str]) -> None:
    with Raw(web().port) as raw:
        raw.head(f"Content-Type: {TYPE}", *lines)
        answer = raw.answer()
        assert answer.status in (400, 501)
        assert len(answer.text.split()) > 3
        assert raw.at_end()
    assert intake.begun == 0


def test_garbage_and_other_protocols_are_told_apart(web: Start, watch: Watch) -> None:
    receiver = web()
    for data in (
        b"\x00" * 100,
        b"HELLO\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + bytes(50),
        b"\x01\x00\x00\x00" * 9,
    ):
        with Raw(receiver.port) as raw:
            answer = raw.send(data).answer()
            in_words(answer, 400, "HTTP")
    causes = {one.cause for one in receiver.describe().rejected}
    assert len(causes) == 3
    assert any("TLS" in cause for cause in causes)
    assert any("DIMSE" in cause for cause in causes)
    assert watch.counters()["receive.web.rejected"] == 4


def test_huge_headers(web: Start) -> None:
    port = web().port
    with Raw(port) as raw:
        raw.head(f"Content-Type: {TYPE}", *(f"X-{number}: {'x' * 1000}" for number in range(100)))
        in_words(raw.answer(), 431, "too long")
        assert raw.at_end()
    with Raw(port) as raw:
        raw.send(b"POST /" + b"a" * 100_000)
        in_words(raw.answer(), 431, "too long")
    long = part(IMAGE.part10()).replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 1)
    in_words(request(port, long + END), 400, "headers of a part")


def test_garbage_before_and_after_the_parts(web: Start, intake: FakeIntake) -> None:
    port = web().port
    assert request(port, b"preamble\r\n" + body([IMAGE]) + b"epilogue").status == 200
    in_words(request(port, b"x" * 100_000 + b"\r\n" + body([IMAGE])), 400, "outside of the parts")
    answer = request(port, body([IMAGE]) + b"x" * 100_000)
    assert (answer.status, answer.stored) == (202, [IMAGE.sop_instance_uid])
    assert len(intake.kept) == 2


def test_a_slow_head_is_cut_and_nobody_waits(web: Start, intake: FakeIntake) -> None:
    port = web(idle_timeout="1 s").port
    silent = [Raw(port) for _ in range(20)]
    dripping = [Raw(port).send(b"POST /studies HTTP/1.1\r\n") for _ in range(20)]
    try:
        began = time.monotonic()
        assert store(port, [IMAGE]).status == 200
        assert time.monotonic() - began < 1
        until(lambda: _drip(dripping), 5, "the end of those that send a byte at a time")
        for raw in dripping[:1]:
            answer = raw.answer()
            in_words(answer, 408, "in time")
        assert all(raw.at_end() for raw in silent)
    finally:
        for raw in (*silent, *dripping):
            raw.close()


def _drip(raws: list[Raw]) -> bool:
    """Send a byte on each; whether they are all cut off."""
    cut = 0
    for raw in raws[1:]:
        try:
            raw.send(b"X")
        except OSError:
            cut += 1
    return cut == len(raws) - 1


def test_a_slow_body_is_answered_and_names_what_is_stored(web: Start, intake: FakeIntake) -> None:
    port = web(idle_timeout="500 ms").port
    with Raw(port) as raw:
        raw.post(part(IMAGE.part10()) + part(b"x" * 200), length=100_000)
        answer = raw.answer()
        assert (answer.status, answer.stored) == (202, [IMAGE.sop_instance_uid])
        assert "in time" in answer.headers["warning"]
    with Raw(port) as raw:
        in_words(raw.post(b"", length=100_000).answer(), 408, "in time")
    assert (len(intake.kept), intake.begun) == (1, 1)


def test_a_body_of_drops_is_cut_when_its_time_is_over(web: Start, intake: FakeIntake) -> None:
    port = web(request_timeout="1 s").port
    began = time.monotonic()
    with Raw(port) as raw:
        raw.post(part(IMAGE.part10()) + part(b"x" * 200), length=100_000)
        answers: list[Answer] = []
        reader = threading.Thread(target=lambda: answers.append(raw.answer()))
        reader.start()
        while not answers and time.monotonic() < began + 8:
            raw.send(b"\r")
            reader.join(0.05)
        reader.join()
    assert [(answer.status, answer.stored) for answer in answers] == [(202, [IMAGE.sop_instance_uid])]
    assert time.monotonic() - began < 9


def test_connections_without_a_request_keep_nobody_out(web: Start) -> None:
    receiver = web(max_requests=4)
    raws = [Raw(receiver.port) for _ in range(60)]
    try:
        for _ in range(5):
            assert store(receiver.port, [IMAGE]).status == 200
        assert receiver.describe().associations <= 4 + 16 + 2
    finally:
        for raw in raws:
            raw.close()


def test_more_requests_than_are_taken_are_told_when_to_come_again(web: Start, intake: FakeIntake) -> None:
    intake.gate = threading.Event()
    receiver = web(max_requests=8, max_requests_per_peer=2)
    data = body([IMAGE])
    raws = [Raw(receiver.port) for _ in range(2)]
    for raw in raws:
        raw.post(data)
    until(lambda: intake.begun == 2, 5, "two requests")
    answer = store(receiver.port, [IMAGE])
    in_words(answer, 503, "later")
    assert int(answer.headers["retry-after"]) > 0
    (rejection,) = receiver.describe().rejected
    assert "max_requests" in rejection.cure
    intake.gate.set()
    assert [raw.answer().status for raw in raws] == [200, 200]
    for raw in raws:
        raw.close()
    until(lambda: store(receiver.port, [IMAGE]).status == 200, 5, "room")


def test_a_peer_that_does_not_read_holds_nobody_up(web: Start, intake: FakeIntake) -> None:
    receiver = web()
    data = body([IMAGE])
    with Raw(receiver.port) as deaf:
        for _ in range(50):
            deaf.post(data)
        assert store(receiver.port, [IMAGE]).status == 200


def test_nothing_of_a_request_stands_in_an_answer_or_a_log(
    web: Start, caplog: pytest.LogCaptureFixture, watch: Watch
) -> None:
    port = web().port
    secret = "Hush1234"
    with caplog.at_level("DEBUG"):
        answers = [
            request(port, secret.encode() * 100),
            request(port, body([secret.encode() * 100]), headers={"Content-Type": f"{secret}/x; {secret}=1"}),
            store(port, [secret.encode() * 100], path=f"/studies/{secret}"),
            store(port, [secret.encode() * 100]),
            request(port, path=f"/{secret}", method="GET"),
        ]
        with Raw(port) as raw:
            answers.append(raw.send(secret.encode(), b"\r\n\r\n").answer())
    assert all(secret not in str(answer) for answer in answers)
    assert secret not in caplog.text
    assert all(secret not in str(event.facts) for event in watch.recent())
