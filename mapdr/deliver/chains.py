"""How `deliver` gets the chain of a recipe: the one place where it meets the transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.transform.chain import Chain, build_chain


def chains(registry: Registry, settings: Settings) -> Callable[[Mapping[str, Any]], Chain]:
    """A function from a recipe's steps to its chain; it raises what `build_chain` raises."""
    return lambda recipe: build_chain(recipe, registry, settings)
