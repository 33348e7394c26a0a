"""Makes the data folder of a release, for the tests of upgrades: run it with that release's own code.

    git archive REVISION | tar -x -C OLD
    PYTHONPATH=OLD:OLD/cli:OLD/web:OLD/tests python tests/upgrade/make_release.py OLD tests/upgrade/NAME.zip

Generated images only; the index stands in it as SQL.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path

import mapdr
from paper import nodes

old, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
if not Path(mapdr.__file__).is_relative_to(old):
    sys.exit(f"this is the code of {mapdr.__file__}, not of {old}")
with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as archive:
    folder = Path(name)
    nodes.with_images(nodes.new(folder))
    with closing(sqlite3.connect(folder / "data/index.db")) as index:
        dump = "\n".join(index.iterdump())
    archive.writestr("data/index.sql", dump)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("index.db") and path.suffix in (".dcm", ".toml"):
            archive.write(path, path.relative_to(folder).as_posix())
