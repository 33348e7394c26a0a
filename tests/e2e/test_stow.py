"""STOW-RS from a whole node: Orthanc has what the ledger says, a killed node claims nothing more."""

from __future__ import annotations

import email
import random
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from mapdr.testing.generator import study
from mapdr.testing.wait import until
from peers.httpd import Asked, Said, serving
from peers.node import Node, delivered, everything_to
from peers.orthanc import DICOMWEB, Orthanc
from peers.part10 import MemoryObject, SentObject, StoredObject, in_memory
from peers.rawsender import send_all
from peers.stow import StowSink, stow_destination, uids_of


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    if not DICOMWEB.is_file():
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    peer = Orthanc(tmp_path / "orthanc", dicomweb=True)
    yield peer
    peer.stop()


def retrieved(orthanc: Orthanc, uid: str) -> bytes:
    """The file of an instance by WADO-RS (PS3.18, 10.4), in the transfer syntax that it was stored in."""
    told = orthanc.get_json(f"/dicom-web/instances?SOPInstanceUID={uid}")[0]
    parents = (told["0020000D"]["Value"][0], told["0020000E"]["Value"][0])
    url = f"{orthanc.dicomweb_url}/studies/{parents[0]}/series/{parents[1]}/instances/{uid}"
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    with urlopen(Request(url, headers={"Accept": accept}), timeout=60) as answer:
        head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + answer.read())
    (part,) = message.get_payload()
    assert isinstance(part, Message)
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    return data


def rows(node: Node) -> dict[str, dict[str, Any]]:
    found = node.json("deliveries", "--limit", "10000", "--identify")["deliveries"]
    return {row["sop_instance_uid"]: row for row in found}


@pytest.mark.peer("Orthanc")
@pytest.mark.timeout(300)
def test_orthanc_has_what_the_ledger_says(
    make_node: Callable[..., Node], orthanc: Orthanc, corpus: list[StoredObject]
) -> None:
    distinct = {item.sop_instance_uid: item for item in corpus}
    more = study("CT", images=max(40, 540 - len(distinct)), size=(64, 64))
    items: list[SentObject] = [*distinct.values(), *map(in_memory, more)]
    node = make_node(
        egress={"cloud": stow_destination(orthanc.dicomweb_url)}, rules=[everything_to("cloud")]
    ).start()
    assert "cloud" in node.command("echo", "cloud")
    answers = send_all(node.port, items)
    accepted = {item.sop_instance_uid: item for item in items if answers[item] == 0}
    assert len(accepted) > len(items) * 0.8
    status = node.when_settled(len(accepted), 240)
    ledger = rows(node)
    kept = orthanc.instances()
    taken = {uid for uid, row in ledger.items() if row["state"] == "delivered"}
    print(f"{len(items)} sent, {len(accepted)} accepted, {len(taken)} delivered, {status['parked']} parked")
    assert ledger.keys() == accepted.keys()
    assert taken == kept.keys()
    assert delivered(status, "cloud") == len(taken) > len(accepted) * 0.95
    for uid, row in ledger.items():
        # Orthanc answers 400 to a request with a part that it cannot read, and keeps the others.
        assert row["status"] in (200, 400) if uid in taken else row["reason"] == "refused", uid
    assert not [uid for uid in taken if not retrieved(orthanc, uid).endswith(left(accepted[uid]))]


def left(item: SentObject) -> bytes:
    """How an object's data set ends as it leaves: one of odd length is padded."""
    data = item.data_set()
    return data if len(data) % 2 == 0 else data[-1000:] + b"\0"


@pytest.mark.timeout(240)
def test_a_killed_node_claims_nothing_that_the_server_has_not_got(make_node: Callable[..., Node]) -> None:
    items: list[MemoryObject] = [in_memory(image) for image in study("MR", images=80, size=(32, 32))]
    chance = random.Random()
    with StowSink(after=0.1) as sink:
        node = make_node(
            egress={"cloud": stow_destination(sink.url, requests=2, images_per_request=4)},
            rules=[everything_to("cloud")],
        )
        for share in range(4):
            node.start()
            assert set(send_all(node.port, items[share * 20 : share * 20 + 20]).values()) == {0}
            more = len(sink.received) + chance.randint(1, 8)
            until(lambda more=more: len(sink.received) >= more, 20, "some images at the server")  # type: ignore[misc]
            node.kill()
            claimed = {uid for uid, row in rows(node).items() if row["state"] == "delivered"}
            assert claimed <= {item.sop_instance_uid for item in sink.received}
        node.start()
        status = node.when_all_settled(len(items), 120)
        assert delivered(status, "cloud") == len(items)
        assert {item.identity for item in sink.received} == {item.identity for item in items}


