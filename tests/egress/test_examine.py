"""The examination of a DICOM receiver: what is found of each kind of peer, and what to do about it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from egress.test_dimse import CT, EXPLICIT, IMPLICIT, JPEG2000, NEED, make
from mapdr.egress import reach
from mapdr.kernel.examine import Examination, Examines, Level, PeerFinding
from mapdr.kernel.item import Need
from mapdr.testing import peer
from mapdr.testing.marked import PATIENT_ID, marked_image
from mapdr.wire import pdu
from mapdr.wire.survey import Survey
from peers import dcmtk
from peers.certificates import Authority, Pair
from peers.processes import LOOPBACK, Process, free_port
from peers.rawsink import Answer, RawSink

JPEG = "1.2.840.10008.1.2.4.70"
MR = "1.2.840.10008.5.1.4.1.1.4"


def found(
    port: int, asked: Examination | None = None, *, seconds: float = 5, **config: Any
) -> list[PeerFinding]:
    """Every finding of a receiver at a port of loopback."""
    egress = make(port, **config)
    egress.start()
    asked = asked or Examination((NEED,), seconds=seconds)
    findings = list(egress.examine(asked))
    assert all(each.cure for each in findings if each.level in (Level.WARN, Level.BAD))
    return findings


def one(findings: list[PeerFinding], part: str) -> PeerFinding:
    (only,) = [each for each in findings if each.part == part]
    return only


def bad(findings: list[PeerFinding]) -> list[PeerFinding]:
    return [each for each in findings if each.level is Level.BAD]


def scripted(script: peer.Script) -> peer.Listener:
    """A peer that does so with each connection; who only looks whether it listens says nothing, and goes."""

    def run(line: peer.Line) -> None:
        try:
            script(line)
        except (EOFError, OSError):
            return

    return peer.Listener(run)


def test_a_sound_receiver_has_nothing_bad_and_gets_nothing_to_store() -> None:
    with RawSink() as sink:
        assert isinstance(make(sink.port), Examines)
        findings = found(sink.port)
        assert not sink.received
    assert [each.part for each in findings][:4] == ["name", "TCP", "TLS", "association"]
    assert {each.level for each in findings} <= {Level.GOOD, Level.INFO}
    assert one(findings, "C-ECHO").milliseconds is not None


def test_an_examination_can_be_left_in_the_middle() -> None:
    with RawSink() as sink:
        egress = make(sink.port)
        egress.start()
        for each in egress.examine(Examination((NEED,))):
            if each.part == "association":
                break  # the connection goes with it: `no_leaks` looks


# --- no association -----------------------------------------------------------------------------------------


def test_a_port_at_which_nobody_listens(free_port: int) -> None:
    (last,) = bad(found(free_port))
    assert last.part == "TCP"
    assert "nobody listens" in last.text
    assert "port" in last.cure


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    (last,) = bad(found(104, host="pacs.invalid"))
    assert (last.part, "not known" in last.text) == ("name", True)


def test_one_address_of_two_is_dead(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawSink() as sink:

        def both(*args: object, **more: object) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port)) for port in ports]

        ports = [free_port, sink.port]
        monkeypatch.setattr(reach.socket, "getaddrinfo", both)
        findings = found(sink.port, host="pacs.clinic.example")
    dead, alive = (each for each in findings if each.part == "TCP")
    assert (dead.level, alive.level) == (Level.WARN, Level.GOOD)
    assert "tries it first" in dead.text
    assert not bad(findings)


@pytest.mark.parametrize("result", [1, 2])
@pytest.mark.parametrize(
    ("source", "reason", "words", "cure"),
    [
        (1, 1, "no reason given", "compare both AE titles"),
        (1, 2, "application context", "correct host and port"),
        (1, 3, "calling AE title", 'have the AE title "MAPDR" entered'),
        (1, 7, "called AE title", 'set ae_title to the receiver\'s own ("SINK" is not it'),
        (1, 10, "source 1, reason 10", "compare both AE titles"),
        (2, 1, "protocol layer", "compare both AE titles"),
        (2, 2, "protocol version", "update the receiver"),
        (3, 1, "congestion", "wait, and try again"),
        (3, 2, "too many associations", "associations lower"),
    ],
)
def test_each_rejection_has_its_words_and_its_cure(
    result: int, source: int, reason: int, words: str, cure: str
) -> None:
    with RawSink(reject=bytes((0, result, source, reason))) as sink:
        (last,) = bad(found(sink.port))
    assert last.part == "association"
    assert words in last.text
    assert ("for good" if result == 1 else "for now") in last.text
    assert cure in last.cure


def silent(line: peer.Line) -> None:
    line.decoded()
    line.closed()


def closing(line: peer.Line) -> None:
    line.decoded()


def aborting(line: peer.Line) -> None:
    line.decoded()
    line.send(pdu.encode(pdu.Abort(2, 1)))


def http(line: peer.Line) -> None:
    line.decoded()
    line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def tls_alert(line: peer.Line) -> None:
    line.decoded()
    line.send(bytes((0x15, 3, 1, 0, 2, 2, 10)))


def cut_answer(line: peer.Line) -> None:
    line.decoded()
    line.send(bytes((2, 0, 0, 0, 0, 100)) + bytes(20))


def short_answer(line: peer.Line) -> None:
    line.decoded()
    line.send(bytes((2, 0, 0, 0, 0, 5)) + bytes(5))


@pytest.mark.parametrize(
    ("script", "words", "cure"),
    [
        (silent, "no answer within", "hung or full"),
        (closing, "closed the connection without an answer", "address entered"),
        (cut_answer, "closed the connection without an answer", "address entered"),
        (aborting, "aborted the association: unrecognized PDU", "log"),
        (http, "HTTP", "correct host and port"),
        (tls_alert, "the receiver speaks TLS", "set tls = true"),
        (short_answer, "claims 5 bytes", "correct host and port"),
    ],
)
def test_each_answer_that_is_none(script: Callable[[peer.Line], None], words: str, cure: str) -> None:
    with scripted(script) as listener:
        (last,) = bad(found(listener.port, seconds=0.5))
    assert last.part == "association"
    assert words in last.text
    assert cure in last.cure


# --- TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def server(authority: Authority) -> Pair:
    return authority.sign("pacs", names=("pacs.clinic.example",))


@pytest.fixture
def over_tls(server: Pair) -> Iterator[int]:
    """The port of a receiver that speaks TLS alone, and closes without a word on all else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)

    def run(line: peer.Line) -> None:
        try:
            sock = context.wrap_socket(line.sock, server_side=True)
        except OSError:
            return
        with peer.Line(sock) as inner:
            peer.accept(inner, refuse=(peer.VERIFICATION,))
            inner.closed()

    with scripted(run) as listener:
        yield listener.port


