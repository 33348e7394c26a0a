"""The stages of this installation."""

from __future__ import annotations

from dataclasses import dataclass

from mapdr.kernel.registry import Registry


@dataclass(frozen=True, slots=True)
class InstalledStage:
    """A stage by name, built in or added in some `version`.

    `comment` says why it is not available, and which stages of the same name are not used.
    """

    kind: str
    type: str
    origin: str
    version: str
    available: bool
    comment: str


def plugins() -> list[InstalledStage]:
    """Every stage that this installation knows."""
    return [
        InstalledStage(
            one.kind,
            one.type,
            one.origin,
            one.version,
            one.factory is not None,
            "; ".join(said for said in (one.reason, one.doubt) if said),
        )
        for one in Registry().plugins()
    ]
