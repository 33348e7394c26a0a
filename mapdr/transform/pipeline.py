"""A recipe as a pipeline, from a spooled instance to the payload for one destination.

    header: elements are edited ──▶ pixels: frames are changed ──▶ encode: frames are written once

The steps run in the order of their phases, whatever order a rule names them in, and each of them runs: no
transfer syntax of a receiver, no retry and no fast path leaves one out. What cannot be done parks the image.
Between the header and the end an image is one `OpenImage`: opened once, each frame decoded once (as far as
`codecs.foreign.KEEP` holds them), whatever the steps ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from mapdr.dicom.scan import deflate_pieces
from mapdr.dicom.transfer_syntax import BIG_ENDIAN_SYNTAXES, DEFLATED, NATIVE, is_deflated
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from mapdr.kernel import budget
from mapdr.kernel.character_set import AssumedSet, assumed_of
from mapdr.kernel.codec import FrameFormat, Pixels
from mapdr.kernel.conformance import undeclared
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Instance, Payload, total_length
from mapdr.kernel.proof import Proof
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.step import (
    Brings,
    Changes,
    EncodeStep,
    HeaderStep,
    ImageStep,
    Memory,
    Painting,
    Phase,
    PixelStep,
    Reads,
    SeriesMemory,
    Transform,
)
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.dataset import inflated
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.again import again, may_stay
from mapdr.transform.encode.compress import CompressStep
from mapdr.transform.encode.native import native
from mapdr.transform.encode.wish import CompressConfig
from mapdr.transform.even import evened
from mapdr.transform.painted import Paint
from mapdr.transform.view import Held

AT_ONCE = 1 << 24
"""Bytes of an image that is read once, to compare it and to change it; of a larger one, frame by frame."""


class _StepMemory:
    """One step's share of what the pipeline remembers about an image."""

    def __init__(self, memory: Memory, step: str) -> None:
        self._memory = memory
        self._step = step

    def recall(self) -> Mapping[str, Any] | None:
        found = (self._memory.recall() or {}).get(self._step)
        return found if isinstance(found, Mapping) else None

    def keep(self, facts: Mapping[str, Any]) -> None:
        self._memory.keep({**(self._memory.recall() or {}), self._step: dict(facts)})

    def of_series(self) -> list[Mapping[str, Any]]:
        if not isinstance(self._memory, SeriesMemory):
            return []
        shares = (facts.get(self._step) for facts in self._memory.of_series())
        return [share for share in shares if isinstance(share, Mapping)]