def test_tls_is_told_with_version_cipher_and_certificate(
    over_tls: int, authority: Authority, server: Pair
) -> None:
    findings = found(over_tls, seconds=1, tls={"ca": str(authority.path)})
    agreed, certificate = one(findings, "TLS"), one(findings, "certificate")
    assert agreed.level is certificate.level is Level.GOOD
    assert agreed.text.startswith("TLS 1.3 with TLS_")
    assert server.fingerprint in certificate.text
    assert f"{server.certificate.not_valid_after_utc.date()}" in certificate.text
    assert one(findings, "association").level is Level.GOOD


def test_a_certificate_that_nobody_signed_is_shown_for_its_fingerprint(over_tls: int, server: Pair) -> None:
    findings = found(over_tls, seconds=1, tls=True)
    assert "not trusted" in one(findings, "TLS").text
    assert "tls.ca" in one(findings, "TLS").cure
    assert server.fingerprint in one(findings, "certificate").text
    assert "association" not in [each.part for each in bad(findings)]


def test_a_receiver_that_leaves_a_handshake_alone_may_be_busy() -> None:
    with scripted(lambda line: line.closed()) as listener:
        findings = found(listener.port, seconds=0.5, tls=True)
    assert one(findings, "TLS").text == "no answer to the TLS handshake"
    assert "one association at a time" in one(findings, "TLS").cure


def test_a_certificate_for_another_name(over_tls: int, authority: Authority) -> None:
    (last,) = bad(found(over_tls, seconds=1, tls={"ca": str(authority.path), "name": "else.example"}))
    assert "another host" in last.text
    assert "tls.name" in last.cure


def test_a_certificate_that_ends_soon_is_a_warning(authority: Authority) -> None:
    pair = authority.sign("pacs", days=5)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)

    def run(line: peer.Line) -> None:
        with peer.Line(context.wrap_socket(line.sock, server_side=True)) as inner:
            inner.closed()

    with scripted(run) as listener:
        findings = found(listener.port, seconds=0.5, tls={"ca": str(authority.path)})
    assert one(findings, "certificate").level is Level.WARN


