"""`mapdr echo`: is the destination there?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from click.exceptions import Exit

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.finding import instead
from mapdr.kernel.item import Outcome, Verdict
from mapdr.kernel.stage import Egress, Settings
from mapdr.kernel.watch import Watch
from mapdr.node.plan import Plan
from mapdr_cli import words
from mapdr_cli.commands.check import load
from mapdr_cli.options import config_option, json_option, print_json
from mapdr_cli.render.terminal import console


@click.command(short_help="Are the destinations there?")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@config_option
@json_option
def echo(names: tuple[str, ...], config: Path, as_json: bool) -> None:
    """Ask destinations whether they are there (C-ECHO); all of them, or those NAMEd.

    Exits 1 if one is not.
    """
    _, plan, _ = load(config)
    chosen = choose(plan, names)
    rows = []
    for name in chosen:
        started = time.perf_counter()
        outcome = probe(plan, name)
        milliseconds = round((time.perf_counter() - started) * 1000, 1)
        there = outcome.verdict is Verdict.DELIVERED
        row = {"destination": name, "there": there, "comment": outcome.comment, "milliseconds": milliseconds}
        rows.append(row)
        if not as_json:
            _line(row)
    if as_json:
        print_json(rows)
    if not all(row["there"] for row in rows):
        raise Exit(1)


def choose(plan: Plan, names: tuple[str, ...]) -> list[str]:
    """The destinations named, or all. Raises UsageError with the nearest name for an unknown one."""
    for name in names:
        if name not in plan.destinations:
            cure = instead(name, plan.destinations, "destinations")
            raise click.UsageError(f'there is no destination "{name}"; {cure}')
    return list(names or plan.destinations)


def build(plan: Plan, name: str) -> Egress:
    """The destination's stage, not started."""
    planned = plan.destinations[name]
    settings = Settings(name, plan.node.name, plan.node.data, bytes(32), Watch(), plan.node.workers)
    stage: Egress = planned.factory.build(settings, planned.config, None)
    return stage


def probe(plan: Plan, name: str) -> Outcome:
    """The destination's answer; a destination that cannot even be built is an answer too."""
    try:
        stage = build(plan, name)
        stage.start()
        try:
            return stage.probe()
        finally:
            stage.stop(time.monotonic() + 5)
    except (MapdrError, OSError) as error:
        return Outcome(Verdict.RETRY, comment=str(error))


def _line(row: dict[str, Any]) -> None:
    said = "is there" if row["there"] else f"is not there: {words.plain(row['comment'] or 'no answer')}"
    style = "good" if row["there"] else "bad"
    milliseconds = f"{row['milliseconds']:.0f} ms"
    console().print(f"{words.plain(row['destination'])} {said} ({milliseconds})", style=style, soft_wrap=True)
