"""The DIMSE receiver against real peers: pynetdicom, DCMTK, and TLS where the other side has none."""

from __future__ import annotations

import hashlib
import logging
import ssl
import time
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.filereader import read_dataset
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import Verification

from mapdr.kernel.errors import Temporary
from mapdr.kernel.item import Payload
from mapdr.testing.peer import CT, EXPLICIT, Line, request
from mapdr.testing.wait import until
from mapdr.wire.requestor import Requestor
from peers import dcmtk
from peers.certificates import self_signed
from receive.conftest import Start
from receive.fakes import FakeIntake

FILES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm")


def data_set(path: Path) -> bytes:
    """A Part 10 file's data set, as it stands in the file."""
    whole = path.read_bytes()
    meta = dcmread(path, stop_before_pixels=True).file_meta
    return whole[132 + 12 + meta.FileMetaInformationGroupLength :]


def paths() -> list[Path]:
    found = [get_testdata_file(name, download=False) for name in FILES]
    return [Path(str(path)) for path in found if path]


def test_pynetdicom(start: Start, intake: FakeIntake) -> None:
    receiver = start()
    ae = AE("CT1")
    dataset = dcmread(paths()[0])
    ae.add_requested_context(Verification)
    ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 1
    identity.primary_field = b"somebody"
    identity.positive_response_requested = True
    association = ae.associate("127.0.0.1", receiver.port, ae_title="MAPDR", ext_neg=[identity])
    assert association.is_established
    assert association.send_c_echo().Status == 0
    for _ in range(3):
        assert association.send_c_store(dataset).Status == 0
    association.release()
    assert [kept.sop_instance_uid for kept in intake.kept] == [dataset.SOPInstanceUID] * 3
    until(lambda: receiver.associations == 0, 5)


@pytest.mark.peer("echoscu")
def test_echoscu(start: Start) -> None:
    receiver = start()
    assert dcmtk.echoscu(receiver.port) == 0
    assert dcmtk.echoscu(receiver.port, called="OTHER") != 0


@pytest.mark.peer("storescu")
@pytest.mark.parametrize("options", [("-R",), ("-pdu", "4096", "-R"), ("--max-pdu", "131072", "-R")])
def test_storescu(start: Start, intake: FakeIntake, options: tuple[str, ...]) -> None:
    path = paths()[0]
    done = dcmtk.storescu(start().port, [path], *options)
    assert done.returncode == 0, done.stderr
    (kept,) = intake.kept
    # DCMTK leaves out the trailing padding (FFFC,FFFC).
    left = data_set(path).removeprefix(kept.data)
    assert left[:4] in (b"", b"\xfc\xff\xfc\xff")


@pytest.mark.peer("dcmsend")
@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_dcmsend(start: Start, intake: FakeIntake, tmp_path: Path, path: Path) -> None:
    (report,) = dcmtk.dcmsend(start().port, [path], tmp_path)
    assert report.status == 0
    (kept,) = intake.kept
    meta = dcmread(path, stop_before_pixels=True).file_meta
    assert kept.sop_instance_uid == dcmread(path, stop_before_pixels=True).SOPInstanceUID
    assert kept.transfer_syntax_uid == meta.TransferSyntaxUID
    # DCMTK writes the header anew; the pixels it takes over.
    got = read_dataset(BytesIO(kept.data), meta.TransferSyntaxUID.is_implicit_VR, is_little_endian=True)
    assert got.get("PixelData") == dcmread(path).get("PixelData")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


def call(port: int, tls: ssl.SSLContext | None) -> Requestor:
    return Requestor.connect(
        "127.0.0.1", port, calling_ae="CT1", called_ae="MAPDR", proposals=((CT, (EXPLICIT,)),), tls=tls
    )


def causes(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_tls(start: Start, intake: FakeIntake, pair: tuple[Path, Path]) -> None:
    cert, key = pair
    receiver = start(tls={"cert": str(cert), "key": str(key), "ca": str(cert)})
    context = ssl.create_default_context(cafile=cert)
    context.load_cert_chain(cert, key)
    requestor = call(receiver.port, context)
    data = bytes(range(256)) * 12_000
    for _ in range(3):
        assert requestor.c_store(Payload(CT, "1.2.3", EXPLICIT, (data,), len(data))).status == 0
    assert requestor.alive
    requestor.release()
    assert [kept.data for kept in intake.kept] == [data] * 3
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(cert.read_text())).hexdigest()
    proved = f"certificate:localhost sha256:{fingerprint}"
    assert {kept.source.credential for kept in intake.kept} == {proved}
    assert {kept.source.protocol for kept in intake.kept} == {"dicom"}
    until(lambda: receiver.associations == 0, 5)


def test_tls_without_the_certificate_that_is_asked_for(
    start: Start, pair: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = pair
    receiver = start(tls={"cert": str(cert), "key": str(key), "ca": str(cert)})
    with pytest.raises(Temporary, match="the connection broke"):
        call(receiver.port, ssl.create_default_context(cafile=cert))
    until(lambda: causes(caplog), 5)
    assert "shows no TLS certificate" in causes(caplog)[0]


def test_an_untrusted_receiver_is_named(start: Start, pair: tuple[Path, Path]) -> None:
    cert, key = pair
    receiver = start(tls={"cert": str(cert), "key": str(key)})
    with pytest.raises(Temporary, match="not trusted"):
        call(receiver.port, ssl.create_default_context())


def test_plain_dicom_on_the_tls_port(
    start: Start, pair: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = pair
    receiver = start(tls={"cert": str(cert), "key": str(key)})
    with Line.connect(receiver.port) as line:
        line.send(request())
        line.closed()
    until(lambda: causes(caplog), 5)
    assert len(causes(caplog)) == 1
    assert "does not speak TLS, this receiver does" in causes(caplog)[0]
    with pytest.raises(Temporary, match="the peer speaks TLS, this connection does not"):
        call(receiver.port, None)


def test_tls_on_the_plain_port(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    receiver = start()
    with pytest.raises(Temporary, match="TLS"):
        call(receiver.port, ssl.create_default_context())
    until(lambda: causes(caplog), 5)
    assert "the peer speaks TLS" in causes(caplog)[0]


def test_a_silent_peer_on_the_tls_port_is_closed_in_time(start: Start, pair: tuple[Path, Path]) -> None:
    cert, key = pair
    receiver = start(tls={"cert": str(cert), "key": str(key)}, acse_timeout=0.3)
    with Line.connect(receiver.port) as line:
        began = time.monotonic()
        line.closed()
        assert time.monotonic() - began < 3


def test_stop_ends_a_handshake(start: Start, pair: tuple[Path, Path]) -> None:
    cert, key = pair
    receiver = start(tls={"cert": str(cert), "key": str(key)}, acse_timeout=30)
    with Line.connect(receiver.port) as line:
        until(lambda: receiver.associations == 1, 5)
        began = time.monotonic()
        receiver.stop(began + 0.1)
        assert time.monotonic() - began < 3
        assert line.closed() == b""
