"""What was found for a place: the node's state, and the rows of its view. The queries are bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mapdr.operate.access import Access
from mapdr.operate.destinations import stuck_first
from mapdr.operate.images import Image, images
from mapdr.operate.model import Destination, EventText, NodeState
from mapdr.operate.parked import ParkedGroup, parked
from mapdr.operate.selection import Selection
from mapdr.operate.studies import Study, studies
from mapdr.operate.timeline import Timeline, timeline
from mapdr_cli.top.place import Place, View

MOST_STUDIES = 100
MOST_IMAGES = 500
"""Rows that a view holds; a selection (`/`) finds the others."""

Row = Destination | Study | Image | ParkedGroup | Timeline | EventText


@dataclass(frozen=True, slots=True)
class Found:
    """What was found at one moment for `query` (`Place.query`).

    `rows` are the view's, none where the view draws the state alone; `trouble` says why they could not be
    looked up. `events` are those that were seen since one looks, oldest first.
    """

    query: Place
    state: NodeState
    rows: Sequence[Row] = ()
    trouble: str = ""
    events: Sequence[EventText] = ()
    identify: bool = False

    def at(self, place: Place) -> Found:
        """What is known of a place by this: all of it, where its view draws the state alone."""
        if place.view in (View.OVERVIEW, View.DESTINATIONS, View.LOG) and self.query != place.query:
            return replace(self, query=place.query, rows=(), trouble="")
        return self

    @property
    def keys(self) -> list[str]:
        """What tells the rows apart, in their order on the screen."""
        if self.query.view in (View.OVERVIEW, View.DESTINATIONS):
            return [one.name for one in stuck_first(self.state.destinations)]
        if self.query.view is View.LOG:
            return [event_key(one) for one in reversed(self.events)]
        if self.query.view is View.TIMELINE:  # its lines, which no step stands for alone
            return [str(number) for number in range(sum(map(_lines, self.rows)))]
        return [key_of(row) for row in self.rows]


def _lines(row: Row) -> int:
    """About as many lines as a timeline takes, or more."""
    if not isinstance(row, Timeline):
        return 0
    return len(row.images) + 6 * len(row.promises) + len(row.steps)


def key_of(row: Row) -> str:
    """What tells a row from others of its view."""
    match row:
        case Study():
            return row.study_instance_uid
        case Image():
            return row.instance
        case ParkedGroup():
            return row.reason
        case Destination():
            return row.name
        case EventText():
            return event_key(row)
        case Timeline():
            return ""


def event_key(event: EventText) -> str:
    """What tells events apart."""
    return f"{event.at} {event.text}"


def gather(opened: Access, place: Place, *, identify: bool) -> Sequence[Row]:
    """The rows of a place's view; none of one that needs the node's state alone.

    Raises what `mapdr.operate` raises.
    """
    chosen = place.chosen
    match place.view:
        case View.STUDIES:
            return studies(opened, _limited(chosen, MOST_STUDIES), identify=identify, order=place.order)
        case View.IMAGES:
            return images(opened, _limited(chosen, MOST_IMAGES))
        case View.TIMELINE:
            study = chosen.study_instance_uid
            return [timeline(opened, chosen.sop_instance_uid, study_instance_uid=study, identify=identify)]
        case View.PARKED:
            return parked(opened, chosen)
        case _:
            return ()


def _limited(chosen: Selection, most: int) -> Selection:
    return replace(chosen, limit=min(chosen.limit or most, most))
