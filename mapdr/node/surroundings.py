"""What a configuration finds around it: secrets, files, folders and addresses that must be there to run.

`node.plan` judges what is written; this judges whether it can be used here and now. So only `check`, `run`
and a reload ask it: who looks at a node's index needs none of its secrets. Files are read and addresses are
tried, nothing is written and nobody is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from mapdr.config.model import NodeConfig
from mapdr.config.read import Loaded
from mapdr.config.secret import Secret
from mapdr.kernel.errors import ConfigurationError, MapdrError
from mapdr.kernel.finding import Finding, Place
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Factory, Settings
from mapdr.kernel.watch import Watch
from mapdr.node.plan import Plan, failing, folders_in_one_another, said


def faults(loaded: Loaded, plan: Plan) -> Iterator[Finding]:
    """What would keep this configuration from running here, and an empty one."""
    config = loaded.config
    if config is None:
        return
    if not (config.receive or config.egress or config.rule or loaded.problems):
        yield Finding(
            (),
            "holds no receiver, no destination and no rule: there is nothing to do",
            "write one with: mapdr init",
        )
    yield from _data(config.node.data)
    yield from _secrets(config.node, ("node",))
    yield from _database(config.node)
    for place, planned in plan.stages:
        yield from _secrets(planned.config, place)
        yield from said(place, partial(planned.factory.faults, planned.config))
    # Links lead folders into one another whose names do not say so.
    yield from folders_in_one_another(config.node.data, plan.receivers, plan.destinations, _real_place)
    for name, hook in config.webhook.items():
        yield from _secrets(hook, ("webhook", name))
        yield from (Finding(("webhook", name, *each.place), each.what, each.cure) for each in hook.faults())


def of_steps(loaded: Loaded, registry: Registry) -> tuple[list[Finding], list[Finding]]:
    """What the steps of rules would miss here and now, with why they could not be built; and what they doubt
    of their configuration, where it can be read."""
    config = loaded.config
    missed: list[Finding] = []
    doubted: list[Finding] = []
    if config is None or not config.rule:
        return missed, doubted
    from mapdr.transform.pipeline import build_steps  # a look at a node needs no codecs

    settings = Settings(
        "check", config.node.name, config.node.data, bytes(32), Watch(), config.node.workers, only_looks=True
    )
    for index, rule in enumerate(config.rule):
        for type_, plain in rule.steps:
            place: Place = ("rule", index, type_)
            recipe = {"steps": [{"type": type_, "config": plain}]}
            try:
                factory = registry.factory("transform", type_)
                step = TypeAdapter(factory.config).validate_python(plain)
            except MapdrError as error:
                missed.append(Finding(place, *_cannot_be_built(error)))
                continue
            except Exception as error:  # noqa: BLE001  a plug-in may fail in any way, and the others are still asked
                missed.append(failing(place, error))
                continue
            build = partial(build_steps, recipe, registry, settings)
            missed += said(place, partial(_missed, factory, step, build))
            doubted += said(place, partial(factory.doubts, step))
    return missed, doubted


def _missed(factory: Factory, step: Any, build: Callable[[], object]) -> list[Finding]:
    """What a step misses to be built, by its configuration and by `build`, which builds it."""
    missed = list(_secrets(step, ()))
    told = {each.place for each in missed}
    try:
        missed += [each for each in factory.faults(step) if each.place not in told]
        if not missed:
            build()
    except MapdrError as error:
        return [Finding((), *_cannot_be_built(error))]
    return missed


def _cannot_be_built(error: MapdrError) -> tuple[str, str]:
    return f"cannot be built: {error}", "correct it, or leave it out"


def _real_place(path: str) -> str:
    return os.path.normcase(os.path.realpath(path))


def _secrets(value: Any, place: Place) -> Iterator[Finding]:
    """Every secret in a configuration that cannot be had."""
    if isinstance(value, Secret):
        try:
            value.reveal()
        except ConfigurationError as error:
            scheme, _, name = value.place.partition(":")
            cure = "put it into that file, readable for who runs mapdr"
            if scheme == "env":
                cure = f"set the variable {name} where mapdr runs"
            elif (file := Path(name)).parent.name == "keys" and file.suffix == ".key":
                cure = f"make it with: mapdr key new {file.stem}; or put one there that you have"
            yield Finding(place, str(error), cure)
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from _secrets(getattr(value, name), (*place, field.alias or name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets(item, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _secrets(item, (*place, index))


def _database(node: NodeConfig) -> Iterator[Finding]:
    try:
        url = node.database_url()
    except ConfigurationError:
        return  # a secret that cannot be had is told as such
    if url != "sqlite":
        yield Finding(
            ("node", "database"),
            "names PostgreSQL, which is not available: this version comes with no driver for it",
            'write database = "sqlite", or leave the line out',
        )


def _data(path: Path) -> Iterator[Finding]:
    """Whether the data folder can be used, or made."""
    place, there = ("node", "data"), path
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        what = "is not a folder" if there == path else f"cannot be made: {there} is not a folder"
        yield Finding(place, what, "name another folder")
    elif not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written to" if there == path else f"cannot be made: {there} cannot be written to"
        yield Finding(place, what, "name another folder, or let who runs mapdr write there")
