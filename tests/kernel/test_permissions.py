"""What a node makes is not for other accounts to read; what is there keeps its mode."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from mapdr.config.read import read_text
from mapdr.config.revision import keep_revision
from mapdr.kernel.item import Header, Routing, Source, TagPath
from mapdr.node.process import LogFile, log_to
from mapdr.store import Store

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a file's rights are other ones there")


@pytest.fixture(autouse=True)
def everybody() -> object:
    """The loosest umask there is."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_a_store_makes_is_not_for_others(tmp_path: Path) -> None:
    data = tmp_path / "srv" / "data"
    store = Store.open(data, "node", durability="process-crash")
    store.use("rev1", _Nowhere(), {})
    store.start()
    kept = keep_revision(data, read_text("[node]\n"))
    assert mode(data) == 0o700
    made = [path for path in data.rglob("*") if path != data]
    assert {"index.db", "index.db-wal", "index.db-shm", kept.name} <= {path.name for path in made}
    assert [path for path in made if mode(path) & 0o007] == []
    store.close()
    assert mode(data.parent) == 0o777, "what is above the data folder is not this program's"


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o750)
    Store.open(data, "node", durability="process-crash").close()
    assert mode(data) == 0o750


def test_the_log_is_not_for_others_neither_when_it_is_full(tmp_path: Path) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        log_to(tmp_path / "mapdr.log", verbose=False, drawn=True)
        (handler,) = root.handlers
        assert isinstance(handler, LogFile)
        handler.doRollover()
        handler.close()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert {path.name: mode(path) for path in tmp_path.iterdir()} == {
        "mapdr.log": 0o640,
        "mapdr.log.1": 0o640,
    }


class _Nowhere:
    wanted: frozenset[TagPath] = frozenset()

    def route(self, header: Header, source: Source) -> Routing:
        return Routing(())
