"""An image's header as it came, and as it goes to each destination: by what was promised.

Only the steps of the header are run, on a file that the spool still has; pixels are neither decoded nor
encoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mapdr.config.site import site_key
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.item import Instance
from mapdr.kernel.privacy import in_words
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.step import Phase
from mapdr.kernel.watch import Watch
from mapdr.operate.access import Access
from mapdr.operate.differences import ElementChange, changes
from mapdr.operate.explain import NoMemory, Recalling
from mapdr.operate.images import images
from mapdr.operate.selection import Selection
from mapdr.store.queue.listing import DeliveryRow
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import Pipeline, build_steps


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """An element that differs: `change` is "set", "cleared" (removed or emptied) or "changed". Its text
    before and after is None unless it was asked for."""

    tag: str
    name: str
    change: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class PromisedHeader:
    """What a promise (`destination`, `batch`, `state` as for `Delivery`) does to an image's header.

    `changes` are those of the header's steps. `pixels` names the steps after them, in order, which are not
    run here: what they write into the header themselves, such as the attributes of a lossy compression, is
    not among the changes. With an `error`, which says why, the changes are not known.
    """

    instance: str
    destination: str
    batch: int
    state: str
    changes: Sequence[HeaderChange]
    pixels: Sequence[str]
    error: str


@dataclass(frozen=True, slots=True)
class Headers:
    """What is promised of the headers of the images with one SOP Instance UID, the oldest promise first.

    `known` counts those images, `purged` those of them whose file is in the spool no more: of these nothing
    can be told.
    """

    known: int
    purged: int
    promises: Sequence[PromisedHeader]


def headers(
    opened: Access, sop_instance_uid: str, *, study_instance_uid: str = "", identify: bool = False
) -> Headers:
    """The headers of the images with a SOP Instance UID, before and after; found as for `timeline`.

    Values are shown with `identify`, once the audit has it. Raises MapdrError if there is no index,
    AuditError.
    """
    chosen = Selection(sop_instance_uid=sop_instance_uid, study_instance_uid=study_instance_uid)
    if identify:
        opened.show_who("header", chosen)
    store = opened.index(chosen)
    came = images(opened, chosen)
    known = store.instances.by_key([bytes.fromhex(one.instance) for one in came])
    there = {one.id: one for one in known.values() if one.path.is_file()}
    rows = [
        row
        for each in (chosen, replace(chosen, state="superseded"))
        for row in store.listing.select(each)
        if row.instance in there
    ]
    told = list(_promised(opened, sorted(rows, key=lambda row: row.id), there, identify))
    return Headers(len(came), len(came) - len(there), told)


def _promised(
    opened: Access, rows: Sequence[DeliveryRow], there: Mapping[str, Instance], identify: bool
) -> Iterator[PromisedHeader]:
    """Each promise; those with one recipe share the work."""
    edits = _Edits(opened)
    done: dict[tuple[str, str], PromisedHeader] = {}
    for row in rows:
        key = row.instance, row.recipe
        if key not in done:
            done[key] = edits.told(there[row.instance], row.recipe, identify)
        yield replace(done[key], destination=row.destination, batch=row.batch, state=row.state)


class _Edits:
    """What recipes do to the headers of images."""

    def __init__(self, opened: Access) -> None:
        node = opened.plan.node
        # The key is only looked at: a look must not make one.
        known = (node.data / "keys" / "site.key").is_file()
        key = site_key(node.data) if known else bytes(32)
        self._settings = Settings("header", node.name, node.data, key, Watch(), only_looks=True)
        self._registry = Registry()
        self._codecs = Codecs(self._registry, self._settings)
        self._recipes = opened.index().recipes

    def told(self, instance: Instance, recipe: str, identify: bool) -> PromisedHeader:
        """What a recipe does to an image's header, for no destination yet."""
        found: Sequence[ElementChange] = ()
        later: Sequence[str] = ()
        error = ""
        try:
            steps = build_steps(self._recipes.recipe(recipe), self._registry, self._settings)
            later = [name for name, step in steps if step.phase is not Phase.HEADER]
            edits = [(name, step) for name, step in steps if step.phase is Phase.HEADER]
            memory = Recalling(self._recipes.memory(instance.id, recipe, ""))
            before = Pipeline([], self._settings, self._codecs).prepare(instance, NoMemory())
            found = changes(before, Pipeline(edits, self._settings, self._codecs).prepare(instance, memory))
        except MapdrError as fault:
            error = f"{getattr(fault, 'reason', 'temporary')}: {fault}"
        except Exception as fault:  # noqa: BLE001  a step's fault, told; values of the image stay out of it
            error = f"unexpected: {in_words(fault)}"
        told = [_change(each, identify) for each in found]
        return PromisedHeader(instance.id, "", 0, "", told, later, error)


def _change(one: ElementChange, identify: bool) -> HeaderChange:
    change = "changed" if one.before and one.after else "set" if one.after else "cleared"
    texts = (one.before, one.after) if identify else (None, None)
    return HeaderChange(one.tag, one.name, change, *texts)
