"""What a person does to deliveries: retry, hold, release, re-route, dismiss, make more or less urgent.

Each action writes into the index beside the node. Asked with `dry_run` it only says how many, and where to:
what is shown before somebody says yes. What was done is told to the node, which logs who did what to how
many. A selection without any condition is refused, unless `everything` says that all is meant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.item import Priority
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.operate.jobs import Named, begun, known, paced, portion
from mapdr.operate.listed import unknown_places
from mapdr.operate.names import known_destinations
from mapdr.operate.orders import note
from mapdr.operate.selection import Selection
from mapdr.store import Store
from mapdr.store.queue.rerouted import ImageRerouted, Rerouted

if TYPE_CHECKING:
    from mapdr.operate.directive import Directive


@dataclass(frozen=True, slots=True)
class Retried:
    """Deliveries that are tried again, in all and by destination; `outdated` ones keep a recipe that today's
    rules no longer give."""

    deliveries: int
    to: Mapping[str, int]
    outdated: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Resent:
    """Webhook messages that are tried again, in all and by webhook."""

    messages: int
    to: Mapping[str, int]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Dismissed:
    """Parked deliveries that end without being sent, in all and by destination."""

    deliveries: int
    to: Mapping[str, int]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Prioritized:
    """Deliveries that are of this `priority` by now and were of another, in all and by destination."""

    priority: str
    deliveries: int
    to: Mapping[str, int]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Switched:
    """What is "on hold" or "released" (`state`): whole `destinations`, or single deliveries.

    `deliveries` and `to` (by destination) count those that it concerns now.
    """

    state: str
    destinations: Sequence[str]
    deliveries: int
    to: Mapping[str, int]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Promised:
    """What today's rules promise anew, or what else was said to decide.

    `images` were read, `deliveries` promised, in all and by destination (`to`; their bytes in `bytes_to`);
    `again` of them are of images that their destination has confirmed before. `missing` images are no longer
    in the spool, `unrouted` ones no rule takes. `superseded` deliveries end by it; `still_parked` are those
    that today's rules do not name. `uncorrected` images were corrected before, and are promised without that.
    `before` images of a re-route with a name were done by earlier runs.
    `unknown` are the places, from 1, of listed values by which no image is chosen.
    """

    images: int
    deliveries: int
    to: Mapping[str, int]
    bytes_to: Mapping[str, int]
    again: int
    missing: int
    unrouted: int
    superseded: int
    still_parked: int
    uncorrected: int
    before: int
    unknown: Sequence[int]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a re-route is: `done` of `images`, those of earlier runs too, and what became of the `last`."""

    done: int
    images: int
    last: Sequence[ImageRerouted]


@dataclass(frozen=True, slots=True)
class _Switch:
    """An action that stops or starts: the state of the deliveries that it moves, and how they are then."""

    action: str
    moves: str
    made: str


_HOLD = _Switch("hold", "pending", "on hold")
_RELEASE = _Switch("release", "held", "released")


def retry(opened: Access, chosen: Selection, *, everything: bool = False, dry_run: bool = False) -> Retried:
    """Try again now what is parked, and what waits for its next try. It keeps the recipe it was promised."""
    store = _index(opened, chosen, everything)
    parked = store.listing.parked_recipes(chosen)
    to = store.listing.retriable(chosen)
    number = to.total()
    if number and not dry_run:
        number = store.actions.retry(chosen)
        note(opened, "retry", number, to, chosen=chosen)
    outdated = sum(count for recipe, count in parked.items() if _is_outdated(opened, recipe))
    return Retried(number, to, outdated, dry_run)


def retry_webhooks(opened: Access, *, dry_run: bool = False) -> Resent:
    """Try again now the webhook messages that were given up, and those that wait."""
    store = opened.index()
    to = Counter({hook.hook: hook.waiting + hook.parked for hook in store.outbox.queues()})
    number = to.total()
    if number and not dry_run:
        number = store.outbox.retry()
        note(opened, "retry --webhooks", number, to, of="webhook messages")
    return Resent(number, to, dry_run)


