"""Which stages there are: a visible table first, then entry points, each available or with a reason.

Built-in stages come through the same door as anybody's: a module with a `STAGE` attribute, a
`mapdr.kernel.stage.Factory`. `MAPDR_LOAD_PLUGINS` set to a comma-separated list of entry point names loads
exactly those; set to nothing, it loads none. What a plug-in lacks of its kind's contract is told here, before
anything is built of it (`kernel.conformance`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

import mapdr
from mapdr.kernel.conformance import breaches
from mapdr.kernel.errors import Unavailable
from mapdr.kernel.stage import KINDS, Factory

BUILTIN: dict[tuple[str, str], str] = {
    ("receive", "dicom"): "mapdr.receive.dicom.receiver",
    ("receive", "dicomweb"): "mapdr.receive.dicomweb.receiver",
    ("receive", "folder"): "mapdr.receive.folder.receiver",
    ("transform", "deidentify"): "mapdr.transform.header.deidentify",
    ("transform", "tags"): "mapdr.transform.header.tags",
    ("transform", "blank"): "mapdr.transform.pixels.blank",
    ("transform", "compress"): "mapdr.transform.encode.compress",
    ("transform", "odd_lengths"): "mapdr.transform.header.odd_lengths",
    ("codec", "htj2k"): "mapdr.transform.codecs.htj2k",
    ("codec", "jpeg"): "mapdr.transform.codecs.jpeg",
    ("codec", "jpeg2000"): "mapdr.transform.codecs.jpeg2000",
    ("codec", "jpegls"): "mapdr.transform.codecs.jpegls",
    ("codec", "jpegxl"): "mapdr.transform.codecs.jpegxl",
    ("codec", "rle"): "mapdr.transform.codecs.rle",
    ("egress", "dicom"): "mapdr.egress.dicom.destination",
    ("egress", "dicomweb"): "mapdr.egress.dicomweb.destination",
    ("egress", "https"): "mapdr.egress.https.destination",
    ("egress", "folder"): "mapdr.egress.folder.destination",
}
"""Kind and type of each stage that MAPDR ships, and the module that holds its `STAGE`."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A stage by name: available with a factory, or unavailable with the reason.

    `origin` is the distribution that brought it, `version` that distribution's. `is_broken`: it is there, and
    lacks what its kind's contract asks. `unused` are the distributions that bring a stage of the same kind
    and name too: a built-in one is used before all, else the first by the distribution's name.
    """

    kind: str
    type: str
    origin: str
    version: str
    factory: Factory | None
    reason: str = ""
    is_broken: bool = False
    unused: tuple[str, ...] = ()

    @property
    def doubt(self) -> str:
        """What is to be said of stages of the same name that are not used; empty if there are none."""
        if not self.unused:
            return ""
        return f'the {self.kind} "{self.type}" of {self.origin} is used, not that of {", ".join(self.unused)}'


class Registry:
    """The stages of this installation. Nothing is imported before it is asked for."""

    def __init__(self, builtin: dict[tuple[str, str], str] | None = None) -> None:
        self._modules = dict(BUILTIN if builtin is None else builtin)
        self._points: dict[tuple[str, str], list[EntryPoint]] = {}
        for kind, point in sorted(_entry_points(), key=lambda found: _origin(found[1])):
            self._points.setdefault((kind, point.name), []).append(point)
        self._loaded: dict[tuple[str, str], Plugin] = {}

    def names(self, kind: str) -> list[str]:
        """The types known for `kind`, available or not, in alphabetical order."""
        return sorted({name for known, name in (*self._modules, *self._points) if known == kind})

    def factory(self, kind: str, type_: str) -> Factory:
        """The factory of a stage. Raises Unavailable with the reason."""
        plugin = self.plugin(kind, type_)
        if plugin.factory is None:
            raise Unavailable(f'{kind} "{type_}" is unavailable, because {plugin.reason}')
        return plugin.factory

    def plugin(self, kind: str, type_: str) -> Plugin:
        """The state of one stage; never raises for a plugin that is missing or broken."""
        key = (kind, type_)
        if key not in self._loaded:
            self._loaded[key] = self._load(kind, type_)
        return self._loaded[key]

    def plugins(self) -> Iterator[Plugin]:
        """Every stage in the order of the flow."""
        for kind in KINDS:
            for name in self.names(kind):
                yield self.plugin(kind, name)

    def _load(self, kind: str, type_: str) -> Plugin:
        module = self._modules.get((kind, type_))
        points = self._points.get((kind, type_), [])
        point = points[0] if points and not module else None
        if module is None and point is None:
            return Plugin(kind, type_, "", "", None, f"there is no such {kind} stage")
        origin, version = ("mapdr", mapdr.__version__) if module else _origin(point)
        unused = tuple(" ".join(_origin(each)).strip() for each in points if each is not point)
        try:
            stage = import_module(module).STAGE if module else point.load() if point else None
            if not isinstance(stage, Factory) or stage.kind != kind:
                reasons = ["it does not offer a Factory of this kind"]
            else:
                reasons = [] if module else list(breaches(stage, type_))
        except Exception as error:  # noqa: BLE001  a plugin may fail in any way; the reason is kept and shown
            reason = f"{type(error).__name__}: {error}"
            return Plugin(kind, type_, origin, version, None, reason, unused=unused)
        factory = None if reasons else stage
        return Plugin(kind, type_, origin, version, factory, "; ".join(reasons), bool(reasons), unused)


def _origin(point: EntryPoint | None) -> tuple[str, str]:
    """The name and version of the distribution that an entry point belongs to."""
    dist = point.dist if point else None
    return (dist.name, dist.version) if dist else ("entry point", "")


def _entry_points() -> Iterator[tuple[str, EntryPoint]]:
    wanted = os.environ.get("MAPDR_LOAD_PLUGINS")
    names = None if wanted is None else {name.strip() for name in wanted.split(",") if name.strip()}
    for kind in KINDS:
        for point in entry_points(group=f"mapdr.{kind}"):
            if names is None or point.name in names:
                yield kind, point
