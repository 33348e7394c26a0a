"""What is read at one moment of a node and its surroundings, before anything is concluded from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapdr.kernel.item import Source
from mapdr.store.index.commands import Heartbeat
from mapdr.store.index.counts import Queue
from mapdr.store.index.fault import write_fault
from mapdr.store.messages import HookQueue

if TYPE_CHECKING:
    from mapdr.config.model import NodeConfig
    from mapdr.node.outline import NodeOutline

SILENT = 15.0
"""Seconds without a heartbeat that is due after which a node counts as gone."""

LOST = (
    "the node runs, but this index knows nothing of it: index.db was removed or replaced under it; "
    "stop the node and start it again, which indexes what is in the spool"
)
"""What a node looks like whose index is no longer where it was."""

LOCKED = "locked by another program"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read at one moment from index and surroundings.

    `trouble` says why the index cannot be read now; counts and queues are then those of `as_of`.
    `alive`: whether a process runs as this node; None where that cannot be found out. `asked`: it was asked
    for its sign of life. `lost`: it lives, and the index has never heard of it. `unwritable`: why the index
    cannot be written, if the node is silent.
    `arrivals`: when the last image of each source came; `from_peers`: today's images by the peer's name.
    `volumes`: the bytes of today's deliveries by destination, as they came and as they went.
    `misconfigured`: the configuration file has problems, which the node would find with the next reload.
    """

    at: float
    today: Mapping[str, Any]
    pending: int
    parked: int
    unrouted: int
    queues: Sequence[Queue] = ()
    held: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    webhooks: Sequence[HookQueue] = ()
    heartbeat: Heartbeat | None = None
    disk_free: int | None = None
    index_bytes: int | None = None
    writable: bool = True
    trouble: str = ""
    as_of: float = 0.0
    alive: bool | None = None
    asked: bool = False
    lost: bool = False
    unwritable: str = ""
    misconfigured: bool = False
    arrivals: Sequence[tuple[Source, float]] = ()
    from_peers: Mapping[str, int] = field(default_factory=dict)
    volumes: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def is_silent(beat: Heartbeat, now: float, *, asked: bool) -> bool:
    """Whether a node is not heard any more. One that was `asked` has answered, or is silent
    (`Access.can_ask`); of any other a sign is due after the seconds that the last one tells."""
    rests = 0.0 if asked else beat.counters.get("rests") or 0.0
    return now - beat.at > rests + SILENT


NOTHING: dict[str, Any] = {"received": {}, "delivered": {}}


def free_space(data: Path) -> int | None:
    """Bytes that are free where the data is or will be; None if that cannot be found out."""
    try:
        return shutil.disk_usage(existing(data)).free
    except OSError:
        return None


def index_size(node: NodeConfig | NodeOutline) -> int | None:
    """Bytes of the index with what is not merged into it yet; None if it is no file, or there is none."""
    try:
        size = (node.data / "index.db").stat().st_size if node.database == "sqlite" else None
    except OSError:
        return None
    try:
        return size + (node.data / "index.db-wal").stat().st_size if size is not None else None
    except OSError:
        return size  # all is merged


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that there is as far as can be seen."""
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def writable(data: Path) -> bool:
    """Whether images can be kept there; True for what does not exist yet."""
    return all(os.access(place, os.W_OK) for place in (data, data / "spool") if os.path.exists(place))


def unwritable(node: NodeConfig | NodeOutline) -> str:
    """Why the node's index cannot be written now, in words; empty if it can, or is no file."""
    fault = write_fault(node.data / "index.db") if node.database == "sqlite" else ""
    return LOCKED if "locked" in fault else fault
