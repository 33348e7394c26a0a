"""STOW-RS requests and answers with Orthanc's DICOMweb plugin at the other end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mapdr.egress.dicomweb.answer import Failed, StoreAnswer, Stored, read_answer
from mapdr.egress.dicomweb.request import ACCEPT, StowRequest
from mapdr.kernel.item import FileSlice, Payload
from mapdr.net.http.client import Answer, Body, HttpClient, Server
from mapdr.net.http.config import HttpConfig
from mapdr.testing.generator import study
from peers.orthanc import DICOMWEB, Orthanc

pytestmark = pytest.mark.peer("Orthanc")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if not DICOMWEB.is_file():
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    peer = Orthanc(tmp_path_factory.mktemp("orthanc"), dicomweb=True)
    yield peer
    peer.stop()


@pytest.fixture
def client() -> Iterator[HttpClient]:
    made = Server(HttpConfig(), "egress.test").client()
    yield made
    made.close()


def images(folder: Path, modality: str, count: int) -> list[Payload]:
    """Payloads whose data sets are in files, behind other bytes."""
    found = []
    for number, image in enumerate(study(modality, images=count, size=(32, 32))):
        path = folder / f"{modality}{number}"
        path.write_bytes(b"before" + image.dataset + b"behind")
        size = len(image.dataset)
        part = FileSlice(path, 6, size)
        found.append(
            Payload(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid, (part,), size)
        )
    return found


def store(client: HttpClient, url: str, payloads: list[Payload]) -> tuple[Answer, StoreAnswer]:
    request = StowRequest(payloads)
    headers = {"Content-Type": request.content_type, "Accept": ACCEPT}
    answer = client.request("POST", url, headers=headers, body=Body(request, request.length))
    return answer, read_answer(answer.body)


@pytest.mark.parametrize("accept", ["application/dicom+json", "application/dicom+xml"])
def test_orthanc_stores_what_it_says(
    orthanc: Orthanc, client: HttpClient, tmp_path: Path, accept: str
) -> None:
    payloads = images(tmp_path, "CT" if "json" in accept else "MR", 30)
    request = StowRequest(payloads)
    answer = client.request(
        "POST",
        orthanc.dicomweb_url + "/studies",
        headers={"Content-Type": request.content_type, "Accept": accept},
        body=Body(request, request.length),
    )
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(accept)
    assert read_answer(answer.body).instances == {each.sop_instance_uid: Stored() for each in payloads}
    kept = orthanc.instances()
    for payload in payloads:
        assert orthanc.file(kept[payload.sop_instance_uid]).endswith(b"".join(payload.chunks()))


def test_the_good_one_beside_garbage_is_stored_under_400(
    orthanc: Orthanc, client: HttpClient, tmp_path: Path
) -> None:
    (good,) = images(tmp_path, "CT", 1)
    bad = Payload(good.sop_class_uid, "1.2.3.4", good.transfer_syntax_uid, (b"garbage",), 7)
    answer, said = store(client, orthanc.dicomweb_url + "/studies", [good, bad])
    assert answer.status == 400
    assert (said.of(good.sop_instance_uid), said.of("1.2.3.4")) == (Stored(), None)
    assert good.sop_instance_uid in orthanc.instances()


def test_the_wrong_study_is_refused_image_by_image(
    orthanc: Orthanc, client: HttpClient, tmp_path: Path
) -> None:
    (image,) = images(tmp_path, "CT", 1)
    answer, said = store(client, orthanc.dicomweb_url + "/studies/1.2.3", [image])
    assert answer.status == 409
    assert said.of(image.sop_instance_uid) == Failed(0x0110)


def test_no_image_and_no_path(orthanc: Orthanc, client: HttpClient) -> None:
    answer, said = store(client, orthanc.dicomweb_url + "/studies", [])
    assert (answer.status, said) == (200, StoreAnswer())
    assert client.request("GET", orthanc.dicomweb_url + "/nothing").status == 404
