"""A configuration as people ask about it: what it plans, and everything that is wrong with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapdr.config.model import Config
from mapdr.config.problem import Problem
from mapdr.config.read import Loaded, read, read_node
from mapdr.config.revision import read_revision
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.registry import Registry
from mapdr.node.doubts import warnings
from mapdr.node.plan import Plan, make_plan
from mapdr.node.surroundings import faults
from mapdr.operate import words
from mapdr.operate.errors import WrongConfiguration


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration, what it plans, and what is wrong with it (in the order of the file)."""

    path: Path
    loaded: Loaded
    plan: Plan | None
    registry: Registry
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that has no problems, with its plan."""

    path: Path
    loaded: Loaded
    plan: Plan
    registry: Registry


def examine(path: Path, *, surroundings: bool = False, rules: bool = True) -> Checked:
    """Read and plan the configuration at `path`; never raises for what it says.

    With `surroundings`, also find what it misses on this machine, and what hardly can be meant.
    Without `rules`, these are left out (`mapdr.config.read.read`).
    """
    registry = Registry()
    loaded = read(path, registry, rules=rules)
    if loaded.config is None:
        return Checked(path, loaded, None, registry, loaded.problems)
    plan = make_plan(loaded.config, registry)
    findings = [*plan.problems]
    doubts: tuple[Problem, ...] = ()
    if surroundings:
        findings += faults(loaded, plan)
        doubts = loaded.locate(warnings(loaded))
    found = {*loaded.problems, *loaded.locate(findings)}
    problems = tuple(sorted(found, key=lambda problem: (problem.line, str(problem))))
    return Checked(path, loaded, plan, registry, problems, doubts)


def load(path: Path, *, rules: bool = True) -> Configuration:
    """A configuration without problems; `rules` as for `examine`. Raises WrongConfiguration if it has any."""
    checked = examine(path, rules=rules)
    if checked.problems or checked.plan is None:
        raise WrongConfiguration(checked.problems)
    return Configuration(path, checked.loaded, checked.plan, checked.registry)


def node_of(checked: Checked) -> Plan | None:
    """A plan of the node alone that a configuration with problems means; None if that cannot be read."""
    node = read_node(checked.loaded.text, _folder(checked.path)) if checked.loaded.text else None
    return make_plan(Config(node=node), checked.registry) if node is not None else None


def kept_plan(checked: Checked, data: Path, revision: str) -> Plan | None:
    """The plan, without rules, of a revision that a node keeps in `data`; None if it has none of it."""
    try:
        kept = read_revision(data, revision, checked.registry, base=_folder(checked.path), rules=False)
    except ConfigurationError:
        return None
    return make_plan(kept.config, checked.registry) if kept.config is not None else None


def _folder(path: Path) -> Path:
    return Path(os.path.abspath(path)).parent


def summary(plan: Plan) -> str:
    """What a plan holds, in one line."""
    parts: list[tuple[Any, str]] = [
        (plan.receivers, "receiver"),
        (plan.destinations, "destination"),
        (plan.webhooks, "webhook"),
    ]
    return ", ".join(words.many(len(group), noun) for group, noun in parts)
