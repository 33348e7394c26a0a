"""What the headers of chosen images lose, keep and get on their way to each destination, counted by element.

It is worked out anew from the images in the spool and what was promised (`mapdr.operate.promised`). No value
of an image is in it, nor whose study it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.item import Instance
from mapdr.operate import words
from mapdr.operate.access import Access
from mapdr.operate.differences import ACTIONS, ElementChange, compared
from mapdr.operate.errors import RequestError
from mapdr.operate.promised import Promised
from mapdr.operate.selection import Selection
from mapdr.store.queue.listing import DeliveryRow


@dataclass(frozen=True, slots=True)
class ElementCount:
    """What became of one element (its `path`, whatever the items) so many times, and which steps did it.

    `action` is one of `mapdr.operate.differences.ACTIONS`. A path that ends in `[]` means whole items.
    """

    action: str
    tag: str
    path: str
    count: int
    by: Sequence[str]


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """What a destination gets of the chosen images' headers.

    `images` were looked at; of `purged` ones the file is in the spool no more. Of `failed` ones, by reason,
    the header's steps cannot be done: they are parked, and nothing is sent. Two reasons are not the image's:
    "temporary" (what a step needs is not to be had now) and "unexpected" (a fault of this node or of a
    plug-in); such a delivery is tried again. `pixels` names the steps behind those of the header, which are
    not run: what they write into the header is not among the `elements`.
    """

    destination: str
    images: int
    purged: int
    failed: Mapping[str, int]
    pixels: Sequence[str]
    elements: Sequence[ElementCount]


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """One line of the report as CSV."""

    destination: str
    action: str
    tag: str
    path: str
    count: int
    by: Sequence[str]


def header_changes(opened: Access, chosen: Selection) -> list[HeaderChanges]:
    """The newest promises of the chosen images, by destination. Raises MapdrError if there is no index, and
    RequestError for a selection that chooses everything or a destination that there is not."""
    if chosen.of_everything:
        raise RequestError("say which images are meant, e.g. --study UID")
    store = opened.index(chosen)
    newest: dict[tuple[str, str], DeliveryRow] = {}
    for row in sorted(store.listing.select(chosen), key=lambda row: row.id):
        newest[row.destination, row.instance] = row
    keys = {bytes.fromhex(instance) for _, instance in newest}
    known = {one.id: one for one in store.instances.by_key(list(keys)).values()}
    promised = Promised(opened)
    counting: dict[str, _Counting] = {}
    for (destination, instance), row in sorted(newest.items(), key=lambda each: each[0]):
        counts = counting.setdefault(destination, _Counting(promised))
        counts.add(known[instance], row.recipe)
    return [counts.told(destination) for destination, counts in counting.items()]


def lines(told: Sequence[HeaderChanges]) -> list[ChangeLine]:
    """The report as lines of a spreadsheet."""
    return [
        ChangeLine(one.destination, each.action, each.tag, each.path, each.count, each.by)
        for one in told
        for each in one.elements
    ]


@dataclass(slots=True)
class _Counting:
    """The counts of one destination."""

    promised: Promised
    images: int = 0
    purged: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    later: dict[str, None] = field(default_factory=dict)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    by: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    signed: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, instance: Instance, recipe: str) -> None:
        """Look at one image."""
        if not instance.path.is_file():
            self.purged += 1
            return
        self.images += 1
        try:
            edited = self.promised.edited(instance, recipe)
            found = list(compared(edited.before, edited.after, edited.assumed))
            every = [replace(each, path=_any_item(each.path), before=None, after=None) for each in found]
            # To find out who did it takes longer than to find out what was done, and is the same for all.
            new = {(recipe, each.path, each.action) for each in every if each.action != "kept"} - self.signed
            if new:
                changed = [each for each in found if each.action != "kept"]
                self._sign(self.promised.signed(instance, recipe, edited, changed))
        except MapdrError as error:
            self.failed[getattr(error, "reason", "temporary")] += 1
            return
        except Exception:  # noqa: BLE001  a step's fault, told without what it says
            self.failed["unexpected"] += 1
            return
        self.signed |= new
        self.later.update(dict.fromkeys(edited.later))
        self.counts.update((each.action, each.path, each.tag) for each in every)

    def _sign(self, found: Sequence[ElementChange]) -> None:
        for each in found:
            self.by.setdefault((each.action, _any_item(each.path)), {}).update(dict.fromkeys(each.by))

    def told(self, destination: str) -> HeaderChanges:
        """The report for that destination."""
        elements = [
            ElementCount(action, tag, path, count, list(self.by.get((action, path), ())))
            for (action, path, tag), count in self.counts.items()
        ]
        elements.sort(
            key=lambda each: (ACTIONS.index(each.action), each.path.count("."), each.tag, each.path)
        )
        failed = dict(sorted(self.failed.items()))
        return HeaderChanges(destination, self.images, self.purged, failed, list(self.later), elements)


def _any_item(path: str) -> str:
    """A path without the numbers of items; one to an item ends in []."""
    return re.sub(r"\[[0-9]+\](?=\.)", "", re.sub(r"\[[0-9]+\]$", "[]", path))


def kept_of(one: HeaderChanges) -> tuple[int, int]:
    """How many elements are kept as they are, and how often."""
    counts = [each.count for each in one.elements if each.action == "kept"]
    return len(counts), sum(counts)


_NOT_OF_THE_IMAGE = {
    "temporary": "not looked at: what a step needs, such as a file or memory, is not to be had now",
    "unexpected": "not looked at: a step failed by a fault of this node or of a plug-in",
}


def remarks(one: HeaderChanges) -> list[str]:
    """What the numbers do not say, in words."""
    found = [
        f"{words.many(number, 'image')} {_NOT_OF_THE_IMAGE.get(reason, f'parked: {reason}')}"
        for reason, number in one.failed.items()
    ]
    if one.purged:
        found.append(f"{words.many(one.purged, 'image')} purged: nothing can be told of them")
    if one.pixels:
        found.append(f"what {', '.join(one.pixels)} writes into the header is not counted")
    return found
