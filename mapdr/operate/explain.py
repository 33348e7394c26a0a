"""What the rules would do to a file, and why; nothing is stored or sent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.uid import UID

from mapdr.config.model import RuleConfig
from mapdr.dicom import gate
from mapdr.dicom.charset import terms_in_use
from mapdr.dicom.scan import ScannedHeader
from mapdr.dicom.transfer_syntax import BY_UID, name_of
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.errors import MapdrError, Permanent
from mapdr.kernel.finding import instead
from mapdr.kernel.item import Header, Instance, Priority, Routing, Source, TagPath
from mapdr.kernel.privacy import in_words
from mapdr.kernel.registry import Registry
from mapdr.node.plan import Plan
from mapdr.operate import part10
from mapdr.operate.authors import Authors
from mapdr.operate.compression import Compression, compression_of
from mapdr.operate.configuration import Configuration
from mapdr.operate.differences import ElementChange, Quality, compared, quality
from mapdr.operate.errors import RequestError
from mapdr.operate.looking import NoMemory, Noting, looking
from mapdr.operate.rule_words import SHOWN, edit_words
from mapdr.operate.sources import BY_SEND
from mapdr.route.condition import leaves
from mapdr.route.explain import Explained
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
from mapdr.transform.pipeline import Pipeline, build_pipeline, build_steps


@dataclass(frozen=True, slots=True)
class AskedRule:
    """What became of one rule: matched and `because` of what, or its first `failure`, or not reached.

    Values that may identify somebody are in neither, unless they were asked for. `shadowed` are destinations
    for which an earlier rule decides, `returned` those that the file came from.
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

    `rule` decides what is done, `edits` says what its edits of tags are, by the numbers by which `changes`
    name them, and which of them change nothing in this image. `changes` are the elements that differ, `kept`
    counts those that do not; `unshown` says why they cannot be told. `quality` is None where no pixel
    changed, and where none can be read. `compression` is None without a step that compresses.
    """

    destination: str
    error: str
    rule: str = ""
    priority: str = Priority.ROUTINE.word
    treatment: str = ""
    note: str = ""
    edits: Sequence[str] = ()
    transfer_syntax: str = ""
    bytes: int = 0
    milliseconds: float | None = None
    changes: Sequence[ElementChange] = ()
    kept: int = 0
    unshown: str = ""
    quality: Quality | None = None
    compression: Compression | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is to be told of one file; with values that may identify somebody if `identified`.

    `character_set` is the one in which its text is read, as Specific Character Set has it, empty for the
    default repertoire; `assumed`, that the receiver says so and not the file.
    """

    file: str
    identified: bool
    sop_class: str
    transfer_syntax: str
    character_set: str
    assumed: bool
    bytes: int
    rules: Sequence[AskedRule]
    deliveries: Sequence[WouldDeliver]


def explain(
    file: Path,
    configuration: Configuration,
    *,
    calling_ae: str = "",
    called_ae: str = "",
    address: str = "",
    receiver: str = "",
    identify: bool = False,
) -> Explanation:
    """What the configured rules would do to a file, as if it had come from there; its values with `identify`.

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
        return _examine(file, plan, rules, configuration.registry, source, identify=identify)
    finally:
        close_decoders()


def _examine(
    file: Path,
    plan: Plan,
    rules: Sequence[RuleConfig],
    registry: Registry,
    source: Source,
    *,
    identify: bool,
) -> Explanation:
    """Everything that is to be told of one file. Raises Permanent if it is not DICOM, OSError."""
    found = part10.locate(file)
    scanned = _taken(found, INDEX_TAGS | plan.router.wanted)
    header = plan.router.read(scanned, source)
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
    asked = plan.router.explain(header, source, values=identify, shown=SHOWN)
    declared = scanned.character_set
    in_use = terms_in_use(declared, routing.assumed)
    preparing = _Preparing(plan, registry, instance, routing.assumed, identify=identify)
    return Explanation(
        file=str(file),
        identified=identify,
        sop_class=_name(instance.sop_class_uid),
        transfer_syntax=_syntax_name(found.transfer_syntax_uid),
        character_set="\\".join(in_use),
        assumed=in_use != declared,
        bytes=found.length,
        rules=[
            AskedRule(
                name=one.rule,
                matched=one.matched,
                because=_reasons(rule, header, source, identify) if one.matched else [],
                reached=one.reached,
                failure=one.failure,
                send_to=one.send_to,
                shadowed=one.shadowed,
                returned=one.returned,
            )
            for one, rule in zip(asked, rules, strict=True)
        ],
        deliveries=list(_deliveries(routing, asked, preparing)),
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


def _syntax_name(uid: str) -> str:
    """By MAPDR's own table, as everywhere: pydicom's lacks JPEG XL and newer ones."""
    return f"{name_of(uid)} ({uid})" if uid in BY_UID else _name(uid)


def _reasons(rule: RuleConfig, header: Header, source: Source, identify: bool) -> list[str]:
    """What a rule asks about, and what the file answers."""
    found = {}
    for leaf in leaves(rule.when):
        subject = leaf.subject
        texts = (getattr(source, subject),) if isinstance(subject, str) else header.texts(subject)
        value = "\\".join(texts)
        found[leaf.label] = value if identify or not value or leaf.label in SHOWN else "as the rule asks"
    return [f"{label} is {value or 'empty or absent'}" for label, value in found.items()]


def _deliveries(
    routing: Routing, asked: Sequence[Explained], preparing: _Preparing
) -> Iterator[WouldDeliver]:
    """Each destination's payload; destinations with one recipe share the work."""
    results: dict[str, WouldDeliver] = {}
    for destination, recipe in routing.deliveries:
        if recipe not in results:
            results[recipe] = preparing.told(recipe)
        priority = routing.priorities.get(destination, Priority.ROUTINE)
        rule = next(
            (
                one.rule
                for one in asked
                if one.matched
                and destination in one.send_to
                and destination not in (*one.shadowed, *one.returned)
            ),
            "",
        )
        yield replace(results[recipe], destination=destination, rule=rule, priority=priority.word)


