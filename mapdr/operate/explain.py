"""What the rules would do to a file, and why; nothing is stored or sent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from mapdr.config.model import RuleConfig
from mapdr.config.site import site_key
from mapdr.dicom import gate
from mapdr.dicom.scan import ScannedHeader
from mapdr.kernel.errors import MapdrError, Permanent
from mapdr.kernel.finding import instead
from mapdr.kernel.item import Header, Instance, Payload, Priority, Routing, Source, TagPath
from mapdr.kernel.privacy import in_words
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.step import Memory
from mapdr.kernel.watch import Watch
from mapdr.node.plan import Plan
from mapdr.operate import part10
from mapdr.operate.configuration import Configuration
from mapdr.operate.differences import ElementChange, Quality, changes, quality
from mapdr.operate.errors import RequestError
from mapdr.operate.sources import BY_SEND
from mapdr.route.condition import leaves
from mapdr.store.spool.headers import (
    INDEX_TAGS,
    MODALITY,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    identity,
    is_cut,
    read_file_header,
)
from mapdr.transform.codecs.foreign import close_decoders
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import Pipeline, build_pipeline


@dataclass(frozen=True, slots=True)
class AskedRule:
    """What became of one rule: matched and `because` of what, or its first `failure`, or not reached.

    `shadowed` are destinations for which an earlier rule decides, `returned` those that the file came from.
    """

    name: str
    matched: bool
    because: Sequence[str]
    reached: bool
    failure: str
    send_to: Sequence[str]
    shadowed: Sequence[str]
    returned: Sequence[str]


@dataclass(frozen=True, slots=True)
class WouldDeliver:
    """What a destination would get; with an `error` nothing, for the image would be parked.

    `unshown` says why `changes` cannot be told. `quality` is None where no pixel changed, and where none can
    be read.
    """

    destination: str
    error: str
    priority: str = Priority.ROUTINE.word
    treatment: str = ""
    note: str = ""
    transfer_syntax: str = ""
    bytes: int = 0
    milliseconds: float | None = None
    changes: Sequence[ElementChange] = ()
    unshown: str = ""
    quality: Quality | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is to be told of one file; values of it are quoted."""

    file: str
    sop_class: str
    transfer_syntax: str
    bytes: int
    rules: Sequence[AskedRule]
    deliveries: Sequence[WouldDeliver]


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


def explain(
    file: Path,
    configuration: Configuration,
    *,
    calling_ae: str = "",
    called_ae: str = "",
    address: str = "",
    receiver: str = "",
) -> Explanation:
    """What the configured rules would do to a file, as if it had come from there.

    Raises RequestError for a receiver that there is not, Permanent if it is not DICOM or the node would
    refuse it, OSError.
    """
    plan, config = configuration.plan, configuration.loaded.config
    rules = config.rule if config is not None else ()
    known = {*plan.receivers, BY_SEND.receiver}
    if receiver and receiver not in known:
        what = f'there is no receiver "{receiver}"; {instead(receiver, known, "receivers")}'
        raise RequestError(what, field="receiver")
    source = Source(receiver or next(iter(plan.receivers), ""), calling_ae, called_ae, address)
    try:
        return _examine(file, plan, rules, configuration.registry, source)
    finally:
        close_decoders()


def _examine(
    file: Path, plan: Plan, rules: Sequence[RuleConfig], registry: Registry, source: Source
) -> Explanation:
    """Everything that is to be told of one file. Raises Permanent if it is not DICOM, OSError."""
    found = part10.locate(file)
    header = _taken(found, INDEX_TAGS | plan.router.wanted)
    routing = plan.router.route(header, source)
    instance = Instance(
        id="0" * 32,
        source=source,
        sop_class_uid=identity(header.text(SOP_CLASS_UID), found.sop_class_uid),
        sop_instance_uid=identity(header.text(SOP_INSTANCE_UID), found.sop_instance_uid),
        study_instance_uid=header.text(STUDY_INSTANCE_UID),
        series_instance_uid=header.text(SERIES_INSTANCE_UID),
        modality=header.text(MODALITY),
        transfer_syntax_uid=found.transfer_syntax_uid,
        path=found.path,
        data_offset=found.offset,
        size=found.length,
        received_at=time.time(),
    )
    asked = plan.router.explain(header, source, values=True)
    return Explanation(
        file=str(file),
        sop_class=_name(instance.sop_class_uid),
        transfer_syntax=_name(found.transfer_syntax_uid),
        bytes=found.length,
        rules=[
            AskedRule(
                name=one.rule,
                matched=one.matched,
                because=_reasons(rule, header, source) if one.matched else [],
                reached=one.reached,
                failure=one.failure,
                send_to=one.send_to,
                shadowed=one.shadowed,
                returned=one.returned,
            )
            for one, rule in zip(asked, rules, strict=True)
        ],
        deliveries=list(_deliveries(routing, plan, registry, instance)),
    )


