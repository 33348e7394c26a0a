"""The day's counts over a real series: 28 CT slices of one study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mapdr.testing.generator import study
from peers import dcmtk
from peers.data import REAL
from peers.node import Node, destination, everything_to
from peers.part10 import in_memory
from peers.rawsender import send_all


@pytest.fixture
def slices(data: Path, tmp_path: Path) -> list[Path]:
    """The GE head series of the test data; generated slices where that is not."""
    if REAL:
        return sorted((data / "series/ct_ge_head_28").iterdir())
    folder = tmp_path / "slices"
    folder.mkdir()
    for number, image in enumerate(study("CT", images=28)):
        (folder / f"{number}.dcm").write_bytes(image.part10())
    return sorted(folder.iterdir())


@pytest.mark.peer("dcmsend", "storescp")
def test_a_series_is_counted_as_one_study(
    slices: list[Path], tmp_path: Path, make_node: Callable[..., Node]
) -> None:
    peer = dcmtk.StoreScp(tmp_path / "telepacs")
    try:
        node = make_node(
            egress={"telepacs": destination(peer.port)}, rules=[everything_to("telepacs")]
        ).start()
        reports = dcmtk.dcmsend(node.port, slices, tmp_path)
        assert [report.status for report in reports] == [0] * 28
        status = node.when(
            lambda now: now["today"]["delivered"].get("telepacs", {}).get("CT", {}).get("images") == 28
        )
    finally:
        peer.stop()
    counted = {"CT": {"images": 28, "studies": 1}}
    assert status["today"] == {"received": counted, "delivered": {"telepacs": counted}}
    assert (status["pending"], status["parked"], status["unrouted"]) == (0, 0, 0)
    assert len(peer.files()) == 28


def test_an_image_that_no_rule_takes_is_counted_as_unrouted(make_node: Callable[..., Node]) -> None:
    (image,) = study("MR", images=1, size=(16, 16))
    node = make_node(
        egress={"nowhere": destination(1)},
        rules=[{"name": "CT only", "when": {"Modality": "CT"}, "send_to": ["nowhere"]}],
    ).start()
    assert list(send_all(node.port, [in_memory(image)]).values()) == [0]
    status = node.when(lambda now: now["unrouted"] == 1)
    assert status["today"]["received"] == {"MR": {"images": 1, "studies": 1}}
    assert (status["pending"], status["parked"]) == (0, 0)
