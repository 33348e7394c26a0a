"""Asking a PACS that pynetdicom plays: over TLS, with answers that were not asked for, and with refusals."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from mapdr.egress.dicom.destination import DimseEgress, DimseEgressConfig
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.fetch import Fetches, Moves, StudyQuery
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
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
        answers: list[tuple[int, Dataset | None]],
        *,
        classes: tuple[str, ...] = (FIND,),
        secured: ssl.SSLContext | None = None,
        **config: Any,
    ) -> DimseEgress:
        entity = AE("PACS")
        for uid in classes:
            entity.add_supported_context(uid)
        port = free_port()
        handlers = [(evt.EVT_C_FIND, lambda event: iter(answers))]
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
