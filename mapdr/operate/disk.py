"""What the disk below the data folder promises and how fast it keeps it: `mapdr doctor --disk`.

Flushes are measured where images are stored, in a folder of their own that is removed at the end: first how
long a flush of one block takes, then images a second by the two ways in which a node makes them safe (a file
of their own that is flushed with its folder; the journal, docs/decisions/0091), one writer alone and eight.
Bounded: MOST_SECONDS for each figure, MOST_BYTES on the disk at a time.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mapdr.kernel.durable import flush, publish, sync_folder
from mapdr.kernel.errors import Refused
from mapdr.kernel.privacy import system_says
from mapdr.operate import words
from mapdr.operate.doctor import BAD, NOTE, OK, Examined
from mapdr.operate.facts import free_space
from mapdr.store.spool.filesystem import file_system, is_in_memory, is_remote
from mapdr.store.spool.journal.journal import Journal
from mapdr.store.spool.journal.record import Image
from mapdr.store.spool.journal.segment import flush_data

Way = Literal["file", "journal"]

SIZES = (9_000, 512_000)
"""Bytes of an image: a small one, and a slice of CT or MR."""
WRITERS = (1, 8)
MOST_SECONDS = 0.4
MOST_BYTES = 64 << 20
NEEDED = 4 * MOST_BYTES
"""Bytes that must be free before anything is written."""
SEGMENT = 8 << 20
LEAST_FLUSH = 8e-6
"""Seconds. A flush is a command to the device and its answer: ten microseconds with the fastest."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Images of `bytes` bytes a second that `writers` at once made safe, `way` being "file" or "journal"."""

    way: Way
    bytes: int
    writers: int
    per_second: float


@dataclass(frozen=True, slots=True)
class Disk:
    """What was found: the type of the file system, empty where it is not known; seconds of a flush of a block
    (the median), None where it could not be measured; the figures, and what is to be said of all."""

    file_system: str
    flush_seconds: float | None
    measured: tuple[Measured, ...]
    findings: tuple[Examined, ...]


def examine_disk(data: Path, reserve: int = 0) -> Disk:
    """Measure the disk below a node's data folder; `reserve`: bytes that stay free there.

    Takes a few seconds, longer on a disk that is slow or busy. An OSError becomes a finding.
    """
    kind, seconds, measured = file_system(data), None, list[Measured]()
    findings = [_file_system(kind)]
    free = free_space(data)
    if free is None or free < reserve + NEEDED:
        findings.append(
            Examined("disk", "flushes", BAD, "not measured: there is too little room in the data folder")
        )
        return Disk(kind, seconds, (), tuple(findings))
    try:
        with tempfile.TemporaryDirectory(prefix="disk-test-", dir=data, ignore_cleanup_errors=True) as name:
            seconds = _shortest_flush(Path(name))
            findings.append(_honesty(seconds, kind))
            for each in _figures(Path(name)):
                measured.append(each)
                findings.append(Examined("images a second", _name(each), OK, _text(each)))
    except OSError as error:
        findings.append(Examined("disk", "flushes", BAD, f"the disk cannot be written: {system_says(error)}"))
    except Refused as error:  # the journal's word for the same
        findings.append(Examined("disk", "flushes", BAD, str(error)))
    return Disk(kind, seconds, tuple(measured), tuple(findings))


def _file_system(kind: str) -> Examined:
    if not kind:
        return Examined("disk", "file system", NOTE, "of what type it is cannot be found out here")
    if is_in_memory(kind):
        return Examined("disk", "file system", BAD, f"{kind}: images are in memory, and gone with the power")
    if is_remote(kind):
        text = (
            f"{kind}, over a network: whether a flush is more than a word depends on the server, and"
            " locks on it may not hold. Keep the data folder on a disk of this machine"
        )
        return Examined("disk", "file system", BAD, text)
    return Examined("disk", "file system", OK, kind)


