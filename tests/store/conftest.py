"""An open store for the tests of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mapdr.store import Store
from store.world import To

Opener = Callable[..., Store]


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Opener]:
    """Opens stores in one data folder, started and routed to "pacs"; closes them at the end."""
    stores: list[Store] = []

    def make(*, node: str = "node", router: Any = None, start: bool = True, **options: Any) -> Store:
        store = Store.open(tmp_path / "data", node, **{"durability": "process-crash", **options})
        stores.append(store)
        store.use("rev1", router or To("pacs"), {"r0": {"steps": []}})
        if start:
            store.start()
        return store

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener()
