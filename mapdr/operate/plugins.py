"""The stages of this installation."""

from __future__ import annotations

from dataclasses import dataclass

from mapdr.kernel.registry import Registry


@dataclass(frozen=True, slots=True)
class InstalledStage:
    """A stage by name, built in or added in some `version`; `comment` says why it is not available."""

    kind: str
    type: str
    origin: str
    version: str
    available: bool
    comment: str


def plugins() -> list[InstalledStage]:
    """Every stage that this installation knows."""
    return [
        InstalledStage(one.kind, one.type, one.origin, one.version, one.factory is not None, one.reason)
        for one in Registry().plugins()
    ]
