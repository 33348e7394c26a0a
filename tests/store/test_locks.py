"""SQLite's locks outlive whatever else the process does with its data folder.

Closing any descriptor of a file gives back every lock that the process holds on it. Another process then
believes to be the last one and takes the write-ahead log away; this one writes into a file without a name.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mapdr.store import Store

OTHER_PROCESS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM fact").fetchone()
connection.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps locks per handle")
def test_a_second_opening_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    first = Store.open(tmp_path, "node", durability="process-crash")
    second = Store.open(tmp_path, "node", durability="process-crash")
    try:
        assert (tmp_path / "index.db-wal").exists()
        subprocess.run([sys.executable, "-c", OTHER_PROCESS, tmp_path / "index.db"], check=True, timeout=30)
        assert (tmp_path / "index.db-wal").exists(), "another process took the log away from under this one"
    finally:
        second.close()
        first.close()
