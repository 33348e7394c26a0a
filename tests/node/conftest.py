"""A node in a folder of its own, stopped when the test ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapdr.node.assembly import Node
from node import stages

Start = Callable[[str], Node]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the configuration stands."""
    return tmp_path / "mapdr.toml"


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Start a node by a configuration's tables; `[node]` is there."""
    stages.happened.clear()
    nodes: list[Node] = []

    def begin(text: str) -> Node:
        nodes.append(stages.build(path, text))
        nodes[-1].start()
        return nodes[-1]

    yield begin
    for node in nodes:
        node.stop(time.monotonic() + 5)
