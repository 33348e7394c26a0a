"""A watched folder in front of a real spool."""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mapdr.kernel.item import Arrival
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.receive.folder.receiver import STAGE, FolderReceiver
from mapdr.store.spool.files import Spool
from mapdr.testing.generator import study
from mapdr.testing.wait import until

IMAGES = list(study("CT", images=6, size=(16, 16)))
IMAGE = IMAGES[0]
QUIET = 0.08
NAME = "QXNAMEQX"
"""In names of files: nothing that is logged or told holds it."""


class World:
    """A folder, the spool that its files go to, and receivers of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "in"
        self.path.mkdir()
        self.data = folder / "data"
        self.arrivals: list[Arrival] = []
        self.watch = Watch()
        self.spool = Spool(self.data, "node", "process-crash", submit=self.arrivals.append)
        self.receivers: list[FolderReceiver] = []

    def build(self, intake: Any = None, **config: Any) -> FolderReceiver:
        table = {"path": str(self.path), "quiet": QUIET, "scan_every": 0.3, **config}
        settings = Settings("drop", "node", self.data, bytes(32), self.watch)
        made: FolderReceiver = STAGE.build(settings, STAGE.config.model_validate(table), intake or self.spool)
        self.receivers.append(made)
        return made

    def start(self, intake: Any = None, **config: Any) -> FolderReceiver:
        receiver = self.build(intake, **config)
        receiver.start()
        return receiver

    def stop(self) -> None:
        for receiver in self.receivers:
            receiver.stop(time.monotonic() + 5)

    def put(self, name: str, content: bytes | None = None) -> Path:
        """Put a file there, as most programs copy: under its name from the first byte on."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(IMAGE.part10() if content is None else content)
        return path

    def until_empty(self, seconds: float = 20) -> None:
        until(lambda: not self.waiting(), seconds, f"an empty folder instead of {self.waiting()}")

    def waiting(self) -> list[str]:
        """The files that are not dealt with."""
        return [name for name in files(self.path) if name.split("/")[0] not in ("done", "refused")]

    def done(self) -> list[str]:
        return self._in("done")

    def refused(self) -> dict[str, str]:
        """The files in refused/ by name, with the reason beside each."""
        found = {name: self.path / "refused" / name for name in self._in("refused")}
        return {
            name: path.with_name(f"{path.name}.reason.txt").read_text()
            for name, path in found.items()
            if not name.endswith(".reason.txt")
        }

    def _in(self, place: str) -> list[str]:
        return files(self.path / place)

    def uids(self) -> Counter[str]:
        return Counter(arrival.sop_instance_uid for arrival in self.arrivals)

    def events(self) -> list[str]:
        return [event.kind for event in self.watch.recent()]


def files(top: Path) -> list[str]:
    """The files and links below a folder, while others work in it: one that is moved meanwhile is found where
    it was or where it is, for places are visited in the order of its way."""
    found = []
    for folder, folders, names in os.walk(top):
        folders.sort(key=lambda name: {".mapdr": 1, "done": 2, "refused": 2}.get(name, 0))
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        found += [Path(folder, name).relative_to(top).as_posix() for name in (*names, *links)]
    return sorted(found)


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()
