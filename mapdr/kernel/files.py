"""Files that are read at a place, on systems with and without `pread`."""

from __future__ import annotations

import os
from collections.abc import Callable

READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
"""How `os.open` is asked for a file that is read."""
_MOST = 1 << 30
"""Bytes of one read: macOS refuses more than 2 GB at a time."""

_pread: Callable[[int, int, int], bytes] | None = getattr(os, "pread", None)  # not on Windows

SHARED_READS = _pread is not None
"""Whether several threads may read one open file at once."""


def read_at(file: int, count: int, at: int) -> bytes:
    """What an open file holds from `at` on: `count` bytes, or fewer where it ends before.

    One read may give less than that, as file systems of a network do. Raises OSError.
    """
    pieces = []
    while count and (piece := _once(file, min(count, _MOST), at)):
        pieces.append(piece)
        count -= len(piece)
        at += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _once(file: int, count: int, at: int) -> bytes:
    if _pread is not None:
        return _pread(file, count, at)
    os.lseek(file, at, os.SEEK_SET)
    return os.read(file, count)
