"""A recipe as a chain of transforms: from a spooled instance to the payload for one destination."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mapdr.dicom.scan import is_deflated
from mapdr.kernel import budget
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Instance, Payload
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Memory, Settings, Transform
from mapdr.transform.codecs.jpeg2000 import LOSSLESS_UID
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

    def __init__(self, steps: list[tuple[str, Transform]], settings: Settings) -> None:
        self._steps = steps
        self._settings = settings

    def quick(self, instance: Instance) -> bool:
        """Whether `prepare` (without an override) touches headers only: well under a millisecond."""
        return not self._steps or (
            not is_deflated(instance.transfer_syntax_uid)
            and all(getattr(step, "header_only", False) for _, step in self._steps)
        )

    def prepare(self, instance: Instance, memory: Memory, syntax_override: str = "") -> Payload:
        """The payload that the recipe makes of a spooled instance.

        With `syntax_override` (a transfer syntax UID) it comes in that syntax: steps that choose one
        themselves are left out. Raises what the steps raise, and Permanent(reason="syntax").
        """
        span = FileSlice(instance.path, instance.data_offset, instance.size)
        payload = Payload(
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.sop_instance_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
            parts=(span,),
            length=instance.size,
        )
        for name, step in self._steps:
            if not (syntax_override and getattr(step, "sets_syntax", False)):
                budget.hold(payload.in_memory)
                if not (getattr(step, "says_need", False) or getattr(step, "header_only", False)):
                    budget.need(2 * payload.length)
                payload = step.apply(payload, instance, _StepMemory(memory, name))
        if syntax_override and payload.transfer_syntax_uid != syntax_override:
            payload = self._convert(payload, instance, memory, syntax_override)
        return payload

    def _convert(self, payload: Payload, instance: Instance, memory: Memory, target: str) -> Payload:
        budget.hold(payload.in_memory)
        if target != LOSSLESS_UID:
            return to_syntax(payload, target, workers=self._settings.workers)
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
    return Chain(steps, settings)
