"""The peers against each other: what the end-to-end tests lean on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from peers import dcmtk, pdu
from peers.orthanc import Orthanc
from peers.part10 import EXPLICIT, IMPLICIT, PRIVATE_CLASS, StoredObject, read, received
from peers.rawsender import RawSender, fragments, send_all
from peers.rawsink import Answer, RawSink, Received

CT = "1.2.840.10008.5.1.4.1.1.2"


def sample(name: str) -> Path:
    found = get_testdata_file(name)
    assert isinstance(found, str)
    return Path(found)


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[dcmtk.StoreScp]:
    peer = dcmtk.StoreScp(tmp_path / "storescp")
    yield peer
    peer.stop()


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 4096])
def test_fragments_give_the_data_back(length: int) -> None:
    data = bytes(range(256)) * 16
    pieces = list(fragments(data[:length], 16))
    assert b"".join(piece for piece, _ in pieces) == data[:length]
    assert [last for _, last in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(len(piece) <= 10 for piece, _ in pieces)


def test_facts_of_files() -> None:
    ct = read(sample("CT_small.dcm"))
    assert (ct.sop_class_uid, ct.transfer_syntax_uid) == (CT, EXPLICIT)
    assert ct.data_set()[:4] == b"\x08\x00\x05\x00"
    bare = read(sample("rtstruct.dcm"))
    assert bare.transfer_syntax_uid == IMPLICIT
    assert bare.data_set()[:2] == b"\x08\x00"


def test_raw_sender_to_raw_sink() -> None:
    files = [sample("CT_small.dcm"), sample("MR_small_bigendian.dcm"), sample("image_dfl.dcm")]
    objects = [read(path) for path in files]
    with RawSink() as sink:
        statuses = send_all(sink.port, objects)
    assert set(statuses.values()) == {0}
    assert sink.identities() == [item.identity for item in objects]
    assert sink.associations == 1


def test_sink_follows_its_script() -> None:
    def script(request: Received) -> Answer:
        return (Answer(0xB000), Answer(0xA700), Answer(hang_up="abort"))[request.number]

    item = read(sample("CT_small.dcm"))
    with RawSink(script) as sink:
        sender = RawSender(sink.port, [(item.sop_class_uid, item.transfer_syntax_uid)])
        assert sender.store(item) == 0xB000
        assert sender.store(item) == 0xA700
        with pytest.raises(ConnectionAbortedError):
            sender.store(item)
        sender.close()
    assert len(sink.received) == 3
    assert sink.count() == 1


def test_sink_refuses_what_it_is_told_to() -> None:
    item = read(sample("CT_small.dcm"))
    with RawSink(choose=lambda abstract, syntaxes: None) as sink:
        assert send_all(sink.port, [item]) == {item: None}


def test_more_contexts_than_one_association_takes() -> None:
    item = read(sample("CT_small.dcm"))
    many = [
        StoredObject(
            f"{PRIVATE_CLASS}.{number}", f"{item.sop_instance_uid}.{number}", EXPLICIT, item.path, item.offset
        )
        for number in range(130)
    ]
    with RawSink(keep_data=False) as sink:
        assert set(send_all(sink.port, many).values()) == {0}
        assert sink.associations == 2


@pytest.mark.peer("storescp", "dcmsend", "echoscu")
def test_dcmsend_to_storescp(storescp: dcmtk.StoreScp, tmp_path: Path) -> None:
    files = [sample("CT_small.dcm"), sample("MR_small_RLE.dcm")]
    assert dcmtk.echoscu(storescp.port) == 0
    reports = dcmtk.dcmsend(storescp.port, files, tmp_path)
    assert {report.path: report.status for report in reports} == dict.fromkeys(files, 0)
    assert {received(path).sop_instance_uid for path in storescp.files()} == {
        report.sop_instance_uid for report in reports
    }


@pytest.mark.peer("storescp", "dcmdump")
def test_raw_sender_to_storescp(storescp: dcmtk.StoreScp) -> None:
    item = read(sample("CT_small.dcm"))
    assert send_all(storescp.port, [item]) == {item: 0}
    (stored,) = storescp.files()
    assert read(stored).identity == item.identity
    assert dcmtk.dcmdump(stored) == dcmtk.dcmdump(item.path)


@pytest.mark.peer("Orthanc", "dcmsend")
def test_dcmsend_to_orthanc(tmp_path: Path) -> None:
    orthanc = Orthanc(tmp_path / "orthanc")
    try:
        item = read(sample("MR_small_jp2klossless.dcm"))
        (report,) = dcmtk.dcmsend(orthanc.dicom_port, [item.path], tmp_path)
        assert report.status == 0
        (uid, instance), *_ = orthanc.instances().items()
        assert uid == item.sop_instance_uid
        preview = orthanc.preview(instance)
        assert preview is not None
        assert preview.startswith(b"\x89PNG")
        assert orthanc.file(instance)[128:132] == b"DICM"
    finally:
        orthanc.stop()


def test_commands_survive_the_round_trip() -> None:
    command: dict[int, int | str] = {0x00000100: pdu.C_ECHO_RQ, 0x00000002: pdu.VERIFICATION, 0x00000110: 7}
    parsed = pdu.parse_command(pdu.command_set(command))
    parsed.pop(0x00000000)
    assert parsed == command