class Pipeline:
    """The steps of one recipe, built once and used from many threads."""

    def __init__(
        self,
        steps: Sequence[tuple[str, Transform]],
        settings: Settings,
        codecs: Codecs,
        assumed: Sequence[AssumedSet] = (),
    ) -> None:
        """`assumed`: the character sets that steps assume of images (`Instance.assumed`).

        Raises Permanent(reason="recipe") for a step that does not declare what it is, and for a second one
        that encodes.
        """
        for name, step in steps:
            if lacking := "; ".join(undeclared(type(step))):
                raise Permanent(f'the step "{name}" cannot be run: {lacking}', reason="recipe")
        self._settings = settings
        self._codecs = codecs
        self._assumed = tuple(assumed)
        self._header = [(name, cast(HeaderStep, step)) for name, step in steps if step.phase is Phase.HEADER]
        self._pixels = [cast(PixelStep | ImageStep, step) for _, step in steps if step.phase is Phase.PIXELS]
        self._looks = any(hasattr(step, "painting") for step in self._pixels)
        encoders = [(name, cast(EncodeStep, step)) for name, step in steps if step.phase is Phase.ENCODE]
        if len(encoders) > 1:
            names = " and ".join(f'"{name}"' for name, _ in encoders)
            raise Permanent(f"pixels are encoded once, and the steps {names} both do it", reason="recipe")
        self._encode = encoders[0] if encoders else None
        self._has_more = bool(self._pixels or self._encode)
        self._is_quick = not self._has_more and all(
            step.reads in (Reads.HEADER, Reads.CODESTREAMS) and not step.copies for _, step in self._header
        )
        self._opens_codestreams = any(step.reads is Reads.CODESTREAMS for _, step in self._header)

    def quick(self, instance: Instance) -> bool:
        """Whether `prepare` (without an override) touches headers only: well under a millisecond."""
        if not self._header and not self._has_more:
            return not instance.size & 1
        if self._opens_codestreams and instance.transfer_syntax_uid not in NATIVE:
            return False
        return self._is_quick and not instance.size & 1 and not is_deflated(instance.transfer_syntax_uid)

    def prepare(self, instance: Instance, memory: Memory, syntax_override: str = "") -> Payload:
        """The payload that the recipe makes of a spooled instance.

        With `syntax_override` (a transfer syntax UID) it comes in that syntax. Raises what the steps raise,
        and Permanent: "syntax" for what cannot be had; "damaged" or "missing" where the spool file is not
        what was received. What is sent from that file itself is compared as it goes out (`FileSlice.proof`),
        all else here.
        """
        instance = self._assuming(instance)
        span = FileSlice(instance.path, instance.data_offset, instance.size, instance.proof)
        payload = Payload(
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.sop_instance_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
            parts=(span,),
            length=instance.size,
            study_instance_uid=instance.study_instance_uid,
            series_instance_uid=instance.series_instance_uid,
            assumed=instance.assumed,
        )
        proof = instance.proof
        if proof is None:
            return self._even(payload, instance, memory, syntax_override, None)
        held = None
        if not self.quick(instance) or syntax_override:
            held = self._compared(instance, proof)  # before a codec is given bytes that are not an image's
        try:
            payload = self._even(payload, instance, memory, syntax_override, held)
        except Exception:
            proof.check()  # bytes that are not the image's are no fault of a step
            raise
        if not any(isinstance(part, FileSlice) and part.proof for part in payload.parts):
            proof.check()
        return payload

    def _compared(self, instance: Instance, proof: Proof) -> Held | None:
        """Nothing but the bytes of an image that are what was received: in memory, if they are few and serve
        the steps. Raises as `Proof.check`."""
        if proof.size > AT_ONCE or not self._has_more:
            proof.check()
            return None
        budget.need(proof.size)
        return Held(proof, proof.read())

    def apply(
        self,
        payload: Payload,
        instance: Instance,
        memory: Memory,
        syntax: str = "",
        held: Held | None = None,
    ) -> Payload:
        """What the steps make of `payload`, in the transfer syntax `syntax` if it is not empty.

        `held` is what of it is in memory already, which was told to the budget. Raises as `prepare`.
        """
        instance = self._assuming(instance)
        if self._has_more or (syntax and syntax != payload.transfer_syntax_uid):
            return self._whole(payload, instance, memory, syntax, held)
        return self._edited(payload, instance, memory)

    def _assuming(self, instance: Instance) -> Instance:
        """The image, with the character sets that the recipe assumes of it."""
        if not self._assumed or instance.assumed:
            return instance
        return replace(instance, assumed=assumed_of(self._assumed, instance.source.calling_ae))

    def _even(
        self, payload: Payload, instance: Instance, memory: Memory, syntax: str, held: Held | None
    ) -> Payload:
        made = self.apply(payload, instance, memory, syntax, held)
        return evened(made) if made.length & 1 else made

    def _edited(self, payload: Payload, instance: Instance, memory: Memory, beside: int = 0) -> Payload:
        """The payload after the steps of the header, while `beside` bytes more are in use."""
        for name, step in self._header:
            budget.hold(payload.in_memory + beside)
            if step.copies:
                budget.need(step.copies * payload.length)
            made = step.apply(payload, instance, _StepMemory(memory, name))
            if made is not payload:
                _refuse_undeclared(name, step, payload, made)
            payload = made
        return payload

    def _whole(
        self, payload: Payload, instance: Instance, memory: Memory, wanted: str, held: Held | None
    ) -> Payload:
        """The payload after all steps, in the syntax `wanted` if it is not empty.

        A deflated one is inflated once, for all of them.
        """
        came = payload.transfer_syntax_uid
        start = payload
        beside = in_hand = len(held.data) if held else 0
        if is_deflated(came):
            parts = (inflated(payload, held),)
            start = replace(payload, transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN, parts=parts)
            start = replace(start, length=start.in_memory)
            if any(step.changes for _, step in self._header):
                beside += start.length  # an edit copies pixels that are in memory
                budget.need(start.length)
        edited = self._edited(start, instance, memory, beside)
        untouched = edited.parts is start.parts
        paints, paintings, notes = self._paints(start, instance, held)
        del start
        budget.hold(edited.in_memory + in_hand)
        if held is not None and not wanted and not self._pixels:
            followed = self._followed(edited, held, instance, memory)
            if followed is not None:
                return followed
            budget.hold(edited.in_memory + in_hand)
        with OpenImage(
            edited,
            self._codecs,
            workers=self._settings.workers,
            paints=paints,
            paintings=paintings,
            held=held,
        ) as document:
            document.refuse_unpaintable()
            made = self._written(document, instance, memory, came, wanted)
            if made.parts is edited.parts:
                made = _as_it_came(made, payload, untouched=untouched)
        return replace(made, note="; ".join(filter(None, (*notes, made.note)))) if notes else made

    def _followed(self, edited: Payload, held: Held, instance: Instance, memory: Memory) -> Payload | None:
        """The payload as that of an image of its series before it, where the step can do that. Raises Short,
        and Permanent as `_encoded`."""
        if self._encode is None:
            return None
        name, step = self._encode
        if not isinstance(step, CompressStep):
            return None
        made = step.follow(edited, held, instance, _StepMemory(memory, name))
        if made is not None:
            _refuse_undeclared(name, step, edited, made)
        return made

    def _written(
        self, document: OpenImage, instance: Instance, memory: Memory, came: str, wanted: str
    ) -> Payload:
        """The payload of a document that came in the syntax `came`; its own where it leaves as it came."""
        said = self._encoded(document, instance, memory, wanted)
        if said.parts is not document.payload.parts:
            return said
        target = wanted or (_kept_syntax(came, document) if document.is_painted else came)
        if target == came and not document.is_painted:
            return said
        if target in NATIVE:
            made = native(document, target, self._settings)
        elif target == came and may_stay(document):
            made = again(document, self._settings)
        else:
            return replace(self._lossless(document, instance, memory, target), unmet=said.unmet)
        return replace(made, note=said.note, unmet=said.unmet)

    def _paints(
        self, came: Payload, instance: Instance, held: Held | None
    ) -> tuple[list[Paint], list[Painting], list[str]]:
        """What the steps do to the pixels of an image, and to its header therefor, and what is told of that.

        They look at the data set that came, whatever other steps have made of its header. Raises Permanent.
        """
        paints: list[Paint] = []
        paintings: list[Painting] = []
        notes: list[str] = []
        if not self._pixels:
            return paints, paintings, notes
        with OpenImage(came, self._codecs, held=held) as document:
            if self._looks and document.data.pixel is None:
                return [], [], []
            for step in self._pixels:
                if not hasattr(step, "painting"):
                    paints.append(partial(_paint, step, instance))
                    continue
                found: Painting | str = cast(ImageStep, step).painting(document, instance)
                if isinstance(found, str):
                    notes.append(found)
                    continue
                notes.append(found.note)
                paints.append(found.paint)
                paintings.append(found)
        return paints, paintings, notes

    def _encoded(self, document: OpenImage, instance: Instance, memory: Memory, wanted: str) -> Payload:
        """What the encode step makes of a document, or the document's payload with what it says of it."""
        if self._encode is None:
            return document.payload
        name, step = self._encode
        if step.copies:
            budget.need(step.copies * document.payload.length)
        made = step.encode(document, instance, _StepMemory(memory, name), wanted)
        _refuse_undeclared(name, step, document.payload, made)
        if made.parts is not document.payload.parts and document.is_painted:
            _refuse_unpainted(name, document, made)
        if made.parts is not document.payload.parts and wanted and made.transfer_syntax_uid != wanted:
            raise Permanent(
                f'the step "{name}" writes another transfer syntax than the receiver takes', reason="syntax"
            )
        return made

    def _lossless(self, document: OpenImage, instance: Instance, memory: Memory, target: str) -> Payload:
        """A document in an encapsulated syntax that no step chose. Raises Permanent(reason="syntax")."""
        self._codecs.encoder(target)
        writer = CompressStep(self._settings, _LOSSLESS, target)
        made = writer.encode(document, instance, _StepMemory(memory, "override"), "")
        if made.transfer_syntax_uid != target:
            raise Permanent(f"{made.note}, but the receiver takes nothing else", reason="syntax")
        return made