def _taken(found: part10.File, wanted: frozenset[TagPath]) -> ScannedHeader:
    """The header, read as the node does before it answers. Raises Permanent where the node would refuse."""
    against = gate.uid_objection(found.sop_class_uid, found.sop_instance_uid)
    if against is not None:
        raise Permanent(f"the node would refuse it: {against[1]}", reason="refused")
    syntax = found.transfer_syntax_uid
    try:
        header = read_file_header(
            found.path, found.offset, found.length, transfer_syntax_uid=syntax, wanted=wanted
        )
        with found.path.open("rb") as file:
            cut = is_cut(file.fileno(), found.offset, found.length, header, syntax)
    except Permanent as error:
        what = f"the node would refuse it, as it cannot be read: {error}"
        raise Permanent(what, reason=error.reason) from error
    objection = gate.objection(header, found.sop_class_uid, cut=cut)
    if objection:
        raise Permanent(f"the node would refuse it: {objection}", reason="refused")
    return header


def _name(uid: str) -> str:
    name = UID(uid).name
    return f"{name} ({uid})" if name != uid else uid


def _reasons(rule: RuleConfig, header: Header, source: Source) -> list[str]:
    """What a rule asks about, and what the file answers."""
    found = {}
    for leaf in leaves(rule.when):
        subject = leaf.subject
        texts = (getattr(source, subject),) if isinstance(subject, str) else header.texts(subject)
        found[leaf.label] = "\\".join(texts)
    return [f"{label} is {value or 'empty or absent'}" for label, value in found.items()]


def _deliveries(
    routing: Routing, plan: Plan, registry: Registry, instance: Instance
) -> Iterator[WouldDeliver]:
    """Each destination's payload; destinations with one recipe share the work."""
    results: dict[str, WouldDeliver] = {}
    for destination, recipe in routing.deliveries:
        if recipe not in results:
            results[recipe] = _prepare(plan, registry, recipe, instance)
        priority = routing.priorities.get(destination, Priority.ROUTINE)
        yield replace(results[recipe], destination=destination, priority=priority.word)


def _prepare(plan: Plan, registry: Registry, recipe: str, instance: Instance) -> WouldDeliver:
    node = plan.node
    # The key is only looked at: explaining must not make one.
    known = (node.data / "keys" / "site.key").is_file()
    key = site_key(node.data) if known else bytes(32)
    settings = Settings(
        "explain",
        node.name,
        node.data,
        key,
        Watch(),
        workers=node.workers,
        memory=node.memory,
        only_looks=True,
    )
    codecs = Codecs(registry, settings)
    try:
        pipeline = build_pipeline(plan.recipes[recipe], registry, settings, codecs)
        started = time.perf_counter()
        payload = pipeline.prepare(instance, NoMemory())
        seconds = time.perf_counter() - started
    except MapdrError as error:
        return WouldDeliver("", f"{getattr(error, 'reason', 'temporary')}: {error}")
    except Exception as error:  # noqa: BLE001  fails closed in the node: tried again, then parked with this word
        return WouldDeliver("", f"unexpected: {in_words(error)}")
    before = Pipeline([], settings, codecs).prepare(instance, NoMemory())
    return _describe(before, payload, seconds, codecs, node.workers)


def _describe(before: Payload, after: Payload, seconds: float, codecs: Codecs, workers: int) -> WouldDeliver:
    found: list[ElementChange] = []
    unshown = ""
    try:
        found = changes(before, after)
    except Permanent as error:
        unshown = str(error)
    return WouldDeliver(
        destination="",
        error="",
        treatment=str(after.treatment),
        note=after.note,
        transfer_syntax=_name(after.transfer_syntax_uid),
        bytes=after.length,
        milliseconds=round(seconds * 1000, 1),
        changes=found,
        unshown=unshown,
        quality=quality(before, after, codecs, workers) if after.parts != before.parts else None,
    )
