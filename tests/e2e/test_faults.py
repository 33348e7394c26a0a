"""A node among bad peers, on a full disk, and asked to end."""

from __future__ import annotations

import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mapdr.testing.generator import study
from mapdr.testing.wait import until
from peers import dcmtk, pdu
from peers.node import Node, delivered, destination, everything_to
from peers.part10 import MemoryObject, in_memory
from peers.processes import run
from peers.rawsender import RawSender, fragments, send_all
from peers.rawsink import Answer, RawSink

GREETINGS = {
    "TLS": bytes.fromhex("16030100fa010000f6030300112233445566778899aabbccddeeff"),
    "HTTP": b"GET /metrics HTTP/1.1\r\nHost: router\r\n\r\n",
    "4294967295 bytes": struct.pack(">BxI", pdu.ASSOCIATE_RQ, 0xFFFFFFFF) + b"x" * 100,
    "does not speak DICOM": b"\xde\xad\xbe\xef" * 64,
    "P-DATA": struct.pack(">BxI", pdu.P_DATA, 100) + bytes(100),
}
"""What a stranger says first, and the words by which the log names it."""

IMPATIENT = """
import mapdr.store
from mapdr_cli.main import main
mapdr.store.CLAIM_SECONDS = 0.2
main()
"""
"""`mapdr` that does not wait long for another process of its node."""


def image(seed: int = 0, size: int = 16) -> MemoryObject:
    (one,) = study("CT", seed=seed, images=1, size=(size, size))
    return in_memory(one)


def contexts(item: MemoryObject) -> list[tuple[str, str]]:
    return [(item.sop_class_uid, item.transfer_syntax_uid)]


@pytest.mark.parametrize("word", GREETINGS)
def test_a_stranger_is_shown_out_and_named(make_node: Callable[..., Node], free_port: int, word: str) -> None:
    node = make_node(egress={"pacs": destination(free_port)}, rules=[everything_to("pacs")]).start()
    before = len(node.output())
    with socket.create_connection(("127.0.0.1", node.port), 10) as stranger:
        stranger.sendall(GREETINGS[word])
        with suppress(ConnectionError):
            while stranger.recv(4096):
                pass  # an A-ABORT may come first; what counts is that the line ends
    until(lambda: word in node.output()[before:], 10, f"a log line that says {word}")
    assert "Traceback" not in node.output()
    assert node.echoes()


def test_an_object_cut_off_in_the_middle_leaves_nothing(
    make_node: Callable[..., Node], free_port: int
) -> None:
    node = make_node(egress={"pacs": destination(free_port)}, rules=[everything_to("pacs")]).start()
    item = image(size=256)
    sender = RawSender(node.port, contexts(item))
    sender.begin(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid)
    fragment, _ = next(fragments(item.data_set(), 4096))
    context = sender.accepted[(item.sop_class_uid, item.transfer_syntax_uid)]
    pdu.send(sender.connection, pdu.P_DATA, pdu.p_data(context, fragment, command=False, last=False))
    until(lambda: list(node.data.rglob("*.part")), 10, "the beginning of the object")
    sender.close()
    until(lambda: not list(node.data.rglob("*.part")), 10, "the end of what is left of it")
    assert not list(node.data.rglob("*.dcm"))
    assert node.status()["today"]["received"] == {}


def test_a_full_disk_refuses_before_success(make_node: Callable[..., Node], free_port: int) -> None:
    node = make_node(
        node={"min_free": "1000000 GB"},
        egress={"pacs": destination(free_port)},
        rules=[everything_to("pacs")],
    ).start()
    item = image()
    assert send_all(node.port, [item]) == {item: 0xA700}
    assert not [path for path in node.data.rglob("*") if path.suffix in (".part", ".dcm")]
    status = node.status()
    assert status["today"]["received"] == {}
    assert status["pending"] == 0


def test_sigterm_lets_the_running_object_finish(make_node: Callable[..., Node], free_port: int) -> None:
    node = make_node(egress={"pacs": destination(free_port)}, rules=[everything_to("pacs")]).start()
    item = image(size=256)
    sender = RawSender(node.port, contexts(item))
    message = sender.begin(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid)
    pieces = list(fragments(item.data_set(), 4096))
    context = sender.accepted[(item.sop_class_uid, item.transfer_syntax_uid)]
    for number, (piece, last) in enumerate(pieces):
        if number == len(pieces) // 2:
            assert node.process is not None
            node.process.popen.send_signal(signal.SIGTERM)
            until(lambda: not node.echoes(), 10, "the end of new associations")
        pdu.send(sender.connection, pdu.P_DATA, pdu.p_data(context, piece, command=False, last=last))
    kind, body = pdu.receive(sender.connection)
    assert kind == pdu.P_DATA
    ((_, _, _, fragment),) = pdu.pdvs(body)
    answer = pdu.parse_command(fragment)
    assert (answer[0x00000120], answer[0x00000900]) == (message, 0)
    sender.close()
    assert node.process is not None
    assert node.process.popen.wait(30) == 0
    with RawSink(port=free_port) as sink:
        node.start()
        status = node.when_settled(1)
        assert sink.identities() == [item.identity]
    assert delivered(status, "pacs") == 1


def test_sigterm_gives_back_what_it_was_delivering(make_node: Callable[..., Node]) -> None:
    items = [in_memory(one) for one in study("MR", images=20, size=(16, 16))]
    with RawSink(lambda request: Answer(after=0.1)) as sink:
        node = make_node(egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")]).start()
        assert set(send_all(node.port, items).values()) == {0}
        until(lambda: sink.count() >= 3, 20, "the first images")
        assert node.stop() == 0
        confirmed = sink.count()
        assert confirmed < len(items)
        node.start()
        status = node.when_settled(len(items))
        arrived = sink.identities()
    assert delivered(status, "pacs") == len(items)
    # A clean end repeats nothing: what the receiver confirmed was written down.
    assert sorted(arrived) == sorted(item.identity for item in items)


def test_a_second_node_on_the_same_data_folder_is_refused(
    make_node: Callable[..., Node], free_port: int, tmp_path: Path
) -> None:
    node = make_node(egress={"pacs": destination(free_port)}, rules=[everything_to("pacs")]).start()
    second = run([sys.executable, "-c", IMPATIENT, "run", "--plain", "--config", node.config])
    node.answers += [second.stdout, second.stderr]
    assert second.returncode == 2
    assert node.echoes(), "the first node must not suffer"
    assert "Traceback" not in node.output()


@pytest.mark.peer("echoscu")
def test_strangers_are_kept_out_by_the_allow_list(make_node: Callable[..., Node], free_port: int) -> None:
    node = make_node(
        receive={"allow": [{"ae_title": "RAWSENDER", "host": "127.0.0.0/8"}]},
        egress={"pacs": destination(free_port)},
        rules=[everything_to("pacs")],
    ).start()
    assert dcmtk.echoscu(node.port, calling="STRANGER") != 0
    assert dcmtk.echoscu(node.port, calling="RAWSENDER") == 0
    assert dcmtk.echoscu(node.port, calling="RAWSENDER", called="SOMEBODY") != 0
