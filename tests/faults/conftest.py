"""A node whose system calls fail when a test says so."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import CI
from faults.faults import Faults
from peers.node import Node

SHIM = Path(__file__).with_name("shim.c")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that is preloaded; skipped where it cannot be made, failed in CI."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        if CI:
            pytest.fail("a C compiler must be installed in CI", pytrace=False)
        pytest.skip("no C compiler here that makes libraries for Linux")
    made = tmp_path_factory.mktemp("shim") / "faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SHIM, "-ldl"], check=True)
    return made


@pytest.fixture
def faults(shim: Path, tmp_path: Path) -> Iterator[Faults]:
    """What fails in the nodes that are started with its environment; nothing at first."""
    made = Faults(shim, tmp_path / "faults")
    yield made
    made.close()


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes for one test."""
    nodes: list[Node] = []

    def make(**tables: object) -> Node:
        nodes.append(Node(tmp_path / f"node{len(nodes)}", **tables))  # type: ignore[arg-type]
        return nodes[-1]

    yield make
    for node in nodes:
        node.stop()
