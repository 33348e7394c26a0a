"""`mapdr fetch` from Orthanc (DIMSE, DICOMweb) and dcmqrscp: kept as sent, and sent on by the rules."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from mapdr.testing import generator
from mapdr.testing.wait import until
from peers.dcmqrscp import DcmQrScp
from peers.node import Node, destination, everything_to
from peers.orthanc import Orthanc
from peers.part10 import MemoryObject, in_memory
from peers.processes import LOOPBACK, free_port
from peers.rawsender import RawSender
from peers.rawsink import RawSink

IMAGES = 6
J2K = "1.2.840.10008.1.2.4.90"
STUDIES = [
    list(generator.study("CT", seed=31, images=IMAGES)),
    list(generator.study("MR", seed=32, images=2)),
]


def digests(images: list[generator.GeneratedImage]) -> dict[str, str]:
    return {one.sop_instance_uid: hashlib.sha256(one.dataset).hexdigest() for one in images}


class Pacs:
    """A PACS that has two studies, and the table of a destination that leads to it."""

    def __init__(self, port: int, table: dict[str, Any], stop: Callable[[], object]) -> None:
        self.port, self.table, self.stop = port, table, stop
        images = [in_memory(one) for study in STUDIES for one in study]
        contexts = sorted({(one.sop_class_uid, one.transfer_syntax_uid) for one in images})
        with RawSender(port, contexts, called="PACS") as sender:
            assert {sender.store(one) for one in images} == {0}


def _orthanc(folder: Path, dicomweb: bool) -> Pacs:
    peer = Orthanc(folder, ae_title="PACS", dicomweb=dicomweb)
    table = {"type": "dicomweb", "url": peer.dicomweb_url} if dicomweb else _dicom(peer.dicom_port)
    return Pacs(peer.dicom_port, table, peer.stop)


def _dcmqrscp(folder: Path, mover: int) -> Pacs:
    peer = DcmQrScp(folder, mover=mover)
    return Pacs(peer.port, _dicom(peer.port), peer.stop)


def _dicom(port: int) -> dict[str, Any]:
    return {"type": "dicom", "ae_title": "PACS", "host": LOOPBACK, "port": port}


PEERS = [
    pytest.param("orthanc", marks=pytest.mark.peer("Orthanc")),
    pytest.param("dicomweb", marks=pytest.mark.peer("Orthanc")),
    pytest.param("dcmqrscp", marks=pytest.mark.peer("dcmqrscp")),
]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Pacs]]:
    """Starts a PACS by its kind."""
    running: list[Pacs] = []

    def make(kind: str, mover: int = 0) -> Pacs:
        folder = tmp_path / kind
        folder.mkdir()
        mover = mover or free_port()
        running.append(
            _dcmqrscp(folder, mover) if kind == "dcmqrscp" else _orthanc(folder, kind == "dicomweb")
        )
        return running[-1]

    yield make
    for pacs in running:
        pacs.stop()


def compressed(image: generator.GeneratedImage) -> MemoryObject:
    """The image in JPEG 2000, lossless, as many PACS keep theirs."""
    data = pydicom.dcmread(io.BytesIO(image.part10()))
    stream = imagecodecs.jpeg2k_encode(data.pixel_array, codecformat="j2k")
    data.PixelData = encapsulate([stream])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    dataset = Dataset(dict(data))
    return MemoryObject(
        image.sop_class_uid, image.sop_instance_uid, J2K, generator.encode(dataset, image.transfer_syntax_uid)
    )


@pytest.mark.parametrize("kind", PEERS[:2])
def test_compressed_images_come_as_the_pacs_has_them(
    make_node: Callable[..., Node], start: Callable[..., Pacs], kind: str
) -> None:
    pacs = start(kind)
    item = compressed(next(generator.study("US", seed=33, images=1, size=(64, 64))))
    with RawSender(pacs.port, [(item.sop_class_uid, J2K)], called="PACS") as sender:
        assert sender.store(item) == 0
    node = make_node(egress={"pacs": pacs.table}, rules=[])
    done = node.json("fetch", "pacs", "--study-date", "2000-01-01..", "--modality", "US", "--yes")
    assert [one["stored"] for one in done["studies"]] == [1]
    (path,) = node.data.rglob("*.dcm")
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == J2K
    assert path.read_bytes().endswith(item.data)


def accession(study: list[generator.GeneratedImage]) -> str:
    return str(pydicom.dcmread(io.BytesIO(study[0].part10())).AccessionNumber)


@pytest.mark.parametrize("kind", PEERS)
def test_a_study_comes_as_it_is_and_goes_by_the_rules(
    make_node: Callable[..., Node], start: Callable[..., Pacs], kind: str
) -> None:
    pacs = start(kind)
    with RawSink() as sink:
        # A DICOMweb server has no AE title by which the rules would know that images came from it.
        back = [] if kind == "dicomweb" else ["pacs"]
        node = make_node(
            egress={"pacs": pacs.table, "sink": destination(sink.port)}, rules=[everything_to("sink", *back)]
        ).start()
        number = accession(STUDIES[0])
        looked = node.json("fetch", "pacs", "--accession", number, "--dry-run")
        (study,) = looked["studies"]
        known = None if kind == "dcmqrscp" else IMAGES
        assert (study["images"], study["modalities"], study["stored"]) == (known, ["CT"], 0)
        assert study["accession_number"] is None
        assert arrived(node) == 0
        done = node.json("fetch", "pacs", "--accession", number, "--yes", "--identify")
        (study,) = done["studies"]
        assert (study["stored"], study["failed"], study["missing"], study["comment"]) == (IMAGES, 0, 0, "")
        assert study["accession_number"] == number
        node.when_settled(IMAGES)
        got = {one.sop_instance_uid: hashlib.sha256(one.data).hexdigest() for one in sink.received}
        assert got == digests(STUDIES[0])
        assert "pacs" not in node.status()["today"]["delivered"], "nothing goes back to where it is from"
        (source,) = node.json("sources")["sources"]
        assert source["source"]["receiver"] == "fetch"
        # Once more is a repeat, which goes on as ever.
        assert node.json("fetch", "pacs", "--accession", number, "--yes")["studies"][0]["stored"] == IMAGES


def arrived(node: Node) -> int:
    return sum(one["images"] for one in node.status()["today"]["received"].values())


@pytest.mark.parametrize("kind", PEERS)
def test_only_what_was_asked_for_is_found(
    make_node: Callable[..., Node], start: Callable[..., Pacs], kind: str
) -> None:
    pacs = start(kind)
    node = make_node(egress={"pacs": pacs.table}, rules=[])
    day = "2000-01-01.."

    def found(*words: str) -> int:
        return len(node.json("fetch", "pacs", *words, "--dry-run")["studies"])

    assert found("--study-date", day) == 2
    assert found("--study-date", day, "--modality", "MR") == 1
    assert found("--study-date", "..1999-12-31") == 0
    assert found("--accession", "NOBODY") == 0
    assert found("--patient", "NOBODY") == 0
    for words in ((), ("--accession", "A*"), ("--modality", "CT")):
        node.command("fetch", "pacs", *words, "--dry-run", expect=2)
    node.command("fetch", "pac", "--accession", "A", "--dry-run", expect=2)


@pytest.mark.peer("dcmqrscp")
def test_by_c_move_the_node_itself_receives(
    make_node: Callable[..., Node], start: Callable[..., Pacs]
) -> None:
    with RawSink() as sink:
        port = free_port()
        pacs = start("dcmqrscp", mover=port)
        node = make_node(
            egress={"pacs": pacs.table, "sink": destination(sink.port)},
            rules=[everything_to("sink")],
            receive={"port": port},
        )
        node.port = port
        number = accession(STUDIES[1])
        node.command("fetch", "pacs", "--accession", number, "--move", "--yes", expect=1)
        node.start()
        done = node.json("fetch", "pacs", "--accession", number, "--move", "--yes")
        assert done["studies"][0]["stored"] == 2
        node.when_settled(2)
        assert {one.sop_instance_uid for one in sink.received} == set(digests(STUDIES[1]))


@pytest.mark.parametrize("kind", PEERS)
def test_a_store_that_takes_nothing_is_told_to_the_pacs_and_to_the_person(
    make_node: Callable[..., Node], start: Callable[..., Pacs], kind: str
) -> None:
    pacs = start(kind)
    node = make_node(egress={"pacs": pacs.table}, rules=[], node={"min_free": "999999 GB"})
    answer = node.command("fetch", "pacs", "--study-date", "2000-01-01..", "--yes", "--json", expect=1)
    studies = json.loads(answer)["studies"]
    assert [one["stored"] for one in studies] == [0, 0]
    assert all(one["failed"] and one["comment"] for one in studies)


def test_a_pacs_that_is_away_is_an_error_and_not_an_empty_answer(make_node: Callable[..., Node]) -> None:
    for table in (_dicom(free_port()), {"type": "dicomweb", "url": f"http://{LOOPBACK}:{free_port()}"}):
        node = make_node(egress={"pacs": table}, rules=[])
        node.command("fetch", "pacs", "--accession", "A1", "--dry-run", expect=1)


def test_who_cannot_be_asked_says_so(make_node: Callable[..., Node], tmp_path: Path) -> None:
    table = {"type": "folder", "path": str(tmp_path / "files")}
    node = make_node(egress={"files": table}, rules=[])
    node.command("fetch", "files", "--accession", "A1", "--dry-run", expect=2)
    until(lambda: "cannot be asked" in " ".join(node.answers), 1, "the words")
