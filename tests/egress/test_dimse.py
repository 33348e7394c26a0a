"""The DICOM destination: what is proposed, what an answer becomes, how a session ends."""

from __future__ import annotations

import errno
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mapdr.dicom.transfer_syntax import TRANSFER_SYNTAXES
from mapdr.egress.dicom.destination import STAGE, DimseEgress, DimseEgressConfig, propose
from mapdr.kernel.errors import ConfigurationError, OwnFault, Permanent, Temporary
from mapdr.kernel.item import TAKEN, FileSlice, Need, Payload, Verdict
from mapdr.kernel.stage import Description, Endpoint, Settings
from mapdr.kernel.watch import Watch
from mapdr.net.rate import Bandwidth
from mapdr.net.retry import Retries, Retry, Waits
from mapdr.testing.wait import until
from peers.certificates import self_signed
from peers.rawsink import Answer, RawSink

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
JPEG2000 = "1.2.840.10008.1.2.4.91"
NEED = Need(CT, EXPLICIT)


def make(port: int, /, **config: Any) -> DimseEgress:
    values = {"ae_title": "SINK", "host": "127.0.0.1", "port": port, **config}
    settings = Settings("pacs", "node", Path(), bytes(32), Watch())
    egress = STAGE.build(settings, DimseEgressConfig.model_validate(values), None)
    assert isinstance(egress, DimseEgress)
    return egress


def payload(uid: str = "1.2.3", size: int = 100, syntax: str = EXPLICIT) -> Payload:
    return Payload(CT, uid, syntax, (bytes(size),), size)


def test_a_node_that_is_out_of_files_does_not_blame_the_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("socket.create_connection", fail)
    egress = make(104)
    with pytest.raises(OwnFault, match="Too many open files"):
        egress.connect([NEED])
    outcome = egress.probe()
    assert (outcome.verdict, outcome.peer_fault) == (Verdict.RETRY, False)


# --- configuration ------------------------------------------------------------------------------------------


def test_an_egress_says_how_it_wants_to_be_retried() -> None:
    egress = make(104, retry={"first": "1 s", "factor": 3, "max": "5 min", "tries": 7, "give_up": "2 days"})
    assert isinstance(egress, Retries)
    assert egress.retry == Retry(1.0, 3.0, 300.0, 7, 172800.0)
    assert make(104).retry == Retry()
    assert isinstance(egress, Waits)
    assert egress.quiet_seconds == 0.0
    assert make(104, wait_for_study="2 min").quiet_seconds == 120.0


def test_an_egress_says_whom_it_calls_and_how_many_associations_it_has() -> None:
    with RawSink() as sink:
        egress = make(sink.port, ae_title="SINK")
        peer = STAGE.peer(DimseEgressConfig(ae_title="SINK", host="127.0.0.1", port=sink.port))
        assert peer == Endpoint("127.0.0.1", sink.port, "SINK", tls=False)
        assert STAGE.listens(None) is None
        idle = Description("127.0.0.1", sink.port, "SINK", tls=False, associations=0)
        assert egress.describe() == idle
        session, other = egress.connect([NEED]), egress.connect([NEED])
        assert egress.describe().associations == 2
        session.close()
        session.close()
        assert egress.describe().associations == 1
        other.close()
        assert egress.describe() == idle


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ae_title", ""),
        ("ae_title", "SEVENTEEN LETTERS"),
        ("ae_title", "A\\B"),
        ("ae_title", "PÄCS"),
        ("calling_ae", " "),
        ("host", ""),
        ("host", "http://pacs/"),
        ("port", 0),
        ("port", 65536),
        ("associations", 0),
        ("bandwidth", "8 bit/s"),
        ("syntaxes", ["1.2.840.10008.1.1"]),
        ("syntaxes", ["JPEG 3000"]),
        ("tls", {"key": "me.key"}),
        ("tls", {"verify": False}),
        ("retry", {"factor": 0.5}),
        ("retry", {"tries": 0}),
        ("dimse_timeout", 0),
        ("unknown", 1),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        make(104, **{key: value})
    assert caught.value.errors()[0]["loc"][0] == key


def test_transfer_syntaxes_may_be_written_as_names() -> None:
    config = DimseEgressConfig(ae_title="P", host="h", port=1, syntaxes=("JPEG2000Lossless", IMPLICIT))
    assert config.syntaxes == ("1.2.840.10008.1.2.4.90", IMPLICIT)
    config = DimseEgressConfig(
        ae_title="P", host="h", port=1, syntaxes=("JPEG 2000 Image Compression (Lossless Only)",)
    )
    assert config.syntaxes == ("1.2.840.10008.1.2.4.90",)
    shown = tuple(each.name for each in TRANSFER_SYNTAXES)
    config = DimseEgressConfig(ae_title="P", host="h", port=1, syntaxes=shown)
    assert config.syntaxes == tuple(each.uid for each in TRANSFER_SYNTAXES)