def dismiss(
    opened: Access, chosen: Selection, *, everything: bool = False, dry_run: bool = False
) -> Dismissed:
    """End parked deliveries: they shall never be sent. Raises RequestError for any other state."""
    if chosen.state not in ("", "parked"):
        raise RequestError("only parked deliveries can be dismissed", field="state")
    store = _index(opened, chosen, everything)
    to = store.listing.retriable(replace(chosen, state="parked"))
    number = to.total()
    if number and not dry_run:
        number = store.actions.dismiss(chosen)
        note(opened, "dismiss", number, to, chosen=chosen)
    return Dismissed(number, to, dry_run)


def hold(opened: Access, chosen: Selection, *, everything: bool = False, dry_run: bool = False) -> Switched:
    """Chosen deliveries that are pending wait until they are released."""
    store = _index(opened, chosen, everything)
    return _switch(store, opened, _HOLD, store.actions.hold, chosen, dry_run=dry_run)


def release(
    opened: Access, chosen: Selection, *, everything: bool = False, dry_run: bool = False
) -> Switched:
    """Chosen deliveries that are held are pending again."""
    store = _index(opened, chosen, everything)
    return _switch(store, opened, _RELEASE, store.actions.release, chosen, dry_run=dry_run)


def prioritize(
    opened: Access,
    priority: Priority,
    chosen: Selection,
    *,
    everything: bool = False,
    dry_run: bool = False,
) -> Prioritized:
    """Give what is owed another priority; what is being sent goes on as it is."""
    store = _index(opened, chosen, everything)
    to = store.listing.of_other_priority(chosen, priority)
    number = to.total()
    if number and not dry_run:
        number = store.actions.prioritize(chosen, priority)
        note(opened, f"make {priority.word}", number, to, chosen=chosen)
    return Prioritized(priority.word, number, to, dry_run)


def hold_destinations(opened: Access, names: Sequence[str], *, dry_run: bool = False) -> Switched:
    """Deliver nothing to these destinations, now and after a restart, until they are released."""
    store = opened.index()
    return _switch_destinations(opened, _HOLD, names, store.ledger.hold_destination, dry_run=dry_run)


def release_destinations(opened: Access, names: Sequence[str], *, dry_run: bool = False) -> Switched:
    """Deliver to these destinations again; those that were not on hold are left out of the answer."""
    store = opened.index()
    return _switch_destinations(opened, _RELEASE, names, store.ledger.release_destination, dry_run=dry_run)


