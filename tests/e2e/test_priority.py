"""Priorities, hours and a bandwidth of a real node, asked as an operator would."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import tomlkit

from mapdr.net.hours import DAYS
from mapdr.testing import generator
from mapdr.testing.wait import until
from peers.node import Node, destination
from peers.part10 import in_memory
from peers.rawsender import send_all
from peers.rawsink import RawSink


def push(node: Node, modality: str, images: int) -> list[str]:
    """Send a generated study; the UIDs of its images."""
    made = list(generator.study(modality, images=images, size=(96, 96)))
    statuses = send_all(node.port, [in_memory(image) for image in made])
    assert set(statuses.values()) == {0}
    return [image.sop_instance_uid for image in made]


def uids(sink: RawSink) -> list[str]:
    return [each.sop_instance_uid for each in sink.received]


def test_what_is_stat_goes_before_all_else_whatever_the_hour_and_the_bandwidth(tmp_path: Path) -> None:
    opens = datetime.now() + timedelta(hours=12)
    window = f"{DAYS[opens.weekday()]} {opens.hour:02}:00-{(opens.hour + 1) % 24:02}:00"
    both = ["slow", "night"]
    with RawSink() as slow, RawSink() as night:
        node = Node(
            tmp_path / "node",
            egress={
                # An image of 18 kB takes more than two seconds.
                "slow": destination(slow.port, bandwidth="64 kbit/s", associations=1),
                "night": destination(night.port, hours=[window]),
            },
            rules=[
                {
                    "name": "urgent",
                    "when": {"Modality": "MR"},
                    "send_to": both,
                    "priority": "stat",
                    "stop": True,
                },
                {"name": "the others", "when": {}, "send_to": both},
            ],
        )
        node.start()
        try:
            ordinary = push(node, "CT", 8)
            until(lambda: node.status()["pending"] >= 15, 20)
            urgent = push(node, "MR", 2)
            until(lambda: set(urgent) <= set(uids(slow)) & set(uids(night)), 20, "the stat images")
            assert not set(ordinary) & set(uids(night)), "outside its hours nothing else goes"
            assert len(set(ordinary) & set(uids(slow))) < 7, "they overtook what waited for the bandwidth"

            waiting = node.json("deliveries", "--to", "night", "--state", "pending")["deliveries"]
            assert [row["sop_instance_uid"] in ordinary for row in waiting] == [True] * 8
            assert {(row["priority"], row["reason"]) for row in waiting} == {("routine", "window")}
            assert all(row["due_at"] for row in waiting)
            (told,) = [each for each in node.status()["destinations"] if each["name"] == "night"]
            assert (told["state"], told["reason"]) == ("waiting", "window")
            rows = node.json("deliveries", "--to", "slow")["deliveries"]
            assert {row["reason"] for row in rows if row["state"] in ("pending", "leased")} <= {
                "in-hand",
                "behind-others",
            }

            assert "8 deliveries (night 8) made bulk" in node.command(
                "priority", "bulk", "--to", "night", "--yes"
            )
            assert "bulk: window: " in node.command("deliveries", "--to", "night", "--state", "pending")

            asked = ("priority", "stat", "--to", "night", "--modality", "CT")
            assert node.json(*asked, "--dry-run")["to"] == {"night": 8}
            assert not set(ordinary) & set(uids(night))
            assert node.json(*asked, "--yes")["deliveries"] == 8
            until(lambda: set(ordinary) <= set(uids(night)), 20, "what was made stat")
            assert node.json(*asked, "--yes")["deliveries"] == 0
            document = tomlkit.parse(node.config.read_text())
            del document["egress"]["slow"]["bandwidth"]
            node.config.write_text(tomlkit.dumps(document))
            node.command("reload")  # what waits goes at once
            node.when_settled(10)
            assert sorted(uids(slow)) == sorted(uids(night)) == sorted(ordinary + urgent)
            assert "make stat" in node.log.read_text()
        finally:
            node.stop()
