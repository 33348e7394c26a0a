"""What is wrong with a configuration, one line each on standard error, in a form that editors can jump to."""

from __future__ import annotations

from collections.abc import Iterable

from mapdr.config.problem import Problem
from mapdr.operate import words
from mapdr_cli.render.terminal import console


def show_problems(problems: Iterable[Problem]) -> None:
    """Print every problem."""
    err = console(stderr=True)
    for problem in problems:
        err.print(words.plain(problem), style="bad", soft_wrap=True)


def show_warnings(warnings: Iterable[Problem]) -> None:
    """Print every warning."""
    err = console(stderr=True)
    for warning in warnings:
        err.print(f"warning: {words.plain(warning)}", style="warn", soft_wrap=True)
