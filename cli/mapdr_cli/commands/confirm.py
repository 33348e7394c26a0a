"""Asking before something is sent, repeated or given up: how many, where to, and is it meant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from mapdr.operate import words

F = TypeVar("F", bound=Callable[..., Any])


def dry_run_option(command: F) -> F:
    """--dry-run, given to the command as `dry_run`."""
    return click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")(command)


def sure_options(command: F) -> F:
    """--yes and --dry-run, given to the command as `yes` and `dry_run`."""
    return click.option("--yes", is_flag=True, help="Do not ask.")(dry_run_option(command))


def ask(question: str) -> None:
    """Return when the answer is yes. Raises Abort for no, and UsageError where nobody can be asked."""
    if not interactive():
        raise click.UsageError(f"{question} Nobody can be asked here: say --yes, or look with --dry-run")
    click.confirm(question, abort=True, err=True)


def interactive() -> bool:
    """Whether somebody sits there who can answer."""
    return sys.stdin.isatty()


def where_to(numbers: Mapping[str, int]) -> str:
    """Destinations and how many go to each, in words: "telepacs 12, archive 3"."""
    return ", ".join(f"{words.plain(name)} {words.count(number)}" for name, number in sorted(numbers.items()))
