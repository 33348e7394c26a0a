"""An image's header as it came, and as it goes to each destination: by what was promised.

Only the steps of the header are run, on a file that the spool still has; pixels are neither decoded nor
encoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.item import Instance
from mapdr.kernel.privacy import in_words
from mapdr.operate.access import Access
from mapdr.operate.differences import ElementChange, changes
from mapdr.operate.images import images
from mapdr.operate.promised import Promised
from mapdr.operate.selection import Selection
from mapdr.store.queue.listing import DeliveryRow


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
    promised = Promised(opened)
    done: dict[tuple[str, str], PromisedHeader] = {}
    for row in rows:
        key = row.instance, row.recipe
        if key not in done:
            done[key] = _told(promised, there[row.instance], row.recipe, identify)
        yield replace(done[key], destination=row.destination, batch=row.batch, state=row.state)


def _told(promised: Promised, instance: Instance, recipe: str, identify: bool) -> PromisedHeader:
    """What a recipe does to an image's header, for no destination yet."""
    found: Sequence[ElementChange] = ()
    later: Sequence[str] = ()
    error = ""
    try:
        edited = promised.edited(instance, recipe)
        later = edited.later
        found = changes(edited.before, edited.after, edited.assumed)
    except MapdrError as fault:
        error = f"{getattr(fault, 'reason', 'temporary')}: {fault}"
    except Exception as fault:  # noqa: BLE001  a step's fault, told; values of the image stay out of it
        error = f"unexpected: {in_words(fault)}"
    return PromisedHeader(instance.id, "", 0, "", [_change(each, identify) for each in found], later, error)


def _change(one: ElementChange, identify: bool) -> HeaderChange:
    change = "changed" if one.before and one.after else "set" if one.after else "cleared"
    texts = (one.before, one.after) if identify else (None, None)
    return HeaderChange(one.tag, one.name, change, *texts)
