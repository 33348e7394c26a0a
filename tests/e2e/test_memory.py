"""Memory and deaths: a node stays within its budget, and no image kills it for ever."""

from __future__ import annotations

import struct
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from mapdr.testing.generator import study, uid
from mapdr.testing.wait import until
from peers.node import MAPDR, Node, delivered, destination, everything_to
from peers.part10 import MemoryObject, in_memory
from peers.processes import Process
from peers.rawsender import RawSender
from peers.rawsink import RawSink

CT = "1.2.840.10008.5.1.4.1.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

DEADLY = """
import os, threading, time
from pathlib import Path
from mapdr.kernel.stage import Factory, StageConfig
from mapdr.kernel.step import Changes, Phase, Reads

class Config(StageConfig):
    uid: str
    log: str

class Deadly:
    phase, reads, changes, copies = Phase.HEADER, Reads.DATA_SET, Changes.HEADER, 0

    def __init__(self, config):
        self.config = config

    def note(self, what, instance):
        with open(self.config.log, "a") as file:
            file.write(f"{os.getpid()} {what} {instance.sop_instance_uid}\\n")

    def apply(self, payload, instance, memory):
        self.note("begin", instance)
        time.sleep(0.05)  # so that several are at work together
        if instance.sop_instance_uid == self.config.uid:
            os._exit(9)
        self.note("end", instance)
        return payload

def build(settings, config, next) -> Deadly:
    return Deadly(config)

STAGE = Factory("transform", "deadly", Config, build)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs the step "deadly" for the node, and for the status that is read within this process."""
    info = folder / "deadly-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "deadly.py").write_text(textwrap.dedent(DEADLY))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mapdr.transform]\ndeadly = deadly:STAGE\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)


def push(node: Node, items: list[MemoryObject]) -> None:
    contexts = list(dict.fromkeys((item.sop_class_uid, item.transfer_syntax_uid) for item in items))
    with RawSender(node.port, contexts) as sender:
        assert [sender.store(item) for item in items] == [0] * len(items)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def deflated(name: str, size: int) -> MemoryObject:
    """A CT image whose `size` bytes of pixel data are zeros: a thousandth of it on the wire."""
    identity = uid("deflated", name)
    head = (
        element(0x00080016, b"UI", CT.encode())
        + element(0x00080018, b"UI", identity.encode())
        + element(0x00080060, b"CS", b"CT")
        + element(0x00100010, b"PN", b"Example^Anne")
        + element(0x0020000D, b"UI", uid("study", name).encode())
        + element(0x0020000E, b"UI", uid("series", name).encode())
        + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, size)
    )
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    out = [packer.compress(head)]
    out += [packer.compress(bytes(1_000_000)) for _ in range(size // 1_000_000)]
    out.append(packer.flush())
    data = b"".join(out)
    return MemoryObject(CT, identity, DEFLATED, data + b"\0" * (len(data) % 2))


def peak(node: Node) -> int:
    """The most memory that the node has had so far, in bytes."""
    for line in Path(f"/proc/{node.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the system does not say")


@pytest.mark.timeout(400)
def test_an_image_that_kills_the_node_is_parked_after_the_third_time_alone(
    make_node: Callable[..., Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [in_memory(image) for image in study("CT", images=12, size=(16, 16))]
    deadly, log = items[2].sop_instance_uid, tmp_path / "work.log"
    install(tmp_path / "plugin", monkeypatch)
    with RawSink() as one, RawSink() as other:
        node = make_node(
            egress={"one": destination(one.port), "other": destination(other.port)},
            rules=[everything_to("one", "other", deadly={"uid": deadly, "log": str(log)})],
            node={"workers": 3},
        ).start()
        for name in ("one", "other"):
            node.command("hold", name)
        push(node, items)
        rows = 2 * len(items)
        until(lambda: node.status()["pending"] == rows, 30, "a row of each image and destination")
        for name in ("one", "other"):
            node.command("release", name)
        for _ in range(3):
            until(lambda: not node.running, 60, "the node's death")
            node.process = Process([MAPDR, "run", "--plain", "--config", node.config], node.log)
        node.process.wait_for_port(node.port, 30)
        status = node.when(lambda status: status["pending"] == 0, 60, "the end of every row")
        arrived = [{item[1] for item in sink.identities()} for sink in (one, other)]
    assert status["parked"] == 2
    assert delivered(status, "one") == delivered(status, "other") == len(items) - 1
    assert arrived == [{item.sop_instance_uid for item in items} - {deadly}] * 2
    rows = node.json("deliveries", "--state", "parked")["deliveries"]
    assert {row["reason"] for row in rows} == {"deadly"}
    assert all("3 times" in row["comment"] for row in rows)
    deaths = [company for identity, company in at_work(log) if identity == deadly]
    assert len(deaths) == 3
    assert not deaths[-1], "the third time it was alone"


def at_work(log: Path) -> list[tuple[str, set[str]]]:
    """Each image that was begun, and those that were at work in that process at any time meanwhile."""
    found: list[tuple[str, set[str]]] = []
    running: dict[str, dict[str, set[str]]] = {}
    for line in log.read_text().splitlines():
        process, what, identity = line.split()
        here = running.setdefault(process, {})
        if what == "end":
            here.pop(identity)
            continue
        for others in here.values():
            others.add(identity)
        company = set(here)
        here[identity] = company
        found.append((identity, company))
    return found


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the peak")
@pytest.mark.timeout(300)
def test_a_small_object_that_inflates_without_measure_stays_within_the_budget(
    make_node: Callable[..., Node],
) -> None:
    bomb, large = deflated("bomb", 700_000_000), deflated("large", 40_000_000)
    plain = in_memory(next(iter(study("CT", images=1, size=(64, 64)))))
    assert len(bomb.data) < 1_000_000
    edit = [{"set": "PatientName", "to": "Nobody"}]
    with RawSink() as relay, RawSink() as edited:
        node = make_node(
            egress={"relay": destination(relay.port), "edited": destination(edited.port)},
            rules=[everything_to("relay"), {**everything_to("edited", tags=edit), "name": "edited"}],
            node={"memory": "256 MB"},
        ).start()
        before = peak(node)
        push(node, [bomb, large, plain])
        status = node.when_settled(3, 120)
        assert peak(node) - before < 256_000_000
        relayed = {item[1:] for item in relay.identities()}
        others = {item[1] for item in edited.identities()}
        names = {request.sop_instance_uid: name_in(request.data) for request in edited.received}
    assert relayed == {item.identity[1:] for item in (bomb, large, plain)}, "byte for byte"
    assert others == {large.sop_instance_uid, plain.sop_instance_uid}
    assert names[large.sop_instance_uid] == "Nobody"
    assert status["parked"] == 1
    (row,) = node.json("deliveries", "--state", "parked")["deliveries"]
    assert row["reason"] == "memory"
    assert "256 MB" in row["comment"]


def name_in(data: bytes) -> str:
    """The patient's name of a deflated data set; empty of another."""
    try:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, 4096)
    except zlib.error:
        return ""
    at = data.index(b"\x10\x00\x10\x00PN")
    (length,) = struct.unpack_from("<H", data, at + 6)
    return data[at + 8 : at + 8 + length].decode().strip()
