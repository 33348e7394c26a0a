"""Rules, compiled once, applied to each image: which destinations, with which recipe.

All matching rules count, in their order, until one that says `stop`. Of several that name one destination
the first owns its recipe (design, decision 3), and its priority. An image is never sent back to the peer it
came from: a destination with the AE title and an address of the sender is left out.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from mapdr.kernel.character_set import AssumedSet, assumed_of
from mapdr.kernel.finding import Finding, instead
from mapdr.kernel.item import ALL_ROUTINE, Header, Priority, Routing, Source, TagPath
from mapdr.route.condition import Condition, Predicate, leaves, predicate
from mapdr.route.explain import Explained, first_failure
from mapdr.route.recipe import assuming, recipe_hash


class Rule(Protocol):
    """What the router needs to know of a rule."""

    @property
    def name(self) -> str:
        """Unique among the rules."""

    @property
    def when(self) -> Condition:
        """Which images the rule takes."""

    @property
    def send_to(self) -> Sequence[str]:
        """Names of destinations."""

    @property
    def stop(self) -> bool:
        """Whether later rules are not asked when this one matches."""

    @property
    def priority(self) -> Priority:
        """How urgent what it sends is."""

    @property
    def recipe(self) -> dict[str, Any]:
        """What is done to an image on its way (`route.recipe`)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who a destination is on the network; empty where that is not known or does not apply."""

    ae_title: str = ""
    addresses: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: Rule
    holds: Predicate
    deliveries: tuple[tuple[str, str], ...]


_NOBODY: frozenset[str] = frozenset()


class Router:
    """The compiled rules. Safe to share between threads; nothing in it changes.

    `wanted` are the tag paths that the header scan must find, `recipes` what each hash in a `Routing` stands
    for, `problems` what was wrong with the rules (what is wrong is left out of the router), `peers` who the
    destinations are, `assumed` the character sets that each receiver assumes of its images.
    """

    def __init__(
        self,
        compiled: Sequence[_Compiled],
        peers: Mapping[str, Peer],
        problems: Sequence[Finding],
        assumed: Mapping[str, Sequence[AssumedSet]],
    ) -> None:
        self._compiled = tuple(compiled)
        self.peers = peers
        self._senders = _senders(peers)
        self.problems = tuple(problems)
        self.assumed = {name: tuple(sets) for name, sets in assumed.items() if sets}
        plain = {recipe_hash(each.rule.recipe): each.rule.recipe for each in compiled}
        self.recipes = dict(plain)
        self._variants: dict[str, dict[str, str]] = {}
        for name, sets in self.assumed.items():
            others = {known: assuming(body, sets) for known, body in plain.items()}
            self._variants[name] = {known: recipe_hash(other) for known, other in others.items()}
            self.recipes |= {recipe_hash(other): other for other in others.values()}
        self.wanted: frozenset[TagPath] = frozenset(
            leaf.subject
            for each in compiled
            for leaf in leaves(each.rule.when)
            if isinstance(leaf.subject, tuple)
        )

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules, in their order."""
        return [each.rule for each in self._compiled]

    def promises(self, destination: str) -> list[dict[str, Any]]:
        """The recipes that rules send to a destination with, in the rules' order."""
        hashes = (recipe for each in self._compiled for to, recipe in each.deliveries if to == destination)
        return [self.recipes[one] for one in dict.fromkeys(hashes)]

    def read(self, header: Header, source: Source) -> Header:
        """A header as the rules read it: in the character sets that its receiver assumes."""
        sets = assumed_of(self.assumed.get(source.receiver, ()), source.calling_ae)
        return header.assuming(sets) if sets else header

    def route(self, header: Header, source: Source) -> Routing:
        """What the rules decide for one image; pure, and never raises for any value."""
        assumed: tuple[AssumedSet, ...] = ()
        variants: Mapping[str, str] = {}
        if source.receiver in self.assumed:
            assumed = assumed_of(self.assumed[source.receiver], source.calling_ae)
            if assumed:
                header, variants = header.assuming(assumed), self._variants[source.receiver]
        rules: list[str] = []
        deliveries: dict[str, str] = {}
        priorities: dict[str, Priority] = {}
        shadowed: list[tuple[str, str]] = []
        returned: list[tuple[str, str]] = []
        sender = self._senders.get((source.calling_ae, source.address), _NOBODY)
        for each in self._compiled:
            if not each.holds(header, source):
                continue
            name = each.rule.name
            rules.append(name)
            for destination, recipe in each.deliveries:
                if destination in sender:
                    returned.append((name, destination))
                elif destination in deliveries:
                    shadowed.append((name, destination))
                else:
                    deliveries[destination] = variants.get(recipe, recipe) if variants else recipe
                    if each.rule.priority:  # routine is 0
                        priorities[destination] = each.rule.priority
            if each.rule.stop:
                break
        return Routing(
            tuple(deliveries.items()),
            tuple(rules),
            tuple(shadowed),
            tuple(returned),
            priorities or ALL_ROUTINE,
            assumed,
        )

    def explain(
        self, header: Header, source: Source, *, values: bool = False, shown: Container[str] = ()
    ) -> list[Explained]:
        """What became of each rule, in order.

        With `values`, failures show the image's own values and the rule's: for the operator's terminal
        only, never for a log. Without it, those of the subjects (as rules write them) in `shown` alone.
        """
        routing = self.route(header, source)
        header = self.read(header, source)
        stopped = False
        told: list[Explained] = []
        for each in self._compiled:
            name = each.rule.name
            matched = not stopped and each.holds(header, source)
            told.append(
                Explained(
                    rule=name,
                    matched=matched,
                    reached=not stopped,
                    failure=""
                    if matched or stopped
                    else first_failure(each.rule.when, header, source, values, shown),
                    send_to=tuple(each.rule.send_to),
                    recipe=recipe_hash(each.rule.recipe),
                    shadowed=tuple(destination for rule, destination in routing.shadowed if rule == name),
                    returned=tuple(destination for rule, destination in routing.returned if rule == name),
                )
            )
            stopped = stopped or (matched and each.rule.stop)
        return told


