"""What arrives is what was sent: over every file of the test data, between real peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from peers import dcmtk
from peers.node import Node, destination, everything_to, images
from peers.part10 import Identity, StoredObject
from peers.rawsender import send_all
from peers.rawsink import RawSink

Keep = Callable[[Callable[[], object]], None]

REFUSED = {
    # Its UIDs are not UIDs: nothing could ever ask for the object again.
    "3gb-bulk-data-truncated",
    "bad_sequence.dcm",
}
"""Files that a node may refuse with a reason; everything else passes."""


@dataclass(frozen=True)
class Passage:
    """One dcmsend of all files: its reports and what storescp had afterwards."""

    reports: dict[Path, dcmtk.Report]
    stored: dict[str, set[Identity]]


@pytest.fixture(scope="module")
def control(corpus: list[StoredObject], work: Path, keep: Keep) -> Passage:
    """dcmsend straight to storescp."""
    peer = dcmtk.StoreScp(work / "control")
    keep(peer.stop)
    reports = dcmtk.dcmsend(peer.port, [item.path for item in corpus], work)
    return Passage({report.path: report for report in reports}, peer.objects())


@pytest.fixture(scope="module")
def through(corpus: list[StoredObject], work: Path, keep: Keep) -> Passage:
    """The same dcmsend to MAPDR, and MAPDR to another storescp of the same kind."""
    peer = dcmtk.StoreScp(work / "through")
    keep(peer.stop)
    node = Node(
        work / "dcmtk-node", egress={"pacs": destination(peer.port)}, rules=[everything_to("pacs")]
    ).start()
    keep(node.stop)
    reports = dcmtk.dcmsend(node.port, [item.path for item in corpus], work)
    node.when_settled(120)
    return Passage({report.path: report for report in reports}, peer.objects())


@pytest.mark.peer("dcmsend", "storescp")
def test_the_control_has_most_files(corpus: list[StoredObject], control: Passage) -> None:
    accepted = [report for report in control.reports.values() if report.status == 0]
    assert len(accepted) > len(corpus) * 0.8
    assert set(control.stored) >= {report.sop_instance_uid for report in accepted}


@pytest.mark.peer("dcmsend", "storescp")
def test_dcmsend_is_answered_as_by_the_control(control: Passage, through: Passage) -> None:
    different = {
        path.name: (report.status, through.reports[path].status if path in through.reports else None)
        for path, report in control.reports.items()
        if report.status == 0 and (path not in through.reports or through.reports[path].status != 0)
    }
    assert not different


@pytest.mark.peer("dcmsend", "storescp")
def test_storescp_has_the_same_objects_as_in_the_control(control: Passage, through: Passage) -> None:
    different = [
        report.path.name
        for report in control.reports.values()
        if report.status == 0
        and through.stored.get(report.sop_instance_uid) != control.stored[report.sop_instance_uid]
    ]
    assert not different


def test_a_file_s_own_bytes_pass_unchanged(
    corpus: list[StoredObject], work: Path, keep: Keep, make_node: Callable[..., Node]
) -> None:
    sink = RawSink().start()
    keep(sink.stop)
    node = make_node(egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")]).start()
    statuses = send_all(node.port, corpus)
    status = node.when_settled(120)
    assert {item.path.name for item, code in statuses.items() if code != 0} <= REFUSED
    arrived = set(sink.identities())
    changed = [
        item.path.name for item, code in statuses.items() if code == 0 and item.identity not in arrived
    ]
    assert not changed
    assert arrived <= {item.identity for item in corpus}
    assert images(status["today"]["received"]) == len(
        {item.sop_instance_uid for item, code in statuses.items() if code == 0}
    )
    assert (status["parked"], status["unrouted"]) == (0, 0)
