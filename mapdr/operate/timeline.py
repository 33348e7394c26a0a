"""What became of one image, in the order in which it happened, and which rules promised it to whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from mapdr.config.model import RuleConfig
from mapdr.config.revision import read_revision
from mapdr.dicom.transfer_syntax import name_of
from mapdr.kernel.errors import ConfigurationError, Permanent
from mapdr.operate.access import Access
from mapdr.operate.deliveries import Delivery, deliveries
from mapdr.operate.directive import CORRECTED
from mapdr.operate.images import Image, images
from mapdr.operate.rule_words import hidden
from mapdr.operate.selection import Selection
from mapdr.route.recipe import recipe_hash


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to an image; `instance` is its id in the spool.

    `kind` is "received", "attempt" (`word` is its verdict) or "settled" (`word` is the delivery's state).
    `batch` tells promises to one destination apart; `destination` is empty for what concerns all.
    `milliseconds`, `bytes`, `treatment` (what was done to it) and `transfer_syntax` (its name) are an
    attempt's; `ratio` is how many bytes as received went as one, None if nothing was sent. Of what was
    received, `bytes` and `transfer_syntax` are those of the data set as it came.
    """

    at: float
    kind: str
    instance: str
    destination: str
    batch: int
    word: str
    status: int | None
    reason: str
    comment: str
    milliseconds: int | None = None
    bytes: int | None = None
    treatment: str = ""
    transfer_syntax: str = ""
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """What was promised to a destination for an image; `state`, `reason` and `batch` as for `Delivery`.

    `rules` name the rules that say so, of the configuration that the image came under, or for a re-route of
    the one that the node used last; empty where it is not kept. `recipe` is the hash of the transforms, whose
    types and configurations are `transforms`, in order.
    """

    instance: str
    destination: str
    batch: int
    state: str
    reason: str
    rules: Sequence[str]
    recipe: str
    transforms: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The images with one SOP Instance UID, what was promised of them, and what happened; each the oldest
    first."""

    images: Sequence[Image]
    promises: Sequence[Promise]
    steps: Sequence[Step]


def timeline(
    opened: Access, sop_instance_uid: str, *, study_instance_uid: str = "", identify: bool = False
) -> Timeline:
    """What became of the images with a SOP Instance UID; empty where there is none. To find it without its
    study is to look at every image.

    A receiver's own words as for `deliveries`. Raises MapdrError if there is no index.
    """
    chosen = Selection(sop_instance_uid=sop_instance_uid, study_instance_uid=study_instance_uid)
    superseded = replace(chosen, state="superseded")
    came = images(opened, chosen)[::-1]
    rows = [
        row
        for each in (chosen, superseded)
        for row in deliveries(opened, each, identify=identify, attempts=True)
    ]
    rows.sort(key=lambda row: row.id)
    sizes = {one.instance: one.bytes for one in came}
    steps = [_received(one) for one in came]
    steps += [step for row in rows for step in _steps(row, sizes.get(row.instance, 0))]
    promises = list(_promises(opened, came, rows, identify))
    return Timeline(came, promises, sorted(steps, key=lambda step: step.at))


def _received(one: Image) -> Step:
    return Step(
        one.received_at,
        "received",
        one.instance,
        "",
        0,
        "",
        None,
        "",
        "",
        bytes=one.bytes,
        transfer_syntax=name_of(one.transfer_syntax_uid),
    )


def _steps(row: Delivery, size: int) -> Iterator[Step]:
    """What happened to one promise of an image of `size` bytes as received."""
    to = (row.instance, row.destination, row.batch)
    for one in row.attempts_made or ():
        ratio = size / one.bytes if size and one.bytes else None
        syntax = name_of(one.transfer_syntax_uid) if one.transfer_syntax_uid else ""
        yield Step(
            one.started_at,
            "attempt",
            *to,
            one.verdict,
            one.status,
            one.reason,
            one.comment,
            one.milliseconds,
            one.bytes,
            one.treatment,
            syntax,
            ratio,
        )
    if row.settled_at is not None:
        yield Step(row.settled_at, "settled", *to, row.state, row.status, row.reason, row.comment)


def _promises(
    opened: Access, came: Iterable[Image], rows: Iterable[Delivery], identify: bool
) -> Iterator[Promise]:
    beat = opened.last_beat()
    last_used = str(beat.counters.get("revision", "")) if beat else ""
    revisions = {one.instance: one.revision for one in came}

    @cache
    def rules(revision: str) -> Sequence[RuleConfig]:
        return _rules(opened, revision)

    for row in rows:
        revision = last_used if row.batch else revisions.get(row.instance, "")
        yield Promise(
            instance=row.instance,
            destination=row.destination,
            batch=row.batch,
            state=row.state,
            reason=row.reason,
            rules=[
                rule.name
                for rule in rules(revision)
                if row.destination in rule.send_to and recipe_hash(rule.recipe) == row.recipe
            ],
            recipe=row.recipe,
            transforms=_transforms(opened, row.recipe, identify),
        )


def _rules(opened: Access, revision: str) -> Sequence[RuleConfig]:
    """The rules of a configuration revision; none if the node keeps it no more, or it cannot be read."""
    try:
        kept = read_revision(opened.plan.node.data, revision).config
    except ConfigurationError:
        return ()
    return kept.rule if kept is not None else ()


def _transforms(opened: Access, recipe: str, identify: bool) -> Sequence[Mapping[str, Any]]:
    """The steps of a recipe; none if nobody brought it (the image is parked with that reason). What it
    corrects, tables and conditions are without their values, unless `identify`."""
    try:
        body = opened.index().recipes.recipe(recipe)
    except Permanent:
        return ()
    steps: list[Mapping[str, Any]] = body["steps"]
    if identify:
        return steps
    steps = [
        {**step, "config": [hidden(edit) for edit in step["config"]]} if step["type"] == "tags" else step
        for step in steps
    ]
    if CORRECTED not in body:
        return steps
    uncorrected = [{key: value for key, value in edit.items() if key != "to"} for edit in steps[0]["config"]]
    return [{**steps[0], "config": uncorrected}, *steps[1:]]
