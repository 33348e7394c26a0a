"""Actions of `mapdr top`: how many they concern, in words that ask, and what was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from mapdr.operate import actions, words
from mapdr.operate.access import Access
from mapdr_cli.commands.confirm import where_to
from mapdr_cli.top.place import Action

Acting = Callable[[bool], AbstractContextManager[Access]]
"""The way to the node, with its rules or without: a retry needs them to say what is outdated."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many deliveries (or destinations) an action concerns or has changed, and the words for it."""

    action: Action
    number: int
    text: str
    done: bool


_ASKED = {
    "retry": "Try {what} again now",
    "dismiss": "Give up {what}, which then are never sent",
    "hold": "Put {what} on hold",
    "release": "Release {what}",
}
_DONE = {
    "retry": "{what} will be tried again",
    "dismiss": "{what} dismissed",
    "hold": "{what} on hold",
    "release": "{what} released",
}
_NOTHING = {
    "retry": "nothing to try again: nothing is parked there, and nothing waits",
    "dismiss": "nothing to dismiss: nothing is parked there",
    "hold": "nothing to hold: nothing waits there",
    "release": "nothing to release: nothing is on hold there",
}


def act(acting: Acting, action: Action, *, dry_run: bool) -> Outcome:
    """Do it, or only say how many it concerns. Raises what `mapdr.operate` raises."""
    with acting(action.verb == "retry") as opened:
        if action.destinations:
            return _on_destinations(opened, action, dry_run)
        found: actions.Retried | actions.Dismissed | actions.Switched
        match action.verb:
            case "retry":
                found = actions.retry(opened, action.chosen, dry_run=dry_run)
            case "dismiss":
                found = actions.dismiss(opened, action.chosen, dry_run=dry_run)
            case "hold":
                found = actions.hold(opened, action.chosen, dry_run=dry_run)
            case _:
                found = actions.release(opened, action.chosen, dry_run=dry_run)
    outdated = found.outdated if isinstance(found, actions.Retried) else 0
    what = words.many(found.deliveries, "delivery", "deliveries")
    return _outcome(action, found.deliveries, what, found.to, outdated=outdated, dry_run=dry_run)


def _on_destinations(opened: Access, action: Action, dry_run: bool) -> Outcome:
    switch = actions.hold_destinations if action.verb == "hold" else actions.release_destinations
    found = switch(opened, action.destinations, dry_run=dry_run)
    names = ", ".join(map(words.plain, found.destinations))
    what = f"destination {names}"
    waiting = f" ({words.many(found.deliveries, 'image')} waiting there)" if found.deliveries else ""
    number = len(found.destinations)
    if not number:
        return Outcome(action, 0, "the destination is not on hold", not dry_run)
    template = (_ASKED if dry_run else _DONE)[action.verb]
    return Outcome(
        action, number, template.format(what=what) + waiting + ("?" if dry_run else ""), not dry_run
    )


def _outcome(
    action: Action, number: int, what: str, to: Mapping[str, int], *, outdated: int, dry_run: bool
) -> Outcome:
    if not number:
        return Outcome(action, 0, _NOTHING[action.verb], not dry_run)
    where = f" ({where_to(to)})" if to else ""
    text = (_ASKED if dry_run else _DONE)[action.verb].format(what=what + where)
    if dry_run:
        text += "?"
    if outdated:
        text += f" {outdated} keep a recipe that today's rules no longer give"
    return Outcome(action, number, text, not dry_run)
