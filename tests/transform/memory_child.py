"""Prepares one image in a process of its own and says what that took.

Arguments: path of the data set, transfer syntax, kind of recipe, bytes of the budget.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mapdr.deliver.feed.preparer import Preparer
from mapdr.kernel.budget import Budget
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance, Source
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.store.queue.ledger import LeasedDelivery
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import build_pipeline

STEPS: dict[str, list[dict[str, Any]]] = {
    "relay": [],
    "implicit": [],
    "edit": [{"type": "tags", "config": [{"set": "PatientName", "to": "Nobody"}]}],
    "compress": [{"type": "compress", "config": {"to": "jpeg2000-lossless"}}],
    "htj2k-lossless": [{"type": "compress", "config": {"to": "htj2k-lossless"}}],
    "htj2k": [{"type": "compress", "config": {"to": "htj2k", "ratio": 60}}],
    "jpeg2000": [{"type": "compress", "config": {"to": "jpeg2000", "ratio": 60}}],
    "rle": [{"type": "compress", "config": {"to": "rle"}}],
    "deflated": [{"type": "compress", "config": {"to": "deflated"}}],
}


class Recipes:
    """One recipe, and no memory of any image."""

    def __init__(self, steps: list[dict[str, Any]]) -> None:
        self.steps = steps

    def recipe(self, hash_: str) -> Mapping[str, Any]:
        return {"steps": self.steps}

    def memory(self, instance_id: str, recipe: str, syntax: str) -> Any:
        return self

    def recall(self) -> None:
        return None

    def keep(self, facts: Mapping[str, Any]) -> None:
        pass


class Watched(Budget):
    """Remembers the most that was given out."""

    most = 0

    def grow(self, claim: Any, amount: int) -> bool:
        grown = super().grow(claim, amount)
        self.most = max(self.most, self.used)
        return grown


def resident(what: str, process: int | str = "self") -> int:
    """VmRSS or VmHWM (its peak) of a process, in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) * 1024


def main(path: Path, syntax: str, kind: str, total: int) -> dict[str, Any]:
    source = Source("modalities", "CT1", "MAPDR", "127.0.0.1")
    instance = Instance(
        f"{1:032x}", source, "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.3", "1.2.3.1", "CT", syntax, path,
        0, path.stat().st_size, 0.0,
    )  # fmt: skip
    settings = Settings("test", "node", path.parent, bytes(32), Watch(), 2, total)
    registry = Registry()
    codecs = Codecs(registry, settings)
    with ThreadPoolExecutor(2) as pool:
        budget = Watched(total)
        preparer = Preparer(
            Recipes(STEPS[kind]),
            lambda recipe: build_pipeline(recipe, registry, settings, codecs),
            pool,
            keep=0,
            budget=budget,
        )
        delivery = LeasedDelivery(1, instance, "pacs", 0, 0, "r", "", 0, 0.0)
        # What is imported and started once is not the image's.
        pool.submit(threading.get_ident).result()
        if kind not in ("relay", "implicit", "edit"):
            import imagecodecs  # noqa: F401
        wanted = "1.2.840.10008.1.2" if kind == "implicit" else ""
        preparer.at_once(delivery, wanted)
        gc.collect()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = resident("VmRSS")
        try:
            payload = preparer.now(delivery, wanted) or preparer.request(delivery, wanted).result(3000)
        except Permanent as error:
            said = {"reason": error.reason, "message": str(error)}
        else:
            said = {"treatment": payload.treatment.value, "length": payload.length, "used": budget.used}
            del payload
    after = resident("VmHWM")
    decoders = [resident("VmHWM", child.pid or "self") for child in multiprocessing.active_children()]
    return {
        **said,
        "took": after - before,
        "whole": after,
        "said": budget.most,
        "left": budget.used,
        "decoder": max(decoders, default=0),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))))
