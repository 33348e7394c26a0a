"""`mapdr reroute`: let today's rules decide again, or one of them, or send images as they are."""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.exceptions import Exit

from mapdr.operate import actions, words
from mapdr.operate.access import Access, access
from mapdr.operate.answer import line
from mapdr.operate.directive import Directive, correction
from mapdr.operate.errors import RequestError
from mapdr.operate.jobs import Named
from mapdr.operate.selection import Selection
from mapdr_cli.commands.confirm import ask, sure_options, where_to
from mapdr_cli.commands.options import (
    FiniteRange,
    condition,
    config_option,
    json_option,
    list_options,
    print_answer,
    selection_options,
    tell_unknown,
)
from mapdr_cli.render.progress import bar
from mapdr_cli.render.terminal import console

_HOW_IT_RUNS = ("yes", "dry_run", "config", "as_json", "name", "rate")
"""Options that say nothing of what is asked for."""


@click.command()
@selection_options
@list_options
@condition("--rule", metavar="NAME", help="As this rule does it, whatever it asks of images.")
@click.option("--unchanged", is_flag=True, help="As received, to the destination named by --to.")
@click.option("--as-today", is_flag=True, help="As today's rules say; this is so without it too.")
@click.option(
    "--set",
    "corrections",
    metavar="TAG=VALUE",
    multiple=True,
    help="Correct a value of these images before that; may be repeated.",
)
@condition("--name", metavar="NAME", help="The same command with the same name goes on where it was.")
@click.option("--rate", type=FiniteRange(0.1), default=None, help="Images a second, at most.")
@sure_options
@config_option
@json_option
def reroute(
    chosen: Selection,
    *,
    rule: str,
    unchanged: bool,
    as_today: bool,
    corrections: tuple[str, ...],
    name: str,
    rate: float | None,
    yes: bool,
    dry_run: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Let today's rules decide again over images in the spool, and promise what they say.

    With --to, only for that destination. What is still owed is not promised twice, and what is parked, on
    hold or waiting with another recipe ends as superseded. What was delivered is delivered again, unless
    only other deliveries of the image are selected, as --state parked does. It says how many deliveries would
    be promised, and where to, and asks.

    --json prints a line for each image, and one with the sums at the end.
    """
    if as_today and (rule or unchanged):
        raise click.UsageError("say one of --as-today, --rule and --unchanged")
    try:
        directive = Directive(rule, unchanged, tuple(map(correction, corrections)))
    except RequestError as error:
        raise click.BadParameter(str(error), param_hint="--set") from None
    named = Named(name, _asked(chosen)) if name else None
    with access(config, rules=True) as opened:
        if dry_run or not yes:
            done = _run(opened, chosen, directive, named, dry_run=True)
            if not dry_run and (done.deliveries or done.superseded):
                ask(_question(done))
        if not dry_run:
            done = _run(opened, chosen, directive, named, rate=rate, lines=as_json)
    if as_json:
        print_answer(done, node=opened.plan.node.name, in_line=not dry_run)
    else:
        click.echo(_told(done))
    if done.unknown:
        tell_unknown(done.unknown)
        raise Exit(1)


def _run(
    opened: Access,
    chosen: Selection,
    directive: Directive,
    named: Named | None,
    *,
    rate: float | None = None,
    dry_run: bool = False,
    lines: bool = False,
) -> actions.Promised:
    """The action, with a bar on a terminal; `lines` prints what became of each image as it is done."""
    with bar(console(stderr=True), "looking" if dry_run else "promising") as advance:

        def told(progress: actions.Progress) -> None:
            advance(progress.done, progress.images)
            if lines and progress.last:
                click.echo("\n".join(line(each) for each in progress.last))

        return actions.reroute(
            opened, chosen, directive=directive, named=named, rate=rate, dry_run=dry_run, told=told
        )


def _asked(chosen: Selection) -> str:
    """What is asked for, in the words that were typed: what a moment means ("2 h" ago) changes."""
    params = click.get_current_context().params
    words = {key: value for key, value in params.items() if key not in _HOW_IT_RUNS and key != "list_"}
    return json.dumps([words, list(chosen.listed)], sort_keys=True)


def _told(done: actions.Promised) -> str:
    promised = words.many(done.deliveries, "delivery", "deliveries")
    text = f"{words.many(done.images, 'image')}: {promised} {'would be ' if done.dry_run else ''}promised"
    if done.to:
        text += f" ({where_to(done.to)}; {words.size(sum(done.bytes_to.values()))})"
    if done.again:
        text += f", {done.again} of them once more"
    if done.superseded:
        text += f", {done.superseded} superseded"
    if done.unrouted:
        text += f", {done.unrouted} still unrouted"
    if done.missing:
        text += f", {done.missing} no longer in the spool"
    text += "."
    if done.uncorrected:
        text += f"\n{_uncorrected(done)}."
    if done.before:
        text += f"\n{words.many(done.before, 'image')} of this name had been done before."
    if done.still_parked:
        text += (
            f"\n{words.many(done.still_parked, 'delivery', 'deliveries')} to destinations that today's rules "
            "do not name: still parked; `mapdr dismiss` ends what shall never be sent"
        )
    return text


def _uncorrected(done: actions.Promised) -> str:
    were = words.many(done.uncorrected, "image was", "images were")
    return f"{were} corrected before (mapdr corrections); without --set that is left out"


def _question(done: actions.Promised) -> str:
    promised = words.many(done.deliveries, "delivery", "deliveries")
    text = f"Promise {promised} of {words.many(done.images, 'image')}"
    if done.to:
        text += f" ({where_to(done.to)})"
    if done.again:
        have = words.many(done.again, "image was", "images were")
        text += f"; {have} delivered there before and would be sent again"
    if done.superseded:
        text += f"; {words.many(done.superseded, 'delivery', 'deliveries')} superseded by that"
    if done.uncorrected:
        text += f"; {_uncorrected(done)}"
    return f"{text}?"
