"""What a look at a node needs of its configuration: an outline that the node leaves beside its index.

To read a configuration takes pydantic, the models and the modules of its stages, which is a third of what a
command that only looks would cost. A text that a node took into use had no problems, and stands for the same
as long as it is the same text, in the same folder, read by the same version; so its outline is kept under the
hash of these: `revisions/<hash>.json`. Any other text is read and checked as ever.

There is none for a configuration whose stages are not all built in (a plug-in may have gone since), nor for
one whose database is a secret (which would be written down here).
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import mapdr

if TYPE_CHECKING:
    from mapdr.node.plan import Plan


@dataclass(frozen=True)
class NodeOutline:
    """Of `[node]`: where its index is, and what its state is judged by."""

    name: str
    data: Path
    database: str
    durability: Literal["power-loss", "process-crash"]
    min_free: int
    low: int

    def database_url(self) -> str:
        """`sqlite` or the database's URL."""
        return self.database


@dataclass(frozen=True)
class EndOutline:
    """Where a receiver listens, as `mapdr.kernel.stage.Endpoint` says it."""

    host: str = ""
    port: int = 0
    ae_title: str = ""


@dataclass(frozen=True)
class ReceiverOutline:
    """A receiver, by its configuration."""

    name: str
    type: str
    endpoint: EndOutline | None


@dataclass(frozen=True)
class Outline:
    """A plan without what only a node that runs needs; what it has, a `Plan` has under the same names."""

    node: NodeOutline
    receivers: Mapping[str, ReceiverOutline]
    destinations: Mapping[str, None]
    webhooks: Mapping[str, None]


def keep_outline(plan: Plan, text: str, base: Path) -> None:
    """Write the outline of a plan without problems, whose configuration is `text` in the folder `base`.

    Raises OSError.
    """
    from mapdr.kernel.durable import write_durably
    from mapdr.kernel.registry import BUILTIN

    node = plan.node
    stages = [("receive", plan.receivers), ("egress", plan.destinations)]
    if not isinstance(node.database, str) or any(
        (kind, planned.type) not in BUILTIN for kind, group in stages for planned in group.values()
    ):
        return
    path = _path(node.data, text, base)
    if path.exists():
        return
    told = {
        "node": {
            "name": node.name,
            "data": str(node.data),
            "database": node.database,
            "durability": node.durability,
            "min_free": node.min_free,
            "low": node.low,
        },
        "receivers": [
            {"name": one.name, "type": one.type, "endpoint": one.endpoint and _end(asdict(one.endpoint))}
            for one in plan.receivers.values()
        ],
        "destinations": list(plan.destinations),
        "webhooks": list(plan.webhooks),
    }
    write_durably(path, json.dumps(told).encode())


def kept_outline(config: Path) -> Outline | None:
    """The outline of the configuration file, if a node took this very text into use; else None."""
    base = Path(os.path.abspath(config)).parent
    try:
        text = config.read_bytes().decode("utf-8-sig")
        data = base / Path(tomllib.loads(text)["node"]["data"]).expanduser()
        told = json.loads(_path(data, text, base).read_bytes())
        receivers = [
            ReceiverOutline(one["name"], one["type"], one["endpoint"] and EndOutline(**one["endpoint"]))
            for one in told["receivers"]
        ]
        return Outline(
            node=NodeOutline(**{**told["node"], "data": Path(told["node"]["data"])}),
            receivers={one.name: one for one in receivers},
            destinations=dict.fromkeys(told["destinations"]),
            webhooks=dict.fromkeys(told["webhooks"]),
        )
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):
        # Whatever is wrong or missing: who reads the configuration itself says so.
        return None


def _end(endpoint: dict[str, object]) -> dict[str, object]:
    return {key: endpoint[key] for key in ("host", "port", "ae_title")}


def _path(data: Path, text: str, base: Path) -> Path:
    stands_for = json.dumps([mapdr.__version__, os.path.abspath(base), text])
    return data / "revisions" / f"{hashlib.sha256(stands_for.encode()).hexdigest()}.json"
