"""The dicomweb destination: what goes into requests, what is asked anew, and what its probe says."""

from __future__ import annotations

import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from egress.dicomweb.answers import REFERENCED, Entry, in_json
from egress.test_part10 import payload
from mapdr.config.read import read
from mapdr.egress.dicomweb.destination import DicomwebEgress, DicomwebEgressConfig, RequestSize, StowSession
from mapdr.kernel.errors import ConfigurationError, Permanent
from mapdr.kernel.item import TAKEN, FileSlice, Need, Outcome, Payload, Sent, Verdict
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Batch, Settings
from mapdr.kernel.watch import Watch
from mapdr.net.tls import ClientTls
from mapdr.node.configuration import examine
from peers.httpd import Asked, Httpd, Said, certificate, server_tls, serving
from peers.stow import uids_of

IMPLICIT = "1.2.840.10008.1.2"


def egress(url: str, **config: Any) -> DicomwebEgress:
    settings = Settings("cloud", "north", Path(), bytes(32), Watch())
    return DicomwebEgress(settings, DicomwebEgressConfig.model_validate({"url": url, **config}))


@contextmanager
def session(url: str, **config: Any) -> Iterator[StowSession]:
    made = egress(url, **config)
    made.start()
    opened = made.connect([])
    try:
        yield opened
    finally:
        opened.close()


def taken(asked: Asked) -> Said:
    return Said(200, in_json([Entry(REFERENCED, uid) for uid in uids_of(asked)]))


def sizes(server: Httpd) -> list[int]:
    """How many images each request had."""
    return [len(uids_of(asked)) for asked in server.asked]


def images(count: int, size: int = 10) -> list[Payload]:
    return [payload(bytes(size), f"1.2.{number}") for number in range(1, count + 1)]


def send(opened: StowSession, payloads: list[Payload]) -> list[Outcome]:
    """Until all have an outcome."""
    sent: list[Sent] = []
    while len(sent) < len(payloads):
        opened.send_batch(payloads[len(sent) :], sent)
    return [each.outcome for each in sent]


def test_a_request_has_no_more_images_and_bytes_than_configured() -> None:
    with (
        serving(taken) as server,
        session(server.url, images_per_request=4, bytes_per_request="25 B") as opened,
    ):
        assert opened.batch == Batch(4, 25)
        outcomes = send(opened, [*images(3), payload(bytes(100), "1.2.9"), *images(1)])
    assert {outcome.verdict for outcome in outcomes} == {Verdict.DELIVERED}
    assert sizes(server) == [2, 1, 1, 1]
    assert server.connections == 1


def test_a_request_has_one_transfer_syntax_and_no_uid_twice() -> None:
    other = Payload("1.2.840.10008.5.1.4.1.1.2", "1.2.5", IMPLICIT, (b"",), 0)
    with serving(taken) as server, session(server.url) as opened:
        send(opened, [*images(2), other, *images(2), *images(2)])
    assert sizes(server) == [2, 1, 2, 2]


def test_413_halves_this_request_and_those_after_it() -> None:
    def script(asked: Asked) -> Said:
        return Said(413) if len(uids_of(asked)) > 3 else taken(asked)

    with serving(script) as server, session(server.url) as opened:
        assert {each.verdict for each in send(opened, images(8, 100))} == {Verdict.DELIVERED}
        assert sizes(server) == [8, 4, 2, 2, 4, 2, 2]
        assert opened.batch == Batch(50, 200)
        send(opened, images(4, 100))
    assert sizes(server)[7:] == [2, 2]


def test_the_halves_of_a_request_without_a_word_find_the_one_to_blame() -> None:
    def script(asked: Asked) -> Said:
        return Said(400) if "1.2.6" in uids_of(asked) else taken(asked)

    with serving(script) as server, session(server.url) as opened:
        outcomes = send(opened, images(8))
    assert [each.verdict for each in outcomes].count(Verdict.DELIVERED) == 7
    assert (outcomes[5].verdict, outcomes[5].status) == (Verdict.REFUSED, 400)
    assert len(server.asked) == 7


def test_images_behind_the_one_to_blame_are_asked_for_again() -> None:
    """A server that ends with 400 at a part that it cannot read has said nothing of those behind it."""

    def script(asked: Asked) -> Said:
        uids = uids_of(asked)
        kept = uids[: uids.index("1.2.3")] if "1.2.3" in uids else uids
        return Said(400 if "1.2.3" in uids else 200, in_json([Entry(REFERENCED, uid) for uid in kept]))

    with serving(script) as server, session(server.url) as opened:
        sent: list[Sent] = []
        opened.send_batch(images(6), sent)
    assert [each.outcome.verdict for each in sent] == [
        *[Verdict.DELIVERED] * 2,
        Verdict.REFUSED,
        *[Verdict.DELIVERED] * 3,
    ]
    assert sizes(server)[:3] == [6, 4, 2]


