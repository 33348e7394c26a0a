"""`mapdr run`: the router, until it is told to end."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import click
from click.exceptions import Exit

from mapdr.kernel.registry import Registry
from mapdr.node.assembly import DRAIN, Node, plan_file
from mapdr.store.recover import Recovered
from mapdr_cli import words
from mapdr_cli.access import Access
from mapdr_cli.check import show_problems
from mapdr_cli.live import follow
from mapdr_cli.options import config_option
from mapdr_cli.terminal import console

log = logging.getLogger("mapdr.cli")

WAIT = 0.2
"""Seconds between looks at whether to end: a signal is taken between two of them."""


@click.command()
@config_option
@click.option("--plain", is_flag=True, help="Log lines instead of the live view.")
@click.option(
    "--drain",
    type=click.FloatRange(0, 3600),
    default=DRAIN,
    show_default=True,
    help="Seconds that an end may take before what still runs is aborted.",
)
@click.option("--verbose", is_flag=True, help="Log every association too.")
def run(config: Path, plain: bool, drain: float, verbose: bool) -> None:
    """Run the router: receive, keep, change, deliver, and tell.

    Ctrl-C or SIGTERM drains it: no new associations, running ones finish, what is owed stays in the ledger.
    SIGHUP reads the configuration again; a wrong one is refused and the old one stays.
    """
    registry = Registry()
    loaded, plan, problems = plan_file(config, registry)
    if plan is None or problems:
        show_problems(problems)
        raise Exit(2)
    out = console()
    live = out.is_terminal and not plain
    _log_to(plan.node.data / "mapdr.log" if live else None, verbose)
    node = Node(loaded, plan, registry, base=config.parent)
    ended, changed = _signals()
    node.start()
    try:
        _announce(node)
        if live:
            _watch(node, config, ended, changed)
        else:
            _wait(node, config, ended, changed)
    finally:
        node.stop(time.monotonic() + drain)
        log.info("ended")


def _announce(node: Node) -> None:
    if node.recovered != Recovered():
        found = node.recovered
        log.info(
            "recovered: %d images indexed, %d unfinished removed, %d unreadable, %d leases given back",
            found.indexed,
            found.parts,
            found.unreadable,
            found.leases,
        )
    for name, receiver in node.receivers.items():
        config = node.plan.receivers[name].config
        host, title = getattr(config, "host", ""), getattr(config, "ae_title", "")
        log.info("receive.%s listens on %s:%s as %s", name, host, getattr(receiver, "port", ""), title)
    for name in node.deliverers:
        log.info("egress.%s is ready", name)
    log.info("running, durability %s", node.plan.node.durability)


def _watch(node: Node, config: Path, ended: threading.Event, changed: threading.Event) -> None:
    """The live view, on an index connection of its own."""
    access = Access(node.plan)
    out = console()

    def over() -> bool:
        _reload(node, config, changed)
        return ended.is_set()

    try:
        follow(out, access.gather, over, rest=ended)
    finally:
        access.close()
    out.print("draining ...", style="faint")


def _wait(node: Node, config: Path, ended: threading.Event, changed: threading.Event) -> None:
    """Log a line when numbers have changed, until the end."""
    told, quiet_until = "", 0.0
    while not ended.wait(WAIT):
        _reload(node, config, changed)
        if time.monotonic() < quiet_until:
            continue
        quiet_until = time.monotonic() + 10
        line = _totals(node)
        if line != told:
            log.info("%s", line)
            told = line


def _totals(node: Node) -> str:
    counters = node.watch.counters()
    came = sum(value for name, value in counters.items() if name.endswith(".stored"))
    gone = sum(value for name, value in counters.items() if name.endswith(".images"))
    return f"{words.many(int(came), 'image')} received, {words.many(int(gone), 'image')} delivered"


def _reload(node: Node, config: Path, changed: threading.Event) -> None:
    if not changed.is_set():
        return
    changed.clear()
    problems = node.reload(config)
    for problem in problems:
        log.error("%s", problem)
    log.info("the configuration was %s", "refused; the old one stays" if problems else "read again")


def _signals() -> tuple[threading.Event, threading.Event]:
    """Events for "end" and "read the configuration again", set by whatever signals this platform has."""
    ended, changed = threading.Event(), threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        if ended.is_set():
            raise KeyboardInterrupt  # the second one is meant
        ended.set()

    def change(number: int, frame: FrameType | None) -> None:
        changed.set()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, change)
    return ended, changed


def _log_to(file: Path | None, verbose: bool) -> None:
    """Log lines to standard error, or to a file while the screen is taken."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    handler = (
        logging.StreamHandler(sys.stderr) if file is None else logging.FileHandler(file, encoding="utf-8")
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    root = logging.getLogger("mapdr")
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False
