"""What a DICOMweb receiver takes, and what it answers."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest

from mapdr.egress.dicomweb.answer import Failed, Stored, read_answer
from mapdr.kernel.errors import Refused
from mapdr.kernel.item import Source
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.receive.dicomweb.receiver import STAGE
from mapdr.testing.generator import GeneratedImage, study
from mapdr.testing.wait import until
from peers.part10 import DEFLATED, IMPLICIT
from peers.processes import free_port
from peers.stow_client import BOUNDARY, END, PATHS, TYPE, Raw, bearer, body, part, request, store
from receive.dicomweb.conftest import Start
from receive.fakes import FakeIntake

CT = list(study("CT", images=4, size=(16, 16)))
OTHER = next(iter(study("MR", seed=7, images=1, size=(16, 16))))
NOT_DICOM, OTHER_STUDY, NO_ROOM = 0xC000, 0xA900, 0xA700


def uids(*images: GeneratedImage) -> list[str]:
    return [image.sop_instance_uid for image in images]


def study_of(image: GeneratedImage) -> str:
    from pydicom import dcmread
    from pydicom.filebase import DicomBytesIO

    return str(dcmread(DicomBytesIO(image.part10())).StudyInstanceUID)


@pytest.mark.parametrize("path", PATHS)
def test_instances_are_stored_as_they_came_and_named(web: Start, intake: FakeIntake, path: str) -> None:
    answer = store(web().port, CT, path=path)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert (answer.stored, answer.failed, answer.others) == (uids(*CT), {}, [])
    first = answer.module["00081199"]["Value"][0]
    assert first["00081150"] == {"vr": "UI", "Value": [CT[0].sop_class_uid]}
    source = Source("web", "", "", "127.0.0.1", "dicomweb", "")
    assert [(kept.source, kept.sop_instance_uid, kept.transfer_syntax_uid) for kept in intake.kept] == [
        (source, image.sop_instance_uid, image.transfer_syntax_uid) for image in CT
    ]
    assert [kept.data for kept in intake.kept] == [image.dataset for image in CT]


def test_a_study_in_the_path_takes_its_own_instances_and_no_others(web: Start, intake: FakeIntake) -> None:
    answer = store(web().port, [CT[0], OTHER, CT[1]], path=f"/dicom-web/studies/{study_of(CT[0])}")
    assert answer.status == 202
    assert answer.stored == uids(CT[0], CT[1])
    assert answer.failed == {OTHER.sop_instance_uid: OTHER_STUDY}
    assert "study" in answer.headers["warning"]
    assert [kept.sop_instance_uid for kept in intake.kept] == uids(CT[0], CT[1])
    answer = store(web().port, [OTHER], path=f"/studies/{study_of(CT[0])}")
    assert (answer.status, answer.failed) == (409, {OTHER.sop_instance_uid: OTHER_STUDY})


def test_xml_is_answered_to_who_wants_it(web: Start) -> None:
    answer = store(web().port, [CT[0], b"x" * 300], headers={"Accept": "application/dicom+xml"})
    assert (answer.status, answer.headers["content-type"]) == (202, "application/dicom+xml")
    read = read_answer(answer.body)
    assert read.of(CT[0].sop_instance_uid) == Stored()
    assert read.others == (NOT_DICOM,)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html;q=0.9, application/dicom+json", ""])
def test_json_is_answered_to_all_others(web: Start, accept: str) -> None:
    answer = store(web().port, CT[:1], headers={"Accept": accept})
    assert (answer.status, answer.stored) == (200, uids(CT[0]))


def test_a_part_that_is_no_dicom_file_costs_itself(web: Start, intake: FakeIntake) -> None:
    without_preamble = CT[1].part10()[132:]
    cut = CT[2].part10()[:200]
    image = b"\xff\xd8\xff\xe0" + bytes(500)
    parts = [CT[0], b"", b"not DICOM", bytes(5000), without_preamble, cut, image, CT[3]]
    answer = store(web().port, parts)
    assert answer.status == 202
    assert answer.stored == uids(CT[0], CT[3])
    assert answer.others == [NOT_DICOM] * 6
    assert intake.begun == 2


def test_a_part_of_another_type_costs_itself(web: Start, intake: FakeIntake) -> None:
    data = part(CT[0].part10(), "image/jpeg") + part(CT[1].part10()) + END
    answer = request(web().port, data)
    assert (answer.status, answer.stored, answer.others) == (202, uids(CT[1]), [NOT_DICOM])


def test_nothing_stored_is_a_conflict(web: Start) -> None:
    answer = store(web().port, [b"nothing" * 50])
    assert (answer.status, answer.others) == (409, [NOT_DICOM])
    assert "DICM" in answer.headers["warning"]


def test_duplicates_in_a_request_are_both_stored_and_named(web: Start, intake: FakeIntake) -> None:
    answer = store(web().port, [CT[0], CT[0]])
    assert (answer.status, answer.stored) == (200, uids(CT[0], CT[0]))
    assert len(intake.kept) == 2


def test_no_part_is_a_bad_request(web: Start) -> None:
    for data in (b"", END, b"garbage"):
        answer = request(web().port, data)
        assert answer.status == 400, answer
        assert answer.headers["content-type"].startswith("text/plain")


def test_an_instance_is_named_as_its_data_set_names_it(web: Start, intake: FakeIntake) -> None:
    """The File Meta says another instance; the store takes the data set's (docs/decisions/0003)."""
    renamed = replace(CT[0], sop_instance_uid="1.2.3.4")
    answer = store(web().port, [renamed])
    assert answer.stored == uids(CT[0])
    bare = replace(CT[0], dataset=CT[0].dataset)
    file = bare.part10()
    without = file.replace(struct.pack("<HH2sH", 2, 3, b"UI", len(padded(CT[0]))) + padded(CT[0]), b"")
    assert len(without) < len(file)
    assert store(web().port, [without]).stored == uids(CT[0])


