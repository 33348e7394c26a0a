"""`mapdr watch`: events as lines of JSON, for scripts that act on them."""

from __future__ import annotations

import errno
import select
import sys
import time
from contextlib import suppress
from pathlib import Path

import click

from mapdr.operate.access import LOOKING
from mapdr.operate.answer import line
from mapdr.operate.feed import EventFeed
from mapdr_cli.commands.looking import looking
from mapdr_cli.commands.options import config_option

PAUSE = 0.5
"""Seconds between two looks; a node tells within a second what is new."""


@click.command()
@click.option(
    "--kind",
    "kinds",
    metavar="KIND",
    multiple=True,
    help='Only events of this kind, such as images.parked or "destination.*"; may be repeated.',
)
@config_option
def watch(kinds: tuple[str, ...], config: Path) -> None:
    """Follow what happens from now on, a line of JSON for each event (NDJSON), until Ctrl-C.

    It goes on when the node goes away and comes back, and says so.
    """
    with looking(config, busy=LOOKING) as opened, suppress(KeyboardInterrupt):
        feed = EventFeed(opened, kinds)
        while not _is_left():
            for event in feed.look():
                _print(line(event))
            time.sleep(PAUSE)


def _print(text: str) -> None:
    """Print a line. Raises BrokenPipeError where nobody reads any more: with it click ends the program."""
    try:
        click.echo(text)
    except OSError as error:
        if error.errno == errno.EINVAL:  # as Windows says it
            raise BrokenPipeError(errno.EPIPE, "nobody reads") from error
        raise


def _is_left() -> bool:
    """Whether nobody reads what is printed any more. Windows tells it by the next line alone."""
    if sys.platform == "win32":
        return False
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # no file, as in a test
        return False
    asked = select.poll()
    asked.register(number, 0)
    return any(found & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, found in asked.poll(0))
