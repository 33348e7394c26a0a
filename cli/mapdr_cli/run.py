"""`mapdr run`: the router, drawn live on a terminal, as log lines elsewhere."""

from __future__ import annotations

import errno
import gc
import logging
import logging.handlers
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any

import click
from click.exceptions import Exit
from rich.console import Console

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.output import in_words
from mapdr.kernel.private import make_private, private_opener
from mapdr.kernel.registry import Registry
from mapdr.node.assembly import DRAIN, Node, plan_file
from mapdr.node.plan import Plan
from mapdr.node.surroundings import warnings
from mapdr.store.index.fault import index_named
from mapdr.store.recover import Recovered
from mapdr_cli import words
from mapdr_cli.access import Access
from mapdr_cli.check import show_problems
from mapdr_cli.dashboard import farewell
from mapdr_cli.journal import Journal
from mapdr_cli.live import follow, line
from mapdr_cli.options import config_option
from mapdr_cli.terminal import console, glyphs

log = logging.getLogger("mapdr.run")

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
LOG_BYTES, LOG_FILES = 10 * 1000**2, 5
SWITCH = 0.0005
"""Seconds that a thread may keep the interpreter while others wait for it."""
YOUNG = 20_000
"""Objects that are made before the cycle collector looks at them: a batch of rows makes thousands, none in a
cycle. With the default of 700 the collector took a sixth of the node's time at 12,000 images a second."""
AGAIN = 5.0
"""Seconds until a live view that failed is drawn again."""
LOOK = 2.0
"""Seconds between two looks at what needs attention."""
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
    make_private(plan.node.data)
    _log_to(plan.node.data / "mapdr.log" if drawn else None, verbose)
    # A receiver that waits for the interpreter behind the index's writer waits this long at most; measured
    # with one sender of small images: a tenth more images than with the default of 5 ms.
    sys.setswitchinterval(SWITCH)
    for warning in loaded.locate(warnings(loaded)):
        log.warning("%s", warning)
    node = Node(loaded, plan, registry, base=config.absolute().parent)
    journal = Journal()
    node.watch.observe(journal)
    with _asked_to_end() as ended:
        _start(node)
        gc.freeze()
        gc.set_threshold(YOUNG)
        _reload_when_asked(node, config)
        try:
            _greet(node)
            _watch(node, journal, ended, drawn)
        finally:
            text = f"draining, for at most {words.duration(drain)}"
            log.info("%s", text)
            if drawn:
                _print(out, f"mapdr: {text}")
            node.stop(time.monotonic() + drain)
            journal.flush(at_once=True)
            log.info("stopped")
            if drawn:
                _part(node.plan, out)


def _start(node: Node) -> None:
    """Start it. Raises MapdrError with the ports if one of them is taken or may not be used."""
    try:
        with index_named(node.plan.node.database_url(), node.plan.node.data):
            node.start()
    except OSError as error:
        ports = [str(claim) for planned in node.plan.receivers.values() for claim in planned.claims]
        if error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL) and not error.filename:
            what = f"{error.strerror}: {', '.join(ports)}"
            raise MapdrError(f"{what}; another program may have the port, or choose another one") from error
        raise


def _reload_when_asked(node: Node, config: Path) -> None:
    """Let SIGHUP, where there is one, read the configuration again, beside what runs."""
    path = config.absolute()

    def reload() -> None:
        try:
            node.reload(path)
        except Exception as error:  # noqa: BLE001  said: whoever sent the signal looks at the log
            log.error("the configuration was not read again: %s", in_words(error))

    def begin(number: int, frame: FrameType | None) -> None:
        try:
            GuardedThread(reload, "reload", goes_on=lambda: False, watch=node.watch).start()
        except RuntimeError as error:  # no thread can be had: it must not end what runs
            log.error("the configuration was not read again: %s", in_words(error))

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, begin)