def compile_rules(
    rules: Sequence[Rule],
    destinations: Mapping[str, Peer],
    assumed: Mapping[str, Sequence[AssumedSet]] = MappingProxyType({}),
) -> Router:
    """The router for `rules`, in their order; what is wrong stands in its `problems`.

    `assumed`: by receiver the character sets that are assumed of its images.
    """
    problems: list[Finding] = []
    compiled: list[_Compiled] = []
    first_named: dict[str, int] = {}
    for index, rule in enumerate(rules):
        if rule.name in first_named:
            problems.append(
                Finding(
                    ("rule", index, "name"),
                    f'an earlier rule is also named "{rule.name}"',
                    "give each rule its own name",
                )
            )
        first_named.setdefault(rule.name, index)
        key = recipe_hash(rule.recipe)
        deliveries: dict[str, str] = {}
        for position, destination in enumerate(rule.send_to):
            place = ("rule", index, "send_to", position)
            if destination not in destinations:
                what = f'there is no destination "{destination}"'
                problems.append(Finding(place, what, instead(destination, destinations, "destinations")))
            elif destination in deliveries:
                problems.append(Finding(place, f'"{destination}" is named twice', "name it once"))
            else:
                deliveries[destination] = key
        compiled.append(_Compiled(rule, predicate(rule.when), tuple(deliveries.items())))
    return Router(compiled, destinations, problems, assumed)


def _senders(peers: Mapping[str, Peer]) -> dict[tuple[str, str], frozenset[str]]:
    found: dict[tuple[str, str], frozenset[str]] = {}
    for name, peer in peers.items():
        for address in peer.addresses:
            # A dual-stack socket shows an IPv4 peer in its mapped form.
            for form in (address, f"::ffff:{address}"):
                key = (peer.ae_title, form)
                found[key] = found.get(key, _NOBODY) | {name}
    return found
