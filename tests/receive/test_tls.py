"""TLS at the receiver: real peers, certificates that are renewed, and peers that cannot be let in."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
import time
import warnings
from pathlib import Path

import pytest

from mapdr.kernel.errors import Temporary
from mapdr.kernel.item import Payload
from mapdr.kernel.stage import Rejection
from mapdr.receive.dicom.receiver import DimseReceiver
from mapdr.testing.peer import CT, EXPLICIT, Line, request
from mapdr.testing.wait import until
from mapdr.wire.requestor import Requestor
from mapdr.wire.tls import TlsSocket
from peers import dcmtk, processes
from peers.certificates import Authority, Pair
from receive.conftest import Start
from receive.fakes import FakeIntake
from receive.test_dimse_interop import causes, paths


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def server(authority: Authority) -> Pair:
    return authority.sign("mapdr")


def trusting(authority: Authority, shown: Pair | None = None) -> ssl.SSLContext:
    """A client that trusts the CA, and shows a certificate if it has one."""
    context = ssl.create_default_context(cafile=authority.path)
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    if shown is not None:
        context.load_cert_chain(shown.cert, shown.key)
    return context


def call(port: int, tls: ssl.SSLContext | None) -> Requestor:
    return Requestor.connect(
        "127.0.0.1", port, calling_ae="CT1", called_ae="MAPDR", proposals=((CT, (EXPLICIT,)),), tls=tls
    )


def store(requestor: Requestor, size: int = 1000) -> int:
    return requestor.c_store(Payload(CT, "1.2.3", EXPLICIT, (bytes(size),), size)).status


def turned_away(receiver: DimseReceiver) -> Rejection:
    """The one peer that was not let in."""
    until(lambda: receiver.describe().rejected, 5)
    (one,) = receiver.describe().rejected
    return one


def settle(receiver: DimseReceiver) -> None:
    until(lambda: receiver.associations == 0, 5)


# --- real peers


@pytest.mark.peer("storescu", "echoscu")
@pytest.mark.parametrize("mutual", [False, True], ids=["server", "mutual"])
def test_dcmtk_sends_over_tls(
    start: Start, intake: FakeIntake, authority: Authority, server: Pair, mutual: bool
) -> None:
    receiver = start(tls=server.table(authority.path if mutual else None))
    modality = authority.sign("ct1", names=("ct1.clinic.example",)) if mutual else None
    options = dcmtk.secured(modality, authority.path)
    assert dcmtk.echoscu(receiver.port, tls=options) == 0
    done = dcmtk.storescu(receiver.port, paths()[:1], "-R", *options)
    assert done.returncode == 0, done.stderr
    done = dcmtk.storescu(receiver.port, paths()[1:2], "-R", *options)
    assert done.returncode == 0, done.stderr
    proved = f"certificate:ct1.clinic.example sha256:{modality.fingerprint}" if modality else ""
    assert [kept.source.credential for kept in intake.kept] == [proved] * 2


@pytest.mark.peer("echoscu")
def test_dcmtk_without_tls_is_turned_away_at_once(start: Start, server: Pair) -> None:
    receiver = start(tls=server.table(), acse_timeout=30)
    began = time.monotonic()
    assert dcmtk.echoscu(receiver.port) != 0
    assert time.monotonic() - began < 4
    assert "does not speak TLS" in turned_away(receiver).cause


@pytest.mark.peer("echoscu")
def test_dcmtk_with_tls_is_turned_away_at_a_plain_port(start: Start, authority: Authority) -> None:
    receiver = start()
    assert dcmtk.echoscu(receiver.port, tls=dcmtk.secured(None, authority.path)) != 0
    one = turned_away(receiver)
    assert "it speaks TLS, this receiver does not" in one.cause
    assert (
        one.cure
        == "add tls = { cert = ..., key = ... } to [receive.modalities], or switch TLS off at the peer"
    )


# --- what TLS is spoken


@pytest.mark.parametrize(
    ("options", "spoken"),
    [
        ({}, {"1.1": False, "1.2": True, "1.3": True}),
        ({"profile": "bcp195-modified"}, {"1.1": False, "1.2": True, "1.3": True}),
        ({"min_version": "1.3"}, {"1.1": False, "1.2": False, "1.3": True}),
        ({"min_version": 1.3}, {"1.2": False, "1.3": True}),
    ],
)
def test_versions(
    start: Start, authority: Authority, server: Pair, options: dict[str, object], spoken: dict[str, bool]
) -> None:
    receiver = start(tls={**server.table(), **options})
    versions = {"1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    for version, works in spoken.items():
        context = trusting(authority)
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = context.maximum_version = versions[version]
            context.set_ciphers("ALL:@SECLEVEL=0")
        if works:
            call(receiver.port, context).release()
            continue
        with pytest.raises(Temporary, match="version or cipher suite"):
            call(receiver.port, context)


@pytest.mark.parametrize(
    ("suite", "profiles"),
    [
        ("ECDHE-ECDSA-AES256-GCM-SHA384", {"bcp195", "bcp195-modified"}),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", {"bcp195-modified"}),
        ("ECDHE-ECDSA-AES128-SHA256", set()),
    ],
)
def test_cipher_suites(
    start: Start, authority: Authority, server: Pair, suite: str, profiles: set[str]
) -> None:
    for profile in ("bcp195", "bcp195-modified"):
        receiver = start(tls={**server.table(), "profile": profile})
        context = trusting(authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(suite)
        if profile in profiles:
            call(receiver.port, context).release()
            continue
        with pytest.raises(Temporary, match="version or cipher suite"):
            call(receiver.port, context)
        assert "no version or cipher suite" in turned_away(receiver).cause


# --- certificates that change


def test_a_new_certificate_is_shown_and_no_association_ends(
    start: Start, authority: Authority, server: Pair
) -> None:
    receiver = start(tls=server.table())
    before = call(receiver.port, trusting(authority))
    assert store(before) == 0
    renewed = authority.sign("mapdr")

    def shown() -> str:
        sock = socket.create_connection(("127.0.0.1", receiver.port), 5)
        with TlsSocket(sock, trusting(authority), server_side=False, expected="127.0.0.1") as tls:
            tls.handshake(5)
            return ssl.DER_cert_to_PEM_cert(tls.peer_certificate or b"")

    until(lambda: shown() == renewed.cert.read_text(), 10)
    assert receiver.describe().certificates[0].fingerprint == renewed.fingerprint
    assert store(before) == 0
    before.release()


def test_a_broken_pair_leaves_the_old_one_in_use_and_is_told(
    start: Start, authority: Authority, server: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = start(tls=server.table())
    stays = server.key.read_bytes()
    renewed = authority.sign("mapdr")
    new_key = renewed.key.read_bytes()
    renewed.key.write_bytes(stays)
    until(lambda: receiver.describe().tls_trouble, 10)
    assert "cannot be used" in receiver.describe().tls_trouble
    assert receiver.describe().certificates[0].fingerprint == server.fingerprint
    assert any("changed TLS files are not taken into use" in said for said in causes(caplog))
    requestor = call(receiver.port, trusting(authority))
    assert store(requestor) == 0
    renewed.key.write_bytes(new_key)
    until(lambda: not receiver.describe().tls_trouble, 10)
    assert receiver.describe().certificates[0].fingerprint == renewed.fingerprint
    assert store(requestor) == 0
    requestor.release()


def test_certificates_that_end_soon_are_known(start: Start, intake: FakeIntake, authority: Authority) -> None:
    server = authority.sign("mapdr", days=12.5)
    receiver = start(tls=server.table(authority.path))
    for name, days in (("ct1", 200.0), ("ct2", 3.0)):
        shown = authority.sign(name, days=days)
        requestor = call(receiver.port, trusting(authority, shown))
        assert store(requestor) == 0
        requestor.release()
        proved = intake.kept[-1].source.credential
        assert proved.startswith(f"certificate:{name}")
        assert proved.endswith(f" sha256:{shown.fingerprint}")
    settle(receiver)
    found = {(each.whose, each.name): each for each in receiver.describe().certificates}
    assert set(found) == {("own", "mapdr"), ("ca", "ca"), ("peer", "ct2")}
    assert 12 < (found["own", "mapdr"].expires_at - time.time()) / 86400 < 13
    call(receiver.port, trusting(authority, authority.sign("ct2"))).release()
    settle(receiver)
    assert ("peer", "ct2") not in {(each.whose, each.name) for each in receiver.describe().certificates}


# --- who is not let in


def stranger(folder: Path) -> tuple[Authority, Pair]:
    other = Authority(folder / "other", "another")
    return other, other.sign("ct1")


@pytest.mark.parametrize("newest", [False, True], ids=["1.2", "1.3"])
@pytest.mark.parametrize("what", ["none", "another CA", "expired", "not yet"])
def test_who_proves_nothing_is_turned_away_in_words(
    start: Start,
    intake: FakeIntake,
    authority: Authority,
    server: Pair,
    tmp_path: Path,
    what: str,
    newest: bool,
) -> None:
    shown = {
        "none": lambda: None,
        "another CA": lambda: stranger(tmp_path)[1],
        "expired": lambda: authority.sign("ct1", since=-10, days=-1),
        "not yet": lambda: authority.sign("ct1", since=2),
    }[what]()
    said = {
        "none": "shows no TLS certificate, and this receiver asks for one",
        "another CA": "not trusted",
        "expired": "its TLS certificate has expired",
        "not yet": "its TLS certificate is not yet valid",
    }[what]
    context = trusting(authority, shown)
    if not newest:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    receiver = start(tls=server.table(authority.path))
    heard = (
        "shows none|wants a certificate" if what == "none" else "does not accept this side's TLS certificate"
    )
    with pytest.raises(Temporary, match=heard):
        store(call(receiver.port, context))
    one = turned_away(receiver)
    assert said in one.cause
    assert one.cause.startswith("rejected: it")
    assert (one.address, one.calling_ae) == ("127.0.0.1", "")
    assert intake.kept == []


def test_a_sender_that_does_not_trust_the_receiver_is_known_here(
    start: Start, server: Pair, tmp_path: Path
) -> None:
    receiver = start(tls=server.table())
    other, _ = stranger(tmp_path)
    with pytest.raises(Temporary, match="not trusted"):
        call(receiver.port, trusting(other))
    assert (
        "does not accept this side's TLS certificate: it does not know the CA" in turned_away(receiver).cause
    )


def test_a_receiver_without_tls_forgets_who_could_not_speak_it(start: Start, server: Pair) -> None:
    old = start(tls=server.table())
    with Line.connect(old.port) as line:
        line.send(request())
        assert line.closed().startswith(b"\x15\x03")  # an alert, by which others know TLS
    assert turned_away(old).cure == "set up TLS at the peer, or remove tls of [receive.modalities]"
    config = old._config.model_copy(update={"tls": None, "port": old.port})
    new = DimseReceiver(old._settings, config, old._intake)
    old.stop(time.monotonic() + 1)
    new.acquire((old,))
    new.start()
    assert new.describe().rejected == ()
    new.stop(time.monotonic() + 1)


GARBAGE = {
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "zeros": bytes(3000),
    "a record that ends early": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20),
    "a handshake of nonsense": b"\x16\x03\x01\x00\x40" + bytes(range(64)),
    "a record that is too long": b"\x16\x03\x01\xff\xff" + bytes(5000),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_costs_its_own_connection_alone(
    start: Start, authority: Authority, server: Pair, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = start(tls=server.table(), acse_timeout=1)
    with Line.connect(receiver.port) as line:
        line.send(GARBAGE[what])
        requestor = call(receiver.port, trusting(authority))
        assert store(requestor) == 0
        requestor.release()
        line.closed()
    settle(receiver)
    assert len(causes(caplog)) == 1
    assert "127.0.0.1" in causes(caplog)[0]


def test_a_look_at_the_port_is_nobodys_trouble(
    start: Start, server: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = start(tls=server.table())
    for reset in (b"", bytes((1, 0, 0, 0, 0, 0, 0, 0))):
        with Line.connect(receiver.port) as line:
            until(lambda: receiver.associations == 1, 5)
            if reset:
                line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        settle(receiver)
    assert causes(caplog) == []
    assert receiver.describe().rejected == ()


def test_handshakes_that_stall_hold_up_nobody_and_end_in_time(
    start: Start, authority: Authority, server: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = start(tls=server.table(), acse_timeout=1)
    lines = [Line.connect(receiver.port) for _ in range(8)]
    for line in lines:
        line.send(b"\x16\x03\x01\x02\x00")
    requestor = call(receiver.port, trusting(authority))
    assert store(requestor) == 0
    requestor.release()
    began = time.monotonic()
    for line in lines:
        line.closed()
        line.close()
    assert time.monotonic() - began < 5
    settle(receiver)
    assert any("handshake was not done in time" in said for said in causes(caplog))


@pytest.mark.peer("openssl")
def test_a_peer_cannot_renegotiate(start: Start, authority: Authority, server: Pair) -> None:
    """Asked for it (a line with R, TLS 1.2), the receiver refuses, and serves others."""
    receiver = start(tls=server.table(), acse_timeout=3)
    program = processes.program("openssl")
    assert program is not None
    command = [program, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{receiver.port}", "-CAfile"]
    client = subprocess.Popen(
        [*command, authority.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert client.stdin is not None
        assert client.stdout is not None
        shown = b""
        while b"Verify return code" not in shown:
            shown += client.stdout.readline()
        client.stdin.write(b"R\n")
        client.stdin.flush()
        rest, _ = client.communicate(timeout=20)
    finally:
        client.kill()
        client.wait()
    assert b"Verify return code: 0" in shown
    assert b"no renegotiation" in rest
    requestor = call(receiver.port, trusting(authority))
    assert store(requestor) == 0
    requestor.release()


# --- large and small


@pytest.mark.parametrize("newest", [False, True], ids=["1.2", "1.3"])
@pytest.mark.parametrize("size", [0, 2, 9000, 16384, 100_002, 5_000_000])
def test_every_size_arrives_as_it_was(
    start: Start, intake: FakeIntake, authority: Authority, server: Pair, size: int, newest: bool
) -> None:
    receiver = start(tls=server.table())
    context = trusting(authority)
    if not newest:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    requestor = call(receiver.port, context)
    for _ in range(2):
        assert requestor.c_store(Payload(CT, "1.2.3", EXPLICIT, (data,), len(data))).status == 0
        assert requestor.alive
    requestor.release()
    assert [kept.data for kept in intake.kept] == [data] * 2


def test_no_warning_is_logged_for_an_ordinary_end(
    start: Start, authority: Authority, server: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    receiver = start(tls=server.table())
    requestor = call(receiver.port, trusting(authority))
    assert store(requestor, 300_000) == 0
    requestor.release()
    settle(receiver)
    assert causes(caplog) == []
