"""What this installation is and can do, and whether its surroundings are sound."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import mapdr
from mapdr import _fast
from mapdr.kernel.certificate import PEER, Certificate, ending
from mapdr.kernel.registry import Registry
from mapdr.node.certificates import ending_soon
from mapdr.node.plan import Plan
from mapdr.operate import words
from mapdr.operate.access import Access
from mapdr.operate.attention import silent, without_journal
from mapdr.operate.configuration import examine as check_file
from mapdr.operate.configuration import summary
from mapdr.operate.events import disk_said
from mapdr.operate.facts import LOST, existing, free_space, unwritable, writable
from mapdr.store.index.fault import IndexFault, index_named
from mapdr.store.spool.room import DiskStep, step_of
from mapdr.transform.codecs.table import installed

LIBRARIES = (
    "pydicom",
    "pynetdicom",
    "numpy",
    "imagecodecs",
    "pydantic",
    "tomlkit",
    "SQLAlchemy",
    "xxhash",
    "httpx",
    "click",
    "rich",
)

OK, NOTE, BAD = "ok", "note", "bad"

FREE = 10 * 1000**3
"""Less free disk than this is worth a remark."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One line of the report; `level` is ok, note (works, but look at it) or bad (exit status 1)."""

    part: str
    name: str
    level: str
    text: str


def examine(config: Path | None) -> Iterator[Examined]:
    """Every finding. A part that cannot be examined is a finding too; nothing is raised."""
    parts: tuple[tuple[str, Callable[[], Iterator[Examined]]], ...] = (
        ("program", _program),
        ("hot paths", _hot_paths),
        ("codecs", _codecs),
        ("plug-ins", _plugins),
        ("clock", _clock),
        ("configuration", lambda: _configuration(config)),
    )
    for name, look in parts:
        try:
            yield from look()
        except Exception as error:  # noqa: BLE001  the doctor survives what it finds, and says so
            yield Examined(name, "", BAD, f"cannot be examined: {type(error).__name__}: {error}")


def _program() -> Iterator[Examined]:
    part = "program"
    yield Examined(part, "mapdr", OK, mapdr.__version__)
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    python = f"{platform.python_implementation()} {platform.python_version()}{'' if gil else ', without GIL'}"
    yield Examined(part, "python", OK, python)
    yield Examined(part, "system", OK, f"{platform.platform()}, {os.cpu_count()} processors")
    for library in LIBRARIES:
        try:
            yield Examined(part, library, OK, metadata.version(library))
        except metadata.PackageNotFoundError:
            yield Examined(part, library, BAD, "is not installed")


def _hot_paths() -> Iterator[Examined]:
    """Which twin of each hot path is in use."""
    for name, backend in _fast.BACKENDS.items():
        if backend == "python":
            yield Examined("hot paths", name, NOTE, "plain Python: works, slower (no extension here)")
        else:
            yield Examined("hot paths", name, OK, "compiled")


def _codecs() -> Iterator[Examined]:
    """Each transfer syntax: whether it can be written and read here, and why not."""
    for row in installed(Registry()):
        if not row.no_decode and not row.no_encode:
            yield Examined("codecs", row.name, OK, "reads and writes it")
        elif not row.no_decode:
            yield Examined("codecs", row.name, OK, f"reads only: {row.no_encode}")
        else:
            yield Examined("codecs", row.name, NOTE, f"unavailable, because {row.no_decode}")


def _plugins() -> Iterator[Examined]:
    """Stages whose name is taken twice: an image may be treated by another program than is meant."""
    for plugin in Registry().plugins():
        if plugin.doubt:
            yield Examined("plug-ins", f"{plugin.kind} {plugin.type}", NOTE, plugin.doubt)


def _clock() -> Iterator[Examined]:
    now = time.time()
    text = f"{words.day_and_clock(now)} ({time.strftime('%Z, UTC%z', time.localtime(now))})"
    # Nobody runs this before it was written: an unset clock makes days and ids wrong.
    written = Path(sys.executable if getattr(sys, "frozen", False) else __file__).stat().st_mtime
    if now < written - 86400:
        yield Examined("clock", "time", BAD, f"{text} is before MAPDR was installed; set the clock")
    else:
        yield Examined("clock", "time", OK, text)
    steps = time.get_clock_info("monotonic").resolution
    level = OK if steps < 0.02 else NOTE
    yield Examined("clock", "resolution", level, f"{steps * 1e6:.3g} microseconds")


