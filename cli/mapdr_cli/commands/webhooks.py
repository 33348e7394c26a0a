"""`mapdr webhooks`: what webhooks were told, whether they took it, and sending it again."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.exceptions import Exit
from rich.console import Console
from rich.text import Text

from mapdr.operate import webhooks as operate
from mapdr.operate import words
from mapdr.operate.access import Access
from mapdr.operate.selection import SHOWN
from mapdr.operate.webhooks import MESSAGE_STATES, Message, MessageSelection, Webhook
from mapdr_cli.commands.confirm import ask, sure_options, where_to
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import (
    condition,
    config_option,
    csv_option,
    json_option,
    print_answer,
    print_csv,
)
from mapdr_cli.render import tables
from mapdr_cli.render.tables import Column, field, number
from mapdr_cli.render.terminal import console

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def webhooks() -> None:
    """What webhooks were told, and whether their receivers took it.

    Each command takes --config FILE and --json.
    """


_MESSAGES = (
    click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(1)),
    condition("--hook", "webhook", metavar="NAME", help="Messages to this webhook."),
    click.option("--state", type=click.Choice(MESSAGE_STATES), default=None, help="Messages in this state."),
    condition("--event", metavar="EVENT", help="Of this event, e.g. study.delivered."),
    condition("--study", metavar="UID", help="Of one study: its UID, or the number that bodies give it."),
    condition("--made", metavar="DATES", help="Days on which they were made, written as --study-date is."),
    condition("--since", metavar="WHEN", help='Made since: 2026-11-01, "2026-11-01 14:30", or "2 h" ago.'),
    click.option("--limit", type=click.IntRange(1), default=None, help="The newest so many."),
)


def message_options(command: F) -> F:
    """The grammar of messages; given to the command as `choose`, which finds them in a node's index."""

    @functools.wraps(command)
    def with_choice(*args: Any, **kwargs: Any) -> Any:
        given = {
            key: kwargs.pop(key) or "" for key in ("webhook", "state", "event", "study", "made", "since")
        }
        ids, limit = kwargs.pop("ids"), kwargs.pop("limit")

        def choose(opened: Access) -> MessageSelection:
            return operate.choose_messages(opened, ids=ids, limit=limit, **given)

        return command(*args, choose=choose, **kwargs)

    wrapped: Any = with_choice
    for option in reversed(_MESSAGES):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


Choose = Callable[[Access], MessageSelection]


@webhooks.command("list")
@config_option
@json_option
@csv_option
def list_(config: Path, as_json: bool, as_csv: bool) -> None:
    """List the webhooks: what waits, what was given up, what was taken, and the last answer."""
    with looking(config) as opened:
        rows = operate.webhooks(opened)
    if as_json:
        print_answer({"webhooks": rows}, node=opened.plan.node.name)
        return
    if as_csv:
        print_csv(rows, Webhook)
        return
    out = console()
    if not rows:
        out.print("There is no webhook.")
        return
    now = time.time()
    out.print(
        tables.listing(
            rows,
            [
                Column("webhook", lambda row: words.plain(row.name)),
                Column("waiting", number("pending"), right=True),
                Column("parked", number("parked"), right=True),
                Column("taken", number("delivered"), right=True),
                Column("last answer", lambda row: _last(row, now), fold=True),
                Column("next try", lambda row: words.short_clock(row.next_try_at, now)),
            ],
        )
    )
    for row in rows:
        if not row.configured:
            text = f"{words.plain(row.name)} is not configured any more: nobody sends its messages"
            out.print(text, style="warn", soft_wrap=True)


def _last(row: Webhook | Message, now: float) -> Text:
    """How the last attempt ended, and when."""
    if row.tried_at is None:
        return Text("-")
    taken = not row.comment
    said = f"HTTP {row.status}" if taken else words.plain(row.comment)
    return Text(f"{words.short_clock(row.tried_at, now)} {said}", "good" if taken else "bad")