def reroute(
    opened: Access,
    chosen: Selection,
    *,
    directive: Directive | None = None,
    named: Named | None = None,
    rate: float | None = None,
    everything: bool = False,
    dry_run: bool = False,
    told: Callable[[Progress], object] = lambda progress: None,
) -> Promised:
    """Let today's rules decide again over chosen images, or the directive, and promise what they say.

    With a destination chosen, only for that. What is still owed is not promised twice; what is parked, on
    hold or waiting with another recipe ends as superseded. What was delivered is delivered again, unless only
    other deliveries of the image are chosen. `opened` must have its rules.

    With a name, images are chosen when it is used for the first time; whoever uses it again goes on with
    those that are left, and promises none of them twice, however the run before has ended. `rate` is how many
    images a second are promised at most. `told` is called after each portion of them.
    """
    from mapdr.operate.directive import (
        AS_TODAY,
        corrections_of,
        router_of,
    )  # only this needs it, and it costs

    store = _index(opened, chosen, everything)
    asked = directive or AS_TODAY
    router = router_of(opened, asked, chosen.destination)
    images = replace(chosen, destination="")
    if images.of_deliveries:
        images = chosen  # deliveries there that are in this state, not images that are so anywhere
    job = known(opened, named)
    keys = store.rerouting.choose(images) if job is None else job.left
    unknown = unknown_places(store, images) if job is None else ()
    if not dry_run:
        store.recipes.add(router.recipes)
        if named is not None and job is None:
            job = begun(opened, named, keys)
            keys = job.left
    before = job.images - len(job.left) if job else 0
    steps = store.rerouting.steps(
        keys,
        images,
        router.route,
        router.wanted,
        only=[chosen.destination] if chosen.destination else [],
        write=not dry_run,
        job=job.number if job else None,
        corrections=corrections_of(asked, opened.actor.user),
        portion=portion(rate),
    )
    done = Rerouted()
    try:
        progress = Progress(before, before + len(keys), ())
        for step, last in paced(steps, None if dry_run else rate):
            done += step
            progress = Progress(progress.done + len(last), progress.images, last)
            told(progress)
            if opened.ends() and progress.done < progress.images:
                raise MapdrError(
                    f"the node ends; {progress.done} of {progress.images} images were looked after"
                )
    finally:
        if not dry_run and (done.deliveries or done.superseded):
            action = "reroute --set" if asked.corrections else "reroute"
            note(opened, action, done.deliveries, done.to, chosen=chosen)
    return Promised(
        images=done.images,
        deliveries=done.deliveries,
        to=done.to,
        bytes_to=done.bytes_to,
        again=done.again,
        missing=done.missing,
        unrouted=done.unrouted,
        superseded=done.superseded,
        still_parked=done.still_parked,
        uncorrected=done.uncorrected,
        before=before,
        unknown=unknown,
        dry_run=dry_run,
    )


def _is_outdated(opened: Access, recipe: str) -> bool:
    """Whether today's rules give another recipe; what an operator corrected is as it was meant."""
    if recipe in opened.router.recipes:
        return False
    from mapdr.operate.directive import is_corrected  # few retries need it, and it costs

    return not is_corrected(opened.index(), recipe)


def _index(opened: Access, chosen: Selection, everything: bool) -> Store:
    """The store, in which `chosen` is looked for. Raises RequestError for one that chooses everything, unless
    that is meant, and as `Access.index`."""
    if chosen.of_everything and not everything:
        raise RequestError("say what is chosen, e.g. --state unrouted or --study-date today")
    return opened.index(chosen)


def _in_state(store: Store, chosen: Selection, state: str) -> Counter[str]:
    """How many of the chosen deliveries are in one state, by destination."""
    if chosen.state not in ("", state):
        return Counter()
    return store.overview.by_destination(replace(chosen, state=state))


def _switch(
    store: Store,
    opened: Access,
    switch: _Switch,
    move: Callable[[Selection], int],
    chosen: Selection,
    *,
    dry_run: bool,
) -> Switched:
    to = _in_state(store, chosen, switch.moves)
    number = to.total()
    if number and not dry_run:
        number = move(chosen)
        note(opened, switch.action, number, to, chosen=chosen)
    return Switched(switch.made, [], number, to, dry_run)


def _switch_destinations(
    opened: Access, switch: _Switch, names: Sequence[str], change: Callable[[str], None], *, dry_run: bool
) -> Switched:
    store = opened.index()
    held = store.ledger.held_destinations()
    chosen = known_destinations(opened.plan, names, {*held, *_in_use(opened)})
    if switch is _RELEASE:
        chosen = [name for name in chosen if name in held]
    pending = {queue.destination: queue.pending for queue in store.counts.queues()}
    to = {name: pending.get(name, 0) for name in chosen}
    if chosen and not dry_run:
        for name in chosen:
            change(name)
        note(opened, f"{switch.action} destination", 0, to)
    return Switched(switch.made, chosen, sum(to.values()), to, dry_run)


def _in_use(opened: Access) -> Collection[str]:
    """The destinations that the node named last, also those whose plug-in is gone from the disk."""
    beat = opened.last_beat()
    return beat.counters.get("destinations", {}).keys() if beat else ()
