"""A recipe as a chain of transforms: from a spooled instance to the payload for one destination."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mapdr.dicom.transfer_syntax import is_deflated
from mapdr.dicom.uids import JPEG2000_LOSSLESS
from mapdr.kernel import budget
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Instance, Payload
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Encodes, Memory, Settings, Transform
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.even import evened
from mapdr.transform.reencode import to_syntax
from mapdr.transform.transcode import CompressConfig, Transcoder


class _StepMemory:
    """One step's share of what the chain remembers about an image."""

    def __init__(self, memory: Memory, step: str) -> None:
        self._memory = memory
        self._step = step

    def recall(self) -> Mapping[str, Any] | None:
        found = (self._memory.recall() or {}).get(self._step)
        return found if isinstance(found, Mapping) else None

    def keep(self, facts: Mapping[str, Any]) -> None:
        self._memory.keep({**(self._memory.recall() or {}), self._step: dict(facts)})


class Chain:
    """The steps of one recipe, built once and used from many threads."""

    def __init__(self, steps: list[tuple[str, Transform]], settings: Settings, codecs: Codecs) -> None:
        self._steps = steps
        self._settings = settings
        self._codecs = codecs

    def quick(self, instance: Instance) -> bool:
        """Whether `prepare` (without an override) touches headers only: well under a millisecond."""
        if not self._steps:
            return not instance.size & 1
        regular = not is_deflated(instance.transfer_syntax_uid) and not instance.size & 1
        return regular and all(getattr(step, "header_only", False) for _, step in self._steps)

    def prepare(self, instance: Instance, memory: Memory, syntax_override: str = "") -> Payload:
        """The payload that the recipe makes of a spooled instance.

        With `syntax_override` (a transfer syntax UID) it comes in that syntax. Every step does its work all
        the same (design, decision 21): one that chooses a transfer syntax and can do so for another is told
        which, and what any other has made is brought into it. Raises what the steps raise, and Permanent:
        "syntax" for what cannot be had; "damaged" or "missing" where the spool file is not what was received.
        What is sent from that file itself is compared as it goes out (`FileSlice.proof`), all else here.
        """
        proof = instance.proof
        if proof is None:
            return self._steps_of(instance, memory, syntax_override)
        if not self.quick(instance) or syntax_override:
            proof.check()  # before a codec is given bytes that are not an image's
        try:
            payload = self._steps_of(instance, memory, syntax_override)
        except Exception:
            proof.check()  # bytes that are not the image's are no fault of a step
            raise
        if not any(isinstance(part, FileSlice) and part.proof for part in payload.parts):
            proof.check()
        return payload

    def _steps_of(self, instance: Instance, memory: Memory, syntax_override: str) -> Payload:
        span = FileSlice(instance.path, instance.data_offset, instance.size, instance.proof)
        payload = Payload(
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.sop_instance_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
            parts=(span,),
            length=instance.size,
            study_instance_uid=instance.study_instance_uid,
            series_instance_uid=instance.series_instance_uid,
        )
        for name, step in self._steps:
            notes = _StepMemory(memory, name)
            budget.hold(payload.in_memory)
            if not (getattr(step, "says_need", False) or getattr(step, "header_only", False)):
                budget.need(2 * payload.length)
            if syntax_override and isinstance(step, Encodes):
                payload = step.apply_for(payload, instance, notes, syntax_override)
            else:
                payload = step.apply(payload, instance, notes)
        if syntax_override and payload.transfer_syntax_uid != syntax_override:
            payload = self._convert(payload, instance, memory, syntax_override)
        return evened(payload) if payload.length & 1 else payload

    def _convert(self, payload: Payload, instance: Instance, memory: Memory, target: str) -> Payload:
        budget.hold(payload.in_memory)
        if target != JPEG2000_LOSSLESS:
            return to_syntax(payload, target, self._codecs, workers=self._settings.workers)
        transcoder = Transcoder(self._settings, CompressConfig(to="jpeg2000-lossless", color="ybr"))
        converted = transcoder.apply(payload, instance, _StepMemory(memory, "override"))
        if converted.transfer_syntax_uid != target:
            raise Permanent(f"{converted.note}, but the receiver takes nothing else", reason="syntax")
        return converted


def build_chain(recipe: Mapping[str, Any], registry: Registry, settings: Settings) -> Chain:
    """The chain of a recipe (`{"steps": [{"type": ..., "config": ...}]}`), in its order.

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
    return Chain(steps, settings, Codecs(registry, settings))
