"""What a process asked of the file system, in its order (`recorder.c`): how it is recorded and read."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
DIED = 9
"""What a child returns that ended itself on purpose."""
_HEAD = struct.Struct("<4IQq")


class Call(IntEnum):
    """What was called, as `recorder.c` numbers it."""

    CREATE = 1
    MKDIR = 2
    LINK = 3
    RENAME = 4
    UNLINK = 5
    RMDIR = 6
    WRITE = 7
    LENGTH = 8
    FSYNC = 9
    FDATASYNC = 10
    MARK = 11
    SEND = 12
    SYNCFS = 13


@dataclass(frozen=True, slots=True)
class Event:
    """One call that took effect: on `inode`, or on the names `path` and, of a link or a rename, `other`, both
    below the recorded folder. `at` is the place of a write, or the length that a file has from here on. A
    mark has its text in `path`."""

    call: Call
    inode: int = 0
    at: int = 0
    path: str = ""
    other: str = ""
    data: bytes = b""


def read_record(content: bytes) -> list[Event]:
    """The events of a record in their order. Raises struct.error for one that is cut."""
    events = []
    at = 0
    while at < len(content):
        call, path, other, size, inode, place = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        ends = (at + path, at + path + other, at + path + other + size)
        if ends[2] > len(content):
            raise struct.error("the record is cut")
        names = content[at : ends[0]].decode(), content[ends[0] : ends[1]].decode()
        events.append(Event(Call(call), inode, place, *names, content[ends[1] : ends[2]]))
        at = ends[2]
    return events


def run_recorded(recorder: Path, record: Path, root: Path, arguments: Sequence[str]) -> None:
    """Run `child.py` with `arguments`; what it asks of the files in `root` is appended to `record`.

    Raises AssertionError unless it came to its end, or ended itself on purpose.
    """
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("child.py")), str(root / "data"), *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(TESTS),
            "LD_PRELOAD": str(recorder),
            "MAPDR_RECORD": str(record),
            "MAPDR_RECORD_ROOT": str(root),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, DIED), done.stderr
