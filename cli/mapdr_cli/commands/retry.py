"""`mapdr retry`: try parked deliveries, or webhook messages, again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from mapdr.operate import actions, words
from mapdr.operate.access import Access, access
from mapdr.operate.selection import Selection
from mapdr_cli.commands.confirm import ask, sure_options, where_to
from mapdr_cli.commands.options import config_option, json_option, print_answer, selection_options


@click.command()
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
    done: actions.Retried | actions.Resent
    with access(config, rules=True) as opened:
        if webhooks:
            done, text = _messages(opened, yes, dry_run)
        else:
            done, text = _deliveries(opened, chosen, yes, dry_run)
    if as_json:
        print_answer(done, node=opened.plan.node.name)
    else:
        click.echo(text)


def _messages(opened: Access, yes: bool, dry_run: bool) -> tuple[actions.Resent, str]:
    if dry_run or not yes:
        done = actions.retry_webhooks(opened, dry_run=True)
        if done.messages and not dry_run:
            ask(f"Try {words.many(done.messages, 'webhook message')} again ({where_to(done.to)})?")
    if not dry_run:
        done = actions.retry_webhooks(opened)
    if not done.messages:
        return done, "There is no webhook message to try again: none waits, none was given up."
    return done, _again(words.many(done.messages, "webhook message"), done.to, dry_run)


def _deliveries(opened: Access, chosen: Selection, yes: bool, dry_run: bool) -> tuple[actions.Retried, str]:
    if dry_run or not yes:
        done = actions.retry(opened, chosen, everything=True, dry_run=True)
        if done.deliveries and not dry_run:
            noun = words.many(done.deliveries, "delivery", "deliveries")
            ask(f"Try {noun} again ({where_to(done.to)})?")
    if not dry_run:
        done = actions.retry(opened, chosen, everything=True)
    text = _again(words.many(done.deliveries, "delivery", "deliveries"), done.to, dry_run)
    if done.outdated:
        text += (
            f"\n{done.outdated} of them were parked with a recipe that today's rules no longer give: these "
            "keep the recipe they were promised; `mapdr reroute --state parked` applies today's rules"
        )
    return done, text


def _again(noun: str, to: Mapping[str, int], dry_run: bool) -> str:
    where = f" ({where_to(to)})" if to else ""
    return f"{noun}{where} {'would' if dry_run else 'will'} be tried again."
