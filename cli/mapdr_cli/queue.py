"""`mapdr retry`, `hold`, `release`, `reroute`: what an operator does to the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from mapdr.store import Store
from mapdr.store.selection import Selection
from mapdr_cli import words
from mapdr_cli.access import access
from mapdr_cli.echo import choose
from mapdr_cli.options import config_option, json_option, print_json, selection_options

NAMES = click.argument("names", metavar="[NAME]...", nargs=-1)


@click.command(short_help="Try parked deliveries again.")
@selection_options
@click.option("--webhooks", is_flag=True, help="Webhooks that were given up, instead of deliveries.")
@config_option
@json_option
def retry(chosen: Selection, webhooks: bool, config: Path, as_json: bool) -> None:
    """Try again now: what is parked, and what waits for its next try. Without options, all of it."""
    with access(config) as opened:
        store = opened.index()
        number = store.outbox.retry() if webhooks else store.ledger.retry(chosen)
    noun = ("webhook", "webhooks") if webhooks else ("delivery", "deliveries")
    _tell(as_json, {"retried": number}, f"{words.many(number, *noun)} will be tried again.")


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
@config_option
@json_option
def reroute(chosen: Selection, config: Path, as_json: bool) -> None:
    """Let today's rules decide again over images in the spool, and promise what they say.

    With --to, only for that destination. What is still owed is not promised twice; what was delivered is
    delivered again.
    """
    if chosen == Selection():
        raise click.UsageError("select what to route again, e.g. --state unrouted or --study-date today")
    with access(config) as opened:
        store, router = opened.index(), opened.plan.router
        store.ledger.add_recipes(opened.plan.recipes)
        only = [chosen.destination] if chosen.destination else []
        images = Selection(
            chosen.study_date_from,
            chosen.study_date_to,
            modality=chosen.modality,
            state=chosen.state,
            reason=chosen.reason,
            study_instance_uid=chosen.study_instance_uid,
            since=chosen.since,
            limit=chosen.limit,
        )
        done = store.ledger.reroute(images, router.route, router.wanted, only=only)
    result = {
        "images": done.images,
        "deliveries": done.deliveries,
        "missing": done.missing,
        "unrouted": done.unrouted,
    }
    promised = words.many(done.deliveries, "delivery", "deliveries")
    text = f"{words.many(done.images, 'image')}: {promised} promised"
    if done.unrouted:
        text += f", {done.unrouted} still unrouted"
    if done.missing:
        text += f", {done.missing} no longer in the spool"
    _tell(as_json, result, text + ".")


def _switch(names: tuple[str, ...], chosen: Selection, config: Path, as_json: bool, verb: str) -> None:
    if bool(names) == (chosen != Selection()):
        raise click.UsageError(
            f"name destinations (mapdr {verb} telepacs) or select deliveries (mapdr {verb} --modality CT)"
        )
    with access(config) as opened:
        choose(opened.plan, names)
        store = opened.index()
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
