"""TLS to a receiver: real peers, names, changed certificates, and receivers that are not what they say."""

from __future__ import annotations

import random
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash
from pydantic import ValidationError

from egress.test_dimse import CT, EXPLICIT, NEED, make, payload
from mapdr.egress.dicom.destination import DimseEgress
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.item import FileSlice, Payload, Proof, Sent, Verdict
from mapdr.kernel.stage import SendsBatches
from mapdr.testing import peer
from mapdr.testing.wait import until
from mapdr.wire import dimse
from peers import dcmtk
from peers.certificates import Authority, Pair
from peers.rawsink import RawSink

HOST = "127.0.0.1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def server(authority: Authority) -> Pair:
    return authority.sign("pacs", names=("pacs.clinic.example",))


def opened(port: int, **tls: object) -> DimseEgress:
    egress = make(port, acse_timeout=2, tls={key: str(each) for key, each in tls.items()})
    egress.start()
    return egress


def listening(pair: Pair, script: peer.Script | None = None) -> peer.Listener:
    """A receiver over TLS: it accepts an association and answers one image, or does what `script` does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)

    def over_tls(line: peer.Line) -> None:
        try:
            sock = context.wrap_socket(line.sock, server_side=True)
        except OSError:
            return  # the sender does not want it
        with peer.Line(sock) as inner:
            (script or one_image)(inner)

    return peer.Listener(over_tls)


def one_image(line: peer.Line) -> None:
    peer.accept(line)
    try:
        while True:
            number, command, _, _ = peer.read_message(line)
            line.send(peer.p_data((number, 3, dimse.response(command, 0))))
    except (AssertionError, EOFError, OSError):
        return


def refusal(egress: DimseEgress) -> str:
    with pytest.raises(Temporary) as caught:
        egress.connect([NEED])
    return str(caught.value)


# --- real peers


@pytest.fixture(params=[False, True], ids=["server", "mutual"])
def storescp(
    request: pytest.FixtureRequest, authority: Authority, server: Pair, tmp_path: Path
) -> Iterator[tuple[dcmtk.StoreScp, dict[str, object]]]:
    """storescp over TLS, and what a sender needs for it."""
    own = authority.sign("router") if request.param else None
    trust = authority.path if request.param else None
    sink = dcmtk.StoreScp(tmp_path / "scp", tls=dcmtk.secured(server, trust))
    table: dict[str, object] = {"ca": authority.path}
    if own is not None:
        table |= {"cert": own.cert, "key": own.key}
    yield sink, table
    sink.stop()


@pytest.mark.peer("storescp")
def test_dcmtk_takes_images_over_tls(
    storescp: tuple[dcmtk.StoreScp, dict[str, object]], server: Pair
) -> None:
    sink, table = storescp
    egress = opened(sink.port, **table)
    assert egress.probe().verdict is Verdict.DELIVERED
    session = egress.connect([NEED])
    assert isinstance(session, SendsBatches)
    sent: list[Sent] = []
    images = [payload(f"1.2.{number}", size=200_000) for number in range(3)]
    while len(sent) < 3:
        session.send_batch(images[len(sent) :], sent)
    session.close()
    assert [one.outcome.verdict for one in sent] == [Verdict.DELIVERED] * 3
    proved = f"certificate:pacs.clinic.example sha256:{server.fingerprint}"
    assert {one.outcome.credential for one in sent} == {proved}
    until(lambda: len(sink.files()) == 3, 5)


@pytest.mark.peer("storescp")
def test_dcmtk_that_asks_for_a_certificate_is_understood(
    authority: Authority, server: Pair, tmp_path: Path
) -> None:
    sink = dcmtk.StoreScp(tmp_path / "scp", tls=dcmtk.secured(server, authority.path))
    try:
        told = refusal(opened(sink.port, ca=authority.path))
        assert re.search("wants? a (TLS )?certificate|asks for a TLS certificate", told), told
        stranger = Authority(tmp_path / "other", "another").sign("router")
        told = refusal(opened(sink.port, ca=authority.path, cert=stranger.cert, key=stranger.key))
        assert re.search(
            "does not accept this side's TLS certificate|TLS certificate that it trusts", told
        ), told
    finally:
        sink.stop()


@pytest.mark.peer("storescp")
def test_dcmtk_without_tls_is_understood_at_once(authority: Authority, tmp_path: Path) -> None:
    sink = dcmtk.StoreScp(tmp_path / "scp")
    try:
        began = time.monotonic()
        assert "TLS" in refusal(opened(sink.port, ca=authority.path))
        assert time.monotonic() - began < 1.5
    finally:
        sink.stop()


@pytest.mark.peer("storescp")
def test_dcmtk_with_tls_is_known_by_a_plain_sender(server: Pair, tmp_path: Path) -> None:
    sink = dcmtk.StoreScp(tmp_path / "scp", tls=dcmtk.secured(server, None))
    try:
        egress = make(sink.port, acse_timeout=2)
        egress.start()
        assert "TLS" in refusal(egress)
    finally:
        sink.stop()


# --- names


def test_the_certificate_has_to_name_the_host(authority: Authority) -> None:
    with listening(authority.sign("elsewhere", addresses=("10.9.9.9",))) as listener:
        told = refusal(opened(listener.port, ca=authority.path))
        assert "its TLS certificate does not name this address" in told
        assert "tls.name" in told
        assert "another host" in refusal(opened(listener.port, ca=authority.path, name="pacs.clinic.example"))


def test_a_name_may_be_expected_where_the_host_is_an_address(authority: Authority) -> None:
    pair = authority.sign("pacs", names=("pacs.clinic.example",), addresses=())
    with listening(pair) as listener:
        assert "does not name this address" in refusal(opened(listener.port, ca=authority.path))
        egress = opened(listener.port, ca=authority.path, name="pacs.clinic.example")
        session = egress.connect([NEED])
        assert session.send(payload()).verdict is Verdict.DELIVERED
        session.close()
        unchecked = make(listener.port, tls={"ca": str(authority.path), "check_host": False})
        unchecked.start()
        unchecked.connect([NEED]).close()


def test_a_name_that_would_not_be_checked_is_refused() -> None:
    with pytest.raises(ValidationError, match="is not checked"):
        make(104, tls={"name": "pacs.clinic.example", "check_host": False})


# --- certificates


@pytest.mark.parametrize(
    ("days", "said"), [(-1, "its TLS certificate has expired"), (300, "not trusted")], ids=["old", "other CA"]
)
def test_whom_not_to_trust_is_said(authority: Authority, tmp_path: Path, days: float, said: str) -> None:
    by = authority if days < 0 else Authority(tmp_path / "other", "another")
    with listening(by.sign("pacs", since=-10, days=days)) as listener:
        assert said in refusal(opened(listener.port, ca=authority.path))


def test_a_ca_that_changes_is_taken_into_use_and_open_sessions_go_on(
    authority: Authority, server: Pair, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.path.read_bytes())
    other = Authority(tmp_path / "other", "another")
    with listening(server) as old, listening(other.sign("pacs")) as new:
        egress = opened(old.port, ca=trusted)
        session = egress.connect([NEED])
        assert session.send(payload()).verdict is Verdict.DELIVERED
        trusted.write_bytes(other.path.read_bytes())
        until(lambda: egress.describe().certificates[0].name == "another", 10)
        assert session.send(payload()).verdict is Verdict.DELIVERED
        session.close()
        assert "not trusted" in refusal(egress)
        trusted.write_text("nothing of the kind")
        until(lambda: egress.describe().tls_trouble, 10)
        assert "trusted.pem" in egress.describe().tls_trouble
        assert "not trusted" in refusal(egress)
        opened(new.port, ca=other.path).connect([NEED]).close()


def test_the_receivers_certificate_is_known_when_it_ends_soon(authority: Authority) -> None:
    with listening(authority.sign("pacs", days=5.5)) as listener:
        egress = opened(listener.port, ca=authority.path)
        assert [each.whose for each in egress.describe().certificates] == ["ca"]
        egress.connect([NEED]).close()
        assert [(each.whose, each.name) for each in egress.describe().certificates][1:] == [("peer", "pacs")]


# --- receivers that are not what they say


def test_a_plain_receiver_is_known_by_its_first_byte(authority: Authority) -> None:
    def abort(line: peer.Line) -> None:
        line.sock.recv(100)
        line.send(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00")

    with peer.Listener(abort) as listener:
        told = refusal(opened(listener.port, ca=authority.path))
        assert "it does not speak TLS, this connection does: set up TLS on both sides or on neither" in told


@pytest.mark.parametrize("answer", [b"", b"\x16\x03\x03\x40", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_is_no_handshake_ends_in_words(authority: Authority, answer: bytes) -> None:
    def say(line: peer.Line) -> None:
        line.sock.recv(1000)
        line.send(answer)

    with peer.Listener(say) as listener:
        assert "TLS" in refusal(opened(listener.port, ca=authority.path))


def test_a_handshake_that_stalls_ends_in_time(authority: Authority) -> None:
    with peer.Listener(lambda line: line.closed()) as listener:
        egress = make(listener.port, acse_timeout=0.5, tls={"ca": str(authority.path)})
        egress.start()
        began = time.monotonic()
        assert "did not answer in time" in refusal(egress)
        assert time.monotonic() - began < 2


def test_an_early_success_is_not_believed(authority: Authority, server: Pair) -> None:
    def eager(line: peer.Line) -> None:
        peer.accept(line)
        head = line.read(12)
        size = int.from_bytes(head[2:6], "big") - 6
        command = dimse.parse(line.read(size))
        line.send(peer.p_data((head[10], 3, dimse.response(command, 0))))
        line.closed()

    with listening(server, eager) as listener:
        session = opened(listener.port, ca=authority.path).connect([NEED])
        outcome = session.send(payload(size=30_000_000))
        assert outcome.verdict is Verdict.RETRY
        session.close()


@pytest.mark.parametrize("size", [0, 1000, 700_000])
def test_what_leaves_over_tls_is_what_came(
    authority: Authority, server: Pair, tmp_path: Path, size: int
) -> None:
    came: list[bytes] = []

    def keep(line: peer.Line) -> None:
        peer.accept(line)
        for _ in range(2):
            number, command, data, _ = peer.read_message(line)
            came.append(data)
            line.send(peer.p_data((number, 3, dimse.response(command, 0))))
        line.closed()

    path = tmp_path / "image"
    path.write_bytes(b"before" + random.Random(1).randbytes(size) + b"behind")
    data = path.read_bytes()
    digest = xxhash.xxh3_128(data).digest()

    def image(number: int) -> Payload:
        proof = Proof(path, 0, len(data), digest)
        return Payload(CT, f"1.2.{number}", EXPLICIT, (b"NEW!", FileSlice(path, 6, size, proof)), size + 4)

    with listening(server, keep) as listener:
        session = opened(listener.port, ca=authority.path).connect([NEED])
        assert isinstance(session, SendsBatches)
        sent: list[Sent] = []
        session.send_batch([image(1), image(2)], sent)
        assert [one.outcome.verdict for one in sent] == [Verdict.DELIVERED] * 2
        assert came == [b"NEW!" + data[6:-6]] * 2
        path.write_bytes(data[:-1] + b"?")  # the very end, which does not even go out
        if size:
            with pytest.raises(Permanent, match="is damaged"):
                session.send(image(3))
        session.close()
    assert len(came) == 2


def test_without_tls_nothing_is_proved() -> None:
    with RawSink() as sink:
        egress = make(sink.port)
        egress.start()
        session = egress.connect([NEED])
        assert session.send(payload()).credential == ""
        session.close()
