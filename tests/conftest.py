"""Fixtures for all tests: data, peers, ports, and guards against leaks."""

from __future__ import annotations

import csv
import gc
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from mapdr.testing.wait import until
from peers import processes
from peers.marks import Marks

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("MAPDR_TEST_DATA", ROOT / "../shared/data")).resolve()
CI = bool(os.environ.get("CI"))

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("deep", deadline=None, max_examples=5000)
hypothesis.settings.load_profile("default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests run only when they are asked for by their marker."""
    if "long" in config.getoption("markexpr"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A peer that is not installed: skipped at home, failed in CI."""
    wanted = [name for marker in item.iter_markers("peer") for name in marker.args]
    missing = [name for name in wanted if not processes.program(name)]
    if missing and CI:
        pytest.fail(f"{', '.join(missing)} must be installed in CI", pytrace=False)
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")


@dataclass(frozen=True)
class Entry:
    """A line of the test data's catalogue."""

    path: Path
    name: str
    sop_class: str
    modality: str
    transfer_syntax_uid: str
    features: frozenset[str]
    row: dict[str, str]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real test files; a test that needs it is skipped where it is not."""
    if not (DATA / "catalogue.csv").is_file():
        pytest.skip(f"no test data at {DATA} (MAPDR_TEST_DATA)")
    return DATA


@pytest.fixture(scope="session")
def catalogue(data: Path) -> list[Entry]:
    """Every file of the test data with what the catalogue says of it."""
    with (data / "catalogue.csv").open(newline="") as file:
        return [
            Entry(
                path=data / row["path"],
                name=row["path"],
                sop_class=row["sop_class"],
                modality=row["modality"],
                transfer_syntax_uid=row["ts_uid"],
                features=frozenset(row["features"].split()),
                row=row,
            )
            for row in csv.DictReader(file)
        ]


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
    until(lambda: not _new_threads(threads), 5, f"the end of threads {_new_threads(threads)}")
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


def _new_threads(before: set[threading.Thread]) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread not in before]


def _open_files() -> set[tuple[str, str]]:
    """Descriptor and target of each open file and socket; empty where the system cannot say."""
    found = set()
    folder = Path("/proc/self/fd")
    for name in os.listdir(folder) if folder.is_dir() else ():
        try:
            target = os.readlink(folder / name)
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
