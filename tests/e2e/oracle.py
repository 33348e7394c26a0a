"""The ledger against what the receivers have got: the receivers' own logs are believed, the ledger is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mapdr.testing.wait import until
from peers import part10
from peers.node import Node
from peers.rawsink import RawSink, Received
from peers.stow import StowSink


class FolderSink:
    """What is in a folder that images are sent to, read without MAPDR."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def received(self) -> list[Received]:
        found = []
        for number, path in enumerate(self._files()):
            item = part10.received(path)
            found.append(Received(number, "folder", *item.identity, item.data_set()))
        return found

    def uids(self) -> set[str]:
        """SOP Instance UIDs, by the names of the default layout."""
        return {path.stem for path in self._files()}

    def _files(self) -> list[Path]:
        """Those under their final name; what is being written stands in `.mapdr`."""
        return [path for path in self.path.rglob("*.dcm") if ".mapdr" not in path.parts]


Sink = RawSink | StowSink | FolderSink


def uids(sink: Sink) -> set[str]:
    """What a receiver has got, by SOP Instance UID."""
    if isinstance(sink, FolderSink):
        return sink.uids()
    return {request.sop_instance_uid for request in list(sink.received)}


def ledger(node: Node, *words: str) -> list[dict[str, Any]]:
    """What the node says of every image at every destination; nothing if it was killed before it had an
    index."""
    if not (node.data / "index.db").is_file():
        return []
    found = node.json("deliveries", "--limit", "100000", *words)["deliveries"]
    assert isinstance(found, list)
    return found


class Truth:
    """Compares the ledger with what the receivers have got, at every moment that it is asked."""

    def __init__(self, node: Node, sinks: Mapping[str, Sink]) -> None:
        self._node, self._sinks = node, sinks
        self.looks = 0

    def look(self) -> None:
        """What the ledger calls delivered, its receiver has got: the ledger is read first."""
        claimed: dict[str, set[str]] = {name: set() for name in self._sinks}
        for row in ledger(self._node):
            if row["state"] == "delivered":
                claimed[row["destination"]].add(row["sent_sop_instance_uid"])
        for name, said in claimed.items():
            assert said <= uids(self._sinks[name]), name
        self.looks += 1

    def until(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Look again and again until it is ready."""

        def looked() -> bool:
            self.look()
            return ready()

        until(looked, seconds, what)
