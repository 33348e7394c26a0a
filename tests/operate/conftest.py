"""A node's folder, with the plan of its configuration behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mapdr.operate.access import Access
from paper import nodes


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> nodes.NodeFolder:
    """A node with images, see `nodes.with_images`: made once, to be copied."""
    return nodes.with_images(nodes.new(tmp_path_factory.mktemp("filled")))


@pytest.fixture
def used(filled: nodes.NodeFolder, tmp_path: Path) -> nodes.NodeFolder:
    """A node that received 4 CT (2 delivered and 1 parked at telepacs), 2 MR, and 1 US that no rule takes."""
    return nodes.copied(filled, tmp_path)


@pytest.fixture
def opened(used: nodes.NodeFolder) -> Iterator[Access]:
    """The way to that node, with its rules."""
    found = Access.of(used.config, rules=True)
    yield found
    found.close()
