"""What a person does: retry, hold, release, re-route, dismiss, reload, drain.

Each verb that moves deliveries says how many, and where to, without doing anything if it is asked with
`dry_run`: what is shown before somebody says yes. What was done is told to the node, which logs who did what
to how many.
"""

from __future__ import annotations

import getpass
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mapdr.kernel.errors import MapdrError
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.operate.names import known_destinations
from mapdr.operate.selection import Selection
from mapdr.store import Store

PATIENCE = 90.0
"""Seconds that a node may take to answer: receivers that changed are drained first, then destinations."""
PAUSE = 0.1
MOVED = {"hold": "pending", "release": "held"}
"""Verb and the state of the deliveries that it moves."""
STATES = {"hold": "on hold", "release": "released"}
"""Verb and what it makes of its object."""


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
    """What today's rules promise anew.

    `images` were read, `deliveries` promised, in all and by destination (`to`); `again` of them are of images
    that their destination has confirmed before. `missing` images are no longer in the spool, `unrouted` ones
    no rule takes. `superseded` deliveries end by it; `still_parked` are those that today's rules do not name.
    """

    images: int
    deliveries: int
    to: Mapping[str, int]
    again: int
    missing: int
    unrouted: int
    superseded: int
    still_parked: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A node's answer to an order; `problems` say why it was not obeyed."""

    ok: bool
    problems: Sequence[str]


def retry(opened: Access, chosen: Selection, *, dry_run: bool = False) -> Retried:
    """Try again now what is parked, and what waits for its next try. It keeps the recipe it was promised."""
    store = opened.index(chosen)
    parked = store.ledger.parked_recipes(chosen)
    to = store.ledger.retriable(chosen)
    number = to.total()
    if number and not dry_run:
        number = store.ledger.retry(chosen)
        _note(opened, "retry", number, to)
    outdated = sum(count for recipe, count in parked.items() if recipe not in opened.router.recipes)
    return Retried(number, to, outdated, dry_run)


def retry_webhooks(opened: Access, *, dry_run: bool = False) -> Resent:
    """Try again now the webhook messages that were given up, and those that wait."""
    store = opened.index()
    to = Counter({hook.hook: hook.waiting + hook.parked for hook in store.outbox.queues()})
    number = to.total()
    if number and not dry_run:
        number = store.outbox.retry()
        _note(opened, "retry --webhooks", number, to, of="webhook messages")
    return Resent(number, to, dry_run)


def dismiss(opened: Access, chosen: Selection, *, dry_run: bool = False) -> Dismissed:
    """End parked deliveries: they shall never be sent. Raises RequestError for any other state."""
    if chosen.state not in ("", "parked"):
        raise RequestError("only parked deliveries can be dismissed", field="state")
    store = opened.index(chosen)
    to = store.ledger.retriable(replace(chosen, state="parked"))
    number = to.total()
    if number and not dry_run:
        number = store.ledger.dismiss(chosen)
        _note(opened, "dismiss", number, to)
    return Dismissed(number, to, dry_run)


def hold(opened: Access, chosen: Selection, *, dry_run: bool = False) -> Switched:
    """Chosen deliveries that are pending wait until they are released."""
    return _switch(opened, "hold", opened.index(chosen).ledger.hold, chosen, dry_run=dry_run)


def release(opened: Access, chosen: Selection, *, dry_run: bool = False) -> Switched:
    """Chosen deliveries that are held are pending again."""
    return _switch(opened, "release", opened.index(chosen).ledger.release, chosen, dry_run=dry_run)


def hold_destinations(opened: Access, names: Sequence[str], *, dry_run: bool = False) -> Switched:
    """Deliver nothing to these destinations, now and after a restart, until they are released."""
    store = opened.index()
    return _switch_destinations(opened, "hold", names, store.ledger.hold_destination, dry_run=dry_run)


def release_destinations(opened: Access, names: Sequence[str], *, dry_run: bool = False) -> Switched:
    """Deliver to these destinations again; those that were not on hold are left out of the answer."""
    store = opened.index()
    return _switch_destinations(opened, "release", names, store.ledger.release_destination, dry_run=dry_run)


