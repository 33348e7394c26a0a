"""A configuration file, read and planned, with everything that is wrong with it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from mapdr.config.problem import Problem
from mapdr.config.read import Loaded, read
from mapdr.kernel.registry import Registry
from mapdr.node.doubts import of_stages, twice, warnings
from mapdr.node.plan import Plan, make_plan
from mapdr.node.surroundings import faults, of_steps


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration, what it plans, and what is wrong with it (in the order of the file).

    `plan` is None where nothing can be planned; with `problems` it is for looking at, not for starting.
    """

    path: Path
    loaded: Loaded
    plan: Plan | None
    registry: Registry
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()


def examine(
    path: Path,
    registry: Registry | None = None,
    *,
    rules: bool = True,
    resolve: bool = False,
    surroundings: bool = False,
    unknown: str = "",
) -> Checked:
    """Read and plan the configuration at `path`; never raises for what it says.

    With `surroundings`, also find what it misses on this machine, and what hardly can be meant. With
    `resolve`, names of hosts are looked up, so that the router knows a destination that images come from
    (`make_plan`): for who routes. Without `rules`, these are left out; `unknown`: both as for
    `mapdr.config.read.read`.
    """
    registry = registry or Registry()
    loaded = read(path, registry, rules=rules, unknown=unknown)
    if loaded.config is None:
        return Checked(path, loaded, None, registry, loaded.problems)
    plan = make_plan(loaded.config, registry, resolve=addresses if resolve else None)
    findings = [*plan.problems]
    doubts: tuple[Problem, ...] = ()
    if surroundings:
        of_rules, doubted_of_rules = of_steps(loaded, registry)
        findings += [*faults(loaded, plan), *of_rules]
        doubted = [*warnings(loaded), *twice(loaded, registry), *of_stages(plan), *doubted_of_rules]
        doubts = loaded.locate(doubted)
    found = {*loaded.problems, *loaded.locate(findings)}
    problems = tuple(sorted(found, key=lambda problem: (problem.line, str(problem))))
    return Checked(path, loaded, plan, registry, problems, doubts)


def addresses(host: str) -> set[str]:
    """The addresses of a host by its name; empty where they cannot be found out."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
