"""Whether a stage can hold the contract of its kind, as far as that can be seen without running it.

`mapdr.testing.contract` checks what a stage does; here is only looked at what it is: its name, its
configuration, its methods and what they take. A plug-in that fails here would fail with the first image, or
take a misspelt key in silence.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_type_hints

from pydantic import BaseModel, TypeAdapter

from mapdr.kernel.stage import Egress, EgressSession, Factory, Receiver, StageConfig
from mapdr.kernel.step import Changes, EncodeStep, HeaderStep, ImageStep, Phase, PixelStep, Reads

PROTOCOLS: dict[str, type] = {"receive": Receiver, "egress": Egress}
"""What the stages of a kind are; a transform is what its phase says."""

STEPS: dict[Phase, type] = {Phase.HEADER: HeaderStep, Phase.PIXELS: PixelStep, Phase.ENCODE: EncodeStep}
"""What the steps of a phase are, ..."""
MAY_READ = {
    Phase.HEADER: (Reads.HEADER, Reads.CODESTREAMS, Reads.DATA_SET),
    Phase.PIXELS: (Reads.FRAMES,),
    Phase.ENCODE: (Reads.FRAMES, Reads.DATA_SET),
}
"""... what they may look at ..."""
MAY_CHANGE = {
    Phase.HEADER: Changes.HEADER,
    Phase.PIXELS: Changes.PIXELS | Changes.HEADER,
    Phase.ENCODE: Changes.HEADER | Changes.PIXELS | Changes.SYNTAX,
}
"""... and what they may change."""


def breaches(stage: Factory, type_: str) -> Iterator[str]:
    """What of its kind's contract a plug-in, found as `type_`, cannot hold, in words.

    Whatever looking at it raises is raised on.
    """
    if stage.type != type_:
        yield f'it calls itself "{stage.type}", and its entry point "{type_}"'
    yield from _configuration(stage)
    if not _takes(stage.build, 3):
        yield "its build does not take settings, config and next"
        return
    protocol = PROTOCOLS.get(stage.kind)
    if stage.kind == "transform":
        yield from _step(stage.build)
    elif protocol is not None:
        yield from _built(stage.build, "build", protocol)


def undeclared(step: type) -> Iterator[str]:
    """What the class of a transform does not say of itself, or contradicts, in words."""
    kinds = {"phase": Phase, "reads": Reads, "changes": Changes, "copies": int}
    missing = [name for name, kind in kinds.items() if not isinstance(getattr(step, name, None), kind)]
    if missing:
        yield f"its {step.__name__} does not declare {', '.join(missing)} (see mapdr.kernel.step.Transform)"
        return
    declared = {name: getattr(step, name) for name in kinds}
    phase, reads, changes = declared["phase"], declared["reads"], declared["changes"]
    other = f"which no step of the phase {phase.name} does"
    if reads not in MAY_READ[phase]:
        yield f"its {step.__name__} declares that it reads the {reads}, {other}"
    if changes & ~MAY_CHANGE[phase]:
        yield f"its {step.__name__} declares that it changes {changes.name}, {other}"
    looks = phase is Phase.PIXELS and hasattr(step, "painting")
    yield from _methods(step, ImageStep if looks else STEPS[phase])


def _step(build: Any) -> Iterator[str]:
    made = _returned(build)
    if made is None:
        yield "its build does not say which class it returns"
    else:
        yield from undeclared(made)


def _configuration(stage: Factory) -> Iterator[str]:
    config = stage.config
    model = isinstance(config, type) and issubclass(config, BaseModel)
    if model or stage.kind != "transform":
        if not (model and issubclass(config, StageConfig)):
            yield "its configuration is no StageConfig: unknown keys would pass in silence"
    else:
        TypeAdapter(config)


def _built(function: Any, name: str, protocol: type) -> Iterator[str]:
    """What the class that `function` says it returns lacks of `protocol`."""
    made = _returned(function)
    if made is None:
        yield f"its {name} does not say which class it returns"
    else:
        yield from _methods(made, protocol)


def _returned(function: Any) -> type | None:
    """The class that `function` is annotated to return; None if it names none."""
    made = get_type_hints(function).get("return")
    return made if isinstance(made, type) and made is not Any else None


def _methods(made: type, protocol: type) -> Iterator[str]:
    for method in dir(protocol):
        wanted, found = getattr(protocol, method), getattr(made, method, None)
        if method.startswith("_") or not inspect.isfunction(wanted):
            continue  # what is no method may be set by __init__, where it cannot be seen
        if found is None:
            yield f"its {made.__name__} has no {method}"
        elif not _takes(found, len(inspect.signature(wanted).parameters)):
            yield f"its {made.__name__}.{method} does not take {inspect.signature(wanted)}"
        elif protocol is Egress and method == "connect":
            yield from _built(found, f"{made.__name__}.connect", EgressSession)


def _takes(function: Any, count: int) -> bool:
    """Whether `count` arguments can be given by position."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True
