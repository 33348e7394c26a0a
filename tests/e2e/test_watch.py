"""`mapdr watch` beside a node that is stopped and started, and with a reader that leaves."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapdr.testing.wait import until
from peers.node import MAPDR, Node, everything_to


def told(out: Path) -> list[dict[str, Any]]:
    return [json.loads(each) for each in out.read_text().splitlines() if each.endswith("}")]


def test_events_are_followed_across_a_restart(make_node: Callable[..., Node], tmp_path: Path) -> None:
    out = tmp_path / "events"
    folder = {"type": "folder", "path": str(tmp_path / "files")}
    node = make_node(egress={"files": folder}, rules=[everything_to("files")]).start()
    node.when(lambda status: status["node"]["state"] == "running")
    with out.open("wb") as file:
        watching = subprocess.Popen(
            [MAPDR, "watch", "--config", node.config], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: _acted(node) and told(out), 30, "an event of an action")
        node.stop()
        until(lambda: "node.away" in {one["kind"] for one in told(out)}, 30, "that the node is away")
        node.start()
        until(lambda: "node.here" in {one["kind"] for one in told(out)}, 30, "that the node is back")
        before = len(told(out))
        until(lambda: _acted(node) and len(told(out)) > before, 30, "an event of the started node")
        assert watching.poll() is None
        for one in told(out):
            assert set(one) == {"at", "kind", "level", "text", "facts"}
    finally:
        watching.kill()
        watching.wait(30)


def _acted(node: Node) -> bool:
    node.command("hold", "files")
    node.command("release", "files")
    return True


@pytest.mark.skipif(os.name == "nt", reason="Windows tells it by the next line alone")
def test_it_ends_when_its_reader_leaves(make_node: Callable[..., Node]) -> None:
    node = make_node(
        egress={"files": {"type": "folder", "path": "files"}}, rules=[everything_to("files")]
    ).start()
    watching = subprocess.Popen(
        [MAPDR, "watch", "--config", node.config], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert watching.stdout is not None
        watching.stdout.close()
        assert watching.wait(30) == 0
        assert watching.stderr is not None
        assert watching.stderr.read() == b""
    finally:
        watching.kill()
        watching.wait(30)
