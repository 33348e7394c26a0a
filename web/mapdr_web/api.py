"""What the API offers: each operation is a typed function over `mapdr.operate`, in one table.

Routes, the reading of parameters, roles and the OpenAPI document follow from the functions: `opened` is the
way to the node, `chosen` the grammar of selections, and each other parameter is one of the path, the query or
the body, by its name and type. The answers are those of the command line's `--json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from mapdr.kernel.item import Priority
from mapdr.operate import about as telling
from mapdr.operate import actions, header, images, sources, timeline
from mapdr.operate import counts as counting
from mapdr.operate import deliveries as delivering
from mapdr.operate import report as reporting
from mapdr.operate import stuck as sticking
from mapdr.operate import studies as studying
from mapdr.operate import surroundings as around
from mapdr.operate.access import Access
from mapdr.operate.directive import Directive, correction
from mapdr.operate.errors import RequestError
from mapdr.operate.model import Destination, EventText, NodeState
from mapdr.operate.selection import Selection, limited
from mapdr_web import forms, hooks, licensing

MOST = 10_000
"""Rows of one listing."""


@dataclass(frozen=True, slots=True)
class Studies:
    """Studies, the last received first; and by their UIDs, what each destination has of them."""

    studies: Sequence[studying.Study]
    confirmed: Mapping[str, Mapping[str, studying.Confirmed]]


@dataclass(frozen=True, slots=True)
class Images:
    """Images, the last received first."""

    images: Sequence[images.Image]


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Deliveries, the newest first."""

    deliveries: Sequence[delivering.Delivery]


@dataclass(frozen=True, slots=True)
class Sources:
    """Sources, the last one to send first."""

    sources: Sequence[sources.SeenSource]


@dataclass(frozen=True, slots=True)
class Destinations:
    """Destinations, those that are stuck first."""

    destinations: Sequence[Destination]


@dataclass(frozen=True, slots=True)
class Events:
    """What happened last, in words; the oldest first."""

    events: Sequence[EventText]


def studies(opened: Access, chosen: Selection, *, identify: bool = False) -> Studies:
    """The studies that a selection chooses, the last received first; of many the newest 50 unless `limit`
    says how many. With `identify` accession number, patient ID and study date too."""
    found = studying.studies(opened, _bounded(chosen), identify=identify)
    confirmed = {
        study.study_instance_uid: {
            name: studying.confirmed(standings) for name, standings in study.destinations.items()
        }
        for study in found
    }
    return Studies(found, confirmed)


def images_of_study(opened: Access, study: str) -> Images:
    """The images of a study, the last received first, and where each of them stands."""
    return Images(images.images(opened, Selection(study_instance_uid=study, limit=MOST)))


def image_timeline(
    opened: Access, image: str, *, study: str = "", identify: bool = False
) -> timeline.Timeline:
    """What became of the images with a SOP Instance UID, in the order in which it happened. With `study`, the
    UID of its study, it is found without a look at every image. With `identify` receivers' own words too,
    which may quote a value of the image."""
    return timeline.timeline(opened, image, study_instance_uid=study, identify=identify)


def image_header(opened: Access, image: str, *, study: str = "", identify: bool = False) -> header.Headers:
    """The header of the images with a SOP Instance UID, before and after what was promised to each
    destination; `study` as for the timeline. With `identify` the values too."""
    return header.headers(opened, image, study_instance_uid=study, identify=identify)


def deliveries(
    opened: Access, chosen: Selection, *, identify: bool = False, attempts: bool = False
) -> Deliveries:
    """The deliveries that a selection chooses, the newest first; of many the newest 50 unless `limit` says
    how many. With `attempts` every attempt at each."""
    return Deliveries(delivering.deliveries(opened, _bounded(chosen), identify=identify, attempts=attempts))


def stuck(opened: Access) -> sticking.Stuck:
    """What waits for a person: parked deliveries by reason, with the cure, and what is on hold."""
    return sticking.stuck(opened)


def all_sources(opened: Access) -> Sources:
    """Who sends: the last image and the images of today of each, and who is not let in."""
    return Sources(sources.sources(opened))


def counts(opened: Access, first: date, last: date) -> counting.PeriodCounts:
    """The counts of local days, both included, added up: images, and studies by their first image."""
    return counting.counts(opened, *_range(first, last))


def hours(opened: Access, first: date, last: date) -> counting.HourCounts:
    """Images by the hour, of local days, both included, all days together."""
    return counting.counts_by_hour(opened, *_range(first, last))


def days(opened: Access, first: date, last: date) -> counting.DayCounts:
    """Images and studies by the day, of local days, both included."""
    return counting.counts_by_day(opened, *_range(first, last))


def report(opened: Access, month: str = "") -> reporting.Report:
    """The report of a month (2026-11), or of this one: what each destination was sent, by source and
    modality."""
    return reporting.report(opened, *reporting.period(of_month=month))


def retry(
    opened: Access, chosen: Selection, *, everything: bool = False, dry_run: bool = False
) -> actions.Retried:
    """Try again now what is parked, and what waits for its next try."""
    return actions.retry(opened, chosen, everything=everything, dry_run=dry_run)


def dismiss(
    opened: Access, chosen: Selection, *, everything: bool = False, dry_run: bool = False
) -> actions.Dismissed:
    """End parked deliveries: they shall never be sent."""
    return actions.dismiss(opened, chosen, everything=everything, dry_run=dry_run)


def hold(
    opened: Access, chosen: Selection, *, everything: bool = False, dry_run: bool = False
) -> actions.Switched:
    """Chosen deliveries that are pending wait until they are released."""
    return actions.hold(opened, chosen, everything=everything, dry_run=dry_run)