@webhooks.command()
@message_options
@click.option(
    "--identify", is_flag=True, help="Show bodies whole, with what identifies patients and studies."
)
@config_option
@json_option
@csv_option
def show(*, choose: Choose, identify: bool, config: Path, as_json: bool, as_csv: bool) -> None:
    """Show the messages IDs with their bodies, or list those that the options choose, the newest first.

    What identifies a patient, a study or a series is shown as its placeholder without --identify.
    """
    with looking(config) as opened:
        chosen = choose(opened)
        rows = operate.messages(opened, chosen, identify=identify)
    if as_json:
        print_answer({"messages": rows}, node=opened.plan.node.name)
        return
    if as_csv:
        print_csv(rows, Message)
        return
    out = console()
    if chosen.ids:
        for row in rows:
            _whole(out, row)
        return
    if not rows:
        out.print("No message is chosen.")
        return
    now = time.time()
    out.print(
        tables.listing(
            rows,
            [
                Column("id", number("id"), right=True),
                Column("webhook", lambda row: words.plain(row.webhook)),
                Column("event", field("event")),
                Column("study", field("study"), right=True),
                Column("made", lambda row: words.short_clock(row.created_at, now)),
                Column("state", tables.state),
                Column("last answer", lambda row: _last(row, now), fold=True),
            ],
        )
    )
    if chosen.limit is None and len(rows) == SHOWN:
        out.print(f"The newest {SHOWN} messages; --limit shows more.", style="faint")


def _whole(out: Console, row: Message) -> None:
    lines = [
        ("message", str(row.id)),
        ("webhook", words.plain(row.webhook)),
        ("event", words.plain(row.event)),
        ("study", "-" if row.study is None else str(row.study)),
        ("state", words.plain(row.state)),
        ("made", words.day_and_clock(row.created_at)),
        ("asked again", words.day_and_clock(row.asked_at)),
        ("attempts", words.count(row.attempts)),
        ("last answer", str(_last(row, time.time()))),
        ("next try", words.day_and_clock(row.due_at)),
        ("webhook-id", words.plain(row.webhook_id)),
    ]
    for title, text in lines:
        out.print(f"{title:<12} {text}", soft_wrap=True, highlight=False)
    if row.body is None:
        out.print("its body may identify a patient: --identify shows it", style="faint", soft_wrap=True)
    else:
        body = json.dumps(row.body, indent=2, ensure_ascii=False)
        for line in body.splitlines():
            out.print(words.plain(line), soft_wrap=True, highlight=False, markup=False)


@webhooks.command()
@message_options
@sure_options
@config_option
@json_option
def replay(choose: Choose, yes: bool, dry_run: bool, config: Path, as_json: bool) -> None:
    """Send messages again, now: the IDs, what the options choose, or without either all that were given up.

    A message is sent with the body and the webhook-id that it had, so that a receiver that has taken it
    before can tell. It says how many and where to, and asks.
    """
    with looking(config) as opened:
        chosen = choose(opened)
        if dry_run or not yes:
            done = operate.replay(opened, chosen, dry_run=True)
            if done.messages and not dry_run:
                ask(f"Send {_said(done)} again?")
        if not dry_run:
            done = operate.replay(opened, chosen)
    if as_json:
        print_answer(done, node=opened.plan.node.name)
    elif not done.messages:
        click.echo("There is no such message to send again.")
    else:
        click.echo(f"{_said(done)} {'would' if dry_run else 'will'} be sent again.")


def _said(done: operate.Replayed) -> str:
    before = f"; {words.count(done.again)} taken before" if done.again else ""
    return f"{words.many(done.messages, 'message')} ({where_to(done.to)}{before})"


@webhooks.command()
@click.argument("name", metavar="NAME")
@config_option
@json_option
def test(name: str, config: Path, as_json: bool) -> None:
    """Send the webhook NAME an example, marked with "test": true, and tell what it answers.

    Nothing is tried again. Exits 1 if it was not taken.
    """
    from mapdr.operate.configuration import load
    from mapdr.operate.trial import trial

    configuration = load(config)
    tried = trial(configuration.plan, name)
    if as_json:
        print_answer(tried, node=configuration.plan.node.name)
    else:
        said = f"took it (HTTP {tried.status})" if tried.taken else f"did not take it: {tried.comment}"
        text = f"{words.plain(name)} {words.plain(said)}, {tried.event}, {tried.milliseconds:.0f} ms"
        console().print(text, style="good" if tried.taken else "bad", soft_wrap=True)
    if not tried.taken:
        raise Exit(1)
