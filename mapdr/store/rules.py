"""What the store needs of a configuration's rules, and the rules that images were received under.

An image that a crash left unrouted is routed by the configuration revision that its File Meta names (design,
decision 2). The store knows revisions by name only; who reads their texts is given to it (`RulesFor`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mapdr.kernel.item import Header, Routing, Source, TagPath
from mapdr.store.index.recipes import Recipes
from mapdr.store.queue.ingest import Route

log = logging.getLogger("mapdr.store")


class Router(Protocol):
    """What the store needs of the rules."""

    @property
    def wanted(self) -> frozenset[TagPath]:
        """The tags that the rules read."""

    def route(self, header: Header, source: Source) -> Routing:
        """What the rules decide for one image; pure."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A configuration revision's rules, and the recipes that they name by hash."""

    router: Router
    recipes: Mapping[str, Mapping[str, Any]]


RulesFor = Callable[[str], Rules | None]
"""Gives the rules of a configuration revision; None if it is gone or cannot be read."""


class EarlierRules:
    """The rules of the revisions that images in the spool name; each is read once, and its recipes kept."""

    def __init__(self, rules_for: RulesFor, recipes: Recipes) -> None:
        self._rules_for = rules_for
        self._recipes = recipes
        self._known: dict[str, Rules | None] = {}

    def wanted(self, revision: str) -> frozenset[TagPath]:
        """The tags that the rules of a revision read; none if it is gone, which is logged once."""
        if revision not in self._known:
            rules = self._known[revision] = self._rules_for(revision)
            if rules is None:
                log.error("configuration revision %s is gone: its images come back unrouted", revision)
            else:
                self._recipes.add(rules.recipes)
        rules = self._known[revision]
        return frozenset() if rules is None else rules.router.wanted

    def routes(self) -> Mapping[str, Route]:
        """How the images of each revision that was asked for are routed."""
        return {
            revision: _unrouted if rules is None else rules.router.route
            for revision, rules in self._known.items()
        }


def _unrouted(header: Header, source: Source) -> Routing:
    return Routing()