# --- what is proposed ---------------------------------------------------------------------------------------


def test_other_syntaxes_of_a_recipe_come_before_the_fallbacks() -> None:
    need = Need(CT, "1.2.840.10008.1.2.4.203", (JPEG2000,))
    proposed = [syntax for _, (syntax,) in propose([need], (EXPLICIT, IMPLICIT))]
    assert proposed == [need.transfer_syntax_uid, JPEG2000, EXPLICIT, IMPLICIT]
    assert need == Need(CT, need.transfer_syntax_uid)


def test_each_syntax_is_proposed_in_a_context_of_its_own_with_the_fallbacks() -> None:
    assert propose([Need(CT, JPEG2000), Need(CT, EXPLICIT)], (EXPLICIT, IMPLICIT)) == (
        (CT, (JPEG2000,)),
        (CT, (EXPLICIT,)),
        (CT, (IMPLICIT,)),
    )


def test_at_most_128_contexts_are_proposed_and_the_rest_is_not_covered() -> None:
    needs = [Need(f"1.2.{number}", JPEG2000) for number in range(100)]
    proposals = propose(needs, (EXPLICIT, IMPLICIT))
    assert len(proposals) == 126
    assert {uid for uid, _ in proposals} == {need.sop_class_uid for need in needs[:42]}
    with RawSink() as sink:
        session = make(sink.port).connect(needs)
        assert [session.acceptance(need) is not None for need in needs] == [True] * 42 + [False] * 58
        session.close()


@pytest.mark.parametrize(("classes", "fit"), [(63, 63), (64, 64), (65, 64)])
def test_128_contexts_are_proposed_where_they_are_wanted(classes: int, fit: int) -> None:
    needs = [Need(f"1.2.{number}", JPEG2000) for number in range(classes)]
    assert len(propose(needs, (EXPLICIT,))) == 2 * fit


def test_what_a_receiver_accepts_is_known_before_anything_is_sent() -> None:
    with RawSink(choose=lambda abstract, syntaxes: IMPLICIT if IMPLICIT in syntaxes else None) as sink:
        session = make(sink.port).connect([NEED])
        said = session.acceptance(NEED)
        assert said is not None
        assert said.refusal is not None
        assert said.instead == IMPLICIT
        assert session.acceptance(Need(CT, IMPLICIT)) == TAKEN
        assert session.acceptance(Need("1.2.3.4.5.6.7.8.9", EXPLICIT)) is None, "nobody has asked"
        assert session.send(payload()).verdict is Verdict.SYNTAX_REFUSED
        session.close()


# --- outcomes -----------------------------------------------------------------------------------------------


def test_a_final_status_comes_with_the_receivers_words() -> None:
    with RawSink(lambda request: Answer(0xA900, comment="wrong patient")) as sink:
        session = make(sink.port).connect([NEED])
        outcome = session.send(payload())
        session.close()
    assert (outcome.verdict, outcome.status, outcome.comment) == (Verdict.REFUSED, 0xA900, "wrong patient")


def test_a_payload_whose_file_is_gone_is_our_fault_and_says_so(tmp_path: Path) -> None:
    with RawSink() as sink:
        session = make(sink.port).connect([NEED])
        with pytest.raises(FileNotFoundError):
            session.send(Payload(CT, "1.2.3", EXPLICIT, (FileSlice(tmp_path / "gone", 0, 10),), 10))
        session.close()


