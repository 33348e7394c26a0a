"""From a configuration to what shall run: receivers, destinations, the router; all problems at once.

Nothing is started, built or opened here. What is wrong between tables is found: a rule that names no known
destination or receiver, two stages that claim one port, a destination that is this node's own receiver.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapdr.config.character_set import ReadsText
from mapdr.config.model import Config, NamedStage, NodeConfig, WebhookConfig
from mapdr.config.when import parse_when
from mapdr.kernel.address import own_host
from mapdr.kernel.finding import Finding, Place, instead
from mapdr.kernel.page import page_factory
from mapdr.kernel.privacy import in_words
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Endpoint, Factory
from mapdr.route.condition import Condition, Equals, Match, OneOf, exact_words, leaves
from mapdr.route.rules import Peer, Router, compile_rules

FOLDER = "folder:"
"""How a claim of a folder begins; its absolute path follows."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One stage to build.

    `endpoint` is where a receiver will listen or whom a destination will call, if it has such an end;
    `claims` is what the stage has for itself, "tcp:PORT" for the port that it listens at.
    """

    name: str
    factory: Factory
    config: Any
    endpoint: Endpoint | None
    claims: tuple[str, ...]

    @property
    def type(self) -> str:
        """The type of stage, as its table names it."""
        return self.factory.type


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall run. Only a plan without `problems` may be started."""

    node: NodeConfig
    receivers: Mapping[str, Planned]
    destinations: Mapping[str, Planned]
    webhooks: Mapping[str, WebhookConfig]
    router: Router
    problems: tuple[Finding, ...]
    page: Planned | None = None

    @property
    def stages(self) -> Iterator[tuple[Place, Planned]]:
        """Every stage that is to run, with the place of its table."""
        for kind, group in (("receive", self.receivers), ("egress", self.destinations)):
            yield from (((kind, name), planned) for name, planned in group.items())
        if self.page is not None:
            yield ("web",), self.page

    @property
    def recipes(self) -> dict[str, dict[str, Any]]:
        """What each recipe hash in a `Routing` stands for."""
        return self.router.recipes


def make_plan(
    config: Config,
    registry: Registry,
    *,
    is_own: Callable[[str], bool] | None = None,
    resolve: Callable[[str], Iterable[str]] | None = None,
) -> Plan:
    """The plan for a configuration that was read without problems, or with: what is broken is left out.

    `is_own` says whether a host is this machine (default: `own_host`). `resolve` gives a host name's
    addresses, so that the router knows a destination that is also a sender (default: literals only).
    """
    broken: list[Finding] = []
    receivers = _planned("receive", config.receive.values(), registry, broken)
    destinations = _planned("egress", config.egress.values(), registry, broken)
    known = dict.fromkeys(config.egress, Peer())  # also those whose tables have problems
    known |= {name: _peer(stage, resolve or (lambda host: ())) for name, stage in destinations.items()}
    assumed = {
        name: stage.config.assumed for name, stage in receivers.items() if isinstance(stage.config, ReadsText)
    }
    router = compile_rules(config.rule, known, assumed)
    page = _page(config)
    problems = (
        *broken,
        *_claims(receivers, destinations, page),
        *folders_in_one_another(config.node.data, receivers, destinations),
        *_own_receivers(receivers, destinations, is_own or own_host),
        *router.problems,
        *_receivers_in_rules(config),
    )
    return Plan(config.node, receivers, destinations, config.webhook, router, problems, page)


