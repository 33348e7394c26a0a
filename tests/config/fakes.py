"""Small stages for the tests of the configuration: the real ones have tests of their own."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from pydantic import Field

from mapdr.config.units import Bandwidth, Duration, LocalPath
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Endpoint, Factory, StageConfig


class Tls(StageConfig):
    cert: LocalPath
    key: LocalPath


class Allowed(StageConfig):
    ae_title: str = ""
    host: str


class Receive(StageConfig):
    ae_title: str = "MAPDR"
    host: str = "0.0.0.0"
    port: int = Field(ge=0, le=65535)
    allow: tuple[Allowed, ...] = ()
    idle_timeout: Duration = 60.0


class Egress(StageConfig):
    ae_title: str
    host: str
    port: int = Field(gt=0, le=65535)
    tls: Tls | None = None
    associations: int = 2
    bandwidth: Bandwidth | None = None


class Edit(StageConfig):
    set: str | None = None
    to: str | None = None
    overflow: str = "error"


class Compress(StageConfig):
    to: str
    ratio: float = 10


def _build(settings: Any, config: Any, following: Any) -> Any:
    return settings, config, following


FACTORIES = {
    ("receive", "dicom"): Factory(
        "receive", "dicom", Receive, _build, listens=lambda config: Endpoint(config.host, config.port)
    ),
    ("egress", "dicom"): Factory(
        "egress",
        "dicom",
        Egress,
        _build,
        peer=lambda config: Endpoint(config.host, config.port, config.ae_title),
    ),
    ("transform", "tags"): Factory("transform", "tags", list[Edit], _build, order=10),
    ("transform", "compress"): Factory("transform", "compress", Compress, _build, order=90),
}


def fake_registry(more: dict[tuple[str, str], str] | None = None) -> Registry:
    """A registry of the stages above, as modules; `more` names other modules."""
    modules: dict[tuple[str, str], str] = {}
    for (kind, type_), factory in FACTORIES.items():
        name = f"mapdr_fake_{kind}_{type_}"
        module = ModuleType(name)
        module.STAGE = factory  # type: ignore[attr-defined]
        sys.modules[name] = module
        modules[kind, type_] = name
    return Registry({**modules, **(more or {})})
