"""Which images a node had in hand when it died, and how often that happened to each (design, decision 27).

In hand means that its bytes are being inflated, decoded or encoded; leased or waiting is not. The marks stand
in a file in the folder of the node. They need not survive a power failure, only the end of the process, so a
plain write is enough: 4 microseconds, where a commit takes milliseconds. At start-up, what is marked there
died in hand, and is counted in the index.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select

from mapdr.kernel.permissions import touch_private
from mapdr.store.index import schema
from mapdr.store.index.database import Database
from mapdr.store.index.recipes import Recipes
from mapdr.store.index.strings import StringTable, clean

log = logging.getLogger("mapdr.store")

RECORD = 256
"""Bytes of one mark: the image's id, the recipe's hash, a transfer syntax or nothing; blanks; a line feed."""

ALONE = 2
"""Deaths after which an image is tried alone ..."""

DEADLY = 3
"""... and after which it is not tried any more, for the last one was alone."""

Key = tuple[str, str, str]
"""Instance id, recipe hash, transfer syntax override or empty: one preparation."""

_death = schema.death
_READ = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class InHand:
    """The marks of one node and the deaths that the index has counted. Thread-safe."""

    def __init__(self, path: Path, database: Database, strings: StringTable, recipes: Recipes) -> None:
        self._path = path
        self._database = database
        self._strings = strings
        self._recipes = recipes
        self._lock = threading.Lock()
        self._file: int | None = None
        self._free: list[int] = []
        self._next = 0
        self._known: dict[Key, int] = {}

    def count(self) -> int:
        """Count one death more for what a process that is gone had in hand; how many images it were.

        Safe to be interrupted: then nothing is counted, or some images twice.
        """
        marked = self._marked()
        rows = [{**self._values(key), "deaths": 1} for key in marked]
        if rows:
            with self._database.write() as connection:
                connection.execute(self._database.upsert(_death, add=("deaths",)), rows)
        if marked:
            log.error(
                "the node ended while it had %d images in hand: %s",
                len(marked),
                ", ".join(sorted({id_ for id_, _, _ in marked})[:20]),
            )
            self._path.write_bytes(b"")
        return len(marked)

    def start(self) -> None:
        """Begin to mark; knows afterwards which images have died in hand before. Raises OSError."""
        touch_private(self._path)
        with self._database.read() as connection:
            rows = connection.execute(select(_death)).all()
        with self._lock:
            self._known = {
                (
                    row.instance.hex(),
                    self._recipes.hash(row.recipe),
                    self._strings.text(row.syntax),
                ): row.deaths
                for row in rows
            }
            self._file = os.open(self._path, _READ)
            os.ftruncate(self._file, 0)
            self._free, self._next = [], 0

    def stop(self) -> None:
        """Take away every mark: what ends from now on ends by order. Safe twice and without `start`."""
        with self._lock:
            if self._file is not None:
                os.ftruncate(self._file, 0)
                os.close(self._file)
                self._file = None

    def begin(self, key: Key) -> int:
        """An image is in hand; gives the mark that `end` takes away."""
        line = " ".join(key).encode("utf-8").ljust(RECORD - 1)[: RECORD - 1] + b"\n"
        with self._lock:
            mark = self._free.pop() if self._free else self._next
            self._next = max(self._next, mark + 1)
            self._write(mark, line)
        return mark

    def end(self, mark: int) -> None:
        """An image is no longer in hand."""
        with self._lock:
            self._write(mark, b" " * (RECORD - 1) + b"\n")
            self._free.append(mark)

    def deaths(self, key: Key) -> int:
        """How often the node has died with this in hand; fewer once a person asked to try it again."""
        if key not in self._known:
            return 0
        with self._database.read() as connection:
            found = connection.execute(select(_death.c.deaths).where(*self._where(key))).scalar()
        return found or 0

    def survived(self, key: Key) -> None:
        """It was prepared, or refused in good order: its deaths were not its fault."""
        if key not in self._known:
            return
        with self._database.write() as connection:
            connection.execute(delete(_death).where(*self._where(key)))
        self._known.pop(key, None)

    def _marked(self) -> set[Key]:
        """What the file says; a line that a power failure broke says nothing."""
        if not self._path.exists():
            return set()
        found = set()
        for line in self._path.read_bytes().decode("utf-8", "replace").splitlines():
            parts = line.rstrip(" ").split(" ")
            if len(parts) in (2, 3) and len(parts[0]) == 32 and not parts[0].strip("0123456789abcdef"):
                found.add((parts[0], parts[1], parts[2] if len(parts) == 3 else ""))
        return found

    def _write(self, mark: int, line: bytes) -> None:
        if self._file is None:
            return
        try:
            if hasattr(os, "pwrite"):
                os.pwrite(self._file, line, mark * RECORD)
            else:  # Windows
                os.lseek(self._file, mark * RECORD, os.SEEK_SET)
                os.write(self._file, line)
        except OSError as error:
            # Without it a death is not counted; the image itself is as well off as without this file.
            log.error("what is in hand cannot be marked: %s", error.strerror)

    def _values(self, key: Key) -> dict[str, Any]:
        instance, recipe, syntax = key
        return {
            "instance": bytes.fromhex(instance),
            "recipe": self._recipes.number(recipe),
            "syntax": self._strings.number(clean(syntax)),
        }

    def _where(self, key: Key) -> list[Any]:
        return [_death.c[name] == value for name, value in self._values(key).items()]
