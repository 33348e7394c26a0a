"""A configuration as people ask about it: what it plans, and everything that is wrong with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapdr.config.model import Config
from mapdr.config.read import Loaded, read_node
from mapdr.config.revision import read_revision
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.registry import Registry
from mapdr.node.configuration import Checked, examine
from mapdr.node.plan import Plan, make_plan
from mapdr.operate import words
from mapdr.operate.errors import WrongConfiguration

__all__ = ["Checked", "Configuration", "examine", "load", "summary"]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that has no problems, with its plan."""

    path: Path
    loaded: Loaded
    plan: Plan
    registry: Registry


def load(path: Path, *, rules: bool = True) -> Configuration:
    """A configuration without problems; `rules` as for `examine`. Raises WrongConfiguration if it has any."""
    checked = examine(path, rules=rules, resolve=rules)
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
