"""From a configuration file to a plan, with all that is wrong in the file, in the plan and around them."""

from __future__ import annotations

import socket
from pathlib import Path

from mapdr.config.problem import Problem
from mapdr.config.read import Loaded, read
from mapdr.kernel.registry import Registry
from mapdr.node.plan import Plan, make_plan
from mapdr.node.surroundings import faults

LATER = "restart the node, if the plug-in was installed since it started"
"""What may be meant by a type that a running node does not know."""


def plan_file(
    path: Path, registry: Registry, *, unknown: str = ""
) -> tuple[Loaded, Plan | None, tuple[Problem, ...]]:
    """Read and plan a configuration file; the plan is None, or not to be started, if there are problems,
    those of its surroundings among them. `unknown` as for `mapdr.config.read.read`."""
    loaded = read(path, registry, unknown=unknown)
    if loaded.config is None:
        return loaded, None, loaded.problems
    plan = make_plan(loaded.config, registry, resolve=addresses)
    found = {*loaded.problems, *loaded.locate((*plan.problems, *faults(loaded, plan)))}
    return loaded, plan, tuple(sorted(found, key=lambda problem: (problem.line, str(problem))))


def addresses(host: str) -> set[str]:
    """What a host name stands for, as this machine resolves it; nothing if it does not."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