_LOSSLESS = CompressConfig(to="jpeg2000-lossless", color="ybr")
"""How a syntax is written that a receiver insists on: a codec's own colour transform is in all of them."""


def _paint(step: PixelStep, instance: Instance, frame: Pixels, form: FrameFormat, index: int) -> Pixels:
    return step.paint(frame, form, index, instance)


def _refuse_undeclared(name: str, step: Transform, before: Payload, made: Payload) -> None:
    """Raise Permanent(reason="transform") where a step gave what it does not declare, or no whole payload."""
    what = ""
    is_other = made.parts is not before.parts
    if made.transfer_syntax_uid != before.transfer_syntax_uid and not (
        is_other and Changes.SYNTAX in step.changes
    ):
        what = "gave another transfer syntax, and wrote none, or declares that it does not"
    elif not step.changes and (is_other or _identity(made) != _identity(before)):
        what = "changed the data set, and declares that it does not"
    elif is_other and not _is_whole(made):
        what = "gave other bytes than the length says"
    if what:
        raise Permanent(f'the step "{name}" {what}', reason="transform")


def _refuse_unpainted(name: str, document: OpenImage, made: Payload) -> None:
    """Raise Permanent(reason="transform") where an encode step wrote pixels without those that steps changed,
    or under the UID of the image that had others."""
    what = ""
    if not document.is_read:
        what = "did not write the pixels that other steps have changed"
    elif document.pixels_changed and made.sop_instance_uid == document.payload.sop_instance_uid:
        what = "gave changed pixels the UID of the image that they were made from"
    if what:
        raise Permanent(f'the step "{name}" {what}', reason="transform")