def _greet(node: Node) -> None:
    plan = node.plan
    for name, planned in plan.receivers.items():
        config = planned.config
        port = getattr(node.receivers[name], "port", None) or getattr(config, "port", "")
        title, host = getattr(config, "ae_title", planned.factory.type), getattr(config, "host", "")
        log.info("receiver %s listens as %s on %s:%s", name, title, host, port)
    log.info("destinations: %s", ", ".join(plan.destinations) or "none")
    for text in recovery(node.recovered):
        log.warning("%s", text)
    if plan.node.durability != "power-loss":
        log.warning("durability is process-crash: a power cut may lose acknowledged images")


def recovery(found: Recovered) -> list[str]:
    """What the last end of the node left behind and the start put in order, in words."""
    told = (
        (found.parts, "unfinished object was removed", "unfinished objects were removed"),
        (found.leftovers, "file that nobody is owed was removed", "files that nobody is owed were removed"),
        (found.indexed, "image of the spool came into the index", "images of the spool came into the index"),
        (found.unreadable, "file of the spool cannot be read", "files of the spool cannot be read"),
        (found.leases, "delivery was under way", "deliveries were under way"),
    )
    return [f"put in order at start: {words.many(number, *forms)}" for number, *forms in told if number]


def _watch(node: Node, journal: Journal, ended: threading.Event, drawn: bool) -> None:
    """Draw or wait until the end is asked for; either way the log gets what there is to say.

    Nothing that goes wrong here ends the node: the view says what it cannot read, and a terminal that is gone
    is no longer drawn on.
    """
    access = Access(node.plan, beat=node.sign)
    report = Report(journal)

    def told() -> dict[str, Any]:
        access.plan = node.plan  # a reload may have changed it
        return report.told(access.look())

    try:
        while drawn and not ended.is_set():
            try:
                follow(console(), told, ended.is_set, rest=ended)
            except OSError as error:
                log.warning(
                    "the terminal is gone (%s): the node goes on without the live view", in_words(error)
                )
                drawn = False
            except Exception as error:  # noqa: BLE001  a fault of the drawing: said, and drawn again
                log.error("the live view failed: %s; it begins again", in_words(error))
                ended.wait(AGAIN)
        _wait(told, journal, ended)
    finally:
        access.close()


def _wait(told: Callable[[], object], journal: Journal, ended: threading.Event) -> None:
    """Log what there is to say until the end is asked for."""
    due = 0.0
    while not ended.wait(TICK):
        try:
            journal.flush()
            if time.monotonic() >= due:
                due = time.monotonic() + LOOK
                told()
        except Exception as error:  # noqa: BLE001  a fault of a face: said, and tried again
            log.error("the state cannot be told: %s", in_words(error))
            due = time.monotonic() + REPORT


def _print(out: Console, text: object) -> None:
    """Print on a terminal that may be gone by now."""
    try:
        out.print(text)
    except OSError as error:
        log.warning("the terminal is gone (%s)", in_words(error))


class Report:
    """Writes a line of counts a minute into the log while something changes, and what needs attention."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last = ""
        self._due = time.monotonic() + REPORT

    def told(self, state: dict[str, Any]) -> dict[str, Any]:
        """The state itself, once the log has what is new in it."""
        self._journal.flush()
        self._journal.attention(state["attention"])
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + REPORT
            text = line(state)
            if text != self._last:
                log.info("%s", text)
            self._last = text
        return state


def _part(plan: Plan, out: Console) -> None:
    """The last word on a screen that was drawn on: how things stand now that the node has ended."""
    access = Access(plan)
    try:
        _print(out, farewell(access.look(), width=out.width, glyphs=glyphs(out)))
    finally:
        access.close()


class _LogFile(logging.handlers.RotatingFileHandler):
    """A log that is not for others to read, nor is the file that follows a full one."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=private_opener)


def _log_to(file: Path | None, verbose: bool) -> None:
    """Send the log to standard output, or, where that is drawn on, to a file beside the data."""
    handler: logging.Handler = logging.StreamHandler(sys.stdout)
    if file is not None:
        handler = _LogFile(file, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mapdr").setLevel(logging.DEBUG if verbose else logging.INFO)


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
