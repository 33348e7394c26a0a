"""Images of the spool as files in a folder, as received or as a destination would get them.

The folder is written to as a destination of type "folder" is: each file under its name only when it is whole,
and never over other bytes; what is there already is compared, so that an export that was cut short goes on
when it is said again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mapdr.config.site import site_key
from mapdr.kernel.errors import MapdrError, Permanent
from mapdr.kernel.item import Instance, Verdict
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import EgressSession, Finishes, Settings
from mapdr.kernel.step import Memory
from mapdr.kernel.watch import Watch
from mapdr.node.plan import FOLDER, Plan
from mapdr.operate.access import ACTING, Access
from mapdr.operate.configuration import Configuration
from mapdr.operate.errors import RequestError
from mapdr.operate.listed import unknown_places
from mapdr.operate.looking import NoMemory, Recalling
from mapdr.operate.names import known_destinations
from mapdr.operate.orders import note
from mapdr.operate.selection import Selection
from mapdr.store import Store
from mapdr.store.index.fault import index_named
from mapdr.store.spool.headers import read_file_header
from mapdr.transform.codecs.foreign import close_decoders
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import Pipeline, build_pipeline

PORTION = 200
"""Images whose rows are read at once."""


@dataclass(frozen=True, slots=True)
class NotExported:
    """An image that was not written: its id in the spool, a short reason, and words."""

    instance: str
    reason: str
    comment: str


@dataclass
class Exported:
    """What became of an export to `folder`: of the `images` chosen, those that were `written`, `there`
    already with the same bytes, sent to that destination by no rule (`unrouted`), and `failed`. `bytes` are
    those of the data sets that were written. `stopped` says why it ended early, such as a full disk.
    `unknown` are the places, from 1, of values of a list by which no image is chosen.
    """

    folder: str
    images: int = 0
    written: int = 0
    there: int = 0
    unrouted: int = 0
    bytes: int = 0
    stopped: str = ""
    failed: list[NotExported] = field(default_factory=list)
    unknown: Sequence[int] = ()

    @property
    def done(self) -> int:
        """How many images were looked after."""
        return self.written + self.there + self.unrouted + len(self.failed)


def export(
    configuration: Configuration,
    chosen: Selection,
    folder: Path,
    *,
    as_for: str = "",
    layout: str = "",
    dicomdir: bool = False,
    told: Callable[[Exported], object] = lambda exported: None,
) -> Exported:
    """Write the chosen images into a folder, as received or with `as_for` as that destination would get them.

    That is by what it was promised last, else by today's rules. `layout` and `dicomdir` are as of a
    destination of type "folder". `told` is called after each image. Raises RequestError for a selection of
    everything, and a folder or layout that cannot be.
    """
    plan = configuration.plan
    known_destinations(plan, [as_for] if as_for else [])
    if chosen.of_everything:
        raise RequestError("say what is exported, e.g. --study UID or --study-date today")
    _must_be_free(folder, plan)
    opened = Access(plan, busy=ACTING)
    try:
        with index_named(plan.node.database_url(), plan.node.data):
            store = opened.index(chosen)
            stage = _stage(configuration, folder, layout, dicomdir)
            stage.start()
            exported = Exported(str(folder))
            try:
                _write(_Making(configuration, store, as_for), stage, chosen, exported, told)
            finally:
                stage.stop(time.monotonic() + 5)
                if exported.written:
                    note(opened, "export", exported.written, {}, of="images", chosen=chosen)
            return exported
    finally:
        close_decoders()
        opened.close()


def _write(
    making: _Making, stage: Any, chosen: Selection, exported: Exported, told: Callable[[Exported], object]
) -> None:
    store = making.store
    keys = store.rerouting.choose(chosen)
    exported.images, exported.unknown = len(keys), unknown_places(store, chosen)
    session = stage.connect(())
    try:
        for start in range(0, len(keys), PORTION):
            found = store.instances.by_key(keys[start : start + PORTION])
            for key in sorted(found):
                _one(making, session, found[key], exported)
                if exported.stopped:
                    return
                told(exported)
    finally:
        session.close()
        if isinstance(stage, Finishes):
            stage.finish()


def _one(making: _Making, session: EgressSession, instance: Instance, exported: Exported) -> None:
    """Write one image, and count what became of it."""
    try:
        made = making.pipeline(instance)
        if made is None:
            exported.unrouted += 1
            return
        payload = made[0].prepare(instance, made[1])
        outcome = session.send(payload)
    except Permanent as error:
        exported.failed.append(NotExported(instance.id, error.reason, str(error)))
    except MapdrError as error:
        exported.failed.append(NotExported(instance.id, "temporary", str(error)))
    except Exception as error:  # noqa: BLE001  a step's fault: fails closed, and the others go on
        exported.failed.append(NotExported(instance.id, "unexpected", in_words(error)))
    else:
        if outcome.verdict is not Verdict.DELIVERED:
            exported.stopped = outcome.comment
        elif outcome.comment:
            exported.there += 1
        else:
            exported.written += 1
            exported.bytes += payload.length


class _Making:
    """What is made of each image, and with which memory."""

    def __init__(self, configuration: Configuration, store: Store, as_for: str) -> None:
        plan = configuration.plan
        node = plan.node
        key = site_key(node.data) if as_for else bytes(32)
        self._settings = Settings(
            "export", node.name, node.data, key, Watch(), workers=node.workers, memory=node.memory
        )
        self._registry = configuration.registry
        self._codecs = Codecs(self._registry, self._settings)
        self._as_received = Pipeline([], self._settings, self._codecs)
        self._pipelines: dict[str, Pipeline] = {}
        self._router = plan.router
        self._as_for = as_for
        self.store = store

    def pipeline(self, instance: Instance) -> tuple[Pipeline, Memory] | None:
        """What makes an image's payload; None if no rule sends it to that destination. Raises Permanent."""
        if not self._as_for:
            return self._as_received, NoMemory()
        recipe = self._promised(instance) or self._by_rules(instance)
        if not recipe:
            return None
        if recipe not in self._pipelines:
            body = self._router.recipes.get(recipe) or self.store.recipes.recipe(recipe)
            self._pipelines[recipe] = build_pipeline(body, self._registry, self._settings, self._codecs)
        known = self.store.recipes.find(recipe) is not None
        memory = Recalling(self.store.recipes.memory(instance.id, recipe, "")) if known else NoMemory()
        return self._pipelines[recipe], memory

    def _promised(self, instance: Instance) -> str:
        """The recipe of the newest promise of an image to the destination; empty if there is none."""
        chosen = Selection(destination=self._as_for, instances=[instance.id], limit=1)
        return next((row.recipe for row in self.store.listing.select(chosen)), "")

    def _by_rules(self, instance: Instance) -> str:
        """The recipe by which today's rules send an image there; empty if they do not."""
        try:
            header = read_file_header(
                instance.path,
                instance.data_offset,
                instance.size,
                transfer_syntax_uid=instance.transfer_syntax_uid,
                wanted=self._router.wanted,
            )
        except OSError:
            raise Permanent("its file is not in the spool any more", reason="missing") from None
        return dict(self._router.route(header, instance.source).deliveries).get(self._as_for, "")


