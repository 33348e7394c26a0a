"""Whether a folder takes images: it is there, files can be written and get their names, there is room."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mapdr.kernel.durable import Durability, publish_new, sync_folder
from mapdr.kernel.examine import Level, PeerFinding
from mapdr.kernel.privacy import system_says

SIZE = 1 << 20
"""Bytes of the file that is written and removed."""

SLOW = 500.0
"""Milliseconds for that file, flushed; a disk takes a tenth of it."""

ROOM = 10 * 1000**3
"""Less free space than this is worth a remark: a day of a clinic's images."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def examine(path: Path, work: Path, durability: Durability) -> Iterator[PeerFinding]:
    """Every step up to the test image. `work` is the folder within `path` in which files are written."""
    if not os.path.lexists(path):
        yield from _missing(path)
        return
    if not path.is_dir():
        text = f"{path} is a file, or a link to nothing, and no folder"
        yield PeerFinding("folder", Level.BAD, text, "name a folder as path")
        return
    yield PeerFinding("folder", Level.GOOD, f"{path} is there")
    yield _room(path)
    yield from _write(path, work, durability)


def _missing(path: Path) -> Iterator[PeerFinding]:
    above = path.parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        text = f"{path} is not there; the first image makes it, in {above}"
        cure = "make it, and see that its drive is mounted: files must not go below a drive's place"
        yield PeerFinding("folder", Level.WARN, text, cure)
        yield _room(above)
    else:
        text = f"{path} is not there, and cannot be made in {above}"
        yield PeerFinding("folder", Level.BAD, text, "make it, and let who runs mapdr write there")


def _room(path: Path) -> PeerFinding:
    part = "room"
    try:
        usage = shutil.disk_usage(path)
    except OSError as error:
        text = f"how much is free cannot be found out: {system_says(error)}"
        return PeerFinding(part, Level.WARN, text, "see whether the drive is mounted and well")
    text = f"{usage.free / 1e9:,.1f} GB free of {usage.total / 1e9:,.1f} GB"
    if not usage.free:
        return PeerFinding(part, Level.BAD, text, "make room: nothing can be written")
    low = usage.free < ROOM
    return PeerFinding(
        part, Level.WARN if low else Level.GOOD, text, "make room before it is full" if low else ""
    )


def _write(path: Path, work: Path, durability: Durability) -> Iterator[PeerFinding]:
    """A file as an image's is written: elsewhere, flushed, and then under its name; removed again."""
    part, cure = "writing", "let who runs mapdr write, rename and remove files there"
    name = f"mapdr-doctor-{secrets.token_hex(8)}"
    source, target, upper = work / f"{name}.part", path / f"{name}.tmp", path / f"{name}.tmp".upper()
    step, started = f"a folder {work.name} for unfinished files cannot be made", time.perf_counter()
    made = not work.exists()
    try:
        work.mkdir(exist_ok=True)
        step = "a file cannot be written"
        file = os.open(source, _NEW, 0o666)
        try:
            os.write(file, bytes(SIZE))
        except BaseException:
            os.close(file)
            raise
        step = "a file that was written cannot be given its name"
        publish_new(file, str(source), str(target), durability)
        step = "the folder cannot be flushed"
        if durability == "power-loss":
            sync_folder(path)
        took = (time.perf_counter() - started) * 1000
        one_case = upper.exists()
        step = "a file cannot be removed"
        target.unlink()
    except OSError as error:
        yield PeerFinding(part, Level.BAD, f"{step}: {system_says(error)}", cure)
        return
    finally:
        for left in (source, target):
            with suppress(OSError):
                left.unlink()
        if made:
            with suppress(OSError):
                work.rmdir()
    yield _written(took)
    yield _case(one_case)


def _written(took: float) -> PeerFinding:
    text = "a file of 1 MB was written, flushed, given its name and removed"
    slow = took > SLOW
    cure = "look after the disk or the network between: each image waits for it" if slow else ""
    return PeerFinding("writing", Level.WARN if slow else Level.GOOD, text, cure, took)


def _case(one_case: bool) -> PeerFinding:
    if one_case:
        text = (
            "names that differ in case alone are one file there: UIDs have no letters, but a layout of other "
            "tags can give two images one name, of which the second is parked"
        )
    else:
        text = "names that differ in case alone are two files there"
    return PeerFinding("case", Level.INFO, text)