def release(
    opened: Access, chosen: Selection, *, everything: bool = False, dry_run: bool = False
) -> actions.Switched:
    """Chosen deliveries that are held are pending again."""
    return actions.release(opened, chosen, everything=everything, dry_run=dry_run)


def hold_destination(opened: Access, name: str, *, dry_run: bool = False) -> actions.Switched:
    """Deliver nothing to a destination, until it is released."""
    return actions.hold_destinations(opened, [name], dry_run=dry_run)


def release_destination(opened: Access, name: str, *, dry_run: bool = False) -> actions.Switched:
    """Deliver to a destination again."""
    return actions.release_destinations(opened, [name], dry_run=dry_run)


def reroute(
    opened: Access,
    chosen: Selection,
    *,
    corrections: Sequence[str] = (),
    everything: bool = False,
    dry_run: bool = False,
) -> actions.Promised:
    """Let today's rules decide again over chosen images, and promise what they say. `corrections` are values
    that the images get on their way, each as `AccessionNumber=A123`."""
    directive = Directive(corrections=tuple(map(correction, corrections)))
    return actions.reroute(opened, chosen, directive=directive, everything=everything, dry_run=dry_run)


def prioritize(
    opened: Access,
    priority: Priority,
    chosen: Selection,
    *,
    everything: bool = False,
    dry_run: bool = False,
) -> actions.Prioritized:
    """Give what is owed another priority: stat, routine or bulk."""
    return actions.prioritize(opened, priority, chosen, everything=everything, dry_run=dry_run)


def destinations(state: NodeState) -> Destinations:
    """How the destinations stand, those that are stuck first."""
    from mapdr.operate.destinations import stuck_first

    return Destinations(stuck_first(state.destinations))


def events(state: NodeState) -> Events:
    """What happened last, in words."""
    return Events(state.events)


def surroundings(state: NodeState) -> around.Surroundings:
    """Who sends now, who listens, and how disk, index and certificates stand."""
    return around.surroundings(state)


def status(state: NodeState) -> NodeState:
    """The node's state, as `mapdr status --json`."""
    return state


@dataclass(frozen=True, slots=True)
class Operation:
    """One function and where it is found. `listing`: it reads, and may be asked with a body too (POST), where
    what is asked for identifies somebody; `changes`: only an operator may, and it is a POST alone."""

    name: str
    path: str
    function: Callable[..., Any]
    changes: bool = False

    @property
    def of_state(self) -> bool:
        """Whether it needs nothing but the node's last snapshot."""
        return next(iter(self.function.__annotations__)) == "state"


def about(opened: Access) -> telling.About:
    """The version, and the packages of others that are installed with it, with their licences."""
    return telling.about()


OPERATIONS = (
    Operation("status", "/status", status),
    Operation("destinations", "/destinations", destinations),
    Operation("events", "/events", events),
    Operation("surroundings", "/surroundings", surroundings),
    Operation("studies", "/studies", studies),
    Operation("images", "/studies/{study}/images", images_of_study),
    Operation("timeline", "/images/{image}/timeline", image_timeline),
    Operation("header", "/images/{image}/header", image_header),
    Operation("deliveries", "/deliveries", deliveries),
    Operation("stuck", "/stuck", stuck),
    Operation("sources", "/sources", all_sources),
    Operation("counts", "/counts", counts),
    Operation("hours", "/hours", hours),
    Operation("days", "/days", days),
    Operation("report", "/report", report),
    Operation("retry", "/retry", retry, changes=True),
    Operation("dismiss", "/dismiss", dismiss, changes=True),
    Operation("hold", "/hold", hold, changes=True),
    Operation("release", "/release", release, changes=True),
    Operation("hold destination", "/destinations/{name}/hold", hold_destination, changes=True),
    Operation("release destination", "/destinations/{name}/release", release_destination, changes=True),
    Operation("reroute", "/reroute", reroute, changes=True),
    Operation("priority", "/priority", prioritize, changes=True),
    Operation("webhooks", "/webhooks", hooks.webhooks),
    Operation("webhook messages", "/webhooks/{name}/messages", hooks.messages),
    Operation("webhooks replay", "/webhooks/{name}/replay", hooks.replay, changes=True),
    Operation("webhook test", "/webhooks/{name}/test", hooks.test, changes=True),
    Operation("about", "/about", about),
    Operation("license", "/license", licensing.license_state),
    Operation("license request", "/license/request", licensing.request, changes=True),
    Operation("license install", "/license/install", licensing.install, changes=True),
    Operation("rules", "/rules", forms.rules),
    Operation("settings", "/settings", forms.settings),
    Operation("save source", "/settings/receivers/{name}/sources/save", forms.save_source, changes=True),
    Operation(
        "remove source", "/settings/receivers/{name}/sources/remove", forms.remove_source, changes=True
    ),
    Operation("save destination", "/settings/destinations/{name}/save", forms.save_destination, changes=True),
    Operation(
        "remove destination", "/settings/destinations/{name}/remove", forms.remove_destination, changes=True
    ),
    Operation("save rule", "/settings/rules/{name}/save", forms.save_rule, changes=True),
    Operation("remove rule", "/settings/rules/{name}/remove", forms.remove_rule, changes=True),
    Operation("echo destination", "/settings/destinations/{name}/echo", forms.echo_destination, changes=True),
)


def _range(first: date, last: date) -> tuple[date, date]:
    if not 0 <= (last - first).days <= 366:
        raise RequestError(
            "a range of days has its first day first, and is no longer than a year", field="last"
        )
    return first, last


def _bounded(chosen: Selection) -> Selection:
    chosen = limited(chosen)
    return replace(chosen, limit=min(chosen.limit or MOST, MOST))