def said(place: Place, ask: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What the stage at `place` says of its configuration when it is asked; what fails then is told of it."""
    try:
        found = list(ask())
    except Exception as error:  # noqa: BLE001  a plug-in may fail in any way, and the others are still asked
        yield failing(place, error)
        return
    yield from (Finding((*place, *each.place), each.what, each.cure) for each in found)


def failing(place: Place, error: Exception) -> Finding:
    """What is told of a stage that fails when it is asked about its configuration: a plug-in's fault."""
    return Finding(
        place, f"fails over its configuration: {in_words(error)}", "report it to who wrote that type"
    )


def _planned(
    kind: str, stages: Iterable[NamedStage], registry: Registry, broken: list[Finding]
) -> dict[str, Planned]:
    """The stages of a kind by name; those that fail are left out, and told in `broken`."""
    planned: dict[str, Planned] = {}
    for stage in stages:
        if stage.config is None:
            continue
        factory = registry.factory(kind, stage.type)
        try:
            endpoint = (factory.listens if kind == "receive" else factory.peer)(stage.config)
            ports = (f"tcp:{endpoint.port}",) if kind == "receive" and endpoint and endpoint.port else ()
            claims = (*ports, *factory.resources(stage.config))
        except Exception as error:  # noqa: BLE001  a plug-in may fail in any way, and the others are still planned
            broken.append(failing((kind, stage.name), error))
            continue
        planned[stage.name] = Planned(stage.name, factory, stage.config, endpoint, claims)
    return planned


def _page(config: Config) -> Planned | None:
    if config.web is None:
        return None
    factory = page_factory()
    endpoint = factory.listens(config.web)
    claims = (f"tcp:{endpoint.port}",) if endpoint and endpoint.port else ()
    return Planned("web", factory, config.web, endpoint, claims)


def _claims(
    receivers: Mapping[str, Planned], destinations: Mapping[str, Planned], page: Planned | None
) -> Iterator[Finding]:
    """What one stage claims no other may. Port 0 is any free port: nobody claims it."""
    owners: dict[str, str] = {}
    stages: list[tuple[Place, Planned]] = [
        *((("receive", name), stage) for name, stage in receivers.items()),
        *((("egress", name), stage) for name, stage in destinations.items()),
        *([(("web",), page)] if page is not None else []),
    ]
    for where, stage in stages:
        for claim in stage.claims:
            if claim in owners:
                place = (*where, *(["port"] if claim.startswith("tcp:") else []))
                yield Finding(place, f"{claim} is already taken by {owners[claim]}", "choose another one")
            owners.setdefault(claim, ".".join(map(str, where)))


def folders_in_one_another(
    data: Path,
    receivers: Mapping[str, Planned],
    destinations: Mapping[str, Planned],
    place_of: Callable[[str], str] = str,
) -> Iterator[Finding]:
    """Folders that lie in one another: what one stage writes another would take, and the node's own files
    must be nobody's images.

    `place_of` gives where a folder is by its absolute path; by default only names are compared.
    """
    known = {os.path.normcase(os.path.abspath(data)): "node.data"}
    for kind, group in (("receive", receivers), ("egress", destinations)):
        for stage in group.values():
            for claim in stage.claims:
                path = claim.removeprefix(FOLDER)
                if path == claim:
                    continue
                for other, owner in known.items():
                    if path == other and owner != "node.data":
                        continue  # the same folder of two stages is told as a claim
                    here, there = place_of(path), place_of(other)
                    if _within(here, there) or _within(there, here):
                        what = f"lies in the folder of {owner}, or has it in it"
                        yield Finding((kind, stage.name), what, "choose another folder")
                        break
                known.setdefault(path, f"{kind}.{stage.name}")


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _own_receivers(
    receivers: Mapping[str, Planned], destinations: Mapping[str, Planned], is_own: Callable[[str], bool]
) -> Iterator[Finding]:
    for stage in destinations.values():
        called = stage.endpoint
        if called is None or not called.port or not is_own(called.host):
            continue
        for receiver in receivers.values():
            listens = receiver.endpoint
            if listens is not None and listens.port == called.port and _listens(listens, called.host):
                what = (
                    f"is this node's own receiver (receive.{receiver.name}): images would go round in circles"
                )
                keys = type(stage.config).model_fields
                key = next((each for each in ("port", "url") if each in keys), None)
                place = ("egress", stage.name, *([key] if key is not None else []))
                yield Finding(place, what, "name another host or port")
                break


def _listens(receiver: Endpoint, host: str) -> bool:
    """Whether a receiver on this machine listens on `host`, which is also this machine."""
    bound = receiver.host
    here = {"localhost": "127.0.0.1"}.get(host.lower(), host)
    return bound in {"", "0.0.0.0", "::", "localhost", host, here}  # noqa: S104  compared, not bound


def _receivers_in_rules(config: Config) -> Iterator[Finding]:
    for place, condition in _conditions(config):
        for leaf in leaves(condition):
            if not isinstance(leaf, Match) or leaf.subject != "receiver":
                continue
            tests = leaf.test.tests if isinstance(leaf.test, OneOf) else (leaf.test,)
            for word in (
                word for test in tests if isinstance(test, Equals) for word in exact_words(test) or ()
            ):
                if word not in config.receive:
                    what = f'there is no receiver "{word}"'
                    yield Finding((*place, "receiver"), what, instead(word, config.receive, "receivers"))


def _conditions(config: Config) -> Iterator[tuple[Place, Condition]]:
    """What rules and their edits ask, with the places."""
    for index, rule in enumerate(config.rule):
        yield ("rule", index, "when"), rule.when
        for type_, step in rule.steps:
            if type_ == "tags":
                yield from _conditions_of_edits(step, ("rule", index, "tags"))


def _conditions_of_edits(edits: Any, place: Place) -> Iterator[tuple[Place, Condition]]:
    for number, edit in enumerate(edits):
        if "if" in edit:
            yield (*place, number, "if"), parse_when(edit["if"], place, [])
        yield from _conditions_of_edits(edit.get("edits", ()), (*place, number, "edits"))


def _peer(destination: Planned, resolve: Callable[[str], Iterable[str]]) -> Peer:
    """Who a destination is to the router: nobody, if it has no AE title that an image may come from."""
    called = destination.endpoint
    if called is None or not called.ae_title:
        return Peer()
    try:
        return Peer(called.ae_title, frozenset({str(ipaddress.ip_address(called.host))}))
    except ValueError:
        addresses = {"127.0.0.1", "::1"} if called.host == "localhost" else set(resolve(called.host))
        return Peer(called.ae_title, frozenset(addresses))
