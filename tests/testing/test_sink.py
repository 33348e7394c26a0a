"""The receiving PACS and the RIS of the tests keep what came and misbehave as asked."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pydicom
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from mapdr.testing import generator
from mapdr.testing.ris import Ris
from mapdr.testing.sink import IMPLICIT, Sink


def _send(sink: Sink, images: list[generator.GeneratedImage]) -> list[int]:
    ae = AE(ae_title="CT1")
    ae.add_requested_context(generator.CT_IMAGE, generator.EXPLICIT)
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", sink.port, ae_title=sink.ae_title)
    assert association.is_established
    statuses = [
        int(association.send_c_store(pydicom.dcmread(io.BytesIO(image.part10()))).Status) for image in images
    ]
    association.release()
    return statuses


def _images(count: int) -> list[generator.GeneratedImage]:
    return list(generator.study("CT", seed=1, images=count, size=(16, 16)))


def test_a_sink_keeps_the_bytes_that_came() -> None:
    images = _images(2)
    with Sink(ae_title="PACS") as sink:
        assert _send(sink, images) == [0, 0]
        stored = sink.stored()
    assert {uid: one.dataset for uid, one in stored.items()} == {
        image.sop_instance_uid: image.dataset for image in images
    }
    assert {one.calling_ae for one in stored.values()} == {"CT1"}


def test_a_sink_with_a_folder_keeps_them_on_disk(tmp_path: Path) -> None:
    (image,) = _images(1)
    with Sink(folder=tmp_path / "pacs") as sink:
        _send(sink, [image])
        (one,) = sink.stored().values()
    assert one.path is not None
    assert one.dataset == image.dataset


def test_statuses_are_as_asked_and_a_refused_image_is_not_stored() -> None:
    images = _images(3)
    with Sink(status=lambda number, uid: (0x0000, 0xA700, 0xB000)[number]) as sink:
        assert _send(sink, images) == [0x0000, 0xA700, 0xB000]
        assert set(sink.stored()) == {images[0].sop_instance_uid, images[2].sop_instance_uid}
        assert sink.count() == 3


def test_a_refused_transfer_syntax_is_not_negotiated() -> None:
    with Sink(refuse=[generator.EXPLICIT]) as sink:
        ae = AE()
        ae.add_requested_context(generator.CT_IMAGE, generator.EXPLICIT)
        ae.add_requested_context(generator.CT_IMAGE, IMPLICIT)
        association = ae.associate("127.0.0.1", sink.port)
        accepted = {context.transfer_syntax[0] for context in association.accepted_contexts}
        association.release()
    assert accepted == {UID(IMPLICIT)}


def test_the_ris_keeps_calls_and_answers_as_asked() -> None:
    with Ris(answer=lambda number: (503, 204)[number]) as ris:
        answers = [httpx.post(ris.url, json={"images": 3}).status_code for _ in range(2)]
        assert answers == [503, 204]
        (call,) = ris.answered()
    assert call.json == {"images": 3}
    assert call.headers["content-type"] == "application/json"
