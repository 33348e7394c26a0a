"""A real node on a disk that fills: thresholds are put around what is really free."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from mapdr.config.model import LEAST_FREE
from mapdr.testing import generator
from mapdr.testing.wait import until
from peers.node import Node, destination
from peers.part10 import in_memory
from peers.rawsender import send_all
from peers.rawsink import RawSink

NO_ROOM = 0xA700
PRIORITIES = {"MR": "stat", "CT": "routine", "US": "bulk"}


def images(seed: int) -> dict[str, generator.GeneratedImage]:
    """One image of each modality."""
    return {
        modality: next(iter(generator.study(modality, seed=seed, images=1, size=(16, 16))))
        for modality in PRIORITIES
    }


def pushed(node: Node, seed: int) -> dict[str, int | None]:
    """What a push of one image of each modality is answered."""
    sent = {modality: in_memory(image) for modality, image in images(seed).items()}
    answers = send_all(node.port, sent.values())
    return {modality: answers[item] for modality, item in sent.items()}


def thresholds(folder: Path, least: float, span: float) -> dict[str, str]:
    """A reserve, no less than a node keeps, and where the steps begin, as multiples of what is free now."""
    free = shutil.disk_usage(folder).free
    return {
        "min_free": f"{max(int(least * free), LEAST_FREE)} B",
        "low_free": f"{int((least + span) * free)} B",
    }


def test_a_filling_disk_refuses_by_priority_on_every_way_in(
    make_node: Callable[..., Node], tmp_path: Path, free_port: int
) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    rules = [
        {"name": word, "when": {"Modality": modality}, "send_to": ["pacs"], "priority": word}
        for modality, word in PRIORITIES.items()
    ]
    # What is free may change by half while this runs: the disk has other users.
    only_stat, no_bulk, enough = (
        thresholds(tmp_path, least, span) for least, span in ((0.5, 4.0), (0.5, 4 / 3), (0.0, 0.1))
    )
    node = make_node(
        node={"min_free": "64 MB"},
        egress={"pacs": destination(free_port)},
        rules=rules,
        receivers={"drop": {"type": "folder", "path": str(drop), "quiet": "100 ms"}},
    ).start()
    text = node.config.read_text()

    def taken() -> set[str]:
        return {path.name for path in (drop / "done").rglob("*.dcm")}

    def reload(keys: dict[str, str], step: str) -> None:
        changed = "\n".join(f'{key} = "{value}"' for key, value in keys.items())
        node.config.write_text(text.replace('min_free = "64 MB"', changed))
        node.command("reload")
        node.when(lambda now: now["node"]["disk_step"] == step)

    assert pushed(node, 1) == {"MR": 0, "CT": 0, "US": 0}
    reload(only_stat, "stat-only")
    assert pushed(node, 2) == {"MR": 0, "CT": NO_ROOM, "US": NO_ROOM}
    told = [item["text"] for item in node.status()["attention"] if item["kind"] == "disk"]
    assert [text.partition(":")[0] for text in told] == ["all images but stat ones are REFUSED"]
    for modality, image in images(3).items():
        (drop / f"{modality}.dcm").write_bytes(image.part10())
    until(lambda: taken() == {"MR.dcm"}, 20, "the stat file")
    reload(no_bulk, "no-bulk")
    assert pushed(node, 4) == {"MR": 0, "CT": 0, "US": NO_ROOM}
    until(lambda: taken() == {"MR.dcm", "CT.dcm"}, 30, "the routine file")
    reload(enough, "enough")
    until(lambda: len(taken()) == 3, 60, "the bulk file, which waited")
    assert pushed(node, 5) == {"MR": 0, "CT": 0, "US": 0}
    # 3 + 1 + 2 + 3 over the wire, 3 files; nothing of what was refused.
    status = node.when(lambda now: now["pending"] == 12)
    assert status["unrouted"] == 0
    for said in ("all images but stat ones are REFUSED", "bulk images are REFUSED", "is free again"):
        until(lambda said=said: said in node.output(), 20, f"a line of the log: {said}")


def test_what_was_delivered_goes_early_and_what_is_owed_stays(
    make_node: Callable[..., Node], tmp_path: Path, free_port: int
) -> None:
    sent = {modality: in_memory(image) for modality, image in images(7).items()}
    with RawSink() as sink:
        rules = [
            {"name": "there", "when": {"Modality": ["CT", "US"]}, "send_to": ["pacs"]},
            {"name": "not there", "when": {"Modality": ["MR", "US"]}, "send_to": ["away"]},
        ]
        egress = {"pacs": destination(sink.port), "away": destination(free_port)}
        node = make_node(node={"min_free": "64 MB"}, egress=egress, rules=rules).start()
        assert set(send_all(node.port, sent.values()).values()) == {0}
        until(lambda: sink.count() == 2, 20, "the delivered images")
        node.when(lambda now: now["pending"] == 2)
        assert len(list(node.data.rglob("*.dcm"))) == 3
        # A tenth of what is free may come or go meanwhile.
        keys = "\n".join(f'{key} = "{value}"' for key, value in thresholds(tmp_path, 0.5, 0.8).items())
        node.config.write_text(node.config.read_text().replace('min_free = "64 MB"', keys))
        node.command("reload")
        until(lambda: len(list(node.data.rglob("*.dcm"))) == 2, 30, "the purge of what is owed to nobody")
        status = node.when(lambda now: now["node"]["disk_step"] == "purging")
        assert status["pending"] == 2
        told = [event["text"] for event in status["events"] if event["kind"] == "images.purged"]
        assert told == ["1 image was purged: delivered, and the disk is filling"]
