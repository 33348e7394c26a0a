"""The real node between real peers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from peers import part10
from peers.node import Node
from peers.part10 import StoredObject

NODES: pytest.StashKey[list[Node]] = pytest.StashKey()


@pytest.fixture(scope="session")
def corpus(catalogue: list[Path]) -> list[StoredObject]:
    """Every file of the test data."""
    return [part10.read(path) for path in catalogue]


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
    """Makes nodes for one test."""
    nodes = request.node.stash.setdefault(NODES, [])

    def make(name: str = "node", **tables: object) -> Node:
        nodes.append(Node(tmp_path / name, **tables))  # type: ignore[arg-type]
        return nodes[-1]

    yield make
    for node in nodes:
        node.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The logs of a failed test's nodes belong to its report."""
    report = yield
    if report.when == "call" and report.failed:
        for node in item.stash.get(NODES, []):
            report.sections.append((f"log of {node.folder.name}", node.output()[-8000:]))
    return report
