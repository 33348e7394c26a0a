"""Tells a preloaded node (`shim.c`) which of its system calls fail."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mapdr.testing.wait import until

_RULE = struct.Struct("7i36s")
_RULES = 8
_CALLS = ("", "open", "write", "fsync", "rename", "unlink", "close", "recv", "send", "truncate")
SHORT = -1
"""Instead of an errno: a write, a send or a receive does a part of what it was asked."""


@dataclass(frozen=True)
class Fault:
    """Calls of one kind that fail with `error`: every n-th, `most` times at most (0: without end).

    `path` is a part of the file's path. recv and send fail on the sockets of a port, which is the test's.
    """

    call: str
    error: int
    path: str = "/spool/"
    every: int = 1
    most: int = 0


class Faults:
    """A file that a test writes and a node reads, both as shared memory."""

    def __init__(self, shim: Path, path: Path) -> None:
        path.write_bytes(bytes(_RULE.size * _RULES))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _RULE.size * _RULES)
        self.env = {"LD_PRELOAD": str(shim), "MAPDR_FAULTS": str(path)}

    @contextmanager
    def injected(self, *faults: Fault, port: int) -> Iterator[None]:
        """Let these happen; each of them must have, at the end."""
        for number, fault in enumerate(faults):
            call = _CALLS.index(fault.call)
            sockets = port if fault.call in ("recv", "send") else 0
            rule = _RULE.pack(call, fault.error, fault.every, fault.most, 0, 0, sockets, fault.path.encode())
            at = number * _RULE.size
            self._map[at + 4 : at + _RULE.size] = rule[4:]
            self._map[at : at + 4] = rule[:4]  # the call comes last: only now the rule holds
        try:
            yield
            until(lambda: all(self._hits(len(faults))), 10, f"faults that happen: {faults}")
        finally:
            for number in range(_RULES):
                self._map[number * _RULE.size : number * _RULE.size + 4] = bytes(4)

    def _hits(self, count: int) -> list[int]:
        return [_RULE.unpack_from(self._map, number * _RULE.size)[5] for number in range(count)]

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
