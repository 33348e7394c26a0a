"""From what earlier releases left to this version, where deliveries go on; and back.

Each zip beside this file is the data folder of a release, made by its own code (`make_release.py`).
"""

from __future__ import annotations

import sqlite3
import time
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mapdr.kernel.registry import Registry
from mapdr.node.assembly import Node
from mapdr.operate.access import Access
from mapdr.operate.backup import backup
from mapdr.operate.configuration import examine
from mapdr.operate.restore import restore
from mapdr.store.index import moving, schema
from mapdr.store.index.copying import facts_of_copy
from mapdr.testing.sink import Sink
from mapdr.testing.wait import until
from peers.processes import free_port

RELEASES = sorted(Path(__file__).parent.glob("*.zip"))


def unpacked(release: Path, folder: Path, *, telepacs: int, archive: int) -> Path:
    """The release's node in `folder`, with destinations that are there; its configuration."""
    with zipfile.ZipFile(release) as packed:
        packed.extractall(folder)
    script = folder / "data" / "index.sql"
    with closing(sqlite3.connect(folder / "data" / "index.db")) as index:
        index.executescript(script.read_text(encoding="utf-8"))
    script.unlink()
    config = folder / "mapdr.toml"
    text = config.read_text(encoding="utf-8").replace("port = 11112", f"port = {free_port()}")
    text = text.replace("port = 1\n", f"port = {telepacs}\n").replace("port = 2\n", f"port = {archive}\n")
    config.write_text(text, encoding="utf-8")
    return config


def dumped(index: Path) -> list[str]:
    with closing(sqlite3.connect(index)) as connection:
        return list(connection.iterdump())


def deliver_all(config: Path) -> None:
    """Run the node until only what is parked is left."""
    checked = examine(config)
    assert checked.plan is not None
    assert not checked.problems
    node = Node(checked.loaded, checked.plan, Registry(), base=config.parent)
    node.start()
    try:
        until(lambda: not any(row.state < 2 for row in states(node)), 60, "every delivery")
        assert (
            sorted(row.state for row in states(node)) == [schema.State.PARKED] + [schema.State.DELIVERED] * 11
        )
    finally:
        node.stop(time.monotonic() + 10)


def states(node: Node) -> list[Any]:
    with node.store.database.read() as connection:
        return list(connection.execute(schema.delivery.select()))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
def test_deliveries_go_on_and_the_way_back_is_open(release: Path, tmp_path: Path) -> None:
    number = release.stem.partition("-")[2]
    with Sink(ae_title="TELEPACS") as telepacs, Sink(ae_title="ARCHIVE") as archive:
        config = unpacked(release, tmp_path, telepacs=telepacs.port, archive=archive.port)
        index = tmp_path / "data" / "index.db"
        before = dumped(index)
        opened = Access.of(config)
        try:
            made = backup(opened, tmp_path / "backup")
        finally:
            opened.close()
        assert (made.images, made.owed, made.missing) == (7, 9, 0)
        assert dumped(index) == before, "a backup leaves the index as the earlier version knows it"
        deliver_all(config)
        assert len(archive.requests) == 6
        assert len(telepacs.requests) == 3
        assert facts_of_copy(index).schema == str(schema.VERSION)
        kept = moving.copies(index)
        assert [facts_of_copy(each).schema for each in kept] == [number] * (int(number) < schema.VERSION)
        assert all(dumped(each) == before for each in kept)
        done = restore(tmp_path / "backup", config, force=True)
        assert (done.images, done.owed, done.only_before) == (7, 9, 0)
        assert dumped(index) == before, "what the earlier version can go on with"
        # And forward again: what was delivered since the backup goes out once more.
        deliver_all(config)
        assert len(archive.requests) == 12


def test_the_releases_are_there() -> None:
    assert [each.stem for each in RELEASES] == ["schema-4", "schema-5"]
