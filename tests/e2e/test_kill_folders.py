"""Killed again and again between two folders: every file that was put into one is once in the spool, or told
as a repeat, and is whole in the other."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import tomlkit

from mapdr.dicom.part10 import HEAD, find
from mapdr.testing import generator
from mapdr.testing.wait import until
from peers.node import Node, arrivals, everything_to
from receive.folder.world import files, zipped

KILLS = 6
PACKED = 4
"""So many images come together in an archive."""


class Dropper:
    """Somebody who copies files into a folder, in pieces, one after the other, and sometimes an archive."""

    def __init__(self, path: Path, images: Sequence[generator.GeneratedImage]) -> None:
        self._path = path
        self._images = list(images)
        self._random = random.Random()
        self.names: list[str] = []
        self.thread = threading.Thread(target=self._drop, name="dropper")

    def _drop(self) -> None:
        while self._images:
            packed = len(self.names) % 5 == 3
            batch = [self._images.pop() for _ in range(min(len(self._images), PACKED if packed else 1))]
            content, name = batch[0].part10(), f"study/{len(self.names)}.dcm"
            if packed:
                content = zipped({str(number): image.part10() for number, image in enumerate(batch)})
                name = f"{len(self.names)}.zip"
            self._copy(name, content)
            self.names.append(name)

    def _copy(self, name: str, content: bytes) -> None:
        with (self._path / name).open("wb") as file:
            half = self._random.randrange(len(content))
            for piece in (content[:half], content[half:]):
                file.write(piece)
                file.flush()
                passes(self._random.uniform(0, 0.06))


def passes(seconds: float) -> None:
    moment = time.monotonic() + seconds
    until(lambda: time.monotonic() > moment, seconds + 5)


@pytest.mark.parametrize("taken", ["move", "keep"])
def test_nothing_is_lost_between_folders(make_node: Callable[..., Node], tmp_path: Path, taken: str) -> None:
    path, out = tmp_path / "in", tmp_path / "out"
    (path / "study").mkdir(parents=True)
    images = list(generator.study("CT", images=120, size=(64, 64)))
    node = make_node(
        egress={"out": {"type": "folder", "path": str(out), "retry": {"first": "100 ms", "max": "1 s"}}},
        rules=[everything_to("out")],
    )
    document = tomlkit.parse(node.config.read_text())
    table = {"type": "folder", "path": str(path), "quiet": "300 ms", "scan_every": "1 s", "taken": taken}
    document["receive"]["drop"] = table  # type: ignore[index]
    node.config.write_text(tomlkit.dumps(document))
    dropper = Dropper(path, images)
    chance = random.Random()
    dropper.thread.start()
    try:
        for _ in range(KILLS):
            node.spawn()
            if chance.random() < 0.7:
                node.wait_until_it_answers()
            passes(chance.uniform(0, 1.0))
            node.kill()
    finally:
        dropper.thread.join(60)
    node.start()

    def dealt_with() -> int:
        if taken == "move":
            return len(files(path / "done"))
        told = "".join(each.read_text() for each in node.data.glob("folders/*/*.jsonl"))
        return sum(f'"{name}"' in told for name in dropper.names)

    until(lambda: dealt_with() == len(dropper.names), 60, f"{len(dropper.names)} files, not {dealt_with()}")
    status = node.when_all_settled(len(images), 120)
    assert status["today"]["received"] == {"CT": {"images": len(images), "studies": 1}}
    assert status["today"]["delivered"] == {"out": {"CT": {"images": len(images), "studies": 1}}}
    assert status["parked"] == status["versions"]["received"] == 0
    assert not files(path / "refused")
    if taken == "move":
        assert files(path / "done") == sorted(dropper.names)
        assert files(path) == sorted(f"done/{name}" for name in dropper.names)
    else:
        assert files(path) == sorted(dropper.names)
    written = {Path(name).stem: out / name for name in files(out) if not name.startswith(".")}
    assert written.keys() == {image.sop_instance_uid for image in images}
    for image in images:
        content = written[image.sop_instance_uid].read_bytes()
        assert content[find(content[:HEAD]).length :] == image.dataset
    rows = node.json("deliveries", "--limit", "10000")["deliveries"]
    assert {row["state"] for row in rows} == {"delivered"}
    print(f"{KILLS} kills, {len(images)} images came {arrivals(status)} times ({taken})")
