"""What a real node counts of real associations, as an operator asks for it: also after it was killed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from mapdr.operate.access import Access
from mapdr.operate.view import node_state
from mapdr.testing import generator
from mapdr.testing.wait import until
from peers.node import Node, destination, everything_to
from peers.part10 import in_memory
from peers.processes import free_port
from peers.rawsender import send_all
from peers.rawsink import RawSink


def push(node: Node, modality: str, images: int) -> None:
    made = [in_memory(image) for image in generator.study(modality, images=images, size=(96, 96))]
    assert set(send_all(node.port, made).values()) == {0}


def test_a_report_of_real_deliveries(make_node: Callable[..., Node], tmp_path: Path) -> None:
    with RawSink() as sink:
        node = make_node(
            egress={"pacs": destination(sink.port), "away": destination(free_port())},
            rules=[
                {
                    "name": "CT",
                    "when": {"Modality": "CT"},
                    "compress": {"to": "jpeg2000-lossless"},
                    "send_to": ["pacs"],
                },
                everything_to("pacs", "away"),
            ],
        )
        node.start()
        push(node, "CT", 6)
        push(node, "MR", 4)
        until(lambda: _confirmed(node) == {"away": 0, "pacs": 10}, 30, "all of it")
        told = node.json("report")
        assert (told["received"]["images"], told["received"]["studies"]) == (10, 2)
        with sqlite3.connect(f"file:{node.data / 'index.db'}?mode=ro", uri=True) as index:
            (size,) = index.execute("SELECT sum(size) FROM instance").fetchone()
            (sent,) = index.execute("SELECT sum(bytes) FROM attempt WHERE verdict = 'delivered'").fetchone()
        index.close()
        assert told["received"]["bytes"] == size
        away, pacs = told["destinations"]
        assert (away["name"], away["total"]["images"]) == ("away", 0)
        assert {each["reason"] for each in away["total"]["failures"]} == {"unreachable"}
        assert (pacs["name"], pacs["total"]["studies"]) == ("pacs", 2)
        assert (pacs["total"]["bytes_received"], pacs["total"]["bytes_sent"]) == (size, sent)
        assert sent == sum(len(each.data) for each in sink.received)
        ct, mr = pacs["sources"]
        assert (ct["modality"], mr["modality"], ct["source"]) == ("CT", "MR", mr["source"])
        assert ct["reached"]["bytes_saved"] > 0
        assert mr["reached"]["bytes_saved"] == 0, "what is relayed is as it came"
        assert 0 < pacs["total"]["median_seconds"] <= pacs["total"]["p95_seconds"] < 60

        # Another process sees the last hour at once.
        until(lambda: sum(_last_hour(node, "pacs")) > 0, 10, "a sign of life that tells it")
        assert node.process is not None
        node.process.kill()
        again = node.json("report")
        assert [again[key] for key in ("received", "by_day", "by_hour")] == [
            told[key] for key in ("received", "by_day", "by_hour")
        ]
        assert again["destinations"][-1] == pacs
        written = node.command("report", "--html", str(tmp_path / "report.html"))
        assert (written, "pacs" in (tmp_path / "report.html").read_text(encoding="utf-8")) == ("", True)


def _confirmed(node: Node) -> dict[str, int]:
    return {one["name"]: one["total"]["images"] for one in node.json("report")["destinations"]}


def _last_hour(node: Node, name: str) -> list[float]:
    opened = Access.of(node.config)
    try:
        return list(node_state(opened).last_hour.destinations.get(name, ()))
    finally:
        opened.close()
