"""`mapdr run`: the router, drawn live on a terminal, as log lines elsewhere."""

from __future__ import annotations

import errno
import logging
import logging.handlers
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from click.exceptions import Exit

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.plan import Plan
from mapdr.kernel.registry import Registry
from mapdr.node.assembly import DRAIN, Node, plan_file
from mapdr_cli import words
from mapdr_cli.access import Access
from mapdr_cli.check import show_problems
from mapdr_cli.live import follow, line
from mapdr_cli.options import config_option
from mapdr_cli.terminal import console

log = logging.getLogger("mapdr.run")

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
LOG_BYTES, LOG_FILES = 10 * 1000**2, 5
SWITCH = 0.0005
"""Seconds that a thread may keep the interpreter while others wait for it."""
REPORT = 60.0
"""Seconds between two lines of counts in the log, if they have changed."""
TICK = 0.5
"""Seconds: how long a wait may be, since Windows sees a signal only when it is over."""


@click.command(short_help="Run the router.")
@config_option
@click.option("--plain", is_flag=True, help="Log lines instead of drawing (so it is without a terminal).")
@click.option("--verbose", is_flag=True, help="Log more: associations, single attempts.")
@click.option(
    "--drain",
    type=click.FloatRange(0, 3600),
    default=DRAIN,
    show_default=True,
    help="How many seconds running associations and deliveries have to finish at the end.",
)
def run(config: Path, plain: bool, verbose: bool, drain: float) -> None:
    """Run the router: receive, store, change, deliver.

    SIGTERM or Ctrl-C drains it: no new associations, those that run finish, unfinished deliveries stay in
    the ledger for the next start. A second one ends it at once; no acknowledged image is lost by that.
    SIGHUP, or `mapdr reload`, reads the configuration again; a wrong one is refused and the old one stays.
    """
    registry = Registry()
    loaded, plan, problems = plan_file(config, registry)
    if problems or plan is None:
        show_problems(problems)
        raise Exit(2)
    out = console()
    drawn = out.is_terminal and not plain
    plan.node.data.mkdir(parents=True, exist_ok=True)
    _log_to(plan.node.data / "mapdr.log" if drawn else None, verbose)
    # A receiver that waits for the interpreter behind the index's writer waits this long at most; measured
    # with one sender of small images: a tenth more images than with the default of 5 ms.
    sys.setswitchinterval(SWITCH)
    node = Node(loaded, plan, registry, base=config.parent)
    with _asked_to_end() as ended:
        _start(node)
        _reload_when_asked(node, config)
        try:
            _greet(node)
            if drawn:
                _draw(plan, ended)
            else:
                _report(plan, ended)
        finally:
            log.info("draining, for at most %s", words.duration(drain))
            node.stop(time.monotonic() + drain)
            log.info("stopped")


def _start(node: Node) -> None:
    """Start it. Raises MapdrError with the ports if one of them is taken or may not be used."""
    try:
        node.start()
    except OSError as error:
        ports = [str(claim) for planned in node.plan.receivers.values() for claim in planned.claims]
        if error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL) and not error.filename:
            what = f"{error.strerror}: {', '.join(ports)}"
            raise MapdrError(f"{what}; another program may have the port, or choose another one") from error
        raise


def _reload_when_asked(node: Node, config: Path) -> None:
    """Let SIGHUP, where there is one, read the configuration again, beside what runs."""

    def reload() -> None:
        problems = node.reload(config)
        for problem in problems:
            log.error("%s", problem)
        log.info("the configuration was %s", "refused, the old one stays" if problems else "read again")

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=reload, name="reload").start())


def _greet(node: Node) -> None:
    plan = node.plan
    for name, planned in plan.receivers.items():
        config = planned.config
        port = getattr(node.receivers[name], "port", None) or getattr(config, "port", "")
        title, host = getattr(config, "ae_title", planned.factory.type), getattr(config, "host", "")
        log.info("receiver %s listens as %s on %s:%s", name, title, host, port)
    log.info("destinations: %s", ", ".join(plan.destinations) or "none")
    if plan.node.durability != "power-loss":
        log.warning("durability is process-crash: a power cut may lose acknowledged images")


def _draw(plan: Plan, ended: threading.Event) -> None:
    access = Access(plan)
    try:
        follow(console(), access.gather, ended.is_set, rest=ended)
    finally:
        access.close()


def _report(plan: Plan, ended: threading.Event) -> None:
    """A line of counts a minute while something changes."""
    access = Access(plan)
    last = ""
    due = time.monotonic() + REPORT
    try:
        while not ended.wait(TICK):
            if time.monotonic() < due:
                continue
            due = time.monotonic() + REPORT
            text = line(access.gather())
            if text != last:
                log.info("%s", text)
            last = text
    finally:
        access.close()


def _log_to(file: Path | None, verbose: bool) -> None:
    """Send the log to standard output, or, where that is drawn on, to a file beside the data."""
    handler: logging.Handler = logging.StreamHandler(sys.stdout)
    if file is not None:
        handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8"
        )
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mapdr").setLevel(logging.DEBUG if verbose else logging.INFO)
    # It quotes the bytes of a peer that it cannot decode; what is wrong with them MAPDR says itself.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """An event that is set by the first signal to end; the second one ends the process at once."""
    ended = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if ended.is_set():
            raise KeyboardInterrupt
        ended.set()

    names = ("SIGINT", "SIGTERM", "SIGBREAK")
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