def padded(image: GeneratedImage) -> bytes:
    uid = image.sop_instance_uid.encode()
    return uid + b"\0" * (len(uid) % 2)


def test_implicit_vr_and_deflated_are_named_too(web: Start) -> None:
    implicit = next(iter(study("CT", images=1, size=(16, 16), transfer_syntax_uid=IMPLICIT)))
    import zlib

    packer = zlib.compressobj(wbits=-15)
    deflated = packer.compress(CT[1].dataset) + packer.flush()
    packed = replace(CT[1], transfer_syntax_uid=DEFLATED, dataset=deflated)
    answer = store(web().port, [implicit, packed])
    assert (answer.status, answer.stored) == (200, [implicit.sop_instance_uid, CT[1].sop_instance_uid])


@pytest.mark.parametrize("phase", ["begin_error", "write_error", "commit_error"])
def test_a_store_without_room_is_503_and_when_to_come_again(
    web: Start, intake: FakeIntake, watch: Watch, phase: str
) -> None:
    setattr(intake, phase, Refused(NO_ROOM, "no room"))
    images = list(study("CT", images=2, size=(64, 64)))
    answer = store(web().port, images)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.failed == dict.fromkeys(uids(*images), NO_ROOM)
    assert (intake.kept, intake.begun) == ([], intake.aborted)
    (event,) = [event for event in watch.recent() if event.kind == "images.refused"]
    assert event.facts["cause"] == "no room"


def test_a_refusal_keeps_its_reason_and_the_others_are_stored(web: Start, intake: FakeIntake) -> None:
    intake.write_error = Refused(0xC000, "not understood")
    large = next(iter(study("CT", seed=3, images=1, size=(64, 64))))
    small = b"".join((CT[0].part10()[: -len(CT[0].dataset)], CT[0].dataset[:600]))
    answer = store(web().port, [large, small])
    assert answer.status == 202
    assert answer.failed == {large.sop_instance_uid: 0xC000}
    assert answer.stored == uids(CT[0])


def test_our_own_fault_is_no_success(web: Start, intake: FakeIntake) -> None:
    intake.commit_error = RuntimeError("something")
    answer = store(web().port, CT[:1])
    assert (answer.status, answer.failed) == (409, {CT[0].sop_instance_uid: 0x0110})


