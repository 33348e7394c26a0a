"""What arrives is what was sent: over every file of the test data, between real peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from peers import dcmtk, part10
from peers.node import Node, arrivals, destination, everything_to, images
from peers.part10 import StoredObject
from peers.rawsender import send_all
from peers.rawsink import RawSink

Keep = Callable[[Callable[[], object]], None]


@pytest.fixture(scope="module")
def refusable(corpus: list[StoredObject]) -> set[Path]:
    """Files that a node may refuse with a reason, for a second reader finds them incomplete."""
    found = {item.path for item in corpus if part10.is_incomplete(item)}
    assert len(found) < len(corpus) * 0.2
    return found


@dataclass(frozen=True)
class Passage:
    """One dcmsend of all files: its reports, and by syntax and digest what storescp then had."""

    reports: dict[Path, dcmtk.Report]
    stored: dict[tuple[str, str], StoredObject]


def pass_through(corpus: list[StoredObject], port: int, work: Path) -> dict[Path, dcmtk.Report]:
    reports = dcmtk.dcmsend(port, [item.path for item in corpus], work)
    return {report.path: report for report in reports}


def contents(peer: dcmtk.StoreScp) -> dict[tuple[str, str], StoredObject]:
    """What a storescp has, by syntax and digest: dcmsend changes data sets, and some UIDs on the way."""
    stored = map(part10.received, peer.files())
    return {item.identity[2:]: item for item in stored}


@pytest.fixture(scope="module")
def control(corpus: list[StoredObject], work: Path, keep: Keep) -> Passage:
    """dcmsend straight to storescp."""
    peer = dcmtk.StoreScp(work / "control")
    keep(peer.stop)
    return Passage(pass_through(corpus, peer.port, work), contents(peer))


@pytest.fixture(scope="module")
def through(corpus: list[StoredObject], work: Path, keep: Keep) -> Passage:
    """The same dcmsend to MAPDR, and MAPDR to another storescp of the same kind."""
    peer = dcmtk.StoreScp(work / "through")
    keep(peer.stop)
    node = Node(
        work / "dcmtk-node", egress={"pacs": destination(peer.port)}, rules=[everything_to("pacs")]
    ).start()
    keep(node.stop)
    reports = pass_through(corpus, node.port, work)
    node.when_settled(sum(report.status == 0 for report in reports.values()), 120)
    return Passage(reports, contents(peer))


@pytest.mark.peer("dcmsend", "storescp")
def test_the_control_has_most_files(corpus: list[StoredObject], control: Passage) -> None:
    accepted = [report for report in control.reports.values() if report.status == 0]
    assert len(accepted) > len(corpus) * 0.8
    assert len(control.stored) > len(accepted) * 0.9, "few files are the same but for their names"


@pytest.mark.peer("dcmsend", "storescp")
def test_dcmsend_is_answered_as_by_the_control(
    refusable: set[Path], control: Passage, through: Passage
) -> None:
    different = {
        path: (report.status, through.reports[path].status if path in through.reports else None)
        for path, report in control.reports.items()
        if report.status == 0 and (path not in through.reports or through.reports[path].status != 0)
    }
    assert not {path.name: what for path, what in different.items() if path not in refusable}


@pytest.mark.peer("dcmsend", "storescp")
def test_storescp_has_the_same_objects_as_in_the_control(
    corpus: list[StoredObject], refusable: set[Path], control: Passage, through: Passage
) -> None:
    refused = {item.sop_instance_uid for item in corpus if item.path in refusable}
    lost = [control.stored[key] for key in control.stored.keys() - through.stored.keys()]
    # What dcmsend decompressed for storescp, it sends to MAPDR as it is, and MAPDR decompresses it.
    converted = {report.sop_instance_uid for report in control.reports.values() if report.converted}
    missing = {names(item) for item in lost if item.sop_instance_uid not in refused | converted}
    # MAPDR takes more syntaxes than storescp, and decompresses what dcmsend would not.
    unsent = {report.sop_instance_uid for report in control.reports.values() if report.status != 0}
    changed = [through.stored[key] for key in through.stored.keys() - control.stored.keys()]
    unknown = {names(item) for item in changed if item.sop_instance_uid not in unsent | converted}
    assert (missing, unknown) == (set(), set())


def names(item: StoredObject) -> tuple[str, str]:
    """What tells which file it was: UID and transfer syntax."""
    return item.sop_instance_uid, item.transfer_syntax_uid


def test_a_file_s_own_bytes_pass_unchanged(
    corpus: list[StoredObject],
    refusable: set[Path],
    work: Path,
    keep: Keep,
    make_node: Callable[..., Node],
) -> None:
    sink = RawSink().start()
    keep(sink.stop)
    node = make_node(egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")]).start()
    statuses = send_all(node.port, corpus)
    taken = [item for item, code in statuses.items() if code == 0]
    status = node.when_settled(len(taken), 120)
    refused = [item.path for item, code in statuses.items() if code != 0]
    assert not [path.name for path in refused if path not in refusable]
    arrived = set(sink.identities())
    # Data sets of odd length are no data sets (PS3.5, section 7.1.1): they arrive padded (record 18).
    odd = {item.sop_instance_uid: len(item.data_set()) for item in taken if len(item.data_set()) & 1}
    assert not [
        item.path.name for item in taken if item.identity not in arrived and item.sop_instance_uid not in odd
    ]
    known = {item.identity for item in corpus}
    padded = {each.sop_instance_uid: len(each.data) for each in sink.received if each.identity not in known}
    assert padded.keys() == odd.keys()
    assert {uid: size - odd[uid] for uid, size in padded.items()} == dict.fromkeys(odd, 1)
    assert arrivals(status) == len(taken)
    assert images(status["today"]["received"]) == len({item.sop_instance_uid for item in taken})
    assert (status["parked"], status["unrouted"]) == (0, 0)
