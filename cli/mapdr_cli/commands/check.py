"""`mapdr check`: everything that is wrong with a configuration, at once; and loading one for the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.exceptions import Exit

from mapdr.config.problem import Problem
from mapdr.config.read import Loaded, read
from mapdr.kernel.registry import Registry
from mapdr.node.doubts import warnings
from mapdr.node.plan import Plan, make_plan
from mapdr.node.surroundings import faults
from mapdr_cli import words
from mapdr_cli.options import config_option, json_option, print_json
from mapdr_cli.render.terminal import console


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration, what it plans, and what is wrong with it (in the order of the file)."""

    path: Path
    loaded: Loaded
    plan: Plan | None
    registry: Registry
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()


def examine(path: Path, *, surroundings: bool = False, rules: bool = True) -> Checked:
    """Read and plan the configuration at `path`; never raises for what it says.

    With `surroundings`, also find what it misses on this machine, and what hardly can be meant.
    Without `rules`, these are left out (`mapdr.config.read.read`).
    """
    registry = Registry()
    loaded = read(path, registry, rules=rules)
    if loaded.config is None:
        return Checked(path, loaded, None, registry, loaded.problems)
    plan = make_plan(loaded.config, registry)
    findings = [*plan.problems]
    doubts: tuple[Problem, ...] = ()
    if surroundings:
        findings += faults(loaded, plan)
        doubts = loaded.locate(warnings(loaded))
    found = {*loaded.problems, *loaded.locate(findings)}
    problems = tuple(sorted(found, key=lambda problem: (problem.line, str(problem))))
    return Checked(path, loaded, plan, registry, problems, doubts)


def load(path: Path, *, rules: bool = True) -> tuple[Loaded, Plan, Registry]:
    """A configuration without problems; with problems, prints all of them and exits 2. `rules`: `examine`."""
    checked = examine(path, rules=rules)
    if checked.problems or checked.plan is None:
        show_problems(checked.problems)
        raise Exit(2)
    return checked.loaded, checked.plan, checked.registry


def show_problems(problems: Iterable[Problem]) -> None:
    """Print every problem on standard error, one line each, in a form that editors can jump to."""
    err = console(stderr=True)
    for problem in problems:
        err.print(words.plain(problem), style="bad", soft_wrap=True)


def show_warnings(warnings: Iterable[Problem]) -> None:
    """Print every warning on standard error, one line each."""
    err = console(stderr=True)
    for warning in warnings:
        err.print(f"warning: {words.plain(warning)}", style="warn", soft_wrap=True)


@click.command(short_help="Find every mistake in the configuration.")
@config_option
@json_option
def check(config: Path, as_json: bool) -> None:
    """Find everything that is wrong with the configuration: each problem with its line and its cure.

    What `mapdr run` needs of this machine is looked for as well: secrets, TLS files, the data folder, the
    receivers' addresses. Nothing is started, and nobody is called. Exits 2 if there is a problem; a warning
    alone is no problem.
    """
    checked = examine(config, surroundings=True)
    if as_json:
        print_json(
            {
                "file": str(config),
                "problems": [_plain(one) for one in checked.problems],
                "warnings": [_plain(one) for one in checked.warnings],
            }
        )
        if checked.problems:
            raise Exit(2)
        return
    show_warnings(checked.warnings)
    if checked.problems or checked.plan is None:
        show_problems(checked.problems)
        click.echo(f"{config}: {words.many(len(checked.problems), 'problem')}", err=True)
    else:
        click.echo(f"{config}: no problem; {summary(checked.plan)}")
    if checked.problems:
        raise Exit(2)


def _plain(problem: Problem) -> dict[str, Any]:
    return {"line": problem.line, "path": problem.path, "what": problem.what, "cure": problem.cure}


def summary(plan: Plan) -> str:
    """What a plan holds, in one line."""
    parts: list[tuple[Any, str]] = [
        (plan.receivers, "receiver"),
        (plan.destinations, "destination"),
        (plan.webhooks, "webhook"),
    ]
    return ", ".join(words.many(len(group), noun) for group, noun in parts)
