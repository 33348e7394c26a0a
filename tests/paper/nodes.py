"""A node's folder for the command line's tests: a configuration, and a store with images in it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from mapdr.config.revision import keep_revision
from mapdr.kernel.item import Source
from mapdr.operate.configuration import examine
from mapdr.store import Store
from mapdr.store.queue.settle import Settlement
from mapdr.testing import generator
from mapdr_cli.main import main

CONFIG = """\
[node]
name = "clinic-north"
data = "data"
min_free = "64 MB"

[receive.modalities]
type = "dicom"
ae_title = "MAPDR"
host = "127.0.0.1"
port = 11112

[egress.telepacs]
type = "dicom"
ae_title = "TELEPACS"
host = "127.0.0.1"
port = 1

[egress.archive]
type = "dicom"
ae_title = "ARCHIVE"
host = "127.0.0.1"
port = 2

[[rule]]
name = "CT to teleradiology"
when = { Modality = "CT" }
tags = [{ prefix = "AccessionNumber", with = "CN-" }]
compress = { to = "jpeg2000-lossless" }
send_to = ["telepacs"]

[[rule]]
name = "CT and MR to the archive"
when = { Modality = ["CT", "MR"] }
send_to = ["archive", "telepacs"]
"""

SOURCE = Source("modalities", "CT1", "MAPDR", "127.0.0.1")


@dataclass
class NodeFolder:
    """A folder with a configuration; `mapdr` runs the command line on it."""

    config: Path

    def mapdr(self, *words: str, typed: str = "", width: int = 80) -> Result:
        """The command's result; no terminal, `typed` as its input."""
        runner = CliRunner(env={"COLUMNS": str(width)})
        return runner.invoke(main, [*words, "--config", str(self.config)], input=typed)

    def store(self) -> Store:
        """The node's store, open, with the configuration's rules."""
        checked = examine(self.config)
        assert checked.plan is not None
        assert not checked.problems
        store = Store.open(checked.plan.node.data, checked.plan.node.name, durability="process-crash")
        keep_revision(checked.plan.node.data, checked.loaded)
        store.use(checked.loaded.revision, checked.plan.router, checked.plan.recipes)
        return store

    def receive(self, images: Iterable[generator.GeneratedImage]) -> None:
        """Put images into the store as a receiver would."""
        store = self.store()
        try:
            store.start()
            for image in images:
                uids = image.sop_class_uid, image.sop_instance_uid
                incoming = store.spool.begin(SOURCE, *uids, image.transfer_syntax_uid)
                incoming.write(image.dataset)
                incoming.commit()
            store.stop(time.monotonic() + 100)
        finally:
            store.close()

    def settle(self, destination: str, state: str, number: int, **facts: object) -> None:
        """End `number` of a destination's deliveries in one state."""
        store = self.store()
        try:
            rows = store.ledger.lease(destination, number, 60, "test")
            assert len(rows) == number
            store.ledger.settle([_settlement(row.id, state, facts) for row in rows])
        finally:
            store.close()

    def beat(self, **counters: object) -> None:
        """A sign of life as a running node gives it."""
        store = self.store()
        try:
            store.commands.beat({"state": "running", **counters})
        finally:
            store.close()


def new(folder: Path) -> NodeFolder:
    """A node that has never run."""
    config = folder / "mapdr.toml"
    config.write_text(CONFIG)
    return NodeFolder(config)


def with_images(node: NodeFolder) -> NodeFolder:
    """The node with 4 CT (2 delivered and 1 parked at telepacs), 2 MR, and 1 US that no rule takes."""
    for modality, images in (("CT", 4), ("MR", 2), ("US", 1)):
        node.receive(generator.study(modality, images=images, size=(16, 16)))
    node.settle("telepacs", "delivered", 2)
    node.settle("telepacs", "parked", 1, comment="the receiver cannot understand it", reason="refused")
    return node


def copied(original: NodeFolder, folder: Path) -> NodeFolder:
    """The same node in another folder: none of its files names where it is."""
    shutil.copytree(original.config.parent, folder, dirs_exist_ok=True)
    return NodeFolder(folder / original.config.name)


def _settlement(delivery: int, state: str, facts: dict[str, object]) -> Settlement:
    values: dict[str, object] = {
        "delivery_id": delivery,
        "state": state,
        "not_before": 0.0,
        "verdict": state if state == "delivered" else "refused",
        "status": 0 if state == "delivered" else 0xA900,
        "comment": "",
        "reason": "" if state == "delivered" else "refused",
        "started_at": time.time(),
        "milliseconds": 12,
        "bytes": 1000,
        "transfer_syntax_uid": generator.EXPLICIT,
        "sop_instance_uid": "",
        "treatment": "relayed",
        "syntax": None,
        "count_attempt": True,
    }
    return Settlement(**{**values, **facts})  # type: ignore[arg-type]
