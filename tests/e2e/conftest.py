"""The real node between real peers; each lives as long as the module that asks for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom.data
import pytest

from peers import part10
from peers.node import Node
from peers.part10 import StoredObject


@pytest.fixture(scope="session")
def corpus(request: pytest.FixtureRequest) -> list[StoredObject]:
    """Every file of the test data; where that is not, the files that come with pydicom."""
    try:
        paths = [entry.path for entry in request.getfixturevalue("catalogue")]
    except pytest.skip.Exception:
        paths = sorted(Path(name) for name in pydicom.data.get_testdata_files("*.dcm"))
    return [part10.read(path) for path in paths]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder for this module's peers."""
    return tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2])


@pytest.fixture(scope="module")
def keep() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Registers what must be stopped when the module ends, in reverse order."""
    with contextlib.ExitStack() as stack:
        yield lambda stop: stack.callback(stop) and None


@pytest.fixture
def make_node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Node]]:
    """Makes nodes for one test; their logs are shown if it fails."""
    nodes: list[Node] = []

    def make(name: str = "node", **tables: object) -> Node:
        nodes.append(Node(tmp_path / name, **tables))  # type: ignore[arg-type]
        return nodes[-1]

    yield make
    for node in nodes:
        node.stop()
        request.node.add_report_section("call", f"log of {node.folder.name}", node.output()[-8000:])