def test_success_is_answered_after_the_commit(web: Start, intake: FakeIntake) -> None:
    intake.gate = threading.Event()
    port = web().port
    with Raw(port, 5) as raw, Raw(port, 5) as other:
        data = body(CT[:1])
        raw.post(data)
        assert intake.committing.wait(5)
        # Meanwhile the loop answers others.
        other.send(b"GET /studies HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert other.answer().status == 405
        raw.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            raw.socket.recv(1)
        intake.gate.set()
        raw.socket.settimeout(5)
        assert raw.answer().stored == uids(CT[0])


def test_a_body_that_ends_early_names_what_is_stored(web: Start, intake: FakeIntake) -> None:
    whole = body(CT[:2])
    cut = whole[:-300]
    answer = request(web().port, cut)
    assert answer.status == 202
    assert answer.stored == uids(CT[0])
    assert answer.failed == {CT[1].sop_instance_uid: NOT_DICOM}
    assert "early" in answer.headers["warning"]
    assert (len(intake.kept), intake.begun, intake.aborted) == (1, 2, 1)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_peer_that_closes_early_is_told_what_is_stored(
    web: Start, intake: FakeIntake, framing: str
) -> None:
    whole = body(CT[:2])
    cut = whole[:-300]
    with Raw(web().port) as raw:
        if framing == "length":
            raw.post(cut, length=len(whole))
        else:
            raw.head(f"Content-Type: {TYPE}", "Transfer-Encoding: chunked")
            raw.send(f"{len(whole):x}\r\n".encode(), cut)
        raw.socket.shutdown(socket.SHUT_WR)
        answer = raw.answer()
        assert (answer.status, answer.stored) == (202, uids(CT[0]))
        assert answer.failed == {CT[1].sop_instance_uid: NOT_DICOM}
        assert raw.at_end()
    assert (len(intake.kept), intake.aborted) == (1, 1)


@pytest.mark.skipif(os.name == "nt", reason="a reset may be told as an end there")
def test_a_peer_that_vanishes_leaves_nothing_half(web: Start, intake: FakeIntake, watch: Watch) -> None:
    whole = body(CT[:2])
    receiver = web()
    with Raw(receiver.port) as raw:
        raw.post(whole[:-500], length=len(whole))
        until(lambda: intake.begun == 2, 5, "the second part")
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    until(lambda: intake.aborted == 1, 5, "the end of the part")
    until(lambda: receiver.describe().associations == 0, 5, "the end of the connection")
    assert len(intake.kept) == 1
    until(lambda: "association.lost" in [event.kind for event in watch.recent()], 5, "the event")


def test_garbage_within_a_chunked_body_is_answered(web: Start) -> None:
    with Raw(web().port) as raw:
        one = part(CT[0].part10())
        raw.head(f"Content-Type: {TYPE}", "Transfer-Encoding: chunked")
        raw.send(f"{len(one):x}\r\n".encode(), one, b"\r\n", b"this is no chunk\r\n")
        answer = raw.answer()
        assert answer.status in (202, 400), answer
        assert answer.status == 400 or answer.stored == uids(CT[0])
        assert raw.at_end()


@pytest.mark.parametrize("size", [1, 2, 7, 4096, 65537])
def test_chunks_of_any_size(web: Start, intake: FakeIntake, size: int) -> None:
    data = body(CT[:2])
    pieces = (data[at : at + size] for at in range(0, len(data), size))
    assert request(web().port, pieces).stored == uids(*CT[:2])
    assert [kept.data for kept in intake.kept] == [image.dataset for image in CT[:2]]


def test_a_thousand_parts(web: Start, intake: FakeIntake) -> None:
    answer = store(web().port, CT[:1] * 1000)
    assert (answer.status, len(answer.stored), len(intake.kept)) == (200, 1000, 1000)


def test_more_parts_than_are_taken(web: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.receive.dicomweb.parts.MOST_PARTS", 3)
    answer = store(web().port, CT)
    assert (answer.status, answer.stored) == (202, uids(*CT[:3]))
    assert "parts" in answer.headers["warning"]


def test_requests_follow_each_other_on_one_connection(web: Start, intake: FakeIntake) -> None:
    data = body(CT[:1])
    with Raw(web().port) as raw:
        for _ in range(3):
            raw.post(data)
            assert raw.answer().stored == uids(CT[0])
        # Two at once: the second is read when the first is answered.
        raw.post(data)
        raw.post(data)
        assert [raw.answer().status for _ in range(2)] == [200, 200]
    assert len(intake.kept) == 5


def test_who_waits_for_100_continue_gets_it(web: Start) -> None:
    data = body(CT[:1])
    with Raw(web().port) as raw:
        raw.head(f"Content-Type: {TYPE}", f"Content-Length: {len(data)}", "Expect: 100-continue")
        assert raw.socket.recv(100).startswith(b"HTTP/1.1 100")
        assert raw.send(data).answer().stored == uids(CT[0])


def test_the_counters_and_the_description(web: Start, watch: Watch) -> None:
    receiver = web()
    store(receiver.port, [CT[0], b"no"])
    counters = watch.counters()
    assert counters["receive.web.stored"] == 1
    assert counters["receive.web.refused"] == 1
    assert counters["receive.web.bytes"] == len(CT[0].dataset)
    description = receiver.describe()
    assert (description.host, description.port, description.tls) == ("127.0.0.1", receiver.port, False)


def test_a_stop_lets_a_request_end(web: Start, intake: FakeIntake) -> None:
    intake.gate = threading.Event()
    receiver = web()
    data = body(CT[:1])
    with Raw(receiver.port) as raw, Raw(receiver.port) as idle:
        raw.post(data)
        assert intake.committing.wait(5)
        stopping = threading.Thread(target=receiver.stop, args=(time.monotonic() + 10,))
        stopping.start()
        assert idle.at_end()
        intake.gate.set()
        assert raw.answer().stored == uids(CT[0])
        stopping.join(5)
        assert not stopping.is_alive()
    with pytest.raises(ConnectionError):
        Raw(receiver.port)


def test_a_stop_between_two_parts_names_what_is_stored(web: Start, intake: FakeIntake) -> None:
    receiver = web()
    with Raw(receiver.port) as raw:
        raw.post(part(CT[0].part10()) + b"--b0undary\r\n", length=100_000)
        until(lambda: len(intake.kept) == 1, 5, "the first part")
        stopping = threading.Thread(target=receiver.stop, args=(time.monotonic() + 20,))
        stopping.start()
        answer = raw.answer()
        assert (answer.status, answer.stored) == (202, uids(CT[0]))
        assert "send the rest again" in answer.headers["warning"]
    stopping.join(10)
    assert not stopping.is_alive()


def test_a_stop_does_not_wait_for_a_peer_beyond_its_deadline(web: Start, intake: FakeIntake) -> None:
    receiver = web()
    with Raw(receiver.port) as raw:
        raw.post(body(CT[:1])[:1500], length=100_000)
        until(lambda: intake.begun == 1, 5, "the part")
        began = time.monotonic()
        receiver.stop(began + 0.5)
        assert time.monotonic() - began < 3
    until(lambda: intake.aborted == 1, 5, "the end of the part")


def test_read_answer_agrees(web: Start) -> None:
    """MAPDR's own STOW client reads what MAPDR answers."""
    answer = store(web().port, [CT[0], OTHER], path=f"/studies/{study_of(CT[0])}")
    read = read_answer(answer.body)
    assert read.of(CT[0].sop_instance_uid) == Stored()
    assert read.of(OTHER.sop_instance_uid) == Failed(OTHER_STUDY)
    assert BOUNDARY in TYPE


def test_a_port_is_taken_once_and_given_back(web: Start, watch: Watch, tmp_path: Path) -> None:
    receiver = web(port=free_port())
    config = STAGE.config.model_validate({"port": receiver.port})
    other = STAGE.build(Settings("other", "node", tmp_path, bytes(32), watch), config, FakeIntake())
    with pytest.raises(OSError, match=r"in use|10048"):
        other.start()
    other.stop(time.monotonic())
    other.acquire([receiver])  # as a reload does, which then fails elsewhere
    other.stop(time.monotonic())
    assert store(receiver.port, CT[:1]).status == 200
    for _ in range(2):
        receiver.stop(time.monotonic() + 5)
    other.start()
    assert other.describe().port == receiver.port
    other.stop(time.monotonic() + 5)


@pytest.mark.parametrize("host", ["::1", "::"])
def test_addresses_are_told_as_what_they_are(
    web: Start, intake: FakeIntake, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer by IPv4 at a socket of both kinds has its IPv4 address."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    monkeypatch.setenv("WEB_TOKEN", "a token")
    receiver = web(host=host, tokens={"ris": "env:WEB_TOKEN"})
    peer = "::1" if host == "::1" else "127.0.0.1"
    headers = {"Content-Type": TYPE, **bearer("a token")}
    with closing(HTTPConnection(peer, receiver.port, timeout=10)) as connection:
        try:
            connection.connect()
        except OSError:
            pytest.skip("IPv6 alone at this socket")
        connection.request("POST", "/studies", body(CT[:1]), headers)
        assert connection.getresponse().status == 200
    assert intake.kept[0].source.address == peer
