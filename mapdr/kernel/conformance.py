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

from mapdr.kernel.stage import Egress, EgressSession, Factory, Receiver, StageConfig, Transform

PROTOCOLS: dict[str, type] = {"receive": Receiver, "transform": Transform, "egress": Egress}
"""What the stages of a kind are."""


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
    if protocol is not None:
        yield from _built(stage.build, "build", protocol)


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
    made = get_type_hints(function).get("return")
    if not isinstance(made, type) or made is Any:
        yield f"its {name} does not say which class it returns"
        return
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