class _Preparing:
    """What recipes make of one image."""

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        instance: Instance,
        assumed: Sequence[AssumedSet],
        *,
        identify: bool,
    ) -> None:
        node = plan.node
        self._settings = replace(looking("explain", node), workers=node.workers, memory=node.memory)
        self._recipes = plan.recipes
        self._registry = registry
        self._instance = instance
        self._assumed = assumed
        self._identify = identify

    def _edits(self, recipe: str, idle: Sequence[tuple[str, str]] = ()) -> list[str]:
        """What the edits of tags of a recipe are, those that change nothing in this image too."""
        steps = (step["config"] for step in self._recipes[recipe]["steps"] if step["type"] == "tags")
        told = (
            (number, edit_words(edit, identify=self._identify))
            for edits in steps
            for number, edit in enumerate(edits, 1)
        )
        none = " (changes nothing here)"
        return [
            f"edit {number}: {text}{none if ('tags', f'edit {number}') in idle else ''}"
            for number, text in told
        ]

    def told(self, recipe: str) -> WouldDeliver:
        """What a recipe makes of the image, for no destination yet."""
        settings, instance, body = self._settings, self._instance, self._recipes[recipe]
        codecs = Codecs(self._registry, settings)
        try:
            pipeline = build_pipeline(body, self._registry, settings, codecs)
            started = time.perf_counter()
            noted = Noting()
            payload = pipeline.prepare(instance, noted)
            seconds = time.perf_counter() - started
        except MapdrError as error:
            what = f"{getattr(error, 'reason', 'temporary')}: {error}"
            return WouldDeliver("", what, edits=self._edits(recipe))
        except Exception as error:  # noqa: BLE001  fails closed in the node: tried again, then parked with this word
            return WouldDeliver("", f"unexpected: {in_words(error)}", edits=self._edits(recipe))
        before = Pipeline([], settings, codecs).prepare(instance, NoMemory())
        unshown, kept, found = "", 0, []
        steps = build_steps(body, self._registry, settings)
        authors = Authors(steps, settings, codecs, self._assumed, brief=True)
        try:
            if before.parts != payload.parts:
                every = list(compared(before, payload, self._assumed))
                kept = sum(each.action == "kept" for each in every)
                edited = authors.follow(before, instance, NoMemory())
                authors.follow_rest(before, edited, payload, instance, NoMemory())
                found = authors.signed([each for each in every if each.action != "kept"])
        except Permanent as error:
            unshown = str(error)
        except Exception as error:  # noqa: BLE001  a step's own account of itself fails, and not the image
            unshown = in_words(error)
        return WouldDeliver(
            destination="",
            error="",
            treatment=str(payload.treatment),
            note=payload.note,
            edits=self._edits(recipe, authors.idle),
            transfer_syntax=_syntax_name(payload.transfer_syntax_uid),
            bytes=payload.length,
            milliseconds=round(seconds * 1000, 1),
            changes=found if self._identify else [each.without_values() for each in found],
            kept=kept,
            unshown=unshown,
            quality=quality(before, payload, codecs, settings.workers)
            if payload.parts != before.parts
            else None,
            compression=compression_of(noted.facts),
        )