def _identity(payload: Payload) -> tuple[str, str]:
    return payload.sop_class_uid, payload.sop_instance_uid


def _is_whole(payload: Payload) -> bool:
    """Whether it has as many bytes as it says, in parts that can be sent."""
    for part in payload.parts:
        if type(part) is not bytes and type(part) is not FileSlice:
            return False
    return total_length(payload.parts) == payload.length


def _kept_syntax(came: str, document: OpenImage) -> str:
    """The syntax in which changed pixels leave if nobody chose one: as they came, or without a codec."""
    stays = came not in BIG_ENDIAN_SYNTAXES if came in NATIVE else may_stay(document)
    return came if stays else EXPLICIT_VR_LITTLE_ENDIAN


def _as_it_came(edited: Payload, came: Payload, *, untouched: bool) -> Payload:
    """A payload in the syntax that it came in: what was inflated is deflated again, if an edit has touched
    it."""
    syntax = came.transfer_syntax_uid
    if syntax not in DEFLATED:
        return edited
    if untouched:
        return replace(edited, transfer_syntax_uid=syntax, parts=came.parts, length=came.length)
    budget.need(edited.length)  # it is seldom half as long, and there twice while it is put together
    packed = deflate_pieces(edited.chunks())
    return replace(edited, transfer_syntax_uid=syntax, parts=(packed,), length=len(packed))


def build_pipeline(
    recipe: Mapping[str, Any], registry: Registry, settings: Settings, codecs: Codecs
) -> Pipeline:
    """The pipeline of a recipe. Raises as `build_steps`, and Permanent(reason="recipe") for steps that do not
    go together."""
    steps = build_steps(recipe, registry, settings)
    return Pipeline(steps, settings, codecs, assumed_by(recipe))


def assumed_by(recipe: Mapping[str, Any]) -> list[AssumedSet]:
    """The character sets that a recipe assumes of the images of its receiver."""
    return [AssumedSet(*one) for one in recipe.get("assume_character_set", ())]


def build_steps(
    recipe: Mapping[str, Any], registry: Registry, settings: Settings
) -> list[tuple[str, Transform]]:
    """The steps of a recipe (`{"steps": [{"type": ..., "config": ...}]}`) with their types, in its order, and
    those that they bring.

    Raises Unavailable when a step is not installed here, Permanent(reason="recipe") when it no longer
    understands the configuration that it was promised with.
    """
    steps: list[tuple[str, Transform]] = []
    for step in recipe.get("steps", ()):
        factory = registry.factory("transform", step["type"])
        try:
            config = TypeAdapter(factory.config).validate_python(step["config"])
        except ValidationError as error:
            raise Permanent(
                f'this version cannot read the recipe\'s step "{step["type"]}"; reroute the images',
                reason="recipe",
            ) from error
        steps.append((step["type"], factory.build(settings, config, None)))
    return with_brought(steps)


def with_brought(steps: Sequence[tuple[str, Transform]]) -> list[tuple[str, Transform]]:
    """The steps, and behind them those that they bring (`Brings`)."""
    brought = [
        (name, other)
        for name, step in steps
        if isinstance(step, Brings) and (other := step.brings) is not None
    ]
    return [*steps, *brought]