def test_a_receiver_with_tls_at_a_plain_setting(over_tls: int) -> None:
    (last,) = bad(found(over_tls, seconds=1))
    assert last.text == "the receiver speaks TLS, and this destination is set to plain TCP"
    assert "tls" in last.cure


def test_a_plain_receiver_at_a_tls_setting() -> None:
    with RawSink() as sink:
        findings = bad(found(sink.port, seconds=1, tls=True))
    assert findings[-1].text == "the receiver answers without TLS, and this destination is set to TLS"
    assert "leave out tls" in findings[-1].cure


# --- the answer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "level", "words"),
    [
        (0, Level.GOOD, "without limit"),
        (16, Level.BAD, "too few for a message"),
        (127, Level.BAD, "too few for a message"),
        (128, Level.WARN, "4,298 pieces"),
        (1024, Level.WARN, "516 pieces"),
        (4096, Level.INFO, "129 pieces"),
        (16_385, Level.GOOD, "33 pieces"),
        (1 << 31, Level.GOOD, "3 pieces"),
    ],
)
def test_what_a_pdu_length_costs(length: int, level: Level, words: str) -> None:
    with RawSink(max_pdu=length) as sink:
        findings = found(sink.port)
    told = one(findings, "PDU length")
    assert told.level is level
    assert words in told.text
    assert bool(bad(findings)) is (level is Level.BAD)


def test_contexts_are_told_by_sop_class_and_transfer_syntax() -> None:
    asked = Examination((Need(CT, JPEG2000), Need(MR, EXPLICIT)))
    with RawSink(results={JPEG2000: 4}) as sink:
        told = [each for each in found(sink.port, asked) if each.part == "contexts"]
    assert [(each.level, each.text) for each in told] == [
        (Level.INFO, "4 of 5 accepted (what goes there)"),
        (
            Level.INFO,
            "accepted in Explicit VR Little Endian, Implicit VR Little Endian; not in JPEG 2000 Image "
            "Compression, so that Explicit VR Little Endian is sent: CT",
        ),
        (Level.GOOD, "accepted in Explicit VR Little Endian, Implicit VR Little Endian: MR"),
    ]


def test_images_without_a_fallback_have_no_way() -> None:
    asked = Examination((Need(CT, JPEG2000), Need(CT, JPEG)))
    with RawSink(results={JPEG2000: 4, EXPLICIT: 4, IMPLICIT: 4}) as sink:
        (last,) = bad(found(sink.port, asked))
    assert "not in JPEG 2000 Image Compression, nor in one of syntaxes" in last.text
    assert "syntaxes" in last.cure


def test_of_a_usual_list_that_is_taken_no_name_is_told() -> None:
    asked = Examination((Need(CT, EXPLICIT), Need(MR, EXPLICIT)), assumed=True)
    with RawSink() as sink:
        told = [each for each in found(sink.port, asked) if each.part == "contexts"]
    assert told[1].text.endswith(": all 2 SOP classes")


@pytest.mark.parametrize(
    ("result", "words", "cure"),
    [
        (1, "user rejection", "another time"),
        (2, "no reason given", "another time"),
        (3, "does not support the SOP class", "SOP class enabled"),
        (4, "does not support the transfer syntax", "set syntaxes"),
    ],
)
def test_each_refusal_of_a_context(result: int, words: str, cure: str) -> None:
    def refuse(line: peer.Line) -> None:
        asked = line.decoded()
        assert isinstance(asked, pdu.AssociateRequest)
        given = {CT: result, peer.VERIFICATION: 3}
        results = tuple(
            pdu.ContextResult(each.id, given.get(each.abstract_syntax, 0), each.transfer_syntaxes[0])
            for each in asked.contexts
        )
        line.send(pdu.encode(pdu.AssociateAccept("A", "B", results, 16384)))
        line.closed()

    asked = Examination((Need(CT, EXPLICIT), Need(MR, EXPLICIT)), seconds=0.5)
    with scripted(refuse) as listener:
        (last,) = bad(found(listener.port, asked))
    assert (last.part, words in last.text, cure in last.cure) == ("contexts", True, True)
    assert last.text.endswith(": CT")
    # Of a list that is only usual, it is no harm as long as something is taken.
    assumed = Examination((Need(CT, EXPLICIT), Need(MR, EXPLICIT)), assumed=True, seconds=0.5)
    with scripted(refuse) as listener:
        assert not bad(found(listener.port, assumed))


