"""Where one is in `mapdr top`, and what one is about to do: plain values, changed by keys alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from mapdr.operate.selection import Selection
from mapdr.operate.studies import Order


class View(Enum):
    """The views, by the word that stands in the first line."""

    OVERVIEW = "overview"
    DESTINATIONS = "destinations"
    STUDIES = "studies"
    PARKED = "parked"
    LOG = "log"
    IMAGES = "images"
    TIMELINE = "timeline"


TABS = (View.OVERVIEW, View.DESTINATIONS, View.STUDIES, View.PARKED, View.LOG)
"""Those that Tab goes through, and the digits from 1 on."""

ORDERS: tuple[Order, ...] = ("newest", "oldest", "stuck")
"""The orders of studies that `s` goes through."""


@dataclass(frozen=True, slots=True)
class Place:
    """A view with what is chosen in it; `crumbs` say in the first line of what it is.

    `cursor` is the key of the row that is marked, "" for the first one: rows may come and go. `typed` is the
    selection as it was typed, `order` how studies are sorted.
    """

    view: View
    chosen: Selection = field(default_factory=Selection)
    crumbs: str = ""
    cursor: str = ""
    typed: str = ""
    order: Order = "newest"

    @property
    def query(self) -> Place:
        """What has to be looked up for it, whatever row is marked."""
        return replace(self, cursor="", crumbs="", typed="")


@dataclass(frozen=True, slots=True)
class Action:
    """What is to be done: `verb` is hold, release, retry or dismiss; to whole `destinations`, or to the
    deliveries that are `chosen`."""

    verb: str
    chosen: Selection = field(default_factory=Selection)
    destinations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """An action that waits for a yes, and the words that ask for it."""

    action: Action
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A line for the operator; `level` as of events."""

    text: str
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Screen:
    """All that keys change. `places` is the way to where one is, the last one.

    At most one of these is so: `typing` is the selection that is being typed, `question` waits for a yes,
    `helped` the help is open.
    """

    places: tuple[Place, ...] = (Place(View.OVERVIEW),)
    typing: str | None = None
    question: Question | None = None
    helped: bool = False
    notice: Notice | None = None

    @property
    def place(self) -> Place:
        """Where one is."""
        return self.places[-1]

    def at(self, place: Place) -> Screen:
        """The same with another last place."""
        return replace(self, places=(*self.places[:-1], place))


def crumbs(places: Sequence[Place]) -> list[str]:
    """The way to a place in words; the overview is where it begins and needs none."""
    return [one.crumbs or one.view.value for one in places if one.view is not View.OVERVIEW]
