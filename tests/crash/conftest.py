"""The recorder, and a place where states of the disk are made."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import CI
from crash.promise import Outcome
from crash.simulator import Recorded, Simulator, record

SOURCE = Path(__file__).with_name("recorder.c")


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that is preloaded; skipped where it cannot be made, failed in CI."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        if CI and sys.platform.startswith("linux"):
            pytest.fail("a C compiler must be installed in CI", pytrace=False)
        pytest.skip("no C compiler here that makes libraries for Linux")
    made = tmp_path_factory.mktemp("recorder") / "recorder.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE, "-ldl", "-lpthread"], check=True)
    return made


@pytest.fixture(scope="session")
def in_memory() -> Iterator[Path]:
    """A folder in memory where there is one: real flushes would cost much and prove nothing here."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="mapdr-crash-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def recorded(recorder: Path, in_memory: Path) -> object:
    """Makes the record of a scenario's phases, once."""
    made: dict[tuple[str, ...], Recorded] = {}

    def of(*phases: str) -> Recorded:
        if phases not in made:
            made[phases] = record(recorder, in_memory / "-".join(phases), *phases)
        return made[phases]

    return of


@pytest.fixture(scope="session")
def known() -> dict[tuple[bytes, bool], Outcome]:
    """What recovery made of states of the disk, so far."""
    return {}


@pytest.fixture
def simulator(in_memory: Path, known: dict[tuple[bytes, bool], Outcome]) -> Iterator[Simulator]:
    """Crashes records."""
    logging.getLogger("mapdr").setLevel(logging.CRITICAL)  # damaged files are told of, thousands of times
    made = Simulator(in_memory, known)
    yield made
    made.close()
