"""What decides over images that are routed again: today's rules, one of them, or none; and what is corrected.

    today's rules   each image by the rules that take it, as if it came now
    one rule        the recipe and destinations of that rule, whatever it asks of images
    unchanged       as received, to one destination

A correction is a step before the recipe: of the same kind as a rule's `tags`, checked as those are, and so
with a recipe of its own. Rules ask the image as it was received, not as it is corrected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mapdr.dicom.path import format_path, parse_path, tag_vr
from mapdr.dicom.tags import SOP_CLASS_UID, SOP_INSTANCE_UID
from mapdr.kernel.errors import Permanent
from mapdr.kernel.finding import instead
from mapdr.kernel.item import Priority, TagPath
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.route.condition import All, Condition
from mapdr.route.recipe import canonical
from mapdr.route.rules import Router, Rule, compile_rules
from mapdr.store import Store
from mapdr.store.queue.rerouted import Corrections

CORRECTED = "corrected"
"""The key of a recipe that begins with a correction: a keyed hash, so that the recipe's own hash tells nobody
the values, even once they were erased."""


@dataclass(frozen=True, slots=True)
class Directive:
    """What decides. `rule` is a rule's name; `corrections` are values by keyword or (gggg,eeee)."""

    rule: str = ""
    unchanged: bool = False
    corrections: Sequence[tuple[str, str]] = ()


AS_TODAY = Directive()


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A rule with another condition, destinations or recipe than it is configured with."""

    name: str
    when: Condition
    send_to: Sequence[str]
    stop: bool
    priority: Priority
    recipe: dict[str, Any]


def correction(text: str) -> tuple[str, str]:
    """A correction as it is written: `AccessionNumber=A123`. Raises RequestError."""
    tag, equals, value = text.partition("=")
    if not equals or not tag.strip():
        raise RequestError("write it as AccessionNumber=A123", field="corrections")
    return tag.strip(), value


def router_of(opened: Access, directive: Directive, destination: str = "") -> Router:
    """The router that does as the directive says; `destination` is the one that was named, or empty.

    Raises RequestError for what is not clear, or corrects what cannot be corrected so.
    """
    given = opened.router
    if directive.rule and directive.unchanged:
        raise RequestError("images go by a rule or unchanged, not both", field="rule")
    rules: Sequence[Rule] = given.rules
    if directive.unchanged:
        if not destination:
            raise RequestError("say where to they go unchanged: --to NAME", field="unchanged")
        rules = [_Fixed("unchanged", All(()), [destination], False, Priority.ROUTINE, {"steps": []})]
    elif directive.rule:
        rules = [_one(given.rules, directive.rule, destination)]
    if directive.corrections:
        from mapdr.config.site import site_key  # only corrections need it

        step = _step(directive.corrections)
        rules = [_with(rule, step, site_key(opened.plan.node.data)) for rule in rules]
    return compile_rules(rules, given.peers, given.assumed) if rules is not given.rules else given


def corrections_of(directive: Directive, operator: str) -> Corrections | None:
    """What the directive corrects, in the name of `operator`; None if nothing. Raises RequestError."""
    if not directive.corrections:
        return None
    values: dict[TagPath, str] = {}
    for word, new in directive.corrections:
        path = _path(word)
        if path in values:
            raise RequestError(f"{format_path(path)} is corrected twice", field="set")
        values[path] = new
    return Corrections(operator, values)


def is_corrected(store: Store, recipe: str) -> bool:
    """Whether the recipe of a hash begins with a correction; False if nobody knows it any more."""
    try:
        return CORRECTED in store.recipes.recipe(recipe)
    except Permanent:
        return False


def _one(rules: Sequence[Rule], name: str, destination: str) -> Rule:
    known = {rule.name: rule for rule in rules}
    if name not in known:
        raise RequestError(f'there is no rule "{name}"; {instead(name, known, "rules")}', field="rule")
    rule = known[name]
    to = [destination] if destination else rule.send_to
    return _Fixed(name, All(()), to, False, rule.priority, rule.recipe)


def _with(rule: Rule, step: Mapping[str, Any], key: bytes) -> Rule:
    """The rule with a step before its recipe."""
    body = {"steps": [step, *rule.recipe["steps"]]}
    mark = hashlib.blake2b(canonical(body).encode(), digest_size=16, key=key, person=b"mapdr corrected")
    recipe = {**body, CORRECTED: mark.hexdigest()}
    return _Fixed(rule.name, rule.when, rule.send_to, rule.stop, rule.priority, recipe)


def _path(word: str) -> TagPath:
    """The element that is corrected. Raises RequestError, also for one that is no text."""
    try:
        path = parse_path(word)
    except ValueError as error:
        raise RequestError(str(error), field="set") from error
    if len(path) > 1 or tag_vr(path[0]) == "SQ":
        raise RequestError(
            f"{format_path(path)} is of a sequence; an element of the image itself can be corrected",
            field="set",
        )
    if path[0] in (SOP_INSTANCE_UID, SOP_CLASS_UID):
        raise RequestError(f"{format_path(path)} says which image it is, and is not corrected", field="set")
    return path


def _step(corrections: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The step of a recipe that sets the values as they are written. Raises RequestError without a value."""
    from pydantic import TypeAdapter, ValidationError  # as above

    from mapdr.transform.header.tags import STAGE

    edits = []
    for word, new in corrections:
        name = format_path(_path(word))
        literal = new.replace("{", "{{").replace("}", "}}")
        edit = {"set": name, "to": literal}
        try:
            TypeAdapter(STAGE.config).validate_python([edit])
        except ValidationError as error:
            # What pydantic says quotes the value; of its first sentence ours is what stands behind the colon.
            said = str(error.errors(include_input=False, include_url=False)[0]["msg"])
            what = said.removeprefix("Value error, ").removeprefix(f"{name}: ")
            what = what.replace(new, "the value") if new else what
            raise RequestError(f"{name} cannot be corrected so: {what}", field="set") from None
        edits.append(edit)
    return {"type": STAGE.type, "config": edits}