def test_a_payload_whose_file_is_short_never_arrives_as_an_object(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(bytes(600_000))
    with RawSink() as sink:
        session = make(sink.port).connect([NEED])
        with pytest.raises(EOFError):
            session.send(Payload(CT, "1.2.3", EXPLICIT, (FileSlice(short, 0, 700_000),), 700_000))
        session.close()
    assert not sink.received


def test_closing_from_another_thread_ends_a_send_that_waits() -> None:
    with RawSink(lambda request: Answer(None)) as sink:
        session = make(sink.port).connect([NEED])
        closer = threading.Thread(target=lambda: until(lambda: sink.received, 5) and session.close())
        closer.start()
        started = time.monotonic()
        outcome = session.send(payload())
        assert time.monotonic() - started < 5
        closer.join(5)
    assert (outcome.verdict, outcome.status, outcome.peer_fault) == (Verdict.RETRY, None, True)


def test_an_association_that_the_peer_ended_meanwhile_covers_nothing() -> None:
    with RawSink() as sink:
        session = make(sink.port).connect([NEED])
        assert session.send(payload()).verdict is Verdict.DELIVERED
        sink.stop()
        until(lambda: session.acceptance(NEED) is None, 5)
        assert session.acceptance(NEED) is None
        session.close()


# --- connecting and probing ---------------------------------------------------------------------------------


def test_a_probe_asks_with_c_echo() -> None:
    with RawSink() as sink:
        assert make(sink.port).probe().verdict is Verdict.DELIVERED


def test_a_receiver_without_c_echo_is_there_all_the_same() -> None:
    with RawSink(choose=lambda abstract, syntaxes: None) as sink:
        outcome = make(sink.port).probe()
    assert outcome.verdict is Verdict.DELIVERED
    assert "without C-ECHO" in outcome.comment


@pytest.mark.parametrize(
    ("reject", "error", "verdict"),
    [
        (bytes((0, 1, 1, 7)), Permanent, Verdict.REFUSED),
        (bytes((0, 2, 3, 1)), Temporary, Verdict.RETRY),
    ],
)
def test_a_rejection_is_for_good_or_for_now(reject: bytes, error: type, verdict: Verdict) -> None:
    with RawSink(reject=reject) as sink:
        egress = make(sink.port)
        with pytest.raises(error):
            egress.connect([NEED])
        outcome = egress.probe()
    assert outcome.verdict is verdict
    assert outcome.peer_fault
    assert outcome.comment


def test_a_receiver_that_is_away_is_temporary() -> None:
    sink = RawSink()
    sink.stop()
    with pytest.raises(Temporary, match="cannot be reached"):
        make(sink.port).connect([NEED])
    assert make(sink.port).probe().peer_fault


# --- bandwidth ----------------------------------------------------------------------------------------------


def test_the_bucket_keeps_its_rate_and_forgives_a_burst() -> None:
    now = [0.0]
    line = Bandwidth(1000.0, clock=lambda: now[0])
    assert line.reserve(100) == 0.0
    assert line.reserve(500) == pytest.approx(0.0)
    assert line.reserve(1) == pytest.approx(0.5)
    now[0] = 100.0
    assert line.reserve(100) == 0.0
    assert line.reserve(1) == pytest.approx(0.0)
    assert line.reserve(1000) == pytest.approx(0.001)


def test_a_destination_keeps_to_its_bandwidth_over_all_sessions() -> None:
    with RawSink() as sink:
        egress = make(sink.port, bandwidth="16 Mbit/s")
        sessions = [egress.connect([NEED]) for _ in range(2)]
        started = time.monotonic()
        threads = [
            threading.Thread(
                target=lambda each=each: [each.send(payload(f"1.{n}", 500_000)) for n in range(2)]
            )
            for each in sessions
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        seconds = time.monotonic() - started
        for session in sessions:
            session.close()
    assert len(sink.answered) == 4
    assert 0.7 < seconds < 5  # 2 MB at 2 MB/s, less the burst and the first write of each session


# --- TLS ----------------------------------------------------------------------------------------------------


def test_tls_files_are_read_at_the_start_and_named_when_they_cannot_be_used(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    make(104, tls={"ca": str(cert), "cert": str(cert), "key": str(key)}).start()
    make(104, tls=True).start()
    make(104, tls=False).start()
    with pytest.raises(ConfigurationError, match=r"nowhere\.pem"):
        make(104, tls={"ca": str(tmp_path / "nowhere.pem")}).start()
    with pytest.raises(ConfigurationError, match=r"key\.pem"):
        make(104, tls={"cert": str(key), "key": str(key)}).start()


def test_over_tls_the_receiver_must_be_who_it_claims(tmp_path: Path) -> None:
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import CTImageStorage, Verification

    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    ae = AE()
    ae.add_supported_context(CTImageStorage, [EXPLICIT])
    ae.add_supported_context(Verification)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=context, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)]
    )
    port = server.socket.getsockname()[1]
    try:
        egress = make(port, tls={"ca": str(cert)})
        egress.start()
        cert.rename(tmp_path / "moved.pem")
        assert egress.probe().verdict is Verdict.DELIVERED
        session = egress.connect([NEED])
        assert session.send(payload(size=300_000)).verdict is Verdict.DELIVERED
        session.close()
        stranger = make(port, tls=True)
        stranger.start()
        with pytest.raises(Temporary, match="not trusted"):
            stranger.connect([NEED])
        with pytest.raises(ConfigurationError, match="not started"):
            make(port, tls=True).connect([NEED])
    finally:
        server.shutdown()