def reroute(opened: Access, chosen: Selection, *, dry_run: bool = False) -> Promised:
    """Let today's rules decide again over chosen images, and promise what they say.

    With a destination chosen, only for that. What is still owed is not promised twice; what is parked, on
    hold or waiting with another recipe ends as superseded. What was delivered is delivered again, unless only
    other deliveries of the image are chosen. `opened` must have its rules.
    """
    if chosen == Selection():
        raise RequestError("select what to route again, e.g. --state unrouted or --study-date today")
    store, router = opened.index(chosen), opened.router
    only = [chosen.destination] if chosen.destination else []
    images = replace(chosen, destination="")
    if images.of_deliveries:
        images = chosen  # deliveries there that are in this state, not images that are so anywhere
    if not dry_run:
        store.ledger.add_recipes(opened.router.recipes)
    done = store.ledger.reroute(images, router.route, router.wanted, only=only, write=not dry_run)
    if not dry_run and (done.deliveries or done.superseded):
        _note(opened, "reroute", done.deliveries, done.to)
    return Promised(
        images=done.images,
        deliveries=done.deliveries,
        to=done.to,
        again=done.again,
        missing=done.missing,
        unrouted=done.unrouted,
        superseded=done.superseded,
        still_parked=done.still_parked,
        dry_run=dry_run,
    )


def reload(opened: Access, config: Path) -> Answer:
    """Have the running node read its configuration again; what it does not take stays as it was.

    Raises MapdrError if no node runs, or it does not answer in time.
    """
    opened.index()  # says why there is none
    if opened.running() is None:
        raise MapdrError("the node does not run; it reads the configuration when it starts")
    return _order(opened, "reload", {"path": str(config.absolute())})


def drain(opened: Access) -> Answer:
    """Have the running node end in order: what is under way is finished, what is owed stays in the ledger.

    Raises MapdrError if no node runs, or it does not answer in time.
    """
    opened.index()  # says why there is none
    beat = opened.running()
    if beat is None:
        raise MapdrError("the node does not run")
    return _order(opened, "drain", {"process": beat.process})


def _in_state(store: Store, chosen: Selection, state: str) -> Counter[str]:
    """How many of the chosen deliveries are in one state, by destination."""
    if chosen.state not in ("", state):
        return Counter()
    return store.overview.by_destination(replace(chosen, state=state))


def _switch(
    opened: Access, verb: str, move: Callable[[Selection], int], chosen: Selection, *, dry_run: bool
) -> Switched:
    to = _in_state(opened.index(chosen), chosen, MOVED[verb])
    number = to.total()
    if number and not dry_run:
        number = move(chosen)
        _note(opened, verb, number, to)
    return Switched(STATES[verb], [], number, to, dry_run)


def _switch_destinations(
    opened: Access, verb: str, names: Sequence[str], change: Callable[[str], None], *, dry_run: bool
) -> Switched:
    store = opened.index()
    held = store.ledger.held_destinations()
    chosen = known_destinations(opened.plan, names, {*held, *_in_use(opened)})
    if verb == "release":
        chosen = [name for name in chosen if name in held]
    pending = {queue.destination: queue.pending for queue in store.counts.queues()}
    to = {name: pending.get(name, 0) for name in chosen}
    if chosen and not dry_run:
        for name in chosen:
            change(name)
        _note(opened, f"{verb} destination", 0, to)
    return Switched(STATES[verb], chosen, sum(to.values()), to, dry_run)


def _in_use(opened: Access) -> Collection[str]:
    """The destinations that the node named last, also those whose plug-in is gone from the disk."""
    beats = opened.index().commands.heartbeats()
    own = [beat.counters for beat in beats if beat.node == opened.plan.node.name]
    return own[0].get("destinations", {}).keys() if own else ()


def _order(opened: Access, name: str, arguments: Mapping[str, Any]) -> Answer:
    commands = opened.index().commands
    order = commands.give(name, arguments, node=opened.plan.node.name)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        given = commands.get(order)
        if given.done_at is not None:
            result = given.result or {}
            return Answer(bool(result.get("ok")), list(result.get("problems", ())))
        time.sleep(PAUSE)
    if commands.withdraw(order):  # the node that starts next must not obey it
        raise MapdrError(
            f"the node did not take the order within {PATIENCE:.0f} seconds; it is withdrawn; see its log"
        )
    raise MapdrError(f"the node did not answer within {PATIENCE:.0f} seconds; see its log")


def _note(opened: Access, verb: str, number: int, to: Mapping[str, int], *, of: str = "deliveries") -> None:
    """Have the node log who did what to how many; one that does not run logs it when it starts."""
    facts = {"verb": verb, "by": _operator(), "number": number, "of": of, "to": ", ".join(sorted(to))}
    opened.index().commands.give("note", facts, node=opened.plan.node.name)


def _operator() -> str:
    """Who this process works for: the name of the system's user, or its number."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name; Windows without the variables
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "an unknown user"