def _honesty(seconds: float, kind: str) -> Examined:
    """Whether a flush takes as long as a device needs at least."""
    took = f"one takes {seconds * 1e6:,.0f} µs"
    if seconds >= LEAST_FLUSH:
        return Examined("disk", "flushes", OK, took)
    text = (
        f"{took}, faster than any device answers: flushes do not reach it, and a power failure may lose"
        " images that were answered Success. Look at the write cache of disk, controller and virtual machine"
    )
    return Examined("disk", "flushes", NOTE if is_in_memory(kind) else BAD, text)


def _name(each: Measured) -> str:
    senders = "one sender" if each.writers == 1 else f"{each.writers} senders"
    return f"{words.size(each.bytes)}, {senders}, {'journal' if each.way == 'journal' else 'no journal'}"


def _text(each: Measured) -> str:
    return f"at most {each.per_second:,.0f} ({each.per_second * each.bytes / 1e6:,.1f} MB/s)"


def _shortest_flush(folder: Path) -> float:
    """Seconds of a flush of one block that was there before. Raises OSError."""
    path, block, took = folder / "block", os.urandom(4096), list[float]()
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    try:
        os.write(file, block)
        flush(file)
        until = time.monotonic() + MOST_SECONDS
        while not took or (time.monotonic() < until and len(took) < 1000):
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, block)
            begun = time.perf_counter()
            flush_data(file)
            took.append(time.perf_counter() - begun)
    finally:
        os.close(file)
    path.unlink()
    return statistics.median(took)


def _figures(folder: Path) -> Iterator[Measured]:
    """Each size, with each number of writers, by each way. Raises OSError, Refused."""
    for size in SIZES:
        for writers in WRITERS:
            yield Measured("file", size, writers, _files(folder, size, writers))
            yield Measured("journal", size, writers, _journal(folder, size, writers))


def _files(folder: Path, size: int, writers: int) -> float:
    """Images a second, each a new file that is flushed with its folder."""
    data, made = os.urandom(size), list[Path]()

    def write(name: str) -> None:
        part, final = folder / f"{name}.part", folder / f"{name}.dcm"
        made.append(final)
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        try:
            os.write(file, data)
        except BaseException:
            os.close(file)
            raise
        publish(file, str(part), str(final), "power-loss")
        sync_folder(folder)

    try:
        return _rate(write, size, writers)
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def _journal(folder: Path, size: int, writers: int) -> float:
    """Images a second that share flushes of a journal, without their files, which are flushed behind."""
    data = os.urandom(size)
    journal = Journal(folder / "spool" / "journal", size=SEGMENT, most=2)
    over = threading.Event()

    def free() -> None:
        while not over.wait(0.005):
            sequence, files = journal.files()
            if len(files) * size > SEGMENT // 2:
                journal.are_safe(sequence)

    with ThreadPoolExecutor(1, thread_name_prefix="disk-test") as pool:
        freed = pool.submit(free)
        try:
            rate = _rate(
                lambda name: journal.append(folder / name, Image(name, b"", data, bytes(16))), size, writers
            )
        finally:
            over.set()
            wait([freed])
            journal.close()
        freed.result()
        return rate


def _rate(write: Callable[[str], None], size: int, writers: int) -> float:
    """How often a second `write` comes back, called by so many threads. Raises what one of them raised."""
    counts, over = [0] * writers, threading.Event()
    begun = time.monotonic()

    def work(number: int) -> None:
        try:
            while counts[number] == 0 or not over.is_set():
                write(f"{number:04x}{counts[number]:028x}")
                counts[number] += 1
                if time.monotonic() >= begun + MOST_SECONDS or sum(counts) * size >= MOST_BYTES:
                    break
        finally:
            over.set()  # who fails or is done ends the others

    with ThreadPoolExecutor(writers, thread_name_prefix="disk-test") as pool:
        for ended in [pool.submit(work, number) for number in range(writers)]:
            ended.result()
    return sum(counts) / (time.monotonic() - begun)
