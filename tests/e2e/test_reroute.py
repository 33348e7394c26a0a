"""A re-route with a name, killed while the node delivers, again and again: each image goes out once more."""

from __future__ import annotations

import io
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from mapdr.testing import generator
from mapdr.testing.wait import until
from peers.node import MAPDR, Node, destination, everything_to
from peers.part10 import in_memory
from peers.rawsender import send_all
from peers.rawsink import RawSink

PROMPT = 1.0
"""Seconds until the first progress of a re-route, beyond what the interpreter and the imports take."""


def begin(node: Node, folder: Path, *words: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A re-route as a process of its own, and the file that its lines go to."""
    out = folder / "lines"
    command = [MAPDR, "reroute", "--config", node.config, "--yes", "--json", *words]
    with out.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT), out


def lines(out: Path) -> int:
    return out.read_bytes().count(b"\n")


def kill_at(process: subprocess.Popen[bytes], out: Path, number: int) -> None:
    """Kill it as soon as it has told of so many images."""
    try:
        until(lambda: lines(out) >= number or process.poll() is not None, 30, f"{number} lines")
        assert process.poll() is None, out.read_text()
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.parametrize(
    ("images", "kills", "rate"),
    [(900, 3, 600.0), pytest.param(10_000, 6, None, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
def test_a_killed_reroute_goes_on_and_sends_each_image_once_more(
    make_node: Callable[..., Node], tmp_path: Path, images: int, kills: int, rate: float | None
) -> None:
    with RawSink() as sink, RawSink() as other:
        node = make_node(
            egress={"pacs": destination(sink.port), "other": destination(other.port)},
            rules=[everything_to("pacs")],
        ).start()
        sent = generator.study("CT", seed=7, images=images, size=(8, 8))
        assert set(send_all(node.port, map(in_memory, sent)).values()) == {0}
        node.when_settled(images, 300)
        assert len(sink.received) == images
        words = ["--modality", "CT", "--to", "other", "--unchanged", "--name", "to the other"]
        pace = [] if rate is None else ["--rate", str(rate)]
        for number in range(kills):
            process, out = begin(node, tmp_path, *words, *pace)
            kill_at(process, out, 1 + number * images // 60)  # another place each time
        process, out = begin(node, tmp_path, *words)
        assert process.wait(300) == 0, out.read_text()
        sums = json.loads(out.read_text().splitlines()[-1])
        assert sums["before"] + sums["images"] == images
        assert sums["before"] > 0
        node.when(lambda status: status["pending"] == 0, 300)
        got = Counter(one.sop_instance_uid for one in other.received)
        assert len(got) == images
        assert set(got.values()) == {1}
        assert len(sink.received) == images, "the first destination gets nothing again"


def test_a_running_node_sends_corrected_values(make_node: Callable[..., Node]) -> None:
    with RawSink() as sink:
        rule = everything_to("pacs", tags=[{"prefix": "AccessionNumber", "with": "CN-"}])
        node = make_node(egress={"pacs": destination(sink.port)}, rules=[rule]).start()
        sent = list(generator.study("CT", seed=9, images=3, size=(8, 8)))
        assert set(send_all(node.port, map(in_memory, sent)).values()) == {0}
        node.when_settled(3)
        node.command("reroute", "--modality", "CT", "--set", "AccessionNumber=A4711", "--yes")
        node.when(lambda status: status["repeats"]["delivered"].get("pacs") == 3 and not status["pending"])
        heads = [
            pydicom.dcmread(io.BytesIO(one.data), force=True, stop_before_pixels=True)
            for one in sink.received
        ]
        assert Counter(head.AccessionNumber == "CN-A4711" for head in heads) == {False: 3, True: 3}
        assert "A4711" not in node.log.read_text()


@pytest.mark.long
def test_the_first_progress_comes_within_a_second(make_node: Callable[..., Node], tmp_path: Path) -> None:
    with RawSink() as sink:
        node = make_node(egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs")]).start()
        sent = generator.study("CT", seed=8, images=10_000, size=(8, 8))
        assert set(send_all(node.port, map(in_memory, sent)).values()) == {0}
        node.when_settled(10_000, 300)
        begun = time.monotonic()
        subprocess.run([MAPDR, "check", "--config", node.config], check=True, capture_output=True)
        alone = time.monotonic() - begun
        begun = time.monotonic()
        process, out = begin(node, tmp_path, "--modality", "CT")
        try:
            until(lambda: lines(out), 30, "the first lines")
            assert time.monotonic() - begun < alone + PROMPT
        finally:
            process.kill()
            process.wait(30)
