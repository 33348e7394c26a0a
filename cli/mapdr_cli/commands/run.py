"""`mapdr run`: the router, drawn live on a terminal, as log lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import click
from click.exceptions import Exit
from rich.console import Console

from mapdr.kernel.permissions import make_private
from mapdr.kernel.privacy import in_words
from mapdr.node.assembly import DRAIN, Node
from mapdr.node.configuration import examine
from mapdr.node.plan import Plan
from mapdr.node.process import Process, log_to
from mapdr.operate import words
from mapdr.operate.access import Access, access_of
from mapdr.operate.journal import Journal, recovery
from mapdr.operate.model import NodeState
from mapdr.operate.view import NodeView
from mapdr_cli.commands.options import FiniteRange, config_option
from mapdr_cli.render.dashboard import farewell
from mapdr_cli.render.live import PAUSE
from mapdr_cli.render.problems import show_problems
from mapdr_cli.render.terminal import console, glyphs
from mapdr_cli.top.app import App
from mapdr_cli.top.looker import Looker

log = logging.getLogger("mapdr.run")

AGAIN = 5.0
"""Seconds until a live view that failed is drawn again."""
LOOK = 5.0
"""Seconds between two looks at what needs attention ..."""
REST = 30.0
"""... while nothing changes in the index: disks and files may."""


@click.command()
@config_option
@click.option("--plain", is_flag=True, help="Log lines instead of drawing (so it is without a terminal).")
@click.option("--verbose", is_flag=True, help="Log more: associations, single attempts.")
@click.option("--log-file", is_flag=True, help="Log into mapdr.log of the data folder, as when it draws.")
@click.option(
    "--drain",
    type=FiniteRange(0, 3600),
    default=DRAIN,
    show_default=True,
    help="How many seconds running associations and deliveries have to finish at the end.",
)
def run(config: Path, plain: bool, verbose: bool, log_file: bool, drain: float) -> None:
    """Run the router: receive, store, change, deliver.

    SIGTERM or Ctrl-C drains it: no new associations, those that run finish, unfinished deliveries stay in
    the ledger for the next start. A second one ends it at once; no acknowledged image is lost by that.
    SIGHUP, or `mapdr reload`, reads the configuration again; a wrong one is refused and the old one stays.
    """
    run_node(config, plain=plain, verbose=verbose, drain=drain, to_file=log_file)


def run_node(
    config: Path,
    *,
    plain: bool = True,
    verbose: bool = False,
    drain: float = DRAIN,
    to_file: bool = False,
    started: Callable[[Process], object] = lambda process: None,
) -> None:
    """Run a node in this process until its end is asked for.

    `to_file`: the log goes into the data folder even if nothing is drawn. `started` is called once the node
    runs. Raises Exit(2) when the configuration has problems, which are shown.
    """
    checked = examine(config, resolve=True, surroundings=True)
    plan = checked.plan
    if checked.problems or plan is None:
        show_problems(checked.problems)
        raise Exit(2)
    out = console()
    drawn = out.is_terminal and not plain
    make_private(plan.node.data)
    log_to(plan.node.data / "mapdr.log", verbose=verbose, drawn=drawn or to_file)
    for warning in checked.warnings:
        log.warning("%s", warning)
    node = Node(checked.loaded, plan, checked.registry, base=config.absolute().parent)
    journal = Journal()
    node.watch.observe(journal)
    process = Process(node, config, drain=drain)
    with process.running():
        try:
            started(process)
            _greet(node)
            _watch(node, process, journal, drawn)
        finally:
            text = f"draining, for at most {words.duration(drain)}"
            log.info("%s", text)
            if drawn:
                _print(out, f"mapdr: {text}")
            process.drain()
            journal.flush(at_once=True)
            log.info("stopped")
            if drawn:
                _part(node.plan, out)


def _greet(node: Node) -> None:
    plan = node.plan
    for name, receiver in node.receivers.items():
        end = receiver.describe()
        title = end.ae_title or plan.receivers[name].type
        where = f"{end.host}:{end.port}" if end.port else end.host
        log.info("receiver %s listens as %s on %s", name, title, where)
    log.info("destinations: %s", ", ".join(plan.destinations) or "none")
    for text in recovery(node.recovered):
        log.warning("%s", text)
    if plan.node.durability != "power-loss":
        log.warning("durability is process-crash: a power cut may lose acknowledged images")


def _watch(node: Node, process: Process, journal: Journal, drawn: bool) -> None:
    """Draw or wait until the end is asked for; either way the log gets what there is to say.

    Nothing that goes wrong here ends the node: the view says what it cannot read, and a terminal that is gone
    is no longer drawn on.
    """
    access = Access(node.plan)
    view = NodeView(access, beat=node.sign)
    ended = process.ended

    def told() -> NodeState:
        access.plan = node.plan  # a reload may have changed it
        return journal.told(view.look())

    try:
        while drawn and not ended.is_set():
            try:
                looker = Looker(told, access, lambda rules: access_of(node.plan), seconds=PAUSE)
                App(console(), looker, leaves=False, ended=ended.is_set).run()
            except OSError as error:
                log.warning(
                    "the terminal is gone (%s): the node goes on without the live view", in_words(error)
                )
                drawn = False
            except Exception as error:  # noqa: BLE001  a fault of the drawing: said, and drawn again
                log.error("the live view failed: %s; it begins again", in_words(error))
                ended.wait(AGAIN)
        process.wait(_now_and_then(told, journal, lambda: node.changes))
    finally:
        access.close()


def _now_and_then(
    told: Callable[[], object], journal: Journal, changes: Callable[[], int]
) -> Callable[[], None]:
    """What is done while nothing is drawn: what waits to be summed up is logged, and LOOK seconds after one
    look at the node comes the next, or REST seconds where `changes` is the same number."""
    seen, looked = -1, float("-inf")

    def work() -> None:
        nonlocal seen, looked
        journal.flush()
        now, since = time.monotonic(), changes()
        if now - looked >= (REST if since == seen else LOOK):
            seen, looked = -1, now
            told()
            seen = since  # not where it raised: then the next look comes soon

    return work


def _print(out: Console, text: object) -> None:
    """Print on a terminal that may be gone by now."""
    try:
        out.print(text)
    except OSError as error:
        log.warning("the terminal is gone (%s)", in_words(error))


def _part(plan: Plan, out: Console) -> None:
    """The last word on a screen that was drawn on: how things stand now that the node has ended."""
    access = Access(plan)
    try:
        _print(out, farewell(NodeView(access).look(), width=out.width, glyphs=glyphs(out)))
    finally:
        access.close()
