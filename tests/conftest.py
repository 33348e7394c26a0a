"""Fixtures for all tests: data, peers, ports, and guards against leaks."""

from __future__ import annotations

import contextlib
import csv
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import selection
from mapdr.testing.wait import until
from peers import processes, variety
from peers.data import DATA, REAL
from peers.marks import Marks

CI = bool(os.environ.get("CI"))
PEERS = pytest.StashKey[set[str]]()
"""Every program that any of the collected tests says it needs."""

# MAPDR counts by the local day, and so do many tests what came "today". Local time is noon when they start,
# whatever the hour, so that no midnight falls into them; the processes they start inherit it. Not on Windows:
# a process keeps the zone there that it started with, and this one and its children would differ.
if hasattr(time, "tzset"):
    os.environ["TZ"] = f"TEST{time.gmtime().tm_hour - 12:+d}"
    time.tzset()

# A machine that is busy with other things, or stands still, says nothing of what is tested. Without a
# deadline Hypothesis still fails what has not drawn ten examples within 30 seconds.
UNHURRIED = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("default", **UNHURRIED)
hypothesis.settings.register_profile("deep", **UNHURRIED, max_examples=5000)
hypothesis.settings.load_profile("default")


def pytest_configure(config: pytest.Config) -> None:
    """Where Python may not write byte code beside its sources, it goes into pytest's own folder.

    Otherwise each of the hundreds of processes that the tests start compiles all that it imports anew.
    """
    cache = getattr(config, "cache", None)  # there is none with -p no:cacheprovider
    if cache and os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        folder = str(cache.mkdir("bytecode"))
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = folder
        sys.dont_write_bytecode = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what another machine or installation changes; long tests run only if they are asked for."""
    config.stash[PEERS] = {name for item in items for name in wanted_peers(item)}
    asked = config.getoption("markexpr")
    for item in items:
        if "data" in getattr(item, "fixturenames", ()) or hasattr(getattr(item, "module", None), "REAL"):
            item.add_marker("data")
        # Which tests these are is read from all sources, for seconds: only if somebody asks for them.
        if "backend" in asked and selection.uses_backend(item.path):
            item.add_marker("backend")
    items.sort(key=_begins_late)
    if "long" in asked:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)


LONGEST = {"e2e", "docs", "web", "desktop", "faults", "truth", "upgrade"}
"""The folders whose files take longest: they start nodes, browsers and peers."""


def _begins_late(item: pytest.Item) -> bool:
    """Whether a test is of a short file.

    Files are shared out among processes in this order: one of half a minute that began last would keep one of
    them at work when the others have nothing left.
    """
    return LONGEST.isdisjoint(item.nodeid.partition("::")[0].split("/"))


def wanted_peers(item: pytest.Item) -> set[str]:
    """The programs that a test says it needs."""
    return {name for marker in item.iter_markers("peer") for name in marker.args}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A peer that is not installed: skipped at home, failed in CI, unless MAPDR_NO_PEERS wants none."""
    missing = sorted(name for name in wanted_peers(item) if not processes.program(name))
    if missing and CI and not os.environ.get("MAPDR_NO_PEERS"):
        pytest.fail(f"{', '.join(missing)} must be installed in CI", pytrace=False)
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")


@pytest.fixture(autouse=True)
def peers_are_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test starts a program that is a peer without saying so: it would fail where that is not."""
    yield
    unsaid = (processes.take_started() & request.config.stash[PEERS]) - wanted_peers(request.node)
    assert not unsaid, f"started without a peer marker: {', '.join(sorted(unsaid))}"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of DICOM files to test with: real ones, or those made here where the real ones are not."""
    if REAL:
        return DATA
    folder = tmp_path_factory.mktemp("data")
    variety.write(folder)
    return folder


@pytest.fixture(scope="session")
def catalogue(data: Path) -> list[Path]:
    """Every file of `data` in a fixed order."""
    if not REAL:
        return sorted(path for path in data.rglob("*") if path.is_file())
    with (data / "catalogue.csv").open(newline="") as file:
        return [data / row["path"] for row in csv.DictReader(file)]


@pytest.fixture
def free_port() -> int:
    """A port of loopback that nobody listens on."""
    return processes.free_port()


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every thread, file and socket that a test opens is gone when it ends.

    Not for `e2e`: there the node is another process, and the peers live as long as the session.
    """
    if "e2e" in request.path.parts:
        yield
        return
    threads, files = set(threading.enumerate()), _open_files()
    yield
    with contextlib.suppress(AssertionError):
        until(lambda: not _new_threads(threads), 1)
    if _new_threads(threads):
        until(lambda: _collected(threads), 5, f"the end of threads {_new_threads(threads)}")
    if _open_files() - files:
        gc.collect()
        left = _open_files() - files
        assert not left, f"left open: {sorted(name for _, name in left)}"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """`mapdr run` sets up logging for its process; run within a test, it must not deafen the next ones."""
    log = logging.getLogger("mapdr")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)


def _collected(before: set[threading.Thread]) -> bool:
    """Whether no thread is new once garbage is collected: an exception and the frames that it came through
    hold each other, and the pools of those. Asked again and again, for what is garbage only later."""
    gc.collect()
    return not _new_threads(before)


def _new_threads(before: set[threading.Thread]) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread not in before]


def _open_files() -> set[tuple[str, str]]:
    """Descriptor and target of each open file and socket; empty where the system cannot say."""
    found = set()
    folder = Path("/proc/self/fd")
    for name in os.listdir(folder) if folder.is_dir() else ():
        try:
            target = os.readlink(f"/proc/self/fd/{name}")  # twice for each test: no paths are made
        except OSError:
            continue  # the descriptor of this very listing
        if target.startswith("socket:") or (
            target.startswith("/") and not target.startswith(("/dev/", "/proc/"))
        ):
            found.add((name, target))
    return found


@pytest.fixture
def marks(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[Marks]:
    """Marked values for a data set; at the end, no log record and no output of this process holds one."""
    caplog.set_level("DEBUG")
    marked = Marks()
    yield marked
    captured = capfd.readouterr()
    marked.assert_absent(caplog.text, captured.out, captured.err)
