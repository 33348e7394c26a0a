"""Comparing with the drawings that were looked at and kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paper import nodes

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a drawing with `golden/NAME.txt`; MAPDR_UPDATE_GOLDEN=1 writes it, to be looked at."""

    def check(name: str, drawn: str) -> None:
        path = GOLDEN / f"{name}.txt"
        drawn = "".join(line.rstrip() + "\n" for line in drawn.splitlines())
        if os.environ.get("MAPDR_UPDATE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(drawn, encoding="utf-8", newline="\n")
        assert drawn == path.read_text(encoding="utf-8")

    return check


@pytest.fixture
def node(tmp_path: Path) -> nodes.NodeFolder:
    """A node that has never run."""
    return nodes.new(tmp_path)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> nodes.NodeFolder:
    """A node with images, see `nodes.with_images`: made once, to be copied."""
    return nodes.with_images(nodes.new(tmp_path_factory.mktemp("filled")))


@pytest.fixture
def used(filled: nodes.NodeFolder, tmp_path: Path) -> nodes.NodeFolder:
    """A node that received 4 CT (2 delivered and 1 parked at telepacs), 2 MR, and 1 US that no rule takes."""
    return nodes.copied(filled, tmp_path)