def _stage(configuration: Configuration, folder: Path, layout: str, dicomdir: bool) -> Any:
    """The destination that the folder is. Raises RequestError for what such a table would not take."""
    factory = configuration.registry.factory("egress", "folder")
    table = {"path": folder.absolute(), **({"layout": layout} if layout else {}), "dicomdir": dicomdir}
    try:
        config = factory.config.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        said = str(first["msg"]).removeprefix("Value error, ")
        name = ".".join(map(str, first["loc"]))
        raise RequestError(f"{name} {said}", field=name) from None
    if os.path.lexists(folder) and not folder.is_dir():
        raise RequestError(f"{folder} is not a folder", field="folder")
    node = configuration.plan.node
    settings = Settings("export", node.name, node.data, bytes(32), Watch(), durability=node.durability)
    return factory.build(settings, config, None)


def _must_be_free(folder: Path, plan: Plan) -> None:
    """Raise RequestError for a folder whose files the node takes for its own, or as new images."""
    taken = [(plan.node.data, "the node's data")]
    for receiver in plan.receivers.values():
        for claim in receiver.claims:
            if claim.startswith(FOLDER):
                taken.append((Path(claim.removeprefix(FOLDER)), f"receive.{receiver.name}"))
    here = os.path.realpath(folder)
    for path, owner in taken:
        there = os.path.normcase(os.path.realpath(path))
        if os.path.join(os.path.normcase(here), "").startswith(os.path.join(there, "")):
            raise RequestError(f"{folder} lies in the folder of {owner}; name another one", field="folder")