def test_after_a_failure_requests_begin_with_one_image_and_double() -> None:
    ill = threading.Event()
    ill.set()
    with (
        serving(lambda asked: Said(500) if ill.is_set() else taken(asked)) as server,
        session(server.url, images_per_request=5) as opened,
    ):
        assert {each.status for each in send(opened, images(5))} == {500}
        ill.clear()
        send(opened, images(12))
    assert sizes(server) == [5, 1, 2, 4, 5]


def test_the_size_of_requests_is_bounded_on_both_sides() -> None:
    size = RequestSize(8, 1000)
    size.too_large(1)
    assert size.batch == Batch(8, 1)
    size.failed()
    for _ in range(5):
        size.answered()
    assert size.batch == Batch(8, 1)


def test_what_a_lost_connection_leaves_is_not_begun(free_port: int) -> None:
    with session(f"http://127.0.0.1:{free_port}", images_per_request=2) as opened:
        sent: list[Sent] = []
        opened.send_batch(images(5), sent)
    assert len(sent) == 2
    assert all(not each.outcome.begun and each.outcome.pause for each in sent)


def test_an_image_whose_file_is_gone_keeps_none_of_its_request(tmp_path: Path) -> None:
    gone = payload(b"", "1.2.9")
    gone = Payload(
        gone.sop_class_uid, "1.2.9", gone.transfer_syntax_uid, (FileSlice(tmp_path / "no", 0, 9),), 9
    )
    sent: list[Sent] = []
    with serving(taken) as server, session(server.url) as opened:
        with pytest.raises((Permanent, OSError)):
            opened.send_batch([*images(3), gone, *images(2)], sent)
        assert [each.outcome.verdict for each in sent] == [Verdict.DELIVERED] * 3
        with pytest.raises((Permanent, OSError)):
            opened.send_batch([gone], sent)
    assert [uid for asked in server.asked if len(asked.body) > 500 for uid in uids_of(asked)][-3:] == [
        "1.2.1",
        "1.2.2",
        "1.2.3",
    ]


def test_a_large_image_is_never_whole_in_memory(tmp_path: Path) -> None:
    size = 500_000_000
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(size)
    large = payload(b"")
    large = Payload(
        large.sop_class_uid, "1.2.3", large.transfer_syntax_uid, (FileSlice(path, 0, size),), size
    )
    with swallowing() as (url, swallowed), session(url) as opened:
        tracemalloc.start()
        try:
            outcome = opened.send(large)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert outcome.verdict is Verdict.DELIVERED
    assert swallowed[0] > size
    assert peak < 20_000_000


def test_a_server_that_hangs_up_early_is_heard(tmp_path: Path) -> None:
    size = 50_000_000
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    large = payload(b"")
    slices = (FileSlice(tmp_path / "large", 0, size),)
    large = Payload(large.sop_class_uid, "1.2.3", large.transfer_syntax_uid, slices, size)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(
                    b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )

        thread = threading.Thread(target=serve)
        thread.start()
        with session(f"http://127.0.0.1:{listener.getsockname()[1]}") as opened:
            outcome = opened.send(large)
        thread.join()
    assert (outcome.status, outcome.reason, outcome.final) == (413, "too-large", True)
    assert "50.0 MB" in outcome.comment


@contextmanager
def swallowing() -> Iterator[tuple[str, list[int]]]:
    """A server that calls 1.2.3 stored and keeps nothing; its URL, and the bytes of each body."""
    listener = socket.create_server(("127.0.0.1", 0))
    swallowed: list[int] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            length = 0
            while (line := stream.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            left, piece = length, bytearray(1 << 20)
            while left and (got := stream.readinto(memoryview(piece)[: min(left, len(piece))])):
                left -= got
            swallowed.append(length - left)
            body = in_json([Entry(REFERENCED, "1.2.3")])
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", swallowed
    finally:
        thread.join()
        listener.close()


@pytest.mark.parametrize("status", [200, 204, 400, 409, 411, 415, 422, 500])
def test_a_server_that_answers_a_request_without_images_is_there(status: int) -> None:
    with serving(lambda asked: Said(status)) as server:
        outcome = egress(server.url + "/base/").probe()
    assert (outcome.verdict, outcome.status) == (Verdict.DELIVERED, status)
    (asked,) = server.asked
    assert (asked.method, asked.path, uids_of(asked)) == ("POST", "/base/studies", [])


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "no-service"),
        (405, "no-service"),
        (302, "redirected"),
        (429, "busy"),
        (503, "busy"),
        (502, "unreachable"),
        (504, "unreachable"),
        (507, "no-room"),
    ],
)
def test_a_server_that_would_take_nothing_is_away(status: int, reason: str) -> None:
    with serving(lambda asked: Said(status)) as server:
        outcome = egress(server.url).probe()
    assert outcome.verdict is Verdict.RETRY
    assert outcome.pause is not None
    assert outcome.pause.reason == reason
    assert str(status) in outcome.comment


