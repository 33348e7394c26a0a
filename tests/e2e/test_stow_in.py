"""STOW-RS into the real node, from real peers: what was answered as stored reaches its destination."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from urllib.request import Request, urlopen

import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import create_session
from pydicom.data import get_testdata_file
from requests.exceptions import HTTPError

from mapdr.testing.generator import GeneratedImage, study
from mapdr.testing.wait import until
from peers.node import Node, arrivals, destination, everything_to
from peers.orthanc import DICOMWEB, Orthanc
from peers.part10 import in_memory
from peers.processes import LOOPBACK, free_port, listens
from peers.pushers import StowPusher
from peers.rawsink import RawSink
from peers.stow_client import Raw, bearer, request, store

TOKEN = "a-token-of-sixteen-signs"
FILES = ("CT_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm")


def web_node(make_node: Callable[..., Node], sink: RawSink, **receiver: object) -> tuple[Node, int]:
    """A node that takes STOW-RS and sends all of it on."""
    port = free_port()
    node = make_node(
        egress={"archive": destination(sink.port)},
        rules=[everything_to("archive")],
        receivers={"web": {"type": "dicomweb", "port": port, **receiver}},
    )
    return node, port


def test_dicomweb_client_stores_and_everything_shows_it(
    make_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "token"
    secret.write_text(TOKEN)
    images = list(study("CT", images=20, size=(128, 128)))
    with RawSink() as sink:
        node, port = web_node(make_node, sink, tokens={"teleradiology": f"file:{secret}"})
        node.start()
        until(lambda: listens(port), 10, "the web receiver")
        url = f"http://{LOOPBACK}:{port}/dicom-web"
        with pytest.raises(HTTPError, match="401"):
            DICOMwebClient(url).store_instances([pydicom.dcmread(BytesIO(images[0].part10()))])
        client = DICOMwebClient(url, session=create_session(), headers=bearer(TOKEN), chunk_size=100_000)
        answer = client.store_instances([pydicom.dcmread(BytesIO(image.part10())) for image in images])
        named = [str(item.ReferencedSOPInstanceUID) for item in answer.ReferencedSOPSequence]
        assert named == [image.sop_instance_uid for image in images]
        assert "FailedSOPSequence" not in answer
        one = client.store_instances(
            [pydicom.dcmread(BytesIO(images[0].part10()))], study_instance_uid=images[0].study_instance_uid
        )
        assert len(one.ReferencedSOPSequence) == 1
        node.when_settled(21)
        sent = {request.sop_instance_uid: request.data for request in sink.received}
        status = node.when(lambda status: "log in" in json.dumps(status["attention"]), 15, "the rejection")
        assert_it_is_shown(node, status, images)
    for image in images:
        assert pydicom.dcmread(BytesIO(image.part10())).PixelData in sent[image.sop_instance_uid]
    assert TOKEN not in node.output()


def assert_it_is_shown(node: Node, status: dict[str, object], images: list[GeneratedImage]) -> None:
    attention = json.dumps(status["attention"])
    assert "web: 127.0.0.1 was rejected: it does not log in" in attention
    assert "(no title)" not in attention
    sources = {row["source"]["credential"]: row for row in node.json("sources")["sources"]}
    assert sources["token:teleradiology"]["source"]["protocol"] == "dicomweb"
    assert sources["token:teleradiology"]["today"] == 20
    assert (sources["token:teleradiology"]["rejected"], sources[""]["rejected"]) == (0, 1)
    shown = node.command("sources")
    assert "token:teleradiology" in shown
    assert "\n127.0.0.1: rejected" in shown
    assert "from token:teleradiology at 127.0.0.1" in node.command(
        "find", "--uid", images[0].sop_instance_uid
    )
    rows = node.json("deliveries", "--limit", "100")["deliveries"]
    assert {row["sop_instance_uid"] for row in rows} == {image.sop_instance_uid for image in images}


@pytest.mark.peer("Orthanc")
@pytest.mark.skipif(not DICOMWEB.exists(), reason="Orthanc has no DICOMweb plugin here")
def test_orthanc_sends_stow(
    make_node: Callable[..., Node],
    keep: Callable[[Callable[[], object]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = tmp_path / "password"
    secret.write_text("pass-word-of-orthanc")
    peer = Orthanc(tmp_path / "orthanc", dicomweb=True)
    keep(peer.stop)
    files = [image.part10() for image in study("CT", images=60, size=(256, 256))]
    files += [Path(str(get_testdata_file(name))).read_bytes() for name in FILES]
    for data in files:
        put(peer, "/instances", data)
    ids = peer.instances()
    with RawSink() as sink:
        node, port = web_node(make_node, sink, users={"orthanc": f"file:{secret}"})
        node.start()
        until(lambda: listens(port), 10, "the web receiver")
        server = {
            "Url": f"http://{LOOPBACK}:{port}/dicom-web/",
            "Username": "orthanc",
            "Password": "pass-word-of-orthanc",
        }
        put(peer, "/dicom-web/servers/mapdr", json.dumps(server).encode(), method="PUT")
        order = {"Resources": list(ids.values()), "Synchronous": True}
        put(peer, "/dicom-web/servers/mapdr/stow", json.dumps(order).encode())
        node.when_settled(len(ids))
        sent = {request.sop_instance_uid: request.data for request in sink.received}
    assert sent.keys() == ids.keys()
    for uid, id_ in ids.items():
        kept = peer.file(id_)
        assert kept.endswith(sent[uid]), "the data set is not what Orthanc has"
    (source,) = [row["source"] for row in node.json("sources")["sources"]]
    assert (source["receiver"], source["credential"]) == ("web", "user:orthanc")


def put(peer: Orthanc, path: str, data: bytes, method: str = "POST") -> None:
    """A request to Orthanc's REST API. Raises HTTPError for a status that is no success."""
    request = Request(f"http://{LOOPBACK}:{peer.http_port}{path}", data, method=method)
    with urlopen(request, timeout=120) as answer:
        answer.read()


