"""A node for the tests: real store, real receivers, and small stages that fail where they are told to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mapdr.kernel.errors import Temporary
from mapdr.kernel.item import Need, Outcome, Verdict
from mapdr.kernel.registry import BUILTIN, Registry
from mapdr.kernel.stage import Description, EgressSession, Factory, Settings, StageConfig
from mapdr.node.assembly import Node
from mapdr.node.configuration import examine

MARK = "QXNAMEQX"
"""What an exception of a stage may quote, and nobody may print."""

HEAD = """\
[node]
name = "north"
data = "data"
durability = "process-crash"
min_free = "64 MB"
workers = 1
"""

happened: list[tuple[str, str]] = []
"""What the small stages did: name and verb, in order."""


class Config(StageConfig):
    """`fail`: at which verb; `note`: anything, so that a configuration can change."""

    fail: str = ""
    note: str = ""


class Small:
    """A receiver or destination that does nothing but tell."""

    sessions = 1

    def __init__(self, settings: Settings, config: Config) -> None:
        self.name, self.config = settings.name, config
        self._do("build")

    def start(self) -> None:
        self._do("start")

    def stop(self, deadline: float) -> None:
        self._do("stop")

    def connect(self, needs: Sequence[Need]) -> EgressSession:
        raise Temporary("nobody is there")

    def probe(self) -> Outcome:
        return Outcome(Verdict.RETRY, comment="nobody is there", peer_fault=True)

    def describe(self) -> Description:
        return Description()

    def _do(self, verb: str) -> None:
        happened.append((self.name, verb))
        if self.config.fail == verb:
            raise KeyError(MARK)


def registry() -> Registry:
    """MAPDR's own stages, and the small ones as receive "small" and egress "small"."""
    modules = dict(BUILTIN)
    for kind in ("receive", "egress"):
        name = f"mapdr_small_{kind}"
        module = ModuleType(name)
        module.STAGE = Factory(  # type: ignore[attr-defined]
            kind, "small", Config, lambda settings, config, following: Small(settings, config)
        )
        sys.modules[name] = module
        modules[kind, "small"] = name
    return Registry(modules)


def build(path: Path, text: str) -> Node:
    """A node by a configuration, not started."""
    path.write_text(HEAD + text)
    known = registry()
    checked = examine(path, known, resolve=True, surroundings=True)
    assert checked.plan is not None
    assert not checked.problems, checked.problems
    return Node(checked.loaded, checked.plan, known, base=path.parent)


def standing(node: Node) -> dict[str, Any]:
    """All that a reload may change and a refused one may not."""
    assert node._lifecycle is not None
    return {
        "plan": node.plan,
        "revision": node.counters()["revision"],
        "reading": node.store.spool.reading,
        "routes": dict(node.store.writer._routes),
        "receivers": dict(node.receivers),
        "deliverers": dict(node.deliverers),
        "notifier": node.notifier,
        "parts": node._lifecycle.parts,
        "counters": node.watch.counters(),
    }
