"""Asking a PACS that pynetdicom plays: over TLS, with answers that were not asked for, and with refusals."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from mapdr.egress.dicom.destination import DimseEgress, DimseEgressConfig
from mapdr.kernel.errors import Permanent, Refused, Temporary
from mapdr.kernel.fetch import Fetches, Moves, StudyQuery
from mapdr.kernel.item import Source
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.testing import generator
from peers.certificates import Authority
from peers.processes import LOOPBACK, free_port

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
QUERY = StudyQuery(accession_number="A1")


def answer(uid: str, accession: str, modality: str = "CT") -> Dataset:
    found = Dataset()
    found.QueryRetrieveLevel = "STUDY"
    found.StudyInstanceUID, found.AccessionNumber, found.ModalitiesInStudy = uid, accession, modality
    return found


Serve = Callable[..., DimseEgress]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a PACS that answers a C-FIND so, and gives the destination that leads to it."""
    servers: list[Any] = []

    def start(
        answers: list[tuple[int, Dataset | None]] | Callable[[Any], Iterator[Any]],
        *,
        give: Callable[[Any], Iterator[Any]] | None = None,
        classes: tuple[str, ...] = (FIND,),
        secured: ssl.SSLContext | None = None,
        **config: Any,
    ) -> DimseEgress:
        entity = AE("PACS")
        for uid in classes:
            entity.add_supported_context(uid)
        if give is not None:
            entity.add_supported_context(CTImageStorage, generator.EXPLICIT, scu_role=True, scp_role=True)
        port = free_port()
        find = answers if callable(answers) else lambda event: iter(answers)
        handlers: list[Any] = [(evt.EVT_C_FIND, find), *([(evt.EVT_C_GET, give)] if give else [])]
        servers.append(
            entity.start_server((LOOPBACK, port), block=False, evt_handlers=handlers, ssl_context=secured)
        )
        settings = Settings("pacs", "node", tmp_path, bytes(32), Watch())
        made = DimseEgress(settings, DimseEgressConfig(ae_title="PACS", host=LOOPBACK, port=port, **config))
        made.start()
        return made

    yield start
    for server in servers:
        server.shutdown()


def test_a_dicom_destination_can_be_asked(serve: Serve) -> None:
    asked = serve([])
    assert isinstance(asked, Fetches)
    assert isinstance(asked, Moves)
    assert asked.find(QUERY) == []


def test_a_pacs_that_ignores_keys_gets_nothing_fetched_that_was_not_asked_for(serve: Serve) -> None:
    asked = serve(
        [(0xFF00, answer("1.2", "A1")), (0xFF00, answer("1.3", "A2")), (0xFF01, answer("../x", "A1"))]
    )
    assert [one.study_instance_uid for one in asked.find(QUERY)] == ["1.2"]


def test_over_tls_the_pacs_is_checked(serve: Serve, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    pair = authority.sign("pacs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    answers = [(0xFF00, answer("1.2", "A1"))]
    asked = serve(answers, secured=context, tls={"ca": str(authority.path)})
    assert [one.study_instance_uid for one in asked.find(QUERY)] == ["1.2"]
    with pytest.raises(Temporary, match="no association"):
        serve(answers, secured=context, tls={"ca": str(other.path)}).find(QUERY)


GET = "1.2.840.10008.5.1.4.1.2.2.3"
IMAGES = list(generator.study("CT", seed=4, images=4, size=(8, 8)))


def answer_all(event: Any) -> Iterator[tuple[int, Dataset | None]]:
    """What a PACS with one study of one series says to C-FIND."""
    level = event.identifier.QueryRetrieveLevel
    for image in IMAGES if level == "IMAGE" else IMAGES[:1]:
        found = answer("1.2", "A1")
        found.QueryRetrieveLevel = level
        found.SeriesInstanceUID = "1.2.1"
        found.SOPInstanceUID, found.SOPClassUID = image.sop_instance_uid, image.sop_class_uid
        yield 0xFF00, found


class Kept:
    """An intake in memory; the image of the number `refuse` is refused."""

    def __init__(self, refuse: int = -1) -> None:
        self.refuse, self.begun, self.aborted = refuse, 0, 0
        self.whole: dict[str, bytes] = {}
        self._data = bytearray()
        self._uid = ""

    def begin(self, source: Source, sop_class: str, sop_instance: str, syntax: str) -> Any:
        assert (source.receiver, source.calling_ae, source.address) == ("fetch", "PACS", LOOPBACK)
        self._uid, self._data = sop_instance, bytearray()
        self.begun += 1
        return self

    def write(self, data: bytes) -> None:
        self._data += data

    def commit(self) -> None:
        if self.begun == self.refuse:
            raise Refused(0xA700, "no room")
        self.whole[self._uid] = bytes(self._data)

    def abort(self) -> None:
        self.aborted += 1


@pytest.mark.parametrize("refuse", [-1, 2])
@pytest.mark.parametrize("sent", [4, 3])
def test_images_come_by_c_get_and_what_is_missing_is_told(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: int, refuse: int
) -> None:
    statuses: list[int] = []

    def give(event: Any) -> Iterator[Any]:
        yield sent
        for image in IMAGES[:sent]:
            yield 0xFF00, dcmread(BytesIO(image.part10()))

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked = serve(answer_all, classes=(FIND, GET), give=give)
    kept = Kept(refuse)
    came = asked.retrieve("1.2", kept, lambda: statuses.append(0))
    stored = sent - (refuse > 0)
    assert (came.stored, came.failed, came.missing) == (stored, int(refuse > 0), 4 - sent)
    assert len(statuses) == stored
    assert kept.aborted == came.failed
    assert ("no room" in came.comment) is (refuse > 0)
    for image in IMAGES[:sent]:
        assert kept.whole.get(image.sop_instance_uid, image.dataset) == image.dataset
    assert not list(tmp_path.glob("*.dcm")), "no image is left in a temporary folder"


def test_what_the_pacs_does_not_do_is_said(serve: Serve) -> None:
    with pytest.raises(Permanent, match="accepts no C-FIND"):
        serve([], classes=(Verification, CTImageStorage)).find(QUERY)
    with pytest.raises(Permanent, match=r"C-GET \(try --move\)"):
        serve([(0xFF00, answer("1.2", "A1"))]).retrieve("1.2", None, lambda: None)  # type: ignore[arg-type]


def test_a_query_that_fails_is_no_empty_answer(serve: Serve) -> None:
    with pytest.raises(Permanent, match="0xA700"):
        serve([(0xA700, None)]).find(QUERY)
    asked = serve([])
    with pytest.raises(Temporary, match="no association"):
        DimseEgress(
            Settings("pacs", "node", Path(), bytes(32), Watch()),
            DimseEgressConfig(ae_title="PACS", host=LOOPBACK, port=free_port()),
        ).find(QUERY)
    assert asked.find(QUERY) == []