def test_what_was_answered_as_stored_survives_kills(make_node: Callable[..., Node]) -> None:
    images = [image for seed in (1, 2) for image in study("CT", seed=seed, images=60, size=(64, 64))]
    halves = images[:60], images[60:]
    with RawSink() as sink:
        node, port = web_node(make_node, sink)
        pushers = [StowPusher(port, list(map(in_memory, half)), timeout=10) for half in halves]
        with pushers[0].pushing(), pushers[1].pushing():
            for goal in (10, 40, 80):
                node.start()
                until(lambda goal=goal: sum(len(each.acknowledged) for each in pushers) >= goal, 60, "images")
                node.kill()
            node.start()
            until(lambda: all(each.done for each in pushers), 60, "an answer for every image")
        status = node.when_all_settled(len(images), 120)
        sent = {request.sop_instance_uid: request.data for request in sink.received}
    assert not [each.refused for each in pushers if each.refused]
    assert sent.keys() == {image.sop_instance_uid for image in images}
    assert all(sent[image.sop_instance_uid] == image.dataset for image in images)
    assert arrivals(status) >= len(images)
    assert status["unrouted"] == 0


def test_a_reload_changes_who_is_let_in_and_refuses_nobody_meanwhile(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    image = next(iter(study("CT", images=1, size=(16, 16))))
    (tmp_path / "token").write_text(TOKEN)
    with RawSink() as sink:
        node, port = web_node(make_node, sink)
        node.start()
        assert store(port, [image]).status == 200
        with Raw(port):  # a connection without a request does not hold the reload up
            text = node.config.read_text()
            changed = text.replace(
                'type = "dicomweb"', f'type = "dicomweb"\ntokens = {{ ris = "file:{tmp_path / "token"}" }}'
            )
            assert changed != text
            node.config.write_text(changed)
            node.command("reload")
        until(lambda: request(port, method="GET").status == 401, 10, "the new receiver alone")
        assert store(port, [image], headers=bearer(TOKEN)).status == 200
        node.when_settled(2)