def test_without_a_token_nothing_is_sent_and_the_destination_waits(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    with (
        serving(lambda asked: Said(400, b'{"error": "invalid_client"}'), server_tls(made)) as login,
        serving(taken) as server,
    ):
        auth = {
            "token_url": login.url + "/token",
            "client_id": "mapdr",
            "client_secret": f"file:{tmp_path / 'secret'}",
        }
        (tmp_path / "secret").write_text("secret")
        with session(server.url, auth=auth, tls={"ca": made[0]}) as opened:
            outcome = opened.send(images(1)[0])
    assert outcome.pause is not None
    assert outcome.pause.reason == "unauthorized"
    assert "invalid_client" in outcome.comment
    assert not outcome.begun
    assert not server.asked


def test_a_refused_transfer_syntax_goes_in_the_next_one() -> None:
    with serving(lambda asked: Said(415)) as server, session(server.url) as opened:
        (image,) = images(1)
        need = Need(image.sop_class_uid, image.transfer_syntax_uid)
        assert opened.acceptance(need) == TAKEN
        assert opened.send(image).verdict is Verdict.SYNTAX_REFUSED
        said = opened.acceptance(need)
        assert said is not None
        assert said.instead == IMPLICIT
        assert said.refusal is not None
        assert opened.acceptance(Need("1.2.3", IMPLICIT)) == TAKEN


def test_it_says_whom_it_calls_and_what_is_open() -> None:
    made = egress("https://pacs.example/dicom-web")
    factory = Registry().factory("egress", "dicomweb")
    end = factory.peer(DicomwebEgressConfig(url="https://pacs.example:8443/x"))
    assert end is not None
    assert (end.host, end.port, end.ae_title, end.tls) == ("pacs.example", 8443, "", True)
    assert (made.describe().port, made.describe().associations) == (443, 0)
    opened = made.connect([])
    assert made.describe().associations == 1
    opened.close()
    opened.close()
    assert made.describe().associations == 0
    assert opened.acceptance(Need("1.2", "1.2")) is None


def test_the_certificate_that_is_shown_is_told(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "router", days=(-1, 3))
    tls = {"cert": str(cert), "key": str(key)}
    made = egress("https://pacs.example/dicom-web", tls=tls)
    made.acquire()
    assert [(each.whose, each.name) for each in made.describe().certificates] == [("own", "router")]
    config = DicomwebEgressConfig(url="https://pacs.example/x", tls=ClientTls.model_validate(tls))
    factory = Registry().factory("egress", "dicomweb")
    assert [each.name for each in factory.certificates(config)] == ["router"]
    assert [each.place for each in factory.doubts(config)] == [("tls", "cert")]


def test_a_secret_that_is_missing_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        egress("https://pacs.example", auth={"token": f"file:{tmp_path / 'no'}"}).start()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://pacs.example/dicom-web", "sends without TLS"),
        ("https://pacs.example/dicom-web/studies", "ends in /studies"),
        ("https://pacs.example/dicom-web", ""),
        ("http://127.0.0.1:8042/dicom-web", ""),
    ],
)
def test_check_warns_of_what_is_hardly_meant(tmp_path: Path, url: str, told: str) -> None:
    path = tmp_path / "mapdr.toml"
    path.write_text(
        '[node]\ndata = "data"\n[receive.x]\ntype = "dicom"\n'
        f'[egress.cloud]\ntype = "dicomweb"\nurl = "{url}"\n'
        '[[rule]]\nname = "all"\nwhen = {}\nsend_to = ["cloud"]\n'
    )
    checked = examine(path, surroundings=True)
    assert not checked.problems
    assert [str(each) for each in checked.warnings if told and told in str(each)] == [
        str(each) for each in checked.warnings
    ]
    assert bool(checked.warnings) == bool(told)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('url = "pacs.example"', "is not a URL"),
        ('url = "https://user:pw@pacs.example"', "holds a user or a password"),
        ('url = "https://pacs.example"\nunnamed = "trust"', "unnamed"),
        ('url = "https://pacs.example"\nrequests = 0', "requests"),
    ],
)
def test_what_cannot_work_is_told_with_its_key(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "mapdr.toml"
    path.write_text(f'[egress.cloud]\ntype = "dicomweb"\n{line}\n')
    (problem,) = read(path, Registry()).problems
    assert told in str(problem)
    assert "pw" not in str(problem)


def test_a_request_that_our_own_close_has_cut_was_begun() -> None:
    """The server may have the image; before a request, it has not."""

    def script(asked: Asked) -> Said:
        opened.close()  # while its answer is waited for
        return Said(body=None)

    with serving(script) as server, session(server.url) as opened:
        image = images(1)[0]
        cut, after = opened.send(image), opened.send(image)
    for outcome in (cut, after):
        assert (outcome.verdict, outcome.comment) == (Verdict.RETRY, "the session is closed")
        assert outcome.pause is None
    assert (cut.begun, cut.cut) == (True, True)
    assert (after.begun, after.cut) == (False, False)
    assert len(server.asked) == 1