def test_more_than_128_contexts_take_several_associations() -> None:
    needs = tuple(Need(f"1.2.840.10008.5.1.4.1.1.{number}", JPEG2000) for number in range(2, 102))
    with RawSink() as sink:
        findings = found(sink.port, Examination(needs))
        proposed = [proposal for proposal in sink.proposals if len(proposal) > 1]
    assert [len(each) for each in proposed] == [128, 128, 47]
    pairs = {(abstract, syntaxes[0]) for each in proposed for abstract, syntaxes in each}
    assert len(pairs) == 301  # and Verification
    total = next(each for each in findings if each.part == "contexts")
    assert total.text.startswith("300 of 300 accepted")
    assert "3 associations" in total.text


@pytest.mark.parametrize(
    ("window", "words"),
    [((0, 1), "any number of"), ((4, 1), "4 operations"), ((8, 8), "8 or more"), ((1, 1), "one operation")],
)
def test_the_window_of_operations_is_asked_for_and_told(window: tuple[int, int], words: str) -> None:
    offered: list[bytes] = []

    def answer(line: peer.Line) -> None:
        kind, body = line.read_pdu()
        asked = pdu.decode(kind, body)
        assert isinstance(asked, pdu.AssociateRequest)
        offered.append(pdu.user_items(body).get(pdu.WINDOW_ITEM, b""))
        results = tuple(
            pdu.ContextResult(each.id, 3 if each.id == 1 else 0, each.transfer_syntaxes[0])
            for each in asked.contexts
        )
        line.send(with_window(pdu.encode(pdu.AssociateAccept("A", "B", results, 16384)), window))
        line.closed()

    with scripted(answer) as listener:
        told = one(found(listener.port, seconds=0.5), "asynchronous")
    assert words in told.text
    assert offered == [b"", bytes((0, 8, 0, 1))]  # the first is as images are sent


def with_window(encoded: bytes, window: tuple[int, int]) -> bytes:
    """An A-ASSOCIATE-AC with a window at the end of its user information, which is the last item."""
    item = bytes((0x53, 0, 0, 4, window[0] >> 8, window[0] & 255, window[1] >> 8, window[1] & 255))
    at = 74
    while encoded[at] != 0x50:
        at += 4 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    longer = int.from_bytes(encoded[at + 2 : at + 4], "big") + len(item)
    body = encoded[6 : at + 2] + longer.to_bytes(2, "big") + encoded[at + 4 :] + item
    return encoded[:2] + len(body).to_bytes(4, "big") + body


def test_a_receiver_without_verification_is_no_worse_for_it() -> None:
    with scripted(
        lambda line: line.closed() and None if peer.accept(line, refuse=(peer.VERIFICATION,)) else None
    ) as it:
        findings = found(it.port, seconds=0.5)
    assert one(findings, "C-ECHO").level is Level.INFO
    assert not bad(findings)


def hangs(line: peer.Line) -> None:
    peer.accept(line)
    line.closed()


def hangs_up(line: peer.Line) -> None:
    peer.accept(line)
    line.read_pdu()


def answers_otherwise(line: peer.Line) -> None:
    peer.accept(line)
    line.read_pdu()
    line.send(peer.p_data((1, 3, peer.command(0x8030, 4711, sop_class=peer.VERIFICATION))))
    line.closed()


def floods(line: peer.Line) -> None:
    peer.accept(line)
    line.read_pdu()
    while True:
        line.send(peer.p_data((1, 1, bytes(16000))))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (floods, "exceeds"),
        (hangs, "no answer in time"),
        (hangs_up, "hung up"),
        (answers_otherwise, "that was not asked"),
    ],
)
def test_an_echo_that_is_accepted_and_not_answered(script: peer.Script, words: str) -> None:
    with scripted(script) as listener:
        (last,) = bad(found(listener.port, seconds=0.5))
    assert (last.part, words in last.text) == ("C-ECHO", True), last


def test_an_echo_that_is_slow_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: object, **more: object) -> tuple[float, int]:
        return 45.0, 0

    monkeypatch.setattr(Survey, "echo", late)
    with RawSink() as sink:
        told = one(found(sink.port), "C-ECHO")
    assert (told.level, told.milliseconds) == (Level.WARN, 45.0)
    assert "Nagle" in told.cure


