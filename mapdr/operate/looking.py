"""What a look at the steps of recipes needs: it shows what they do, and makes and keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapdr.config.model import NodeConfig
from mapdr.config.site import key_file, site_key
from mapdr.kernel.stage import Settings
from mapdr.kernel.step import Memory
from mapdr.kernel.watch import Watch
from mapdr.node.outline import NodeOutline


def looking(name: str, node: NodeConfig | NodeOutline) -> Settings:
    """What steps are given that only show what they would do; `name` is that of the look.

    Without a site key yet, UIDs are derived of zeros: a look must not make one. Raises as `site_key`.
    """
    key = site_key(node.data) if key_file(node.data).is_file() else bytes(32)
    return Settings(name, node.name, node.data, key, Watch(), only_looks=True)


class NoMemory:
    """A memory that keeps nothing: every search begins anew."""

    def recall(self) -> Mapping[str, Any] | None:
        """Nothing."""
        return None

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Nowhere."""


class Recalling:
    """What transforms remember of an image: read where the node has kept it, and kept nowhere."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def recall(self) -> Mapping[str, Any] | None:
        """What the node has kept, so that UIDs are those that were sent."""
        return self._memory.recall()

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Nowhere: a look changes nothing of what is owed."""


class Noting:
    """A memory of a look, empty at first: what steps keep is noted, and written nowhere."""

    def __init__(self) -> None:
        self.facts: Mapping[str, Any] | None = None

    def recall(self) -> Mapping[str, Any] | None:
        """What was noted."""
        return self.facts

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Note them."""
        self.facts = dict(facts)