def _configuration(config: Path | None) -> Iterator[Examined]:
    part = "configuration"
    if config is None:
        yield Examined(part, "file", NOTE, "there is none; `mapdr init` writes one")
        return
    checked = check_file(config)
    for problem in checked.problems:
        yield Examined(part, "problem", BAD, str(problem))
    if checked.plan is None or checked.problems:
        return
    yield Examined(part, "file", OK, f"{config}: {summary(checked.plan)}")
    node = checked.plan.node
    yield Examined(
        part, "durability", OK if node.durability == "power-loss" else NOTE, _durability(node.durability)
    )
    yield from _certificates(checked.plan)
    yield from _told_by_the_node(checked.plan)
    yield from _disk(node.data, node.min_free, node.low)
    yield from _database(checked.plan)


def _certificates(plan: Plan) -> Iterator[Examined]:
    """Each certificate that a stage shows or trusts, and when it ends."""
    now = time.time()
    for kind, group in (("receive", plan.receivers), ("egress", plan.destinations)):
        for name, planned in group.items():
            for one in planned.factory.certificates(planned.config):
                yield _certificate(f"{kind}.{name}", one, now)


def _told_by_the_node(plan: Plan) -> Iterator[Examined]:
    """What only a running node knows: why it takes nothing, or works without its journal, certificates of
    peers that end soon, and sources that are silent."""
    opened = Access(plan)
    try:
        with index_named(plan.node.database_url(), plan.node.data):
            beat = opened.running()
    except IndexFault:
        return  # said of the database
    finally:
        opened.close()
    now, told = time.time(), beat.counters if beat is not None else {}
    for stage, one in ending_soon(told, now):
        if one.whose == PEER:
            yield _certificate(stage, one, now)
    if refusing := told.get("store", {}).get("refusing"):
        yield Examined("node", "intake", BAD, f"images are REFUSED: {refusing}")
    for text in without_journal(told):
        yield Examined("node", "journal", NOTE, text)
    for text in silent(told):
        yield Examined("sources", "silent", NOTE, text)


def _certificate(stage: str, one: Certificate, now: float) -> Examined:
    days = one.days_left(now)
    level = BAD if days <= 0 else NOTE if one.ends_soon(now) else OK
    text = f"{ending(one.whose, words.plain(one.name), days)} (SHA-256 {one.fingerprint[:16]}...)"
    return Examined("certificates", stage, level, text)


def _durability(level: str) -> str:
    if level == "power-loss":
        return "power-loss: an acknowledged image survives a power cut"
    return "process-crash: an acknowledged image survives a crash of MAPDR, but not a power cut"


def _disk(data: Path, reserve: int, low: int) -> Iterator[Examined]:
    there, free = existing(data), free_space(data)
    if free is None:
        yield Examined("disk", "free", BAD, f"how much is free for {data} cannot be found out")
    else:
        text = f"{words.size(free)} free for {data}, {words.size(reserve)} kept in reserve"
        step = step_of(free, reserve, low)
        if step is not DiskStep.ENOUGH:
            text = f"{disk_said(step.word)[1]}: {text}"
        level = BAD if step >= DiskStep.NO_BULK else NOTE if step or free < FREE else OK
        yield Examined("disk", "free", level, text)
    can = writable(there)
    yield Examined("disk", "writable", OK if can else BAD, f"{there} {'is' if can else 'is not'} writable")


def _database(plan: Plan) -> Iterator[Examined]:
    problem = _database_fault(plan)
    if problem is None:
        yield Examined("database", "index", OK, "is readable and consistent")
    else:
        yield Examined("database", "index", NOTE if problem.startswith("there is none") else BAD, problem)


def _database_fault(plan: Plan) -> str | None:
    """What is wrong with the index, None if nothing. Nothing is made by looking."""
    opened = Access(plan)
    try:
        with index_named(plan.node.database_url(), plan.node.data):
            store = opened.store
            if store is not None:
                store.counts.status()
            if opened.alive and opened.last_beat() is None:
                return LOST
            if store is None:
                return "there is none yet: the node has not run"
        return unwritable(plan.node) or None
    except IndexFault as error:
        return str(error)
    finally:
        opened.close()
