"""`mapdr retry`, `hold`, `release`, `reroute`, `dismiss`: what an operator does to the queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from mapdr.store import Store
from mapdr.store.index.selection import Selection
from mapdr.store.queue.reroute import Rerouted
from mapdr_cli import words
from mapdr_cli.access import access
from mapdr_cli.commands.echo import choose
from mapdr_cli.confirm import ask, sure_options, where_to
from mapdr_cli.options import config_option, json_option, print_json, selection_options

NAMES = click.argument("names", metavar="[NAME]...", nargs=-1)


@click.command(short_help="Try parked deliveries again.")
@selection_options
@click.option(
    "--webhooks",
    is_flag=True,
    help="Webhook messages instead of deliveries: those given up and those waiting.",
)
@sure_options
@config_option
@json_option
def retry(
    *, chosen: Selection, webhooks: bool, yes: bool, dry_run: bool, config: Path, as_json: bool
) -> None:
    """Try again now: what is parked, and what waits for its next try. Without options, all of it.

    It says how many and where to, and asks. What is tried again keeps the recipe that it was promised;
    `mapdr reroute --state parked` applies today's rules instead.
    """
    with access(config, rules=True) as opened:
        store = opened.index(chosen)
        if webhooks:
            to = Counter({hook.hook: hook.waiting + hook.parked for hook in store.outbox.queues()})
            noun = words.many(to.total(), "webhook message")
            if to.total() and not dry_run:
                ask(f"Try {noun} again ({where_to(to)})?", yes=yes)
                noun = words.many(store.outbox.retry(), "webhook message")
            _tell(as_json, {"retried": to.total(), "to": to, "dry_run": dry_run}, _again(noun, to, dry_run))
            return
        parked = store.ledger.parked_recipes(chosen)
        to = store.ledger.retriable(chosen)
        number = to.total()
        noun = words.many(number, "delivery", "deliveries")
        if number and not dry_run:
            ask(f"Try {noun} again ({where_to(to)})?", yes=yes)
            number = store.ledger.retry(chosen)
            noun = words.many(number, "delivery", "deliveries")
    outdated = sum(count for recipe, count in parked.items() if recipe not in opened.plan.recipes)
    text = _again(noun, to, dry_run)
    if outdated:
        text += (
            f"\n{outdated} of them were parked with a recipe that today's rules no longer give: these keep "
            "the recipe they were promised; `mapdr reroute --state parked` applies today's rules"
        )
    _tell(as_json, {"retried": number, "outdated": outdated, "to": to, "dry_run": dry_run}, text)


def _again(noun: str, to: Mapping[str, int], dry_run: bool) -> str:
    where = f" ({where_to(to)})" if to else ""
    return f"{noun}{where} {'would' if dry_run else 'will'} be tried again."


@click.command(short_help="Stop delivering to a destination.")
@NAMES
@selection_options
@config_option
@json_option
def hold(names: tuple[str, ...], chosen: Selection, config: Path, as_json: bool) -> None:
    """Stop delivering: to the destinations NAMEd, now and after a restart, or what the options select.

    Images keep being received; nothing is lost. `mapdr release` with the same words ends it.
    """
    _switch(names, chosen, config, as_json, "hold")


@click.command(short_help="Deliver again what was held.")
@NAMES
@selection_options
@config_option
@json_option
def release(names: tuple[str, ...], chosen: Selection, config: Path, as_json: bool) -> None:
    """Deliver again what `mapdr hold` has stopped: the destinations NAMEd, or what the options select."""
    _switch(names, chosen, config, as_json, "release")


@click.command(short_help="Apply today's rules again.")
@selection_options
@sure_options
@config_option
@json_option
def reroute(chosen: Selection, yes: bool, dry_run: bool, config: Path, as_json: bool) -> None:
    """Let today's rules decide again over images in the spool, and promise what they say.

    With --to, only for that destination. What is still owed is not promised twice, and what is parked, on
    hold or waiting with another recipe ends as superseded. What was delivered is delivered again, unless
    only other deliveries of the image are selected, as --state parked does. It says how many deliveries would
    be promised, and where to, and asks.
    """
    if chosen == Selection():
        raise click.UsageError("select what to route again, e.g. --state unrouted or --study-date today")
    with access(config, rules=True) as opened:
        store, router = opened.index(chosen), opened.plan.router
        only = [chosen.destination] if chosen.destination else []
        images = replace(chosen, destination="")
        if images.of_deliveries:
            images = chosen  # deliveries to --to that are in this state, not images that are so anywhere
        store.ledger.add_recipes(opened.plan.recipes)
        promise = partial(store.ledger.reroute, images, router.route, router.wanted, only=only)
        if dry_run or not yes:
            done = promise(write=False)
        if not dry_run:
            if not yes and (done.deliveries or done.superseded):
                ask(_question(done), yes=False)
            done = promise()
    result = {
        "images": done.images,
        "deliveries": done.deliveries,
        "missing": done.missing,
        "unrouted": done.unrouted,
        "superseded": done.superseded,
        "still_parked": done.still_parked,
        "to": done.to,
        "again": done.again,
        "dry_run": dry_run,
    }
    promised = words.many(done.deliveries, "delivery", "deliveries")
    text = f"{words.many(done.images, 'image')}: {promised} {'would be ' if dry_run else ''}promised"
    if done.to:
        text += f" ({where_to(done.to)})"
    if done.again:
        text += f", {done.again} of them once more"
    if done.superseded:
        text += f", {done.superseded} superseded"
    if done.unrouted:
        text += f", {done.unrouted} still unrouted"
    if done.missing:
        text += f", {done.missing} no longer in the spool"
    text += "."
    if done.still_parked:
        text += (
            f"\n{words.many(done.still_parked, 'delivery', 'deliveries')} to destinations that today's rules "
            "do not name: still parked; `mapdr dismiss` ends what shall never be sent"
        )
    _tell(as_json, result, text)


def _question(done: Rerouted) -> str:
    promised = words.many(done.deliveries, "delivery", "deliveries")
    text = f"Promise {promised} of {words.many(done.images, 'image')}"
    if done.to:
        text += f" ({where_to(done.to)})"
    if done.again:
        have = words.many(done.again, "image was", "images were")
        text += f"; {have} delivered there before and would be sent again"
    if done.superseded:
        text += f"; {words.many(done.superseded, 'delivery', 'deliveries')} superseded by that"
    return f"{text}?"


@click.command(short_help="End parked deliveries that shall never be sent.")
@selection_options
@click.option("--all", "everything", is_flag=True, help="All that are parked.")
@sure_options
@config_option
@json_option
def dismiss(
    *, chosen: Selection, everything: bool, yes: bool, dry_run: bool, config: Path, as_json: bool
) -> None:
    """End parked deliveries that shall never be sent: they are no longer owed to their destination.

    The record stays (`mapdr deliveries --state dismissed`); the image itself goes when its time comes, like
    one that was delivered. `mapdr reroute` promises it anew as long as it is there.
    """
    if everything == (chosen != Selection()):
        raise click.UsageError(
            "select what to dismiss, e.g. --study UID or --reason empty-value, or say --all"
        )
    if chosen.state not in ("", "parked"):
        raise click.UsageError("only parked deliveries can be dismissed")
    with access(config) as opened:
        store = opened.index(chosen)
        to = store.ledger.retriable(replace(chosen, state="parked"))
        number = to.total()
        if number and not dry_run:
            noun = words.many(number, "parked delivery", "parked deliveries")
            ask(f"Dismiss {noun} ({where_to(to)}), which will never be sent?", yes=yes)
            number = store.ledger.dismiss(chosen)
    where = f" ({where_to(to)})" if to else ""
    text = f"{words.many(number, 'delivery', 'deliveries')}{where} {'would be ' if dry_run else ''}dismissed."
    _tell(as_json, {"dismissed": number, "to": to, "dry_run": dry_run}, text)


def _switch(names: tuple[str, ...], chosen: Selection, config: Path, as_json: bool, verb: str) -> None:
    if bool(names) == (chosen != Selection()):
        raise click.UsageError(
            f"name destinations (mapdr {verb} telepacs) or select deliveries (mapdr {verb} --modality CT)"
        )
    with access(config) as opened:
        choose(opened.plan, names)
        store = opened.index(chosen)
        if names:
            change = _of_destination(store, verb)
            for name in names:
                change(name)
            done = "on hold" if verb == "hold" else "released"
            _tell(as_json, {"destinations": list(names), "state": done}, f"{', '.join(names)}: {done}.")
            return
        number = store.ledger.hold(chosen) if verb == "hold" else store.ledger.release(chosen)
    done = "on hold" if verb == "hold" else "released"
    text = f"{words.many(number, 'delivery', 'deliveries')} {done}."
    _tell(as_json, {"deliveries": number, "state": done}, text)


def _of_destination(store: Store, verb: str) -> Callable[[str], None]:
    return store.ledger.hold_destination if verb == "hold" else store.ledger.release_destination


def _tell(as_json: bool, result: Mapping[str, object], text: str) -> None:
    if as_json:
        print_json(result)
    else:
        click.echo(text)