@pytest.mark.timeout(120)
def test_a_server_that_locks_the_node_out_burns_nothing_and_says_why(make_node: Callable[..., Node]) -> None:
    items = [in_memory(image) for image in study("MR", images=12, size=(16, 16))]
    token = "secret-token-of-the-cloud"
    stored: list[str] = []

    def script(asked: Asked) -> Said:
        if asked.headers.get("authorization") != f"Bearer {token}":
            return Said(401)
        uids = uids_of(asked)
        stored.extend(uids)
        entries = ",".join(f'{{"00081155":{{"vr":"UI","Value":["{uid}"]}}}}' for uid in uids)
        return Said(200, f'{{"00081199":{{"vr":"SQ","Value":[{entries}]}}}}'.encode())

    with serving(script) as server:
        node = make_node(
            egress={"cloud": stow_destination(server.url, auth={"token": "file:token"})},
            rules=[everything_to("cloud")],
        )
        (node.folder / "token").write_text("old-token-of-the-cloud")
        node.start()
        assert set(send_all(node.port, items).values()) == {0}
        status = node.when(lambda now: now["destinations"][0]["state"] == "down", what="the pause")
        assert "HTTP 401" in status["destinations"][0]["comment"]
        assert any("cloud is down" in line["text"] for line in status["attention"])
        assert {row["attempts"] for row in rows(node).values()} == {0}
        (node.folder / "token").write_text(token)  # read again for the next request
        status = node.when_all_settled(len(items))
    assert (delivered(status, "cloud"), status["parked"]) == (len(items), 0)
    assert sorted(stored) == sorted(item.sop_instance_uid for item in items)
    assert "token-of-the-cloud" not in node.output()


def test_a_status_of_http_that_nobody_registered_is_shown_as_one_of_http(
    make_node: Callable[..., Node],
) -> None:
    """529 is 0x0211, "the receiver does not know the operation", in DIMSE."""
    items = [in_memory(image) for image in study("MR", images=6, size=(16, 16))]
    with serving(lambda asked: Said(529)) as server:
        table = stow_destination(f"{server.url}/{{SOPInstanceUID}}", type="https")
        node = make_node(egress={"cloud": table}, rules=[everything_to("cloud")])
        node.start()
        assert set(send_all(node.port, items).values()) == {0}
        status = node.when(lambda now: now["destinations"][0]["state"] == "down", what="the pause")
        assert "HTTP 529" in status["destinations"][0]["comment"]
        assert any("HTTP 529" in line["text"] for line in status["attention"])
        tried = [row for row in rows(node).values() if row["tries"]]
        assert {(row["status"], row["status_protocol"]) for row in tried} == {(529, "HTTP")}
        told = node.command("deliveries", "--state", "pending")
        assert "HTTP 529" in told
        assert "0x0211" not in told + node.output()


def test_a_plain_web_server_gets_files_under_the_url_of_their_tags(make_node: Callable[..., Node]) -> None:
    items = [in_memory(image) for image in study("MR", images=30, size=(16, 16))]
    files: dict[str, bytes] = {}

    def script(asked: Asked) -> Said:
        if asked.method == "PUT":
            files[asked.path] = asked.body
        return Said(204 if asked.method == "PUT" else 405)

    with serving(script) as server:
        table = {**stow_destination(server.url + "/in/{Modality}/{SOPInstanceUID}.dcm"), "type": "https"}
        rule = everything_to("bucket", tags=[{"set": "Modality", "to": "OT"}])
        node = make_node(egress={"bucket": table}, rules=[rule]).start()
        assert "bucket" in node.command("echo", "bucket")
        assert set(send_all(node.port, items).values()) == {0}
        status = node.when_all_settled(len(items))
    assert delivered(status, "bucket") == len(items)
    assert files.keys() == {f"/in/OT/{item.sop_instance_uid}.dcm" for item in items}
    assert {row["status"] for row in rows(node).values()} == {204}