def test_an_echo_that_fails() -> None:
    def fail(line: peer.Line) -> None:
        peer.accept(line)
        line.read_pdu()
        answer = peer.command(0x8030, 1, sop_class=peer.VERIFICATION)
        line.send(peer.p_data((1, 3, answer[:-2] + bytes((0x10, 0x01)))))
        line.closed()

    with scripted(fail) as listener:
        told = one(found(listener.port, seconds=0.5), "C-ECHO")
    assert (told.level, "0x0110" in told.text) == (Level.WARN, True)


# --- the test image -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_test_image_is_stored_once_in_what_is_taken_and_says_what_it_is(syntax: str) -> None:
    other = IMPLICIT if syntax == EXPLICIT else EXPLICIT
    with RawSink(results={other: 4}) as sink:
        findings = found(sink.port, Examination((NEED,), images=marked_image()))
        (stored,) = sink.received
    assert stored.transfer_syntax_uid == syntax
    assert PATIENT_ID.encode() in stored.data
    told = one(findings, "test image")
    assert (told.level, "0x0000" in told.text) == (Level.GOOD, True)
    assert stored.sop_instance_uid in told.text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(0xA900), "0xA900"),
        (Answer(0xA700), "0xA700"),
        (Answer(hang_up="abort"), "aborted"),
        (Answer(0xC000, comment="no such patient"), "no such patient (0xC000)"),
    ],
)
def test_a_test_image_that_is_not_stored(answer: Answer, words: str) -> None:
    with RawSink(lambda request: answer) as sink:
        (last,) = bad(found(sink.port, Examination((NEED,), images=marked_image())))
    assert (last.part, words in last.text) == ("test image", True)


def test_no_test_image_is_sent_where_no_association_is(free_port: int) -> None:
    told = found(free_port, Examination((NEED,), images=marked_image()))[-1]
    assert (told.part, told.level) == ("test image", Level.INFO)


# --- real peers ---------------------------------------------------------------------------------------------


@pytest.mark.peer("storescp")
def test_storescp_as_it_is_installed_stalls_and_that_is_measured(tmp_path: Path) -> None:
    port, program = free_port(), dcmtk.program("storescp")
    process = Process(
        [str(program), "-pdu", "8192", "-od", tmp_path, str(port)], tmp_path / "log", {"TCP_NODELAY": "0"}
    )
    try:
        process.wait_for_port(port)
        findings = found(port, Examination((Need(CT, JPEG2000),)))
    finally:
        process.end()
    assert not bad(findings)
    assert "OFFIS_DCMTK" in one(findings, "association").text
    assert "8,192 bytes" in one(findings, "PDU length").text
    stalls = [each for each in findings if each.part == "stall" and each.level is Level.INFO]
    assert stalls
    assert all((each.milliseconds or 0) > 20 for each in stalls)


@pytest.mark.peer("storescp")
def test_storescp_that_refuses_everybody(tmp_path: Path) -> None:
    peer_ = dcmtk.StoreScp(tmp_path, ("--refuse",))
    try:
        (last,) = bad(found(peer_.port))
    finally:
        peer_.stop()
    assert "rejected the association" in last.text


@pytest.mark.peer("storescp")
def test_storescp_over_tls_takes_the_test_image(tmp_path: Path, authority: Authority, server: Pair) -> None:
    peer_ = dcmtk.StoreScp(tmp_path, tls=dcmtk.secured(server, None))
    try:
        asked = Examination((NEED,), images=marked_image())
        findings = found(peer_.port, asked, tls={"ca": str(authority.path)})
        assert len(peer_.files()) == 1
    finally:
        peer_.stop()
    assert not bad(findings)
    assert server.fingerprint in one(findings, "certificate").text


@pytest.mark.peer("storescp")
def test_storescp_that_wants_a_certificate(tmp_path: Path, authority: Authority, server: Pair) -> None:
    own = authority.sign("mapdr")
    peer_ = dcmtk.StoreScp(tmp_path, tls=dcmtk.secured(server, authority.path))
    try:
        assert not bad(found(peer_.port, tls={**own.table(), "ca": str(authority.path)}))
        without = bad(found(peer_.port, tls={"ca": str(authority.path)}))
    finally:
        peer_.stop()
    assert "tls.cert" in without[-1].cure, without
